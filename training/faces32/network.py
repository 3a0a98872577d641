"""StyleGAN2 with weights that are learned: functions of a state dict in NVIDIA's names, and a discriminator.

`ilo.generators.stylegan` computes the same images of the same tensors, but without a gradient of any weight.
Source: Karras et al., "Analyzing and improving the image quality of StyleGAN" (CVPR 2020).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.generators.stylegan.network import EPS, GAIN, SLOPE, blur, upsample
from ilo.generators.stylegan.random import random_stylegan2
from ilo.generators.stylegan.spaces import LR_MULTIPLIER
from ilo.generators.stylegan.table import resolutions
from ilo.rng import stream

Weights = Mapping[str, Tensor]

SIZE, Z_DIM, W_DIM, MAPPING_LAYERS = 32, 100, 128, 4
CHANNELS = {"channel_base": 2048, "channel_max": 128}  # 128 up to 16 pixels, 64 at 32


def fresh_generator(rng: int) -> dict[str, Tensor]:
    """A generator's weights before training; noise has no strength yet, so that it is learned where it is of use."""
    weights = random_stylegan2(
        SIZE, **CHANNELS, z_dim=Z_DIM, w_dim=W_DIM, mapping_layers=MAPPING_LAYERS, rng=stream(rng, "weights", 0)
    )
    for name in weights:
        if name.endswith((".noise_strength", "conv0.bias", "conv1.bias", "torgb.bias")):
            weights[name] = torch.zeros_like(weights[name])
    return weights


def styles_of(weights: Weights, z: Tensor) -> Tensor:
    """The mapping network: latents (B, z_dim) -> styles (B, w_dim)."""
    x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + EPS)
    for i in range(MAPPING_LAYERS):
        weight, bias = weights[f"mapping.fc{i}.weight"], weights[f"mapping.fc{i}.bias"]
        x = F.linear(x, weight * (LR_MULTIPLIER / math.sqrt(weight.shape[1])), bias * LR_MULTIPLIER)
        x = GAIN * F.leaky_relu(x, SLOPE)
    return x


def images_of(weights: Weights, w: Tensor, noise: Sequence[Tensor]) -> Tensor:
    """The synthesis network: styles (B, w_dim), noise maps (B, 1, h, w) in the order they are read -> (B, 3, R, R)."""
    x, rgb, maps = weights["synthesis.b4.const"].expand(len(w), -1, -1, -1), None, iter(noise)
    for size in resolutions(weights):
        block = f"synthesis.b{size}"
        if size > 4:
            x = _styled(weights, f"{block}.conv0", x, w, next(maps), up=True)
        x = _styled(weights, f"{block}.conv1", x, w, next(maps), up=False)
        colours = _colours(weights, f"{block}.torgb", x, w)
        rgb = colours if rgb is None else colours + upsample(rgb)
    return rgb


def drawn_noise(weights: Weights, n: int, g: torch.Generator) -> list[Tensor]:
    """Noise maps (n, 1, h, w), drawn on the CPU, in the order that `images_of` reads them."""
    const = weights["synthesis.b4.const"]
    sizes = [size for size in resolutions(weights) for _ in range(1 if size == 4 else 2)]
    return [torch.randn(n, 1, size, size, generator=g).to(const) for size in sizes]


class Discriminator(nn.Module):
    """Images (B, 3, 32, 32) -> one score per image (B, 1), higher for those of the teacher."""

    def __init__(self, rng: int):
        super().__init__()
        widths = (48, 64, 128, 128)
        self.first = nn.Conv2d(3, widths[0], 1)
        self.blocks = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[-1] + 1, 128, 3, padding=1)
        self.score = nn.Sequential(nn.Linear(128 * 16, 128), nn.LeakyReLU(SLOPE), nn.Linear(128, 1))
        g = stream(rng, "weights", 1)
        with torch.no_grad():
            for value in self.parameters():
                if value.ndim == 1:
                    value.zero_()  # a bias
                else:
                    value.copy_(torch.randn(value.shape, generator=g) * (GAIN / math.sqrt(value[0].numel())))

    def forward(self, images: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(images), SLOPE)
        for conv in self.blocks:
            x = F.avg_pool2d(F.leaky_relu(conv(x), SLOPE), 2)
        # How much a batch varies, so that one image for all latents is seen through (Karras et al. 2018).
        spread = (x.var(0, correction=0) + EPS).sqrt().mean().expand(len(x), 1, *x.shape[2:])
        x = F.leaky_relu(self.last(torch.cat([x, spread], 1)), SLOPE)
        return self.score(x.flatten(1))


def _styled(weights: Weights, name: str, x: Tensor, w: Tensor, noise: Tensor, *, up: bool) -> Tensor:
    weight, s = weights[f"{name}.weight"], _scales(weights, name, w)
    d = torch.rsqrt(F.linear(s.square(), weight.square().sum((2, 3))) + EPS)  # (B, c_out)
    x = x * s[:, :, None, None]
    x = blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)) if up else F.conv2d(x, weight, padding=1)
    x = x * d[:, :, None, None] + noise * weights[f"{name}.noise_strength"] + weights[f"{name}.bias"][:, None, None]
    return GAIN * F.leaky_relu(x, SLOPE)


def _colours(weights: Weights, name: str, x: Tensor, w: Tensor) -> Tensor:
    s = _scales(weights, name, w) / math.sqrt(x.shape[1])
    return F.conv2d(x * s[:, :, None, None], weights[f"{name}.weight"], weights[f"{name}.bias"])


def _scales(weights: Weights, name: str, w: Tensor) -> Tensor:
    weight = weights[f"{name}.affine.weight"]
    return F.linear(w, weight / math.sqrt(weight.shape[1]), weights[f"{name}.affine.bias"])
