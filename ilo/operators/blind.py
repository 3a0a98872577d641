"""A blur of unknown width: one more variable, found from what was measured."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ilo.checks import check_positive, check_shape
from ilo.operators.camera import Camera
from ilo.operators.separable import Blur, cosine_matrix

WIDTHS = 41  # that are tried
RATIOS = torch.logspace(-7, 1, 25, dtype=torch.float64)  # of the noise's variance over the mean power of the image


class UnknownBlur(Camera):
    """`Blur` by a Gaussian whose width differs from problem to problem and is not known; of the image's shape.

    `whitened` finds each problem's width, and gives the camera with it. The cosine coefficients of a photo are taken
    for independent, their power falling as (1 + L²|ω|²)^(−3/2), L an eighth of the height, times exp(−width²·|ω|²) of
    the blur, plus that of the noise: the width is that of the greatest likelihood (Whittle's), the power of image and
    noise being free too. On faces of 64 pixels, of widths from 1 to 3 under noise of 0.02, it is right to 5 to 7 %.

    Args:
        shape: (C, H, W).
        least, most: standard deviations in pixels between which it lies, above 0.
    """

    def __init__(self, shape: Sequence[int], least: float = 0.3, most: float = 4.0):
        shape = check_shape(shape)
        super().__init__(shape, shape)
        self.least, self.most = check_positive(least, "least"), check_positive(most, "most")
        if not least < most:
            raise ValueError(f"least must be below most, got {least} and {most}")

    def widths(self, y: Tensor) -> Tensor:
        """Return the most likely width of each problem's blur, (B,), float64: of `WIDTHS` in equal ratios."""
        _, height, width = self.shape_in
        y = y.detach().cpu().double()
        power = (
            (cosine_matrix(height) @ y @ cosine_matrix(width).T).square().mean(1).flatten(1)[:, 1:]
        )  # not the mean's
        squares = [(math.pi * torch.arange(n, dtype=torch.float64) / n).square() for n in (height, width)]
        squares = (squares[0][:, None] + squares[1]).flatten()[1:]
        photo = (1 + (height / 8) ** 2 * squares) ** -1.5
        photo = photo / photo.mean()
        tried = torch.logspace(math.log10(self.least), math.log10(self.most), WIDTHS, dtype=torch.float64)
        likely = []
        for sigma in tried.tolist():
            model = photo * torch.exp(-(sigma**2) * squares) + RATIOS[:, None]  # (ratios, coefficients)
            scale = (power[:, None] / model).mean(-1)  # (B, ratios): the most likely power
            likely.append((-scale.log() - model.log().mean(-1)).amax(1))
        return tried[torch.stack(likely).argmax(0)]

    def whitened(self, y: Tensor) -> tuple[Camera, Tensor, None]:
        return Blurs(self, self.widths(y), y), y, None

    def _forward(self, x: Tensor) -> Tensor:
        return Blur(self.shape_in, sigma=math.sqrt(self.least * self.most)).to(x)(x)

    def extra_repr(self) -> str:
        return f"{self.shape_in}, least={self.least:g}, most={self.most:g}"


class Blurs(Camera):
    """A Gaussian blur for each of B problems, of widths (B,); images come as (copies · B, …), copy by copy."""

    def __init__(self, unknown: UnknownBlur, widths: Tensor, like: Tensor):
        super().__init__(unknown.shape_in, unknown.shape_out)
        self.unknown, self.sigmas = unknown, widths.tolist()
        blurs = [Blur(self.shape_in, sigma=sigma) for sigma in self.sigmas]
        self.register_buffer("left", torch.stack([b.left for b in blurs]).to(like))  # (B, H, H)
        self.register_buffer("right", torch.stack([b.right for b in blurs]).to(like))  # (B, W, W)

    def shared(self, y: Tensor) -> tuple[Camera, Tensor]:
        return self.unknown, y

    def _forward(self, x: Tensor) -> Tensor:
        copies, odd = divmod(len(x), len(self.left))
        if odd:
            raise ValueError(f"blurs of {len(self.left)} problems do not fit a batch of {len(x)} images")
        left, right = (t.repeat(copies, 1, 1)[:, None] for t in (self.left, self.right))
        return left @ x @ right
