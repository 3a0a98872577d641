"""StyleGAN3 as a layered generator, in pure torch: both configurations, T and R.

Source: Karras et al., "Alias-free generative adversarial networks" (NeurIPS 2021), §3 and appendices B, C and F. For
R × R images and N + 1 layers, of which NVIDIA's networks have 15:

    layer     what it does                                reads of the state       gives
    0         the styles; waves as the first has them     latents (or styles)      features (B, C, s, s), styles
    i         the network's layer L(i − 1)                features, styles         features
    N + 1     the last, to the colours                    features, styles         image (B, 3, R, R)

Features are signals on a plane, sampled finer from layer to layer, and reach a margin of samples beyond every edge of
the image until layer N. Waves sin(2π(f·x + φ)) are the first; a style turns and moves them as a whole. There is no
noise and no running RGB image. A layer modulates a convolution, adds a bias, and applies a leaky ReLU between two
filters (`ilo.generators.stylegan.filtered`). T convolves 3×3; R 1×1, with filters that are radially symmetric: what
tells them apart is in the tensors. What layer 0 reads and later layers carry along depends on the space of styles, as
in `ilo.generators.stylegan.build`; num_ws = N + 2 is the number of styles of an image.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.generators.base import Generator, State
from ilo.generators.fit import same_dtype
from ilo.generators.stylegan.build import check_options, layered
from ilo.generators.stylegan.filtered import FilteredLReLU
from ilo.generators.stylegan.network import EPS, Affine, ToRGB
from ilo.generators.stylegan.spaces import MappingNetwork, Truncation, space_of
from ilo.generators.stylegan.third_table import (
    DOWN,
    WHAT,
    Layer,
    check_numbers,
    check_third,
    crop,
    settings_of,
    third_layers,
)


def stylegan3(
    weights: Mapping[str, Tensor],
    *,
    space: str = "paper",
    truncation: float = 1.0,
    label: int | Sequence[float] | None = None,
    settings: Mapping[str, float] | None = None,
    name: str = "stylegan3",
) -> Generator:
    """Build the generator from a state dict in NVIDIA's StyleGAN3 names (``synthesis.L0_36_512.weight``, …).

    Args:
        weights: name → tensor; one floating dtype, which becomes the generator's. The names of the layers tell their
            sizes and channels; the filters are those of the file.
        space: where the search over styles starts: "paper", "z", "w" or "w+" (`stylegan2`).
        truncation: ψ of w_avg + ψ·(w − w_avg); 1 leaves the styles alone.
        label: class index, or one weight per class, of a class-conditional network, as of `stylegan2`.
        settings: what tensors do not tell, where it is not as in published networks (`SETTINGS`):
            ``synthesis.margin_size``, samples that features have beyond every edge; ``synthesis.input.bandwidth``, from
            which on waves are damped, in periods per image; ``synthesis.output_scale``, of the colours;
            ``synthesis.conv_clamp``, the bound on absolute values.
        name: what results and figures call it.

    A style's scales are brought to a mean square of 1 for each image, not over the batch as in NVIDIA's program: images
    of a batch stay independent. The demodulation that follows takes the difference away, but for its epsilon of 1e-8.

    A round optimises, unless told otherwise, those of features, latents, styles that the state at its layer holds.

    Raises:
        ValueError: an option or setting is none of those above, or a tensor is missing or does not fit the others; it
            is named.
    """
    check_options(space, truncation)
    settings = settings_of(settings or {})
    same_dtype(weights, check_third(weights, settings), WHAT)
    check_numbers(weights, settings)
    layers = third_layers(weights, settings)
    styles = MappingNetwork(weights)
    place = space_of(space, styles, Truncation(styles.w_avg, truncation), len(layers) + 1, label)
    waves = Waves(weights, layers[0].room, layers[0].taken, settings["synthesis.input.bandwidth"])
    clamp, last = settings["synthesis.conv_clamp"], layers[-1]
    inner = [FilteredConv(weights, layer, clamp=clamp) for layer in layers[:-1]]
    colours = Colours(weights, last.name, clamp=clamp, scale=settings["synthesis.output_scale"])
    blocks = [Styled(module, i + 1, place.key, place.to_w) for i, module in enumerate([*inner, colours])]
    start = Start(place.entrance, Styled(waves, 0, place.key, place.to_w))
    return layered([start, *blocks], place, (last.channels, last.size, last.size), name)


class Start(nn.Module):
    """Layer 0: what `entrance` makes of the state, and the features that `waves` makes of that."""

    def __init__(self, entrance: nn.Module, waves: nn.Module):
        super().__init__()
        self.entrance, self.waves = entrance, waves

    def forward(self, state: State) -> State:
        return self.waves(self.entrance(state))


class Styled(nn.Module):
    """A layer: `module` under style number `index`, of state[key] (B, num_ws, w_dim) once `to_w` has been at it."""

    def __init__(self, module: nn.Module, index: int, key: str, to_w: nn.Module):
        super().__init__()
        self.module, self.index, self.key, self.to_w = module, index, key, to_w

    def forward(self, state: State) -> State:
        # One layout whatever the state's, so that a state that was saved and reloaded gives the same bits.
        w = self.to_w(state[self.key][:, self.index : self.index + 1])[:, 0].contiguous()  # (B, w_dim)
        if isinstance(self.module, Waves):
            return {"features": self.module(w), **state}
        x = self.module(state["features"].contiguous(memory_format=torch.channels_last), w)
        return {"image": x} if isinstance(self.module, Colours) else {**state, "features": x}


class Waves(nn.Module):
    """The network's input: waves of many frequencies, turned and moved by a style, and mixed. (B, w_dim) ->
    (B, C, size, size), of which the middle `rate` samples a side are the image's.

    No product of matrices has to do with phases, since autocast would round them to eight bits.
    """

    def __init__(self, weights: Mapping[str, Tensor], size: int, rate: int, bandwidth: float):
        super().__init__()
        part = {name: weights[f"synthesis.input.{name}"] for name in ("weight", "transform", "freqs", "phases")}
        self.weight = nn.Parameter(part["weight"] / math.sqrt(len(part["weight"])))
        self.affine = Affine(weights["synthesis.input.affine.weight"], weights["synthesis.input.affine.bias"])
        for name in ("transform", "freqs", "phases"):
            self.register_buffer(name, part[name].clone())
        at = (torch.arange(size, dtype=torch.float64) + 0.5 - size / 2) / rate  # in images, from the middle
        self.register_buffer("at", at.to(self.weight))
        self.bandwidth, self.highest = bandwidth, rate / 2

    def forward(self, w: Tensor) -> Tensor:
        turned = self._turned(w)[:, None]  # (B, 1, 2, 3)
        freqs = (self.freqs[..., None] * turned).sum(2)  # (B, C, 3): along x, along y, and the phase moved by
        along = freqs[..., :2, None] * self.at  # (B, C, 2, size)
        phases = self.phases + freqs[..., 2]
        damped = (freqs[..., :2].norm(dim=2) - self.bandwidth) / (self.highest - self.bandwidth)
        angles = along[:, :, 1, :, None] + along[:, :, 0, None] + phases[..., None, None]  # (B, C, size, size)
        waves = torch.sin(2 * math.pi * angles) * (1 - damped).clamp(0, 1)[..., None, None]
        return F.linear(waves.permute(0, 2, 3, 1), self.weight).permute(0, 3, 1, 2)

    def _turned(self, w: Tensor) -> Tensor:
        """The first two rows of the transform of the plane, (B, 2, 3): turn, move, then the file's own."""
        t = (w[:, None] * self.affine.weight).sum(2) + self.affine.bias
        c, s, x, y = (t / t[:, :2].norm(dim=1, keepdim=True)).unbind(1)  # (B,) each
        rows = torch.stack([c, -s, s * y - c * x, s, c, -s * x - c * y], 1).unflatten(1, (2, 3))
        return (rows[..., None] * self.transform).sum(2)


