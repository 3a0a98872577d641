"""The first StyleGAN as a layered generator, in pure torch.

Sources: Karras et al., "A style-based generator architecture for generative adversarial networks" (CVPR 2019), and for
what the paper leaves open NVIDIA's program. For R × R images:

    layer         what it does                          reads of the state               gives
    0             the constant, the noise maps, styles  latents (or styles)              features (B, C, 4, 4), …
    1             the block of 4 × 4 pixels             features, styles, noise_0 and 1  features
    i             the block of 2^(i+1) pixels           features, styles, noise          features, doubled
    log2(R) − 1   the last block, and the colours       features, styles, noise          image (B, 3, R, R)

A block is two times: a convolution (in the block of 4 × 4 pixels only the second time), noise, bias, leaky ReLU,
instance norm, and the style's scale and shift of every channel. There is no running RGB image: colours are made of the
last features alone. What layer 0 reads and later layers carry along depends on the space of styles, as in
`ilo.generators.stylegan.build`; num_ws = 2·log2(R) − 2, and so many noise maps there are.

A convolution that doubles an image is nearest doubling and then 3×3, up to 64 pixels. Above, it is a transposed one of
stride 2, whose 4×4 kernel is the sum of the 3×3 at four places. The first is the second with a flipped kernel, and less
work that way: 16 products for every 4 pixels made, in place of 36. So both run as the second.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.generators.base import Generator, State
from ilo.generators.fit import MOST_PIXELS, Table, numbered, same_dtype
from ilo.generators.stylegan.build import Start, check_options, layered
from ilo.generators.stylegan.network import GAIN, SLOPE, Affine
from ilo.generators.stylegan.spaces import MappingNetwork, Truncation, space_of
from ilo.generators.stylegan.table import check, mapping

WHAT = "this looks like the first StyleGAN"
EPSILON = 1e-8  # of the instance norm
TRUNCATED = 8  # styles that truncation moves, as published
FUSED = 128  # pixels from which on the doubling convolution is a transposed one


def stylegan1(
    weights: Mapping[str, Tensor],
    *,
    space: str = "paper",
    noise: str = "fixed",
    truncation: float = 1.0,
    truncated: int = TRUNCATED,
    epsilon: float = EPSILON,
    name: str = "stylegan1",
) -> Generator:
    """Build the generator from a state dict in the names of genforce/genforce (``synthesis.layer0.const``, …).

    `ilo.generators.checkpoints` brings other formats into these names. One is ours: ``synthesis.layerK.early_bias``
    (channels,), where it is there, is added before the blur of a doubling convolution, as rosinality's networks do.

    Args:
        weights: name → tensor; one floating dtype, which becomes the generator's.
        space: where the search over styles starts: "paper", "z", "w" or "w+" (`stylegan2`). The first is PULSE's.
        noise: "fixed", "free" or "zero", as of `stylegan2`.
        truncation: ψ of w_avg + ψ·(w − w_avg); 1 leaves the styles alone. NVIDIA's program takes 0.7, PULSE 1.
        truncated: how many styles of an image that is done to, from the first; the others stay.
        epsilon: of the instance norm: 1e-8 in NVIDIA's networks and genforce's, 1e-5 in PULSE's, lernapparat's and
            rosinality's.
        name: what results and figures call it.

    A round optimises, unless told otherwise, those of features, latents, styles that the state at its layer holds,
    and with noise="free" the noise maps.

    Raises:
        ValueError: an option is none of those above, or a tensor is missing or does not fit the others; it is named.
    """
    check_options(space, truncation, noise)
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"epsilon must be a positive number, got {epsilon}")
    if not isinstance(truncated, int) or truncated < 0:
        raise ValueError(f"truncated must be a number of styles, got {truncated!r}")
    table = first_table(weights)
    check(weights, table, WHAT)
    same_dtype(weights, table, WHAT)
    sizes = first_sizes(weights)
    num_ws = 2 * len(sizes)
    styles = MappingNetwork(_mapping(weights))
    truncate = FirstTruncated(styles.w_avg, truncation, truncated)
    place = space_of(space, styles, truncate, num_ws)
    maps = {f"noise_{k}": weights[f"synthesis.layer{k}.apply_noise.noise"][0] for k in range(num_ws)}
    const = weights["synthesis.layer0.const"][0] + _map(weights["synthesis.layer0.bias"])
    start = Start(place.entrance, const, maps if noise == "fixed" else {})
    blocks = [FirstBlock(weights, size, style_key=place.key, to_w=place.to_w, epsilon=epsilon) for size in sizes]
    blocks[-1].torgb = Conv(weights, f"synthesis.output{len(sizes) - 1}", gain=1)
    image_shape = (len(blocks[-1].torgb.weight), sizes[-1], sizes[-1])
    return layered([start, *blocks], place, image_shape, name, maps if noise == "free" else {})


def first_sizes(weights: Mapping[str, Tensor]) -> list[int]:
    """The sizes of the blocks that a state dict holds: [4, 8, …, R]. ValueError if there are not two layers of each."""
    layers = numbered(weights, "synthesis.layer")
    count = len(layers) // 2
    if layers != set(range(2 * count)) or not 2 <= count <= math.log2(MOST_PIXELS) - 1:
        raise ValueError(
            f"{WHAT}, but its layers are {sorted(layers)[:12]}: expected 4 to {2 * math.log2(MOST_PIXELS) - 2:.0f}, "
            "two for each size, under synthesis.layer0, synthesis.layer1, …"
        )
    return [4 << i for i in range(count)]


def first_table(weights: Mapping[str, Tensor]) -> Table:
    """The table of a state dict with the layers that `weights` has."""
    sizes = first_sizes(weights)
    table: Table = {"synthesis.layer0.const": (1, "0", 4, 4)}
    for k in range(2 * len(sizes)):
        name, size, width = f"synthesis.layer{k}", sizes[k // 2], str(k)
        if k > 0:
            table[f"{name}.weight"] = (width, str(k - 1), 3, 3)
        table |= {f"{name}.bias": (width,), f"{name}.apply_noise.weight": (width,)}
        table[f"{name}.apply_noise.noise"] = (1, 1, size, size)
        table |= {f"{name}.style.weight": ((2, width), "w"), f"{name}.style.bias": ((2, width),)}
        if f"{name}.early_bias" in weights:
            table[f"{name}.early_bias"] = (width,)
    colours = f"synthesis.output{len(sizes) - 1}"
    table |= {f"{colours}.weight": ("colours", width, 1, 1), f"{colours}.bias": ("colours",)}
    depth = max(1, len(numbered(weights, "mapping.dense")))
    table |= mapping([f"mapping.dense{i}" for i in range(depth)], "z")
    return table | ({"truncation.w_avg": ("w",)} if "truncation.w_avg" in weights else {})


class FirstTruncated(Truncation):
    """Truncation of the first `count` styles of an image, (B, num_ws, w_dim)."""

    def __init__(self, w_avg: Tensor, psi: float, count: int):
        super().__init__(w_avg, psi)
        self.count = count

    def forward(self, w: Tensor) -> Tensor:
        return torch.cat([super().forward(w[:, : self.count]), w[:, self.count :]], 1)


class FirstBlock(nn.Module):
    """The layers of one resolution; the last of them has `torgb`, which makes the image.

    `style_key` is the tensor of the state (B, num_ws, w_dim) that holds the styles once `to_w` has been at it.
    """

    def __init__(self, weights: Mapping[str, Tensor], size: int, *, style_key: str, to_w: nn.Module, epsilon: float):
        super().__init__()
        self.first = 2 * int(math.log2(size)) - 4  # index of its first layer, style and noise map
        names = [f"synthesis.layer{k}" for k in (self.first, self.first + 1)]
        before = UpConv(weights, names[0], size) if self.first else nn.Identity()
        self.convs = nn.ModuleList([before, Conv(weights, names[1], gain=GAIN)])
        self.epilogues = nn.ModuleList(Epilogue(weights, name, epsilon) for name in names)
        self.style_key, self.to_w = style_key, to_w
        self.torgb: nn.Module | None = None

    def forward(self, state: State) -> State:
        state = dict(state)
        styles = self.to_w(state[self.style_key])[:, self.first : self.first + 2]
        # One layout whatever the state's, so that a state that was saved and reloaded gives the same bits.
        x = state["features"].contiguous(memory_format=torch.channels_last)
        for i, (conv, epilogue) in enumerate(zip(self.convs, self.epilogues, strict=True)):
            x = epilogue(conv(x), styles[:, i].contiguous(), state.pop(f"noise_{self.first + i}", None))
        return {**state, "features": x} if self.torgb is None else {"image": self.torgb(x)}


class Conv(nn.Module):
    """A convolution that keeps the size; its run-time gain gain/√fan_in is in the weight."""

    def __init__(self, weights: Mapping[str, Tensor], name: str, gain: float):
        super().__init__()
        self.weight = nn.Parameter(_scaled(weights[f"{name}.weight"], gain))
        self.bias = nn.Parameter(weights[f"{name}.bias"].clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


class UpConv(nn.Module):
    """The convolution that doubles an image to `size` pixels a side, the blur [1, 2, 1]/4 along both axes, the bias."""

    def __init__(self, weights: Mapping[str, Tensor], name: str, size: int):
        super().__init__()
        weight = _scaled(weights[f"{name}.weight"], GAIN).transpose(0, 1)  # (c_in, c_out, 3, 3)
        weight = F.pad(weight if size >= FUSED else weight.flip(2, 3), (1, 1, 1, 1))
        weight = weight[..., 1:, 1:] + weight[..., :-1, 1:] + weight[..., 1:, :-1] + weight[..., :-1, :-1]
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))  # (c_in, c_out, 4, 4)
        self.bias = nn.Parameter(weights[f"{name}.bias"].clone())
        early = weights.get(f"{name}.early_bias")
        self.early_bias = None if early is None else nn.Parameter(early.clone())

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv_transpose2d(x, self.weight, self.early_bias, stride=2, padding=1)
        taps = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype, device=x.device) / 4
        kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(x, kernel, self.bias, padding=1, groups=x.shape[1])


class Epilogue(nn.Module):
    """What follows a convolution: the noise map, leaky ReLU, instance norm, the style's scale and shift."""

    def __init__(self, weights: Mapping[str, Tensor], name: str, epsilon: float):
        super().__init__()
        self.epsilon = epsilon
        self.noise_weight = nn.Parameter(_map(weights[f"{name}.apply_noise.weight"]).clone())  # (C, 1, 1)
        bias = weights[f"{name}.style.bias"].clone()
        bias[: len(bias) // 2] += 1
        self.affine = Affine(weights[f"{name}.style.weight"], bias)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """Features (B, C, h, w), styles (B, w_dim), noise map (B, 1, h, w) or None -> (B, C, h, w)."""
        scale, shift = self.affine(w)[:, :, None, None].chunk(2, 1)  # (B, C, 1, 1) each
        own = noise is not None  # then x is a tensor of this module's, and a map less is kept for the backward pass
        x = F.leaky_relu(torch.addcmul(x, noise, self.noise_weight) if own else x, SLOPE, inplace=own)
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        return torch.addcmul(shift, x - mean, scale * torch.rsqrt(variance + self.epsilon))


def _mapping(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mapping network as StyleGAN2 has it. There the leaky ReLU's gain √2 is the bias's too, so it is divided."""
    out = {}
    for i in range(len(numbered(weights, "mapping.dense"))):
        out[f"mapping.fc{i}.weight"] = weights[f"mapping.dense{i}.weight"]
        out[f"mapping.fc{i}.bias"] = weights[f"mapping.dense{i}.bias"] / GAIN
    return out | ({"mapping.w_avg": weights["truncation.w_avg"]} if "truncation.w_avg" in weights else {})


def _scaled(weight: Tensor, gain: float) -> Tensor:
    """A stored weight (c_out, c_in, k, k), times its run-time gain gain/√fan_in."""
    scaled = weight * (gain / math.sqrt(weight[0].numel()))
    return scaled.contiguous(memory_format=torch.channels_last)


def _map(x: Tensor) -> Tensor:
    """(C,) -> (C, 1, 1)."""
    return x[:, None, None]
