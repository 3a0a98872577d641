"""StyleGAN, the first of the family and the one that PULSE was published with, as a layered generator.

Source: Karras et al., "A style-based generator architecture for generative adversarial networks" (CVPR 2019). For
R × R images:

    layer         what it does                          reads of the state             gives
    0             the constant, the noise maps, styles  latents (or styles)            features (B, C, 4, 4), …
    1             the block of 4 × 4 pixels             features, styles, noise_0, …   features
    i             the block of 2^(i+1) pixels           features, styles, noise        features, doubled
    log2(R) − 1   the last block, and its colours       features, styles, noise        image (B, 3, R, R)

After every convolution come a noise map with a strength for each channel, the leaky ReLU, the normalisation of each
channel over its pixels, and the style's scale and shift (adaptive instance normalisation). Colours are taken once, at
the end, so that no RGB image is carried along. Spaces of styles, noise and truncation are StyleGAN2's
(`ilo.generators.stylegan.build`); each block has two styles and two noise maps.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.generators.base import Generator, State
from ilo.generators.fit import Table, fit, numbered, same_dtype
from ilo.generators.stylegan.build import Start, check_options, entrance
from ilo.generators.stylegan.network import SLOPE
from ilo.generators.stylegan.spaces import MappingNetwork
from ilo.generators.stylegan.table import MOST, mapping, resolutions

WHAT = "this looks like StyleGAN"
MARK = "synthesis.b4.conv0.noise_strength"  # StyleGAN2 has no noise on its constant


def stylegan1(
    weights: Mapping[str, Tensor],
    *,
    space: str = "paper",
    noise: str = "fixed",
    truncation: float = 1.0,
    name: str = "stylegan",
) -> Generator:
    """Build the generator from tensors as `ilo.generators.checkpoints.first_names` makes them of published formats.

    Run-time gains are in the weights; "conv0" of the block of 4 × 4 pixels is the constant, its bias added, and that of
    the others a transposed convolution. ``synthesis.epsilon`` is the normalisation's; ``synthesis.bias_first`` is 1
    where a bias is added before the blur, and 0 where after it.

    Args:
        weights: name → tensor; one floating dtype, which becomes the generator's.
        space, noise, truncation, name: as in `ilo.generators.stylegan2`; truncation is of all styles alike.

    Raises:
        ValueError: an option is none of those, or a tensor is missing or does not fit the others; it is named.
    """
    check_options(space, noise, truncation)
    table = first_table(weights)
    fit(weights, table, WHAT, MOST | {f"fc{i}": MOST["w"] for i in range(len(table))})
    same_dtype(weights, table, WHAT)
    sizes = resolutions(weights)
    network = MappingNetwork(weights)
    way = entrance(network, space, truncation, torch.zeros(0).to(network.w_avg), None, 2 * len(sizes))
    maps = {
        f"noise_{i}": weights[f"synthesis.{conv}.noise_const"][None] for i, conv in enumerate(convolutions(weights))
    }
    free = {key: tuple(value.shape) for key, value in maps.items()} if noise == "free" else {}
    blocks = [Block(weights, size, style_key=way.key, to_w=way.to_w, last=size == sizes[-1]) for size in sizes]
    return Generator(
        [Start(way.module, weights["synthesis.b4.const"], maps if noise == "fixed" else {}), *blocks],
        latent_shapes={"latents": way.latent_shape, **free},
        image_shape=(weights["synthesis.torgb.weight"].shape[0], sizes[-1], sizes[-1]),
        name=name,
        variables=("features", "latents", "styles", *free),
        prior=way.prior,
    )


def convolutions(weights: Mapping[str, Any]) -> list[str]:
    """b4.conv0, b4.conv1, b8.conv0, …: what has a style and a noise map, in their order."""
    return [f"b{size}.{conv}" for size in resolutions(weights) for conv in ("conv0", "conv1")]


def first_table(weights: Mapping[str, Any]) -> Table:
    """The tensors of a generator with the blocks and the mapping layers that `weights` has."""
    table: Table = {"synthesis.b4.const": ("b4.conv0", 4, 4)}
    width = "b4.conv0"  # of the features that come in: each word is a number of channels
    for conv in convolutions(weights):
        size = int(conv[1:].split(".")[0])
        if conv != "b4.conv0":
            shape = (width, conv, 4, 4) if conv.endswith("conv0") else (conv, width, 3, 3)
            table |= {f"synthesis.{conv}.weight": shape, f"synthesis.{conv}.bias": (conv,)}
        table |= {
            f"synthesis.{conv}.noise_strength": (conv,),
            f"synthesis.{conv}.noise_const": (size, size),
            f"synthesis.{conv}.scale.weight": (conv, "w"),
            f"synthesis.{conv}.scale.bias": (conv,),
            f"synthesis.{conv}.shift.weight": (conv, "w"),
            f"synthesis.{conv}.shift.bias": (conv,),
        }
        width = conv
    table |= {"synthesis.torgb.weight": ("colours", width, 1, 1), "synthesis.torgb.bias": ("colours",)}
    table |= {"synthesis.epsilon": (), "synthesis.bias_first": ()}
    depth = max(1, len(numbered(weights, "mapping.fc")))
    table |= mapping([f"mapping.fc{i}" for i in range(depth)], "z")
    return table | ({"mapping.w_avg": ("w",)} if "mapping.w_avg" in weights else {})


class Block(nn.Module):
    """The two convolutions of one resolution, or the constant's epilogue and one; the colours too in the `last`."""

    def __init__(self, weights: Mapping[str, Tensor], size: int, *, style_key: str, to_w: nn.Module, last: bool):
        super().__init__()
        self.first = 2 * int(math.log2(size)) - 4  # index of its first style and noise map
        self.style_key, self.to_w = style_key, to_w
        prefix = f"synthesis.b{size}"
        self.up = None if size == 4 else Doubling(weights, f"{prefix}.conv0")
        self.conv = nn.ParameterDict({part: weights[f"{prefix}.conv1.{part}"] for part in ("weight", "bias")})
        self.ends = nn.ModuleList(Epilogue(weights, f"{prefix}.{conv}") for conv in ("conv0", "conv1"))
        names = ("weight", "bias") if last else ()
        self.torgb = nn.ParameterDict({part: weights[f"synthesis.torgb.{part}"] for part in names})

    def forward(self, state: State) -> State:
        state = dict(state)
        styles = self.to_w(state[self.style_key][:, self.first : self.first + 2])
        # One layout whatever the state's, so that a state that was saved and reloaded gives the same bits.
        ws = [w.contiguous() for w in styles.unbind(1)]
        maps = [state.pop(f"noise_{self.first + i}", None) for i in range(2)]
        x = state["features"] if self.up is None else self.up(state["features"])
        x = self.ends[0](x, ws[0], maps[0])
        x = F.conv2d(x, self.conv["weight"], self.conv["bias"], padding=1)
        x = self.ends[1](x, ws[1], maps[1])
        if len(self.torgb):
            return {"image": F.conv2d(x, self.torgb["weight"], self.torgb["bias"])}
        return {**state, "features": x}