class FilteredConv(nn.Module):
    """Modulated convolution and bias, then a leaky ReLU between two filters.

    The convolution is that of `ilo.generators.stylegan.network`, with weights of a mean square of 1 for each channel
    that leaves, and scales of one for each image; what enters is divided by its root mean square in training.
    """

    def __init__(self, weights: Mapping[str, Tensor], layer: Layer, *, clamp: float):
        super().__init__()
        part = {name: weights[f"{layer.name}.{name}"] for name in ("weight", "bias", "up_filter", "down_filter")}
        weight = part["weight"] * torch.rsqrt(part["weight"].square().mean((1, 2, 3), keepdim=True))
        self.affine = Affine(weights[f"{layer.name}.affine.weight"], weights[f"{layer.name}.affine.bias"])
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter(part["bias"][:, None, None].clone())
        self.register_buffer("energy", weight.square().sum((2, 3)))  # (c_out, c_in)
        self.register_buffer("gain", weights[f"{layer.name}.magnitude_ema"].reshape(()).rsqrt())
        filters = part["up_filter"], part["down_filter"]
        cut = crop(weights, layer)
        self.lrelu = FilteredLReLU(*filters, up=layer.up, down=DOWN, crop=cut, clamp=clamp)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Features (B, c_in, n, n), styles (B, w_dim) -> (B, c_out, m, m)."""
        s = self.affine(w)
        s = s * torch.rsqrt(s.square().mean(1, keepdim=True))  # (B, c_in)
        d = self.gain * torch.rsqrt(F.linear(s.square(), self.energy) + EPS)  # (B, c_out)
        x = F.conv2d(x * s[:, :, None, None], self.weight, padding=self.weight.shape[-1] - 1)
        return self.lrelu(torch.addcmul(self.bias, x, d[:, :, None, None]))


class Colours(nn.Module):
    """The last layer: to the colours, by 1×1, without demodulation, and scaled."""

    def __init__(self, weights: Mapping[str, Tensor], name: str, *, clamp: float, scale: float):
        super().__init__()
        weight, self.scale = weights[f"{name}.weight"], scale
        gain = (weight.shape[1] * weights[f"{name}.magnitude_ema"].item()) ** -0.5
        affine = Affine(weights[f"{name}.affine.weight"], weights[f"{name}.affine.bias"], gain)
        self.torgb = ToRGB(weight, weights[f"{name}.bias"], affine, clamp=clamp)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Features (B, c_in, R, R), styles (B, w_dim) -> (B, colours, R, R)."""
        return self.scale * self.torgb(x, w)
