"""Photographs to train on: official portraits, public domain, and how one is made to look like many.

The portraits (portraits128.zip, 805 of 128×128) are of one kind: frontal, evenly lit, before a blue backdrop. Recovery
lives on variety, so each is drawn with other light, colours, place, size, tilt and backdrop every time.
"""

import io
import math
import zipfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ilo.assets import sha256_of
from ilo.images import read_image
from ilo.rng import stream

ARCHIVE = "portraits128.zip"
SHA256 = "05a30dc6d57b96866fd9937f26e53ed1d453fd0e70a0dd98a85f39ca2d3e2526"
LEFT_OUT = 80  # portraits that no training sees


def read_portraits(path: Path) -> Tensor:
    """(805, 3, 128, 128) in [−1, 1], in order of file name. ValueError: it is another file."""
    if sha256_of(path) != SHA256:
        raise ValueError(f"{path} is not {ARCHIVE}, whose sha256 is {SHA256}")
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        return torch.cat([read_image(io.BytesIO(archive.read(name))) for name in names])


def split(portraits: Tensor) -> tuple[Tensor, Tensor]:
    """Those to train on, and `LEFT_OUT` of them, drawn at random."""
    order = torch.randperm(len(portraits), generator=stream(0, "held out"))
    return portraits[order[LEFT_OUT:]], portraits[order[:LEFT_OUT]]


def backdrops(portraits: Tensor) -> Tensor:
    """(N, 1, 128, 128): near 1 where a pixel seems to be backdrop: like the upper corners, and outside the face.

    The backdrop is taken for a plane in each colour, fitted by least squares to the upper corners.
    """
    size = portraits.shape[-1]
    grid = torch.linspace(-1, 1, size)
    y, x = grid.view(-1, 1).expand(size, size), grid.expand(size, size)
    corners = ((x.abs() > 0.8) & (y < 0.2)) | ((y < -0.9) & (x.abs() > 0.5))
    design = torch.stack([torch.ones_like(x), x, y, x.abs()], -1)  # (H, W, 4)
    flat = portraits.flatten(2)[:, :, corners.flatten()]  # (N, 3, corners)
    planes = torch.linalg.lstsq(design[corners].expand(len(flat), -1, -1), flat.transpose(1, 2)).solution  # (N, 4, 3)
    model = (design.reshape(1, -1, 4) @ planes).transpose(1, 2).view_as(portraits)
    distance = (portraits - model).square().sum(1, keepdim=True).sqrt()
    like = torch.sigmoid((0.3 - F.avg_pool2d(distance, 5, 1, 2, count_include_pad=False)) / 0.04)
    outside = torch.sigmoid(((x / 0.5).square() + ((y - 0.05) / 0.75).square() - 1) / 0.1)
    return F.avg_pool2d(like * outside, 5, 1, 2, count_include_pad=False)


class Portraits:
    """Draws augmented portraits, (n, 3, 64, 64) in [−1, 1]."""

    def __init__(self, portraits: Tensor):
        self._photos = portraits
        self._backdrops = backdrops(portraits)

    def draw(self, n: int, g: torch.Generator, others: Tensor) -> Tensor:
        """others: (m, 3, 64, 64), images whose parts may serve as backdrops."""
        which = torch.randint(len(self._photos), (n,), generator=g)
        x, alpha = self._photos[which], self._backdrops[which]
        behind = self._scenery(n, g, others)
        x = torch.where(_chance(n, 0.6, g), x + alpha * (behind - x), x)
        x = _moved(x, g)
        return _relit(x, g).clamp(-1, 1)

    def _scenery(self, n: int, g: torch.Generator, others: Tensor) -> Tensor:
        """Backdrops (n, 3, 128, 128): parts of other images, enlarged, or smooth fields of any colour."""
        pick = torch.randint(len(others), (n,), generator=g)
        zoom = torch.rand(n, generator=g) * 0.5 + 0.2
        theta = torch.zeros(n, 2, 3)
        theta[:, 0, 0], theta[:, 1, 1] = zoom * (torch.randint(2, (n,), generator=g) * 2 - 1), zoom
        theta[:, :, 2] = (torch.rand(n, 2, generator=g) * 2 - 1) * (1 - zoom)[:, None]
        parts = F.grid_sample(others[pick], F.affine_grid(theta, (n, 3, 128, 128), False), align_corners=False)
        coarse = torch.randn(n, 3, 4, 4, generator=g) * 0.4 + torch.randn(n, 3, 1, 1, generator=g) * 0.5
        smooth = F.interpolate(coarse, size=128, mode="bicubic", align_corners=False).clamp(-1, 1)
        return torch.where(_chance(n, 0.5, g), parts, smooth)


def _chance(n: int, p: float, g: torch.Generator) -> Tensor:
    return (torch.rand(n, generator=g) < p).view(-1, 1, 1, 1)


def _uniform(n: int, low: float, high: float, g: torch.Generator) -> Tensor:
    return torch.rand(n, generator=g) * (high - low) + low


def _moved(x: Tensor, g: torch.Generator) -> Tensor:
    """Mirrored, tilted, squeezed, sheared, nearer or farther, off the centre; (n, 3, 128, 128) -> (n, 3, 64, 64)."""
    n = len(x)
    angle = torch.randn(n, generator=g) * math.radians(6)
    size = torch.exp(_uniform(n, math.log(0.85), math.log(1.25), g))  # of the field of view
    aspect = torch.exp(torch.randn(n, generator=g) * 0.06)
    mirror = torch.randint(2, (n,), generator=g) * 2 - 1
    shear = torch.randn(n, generator=g) * 0.06
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * size * aspect * angle.cos(), size * (shear - angle.sin())
    theta[:, 1, 0], theta[:, 1, 1] = mirror * size * angle.sin(), size / aspect * angle.cos()
    theta[:, 0, 2] = torch.randn(n, generator=g) * 0.06
    theta[:, 1, 2] = torch.randn(n, generator=g) * 0.06 - 0.03
    grid = F.affine_grid(theta, (n, 3, 128, 128), False)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(x, 2)


def _relit(x: Tensor, g: torch.Generator) -> Tensor:
    """Other light: gamma, contrast, brightness, colour cast, saturation, a slope across the image."""
    n = len(x)
    bright = (x + 1) / 2
    gamma = torch.exp(torch.randn(n, 1, 1, 1, generator=g) * 0.25)
    bright = bright.clamp(1e-3, 1) ** gamma
    cast = torch.exp(torch.randn(n, 3, 1, 1, generator=g) * 0.10 + torch.randn(n, 1, 1, 1, generator=g) * 0.2)
    grey = bright.mean(1, keepdim=True)
    bright = grey + (bright - grey) * _uniform(n, 0.5, 1.5, g).view(-1, 1, 1, 1)
    grid = torch.linspace(-1, 1, x.shape[-1])
    slope = torch.randn(n, 2, 1, 1, generator=g) * 0.2
    light = torch.exp(slope[:, :1] * grid + slope[:, 1:] * grid.view(-1, 1))
    bright = bright * cast * light
    middle = bright.mean((1, 2, 3), keepdim=True)
    bright = middle + (bright - middle) * _uniform(n, 0.7, 1.3, g).view(-1, 1, 1, 1)
    return 2 * bright - 1
