"""A small generator of 64×64 faces that was trained to be searched at every layer (training/searchable).

A DCGAN (Radford et al. 2016) with fewer channels, without normalisation, and with residual convolutions at 16, 32 and
64 pixels. Five layers, as `ilo.generators.dcgan` has:

    layer   input                output
    0       (B, 100)             (B, 288, 4, 4)
    1       (B, 288, 4, 4)       (B, 224, 8, 8)
    2       (B, 224, 8, 8)       (B, 128, 16, 16)
    3       (B, 128, 16, 16)     (B, 64, 32, 32)
    4       (B, 64, 32, 32)      (B, 3, 64, 64)
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.generators.base import Generator
from ilo.generators.fit import Table, fit

Z_DIM = 100
WIDTHS = (Z_DIM, 288, 224, 128, 64)  # with FINE, 2.3 million numbers: 4.6 MB in half precision
FINE = 32  # channels of the detail at 64 pixels
WHAT = "it is a decoder of another shape than 100 → 64×64"


class First(nn.Module):
    """Latents (B, c_in) -> features (B, c_out, 4, 4).

    sphere: only the direction of a latent counts, as in a StyleGAN: it is taken to the sphere that N(0, I) lies near.
    A search that leaves it, as one does where little is measured, ends where nothing was trained.
    """

    def __init__(self, c_in: int, c_out: int, *, sphere: bool):
        super().__init__()
        self.up = nn.ConvTranspose2d(c_in, c_out, 4)
        self.sphere = sphere

    def forward(self, z: Tensor) -> Tensor:
        if self.sphere:
            z = F.normalize(z, dim=1) * math.sqrt(z.shape[1])
        return F.relu(self.up(z[:, :, None, None]))


class Up(nn.Module):
    """Twice the size: a transposed convolution and ReLU, then a residual convolution and ReLU where there is one."""

    def __init__(self, c_in: int, c_out: int, *, residual: bool):
        super().__init__()
        self.up = nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)
        self.residual = nn.Conv2d(c_out, c_out, 3, padding=1) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.up(x))
        return x if self.residual is None else F.relu(x + self.residual(x))


class Last(nn.Module):
    """The image, by a transposed convolution as in a DCGAN, and detail from a branch of two convolutions; tanh."""

    def __init__(self, c_in: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(c_in, 3, 4, 2, 1)
        self.fine = nn.ConvTranspose2d(c_in, FINE, 4, 2, 1)
        self.detail = nn.Conv2d(FINE, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.up(x) + self.detail(F.relu(self.fine(x))))


def decoder_layers(*, sphere: bool = True) -> nn.Sequential:
    """The five layers, untrained. sphere: take latents to the sphere of N(0, I); the training leaves them free."""
    (_, first), *middle = pairwise(WIDTHS)
    ups = (Up(a, b, residual=b <= 128) for a, b in middle)
    layers = nn.Sequential(First(Z_DIM, first, sphere=sphere), *ups, Last(WIDTHS[-1]))
    # channels last is 1.2 to 1.9 times as fast on a CPU, forward and backward
    return layers.to(memory_format=torch.channels_last)


def decoder_table() -> Table:
    """The tensors of a state dict."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in decoder_layers().state_dict().items()}


def is_decoder(names: Any) -> bool:
    """Whether tensors of these names are a decoder's."""
    return "0.up.weight" in names and "4.detail.weight" in names


def check_decoder(weights: Mapping[str, Any]) -> None:
    """ValueError naming the first tensor of `weights` that does not fit the architecture."""
    fit(weights, decoder_table(), WHAT)


def decoder(weights: Mapping[str, Tensor], name: str = "decoder") -> Generator:
    """Build the generator from a state dict.

    Raises:
        ValueError: a tensor is missing, is not of the architecture or has another shape or dtype; it is named.
    """
    check_decoder(weights)
    model = decoder_layers()
    model.load_state_dict({key: weights[key] for key in decoder_table()})
    return Generator.from_sequential(model, cuts=range(1, len(model)), latent_shape=(Z_DIM,), name=name)