class Doubling(nn.Module):
    """Transposed convolution of stride 2, blur [1, 2, 1]/4 along both axes, bias: (B, C, h, w) -> (B, C', 2h, 2w)."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str):
        super().__init__()
        self.weight = nn.Parameter(weights[f"{prefix}.weight"])  # (C, C', 4, 4)
        self.bias = nn.Parameter(weights[f"{prefix}.bias"])
        self.bias_first = bool(weights["synthesis.bias_first"].reshape(()) > 0)
        taps = torch.tensor([1.0, 2.0, 1.0]).to(self.weight) / 4
        self.register_buffer("filter", torch.outer(taps, taps).expand(len(self.bias), 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        first, after = (self.bias, None) if self.bias_first else (None, self.bias)
        x = F.conv_transpose2d(x, self.weight, first, stride=2, padding=1)
        return F.conv2d(x, self.filter, after, padding=1, groups=x.shape[1])


class Epilogue(nn.Module):
    """Noise, leaky ReLU, instance normalisation, and a style's scale and shift of every channel."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str):
        super().__init__()
        self.strength = nn.Parameter(weights[f"{prefix}.noise_strength"][:, None, None])
        self.weight, self.bias = (
            nn.Parameter(torch.cat([weights[f"{prefix}.{part}.{kind}"] for part in ("scale", "shift")]))
            for kind in ("weight", "bias")
        )
        self.epsilon = float(weights["synthesis.epsilon"])

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """Features (B, C, h, w), styles (B, w_dim), noise map (B, 1, h, w) or None -> (B, C, h, w)."""
        x = F.leaky_relu(x if noise is None else x + self.strength * noise, SLOPE)
        scale, shift = F.linear(w, self.weight, self.bias)[:, :, None, None].chunk(2, 1)  # (B, C, 1, 1) each
        return F.instance_norm(x, eps=self.epsilon) * scale + shift
