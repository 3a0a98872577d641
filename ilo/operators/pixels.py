"""Operators that act on pixels one by one: identity, inpainting, grayscale."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ilo.checks import check_count, check_fraction, check_shape, shown
from ilo.operators.base import LinearOperator, check_index
from ilo.rng import Rng, stream

LUMA = (0.299, 0.587, 0.114)


class Identity(LinearOperator):
    """A x = x: with noise, the operator of denoising."""

    def __init__(self, shape: Sequence[int]):
        shape = check_shape(shape)
        super().__init__(shape, shape)

    def picture(self, y: Tensor) -> Tensor:
        self._check(y, self.shape_out, "measurements")
        return y.clamp(-1, 1)

    def _forward(self, x: Tensor) -> Tensor:
        return x

    def _adjoint(self, y: Tensor) -> Tensor:
        return y

    def _norm(self) -> float:
        return 1.0


class Entries(LinearOperator):
    """The entries `index` of the flattened image, and nothing else: inpainting, in its general form.

    Args:
        shape: (C, H, W).
        index: distinct integers in 0 … C·H·W − 1.
        shape_out: shape of the measurements; (len(index),) by default.
    """

    def __init__(self, shape: Sequence[int], index: Tensor | Sequence[int], shape_out: Sequence[int] | None = None):
        shape = check_shape(shape)
        index = check_index(index, math.prod(shape))
        super().__init__(shape, shape_out or (len(index),))
        self.register_buffer("index", index)

    def fill(self, y: Tensor, images: Tensor) -> Tensor:
        """Return `images` (B, C, H, W) with the measured entries taken from `y`: the ILO authors' fill for LPIPS."""
        self._check(y, self.shape_out, "measurements")
        self._check(images, self.shape_in, "images")
        return images.flatten(1).index_copy(1, self.index, y.flatten(1)).view_as(images)

    def rows(self, index: Tensor | Sequence[int]) -> "Entries":
        return Entries(self.shape_in, self.index.cpu()[check_index(index, len(self.index))]).to(self.device)

    def units(self) -> Tensor:
        """A unit is a pixel, with those of its channels that are measured."""
        _, height, width = self.shape_in
        return self.index.cpu() % (height * width)

    def picture(self, y: Tensor) -> Tensor:
        """Show the measured entries in their place on mid-grey (0)."""
        return self.adjoint(y).clamp(-1, 1)

    def _forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).index_select(1, self.index).view(len(x), *self.shape_out)

    def _adjoint(self, y: Tensor) -> Tensor:
        zero = y.new_zeros(len(y), math.prod(self.shape_in))
        return zero.index_copy(1, self.index, y.flatten(1)).view(len(y), *self.shape_in)

    def _norm(self) -> float:
        return 1.0


class Inpainting(Entries):
    """The observed pixels of the image, all channels, and nothing else; measurements (B, channels, m).

    Only observed pixels are measured, so noise lies on them alone and a black pixel is never taken for a missing one.

    Args:
        mask: (H, W) or (1, H, W), bool or 0/1: 1 where the pixel is observed; shared by the channels. A tensor, or
            what torch.as_tensor takes. It is kept as the bool buffer `mask`, (H, W).
        channels: C of the images.
    """

    def __init__(self, mask: Tensor, channels: int = 3):
        mask, channels = _check_mask(mask), check_count(channels, "channels")
        pixels = mask.flatten().nonzero().flatten()  # (m,)
        index = pixels + mask.numel() * torch.arange(channels)[:, None]  # (C, m)
        super().__init__((channels, *mask.shape), index.flatten(), (channels, len(pixels)))
        self.register_buffer("mask", mask)
        self.register_buffer("_pixels", pixels, persistent=False)

    def _forward(self, x: Tensor) -> Tensor:
        pixels_last = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H·W, C): no copy of what a channels-last network makes
        return pixels_last.index_select(1, self._pixels).transpose(1, 2).contiguous()


class RandomInpainting(Inpainting):
    """Inpainting of pixels drawn uniformly without replacement.

    Args:
        shape: (C, H, W).
        keep: fraction of the pixels to observe, in (0, 1]; exactly round(keep·H·W) of them, at least one.
        rng: seed or torch.Generator.
    """

    def __init__(self, shape: Sequence[int], keep: float = 0.1, rng: Rng = 0):
        channels, height, width = check_shape(shape)
        keep = check_fraction(keep, "keep, the fraction of pixels to observe,")
        m = max(1, round(keep * height * width))
        mask = torch.zeros(height * width, dtype=torch.bool)
        mask[torch.randperm(height * width, generator=stream(rng, "mask"))[:m]] = True
        super().__init__(mask.view(height, width), channels)


class Grayscale(LinearOperator):
    """The luma of an RGB image, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), shape (1, H, W): for colourisation."""

    def __init__(self, shape: Sequence[int]):
        channels, height, width = check_shape(shape)
        if channels != 3:
            raise ValueError(f"Grayscale takes RGB images (3, H, W), got shape {(channels, height, width)}")
        super().__init__((3, height, width), (1, height, width))
        self.register_buffer("weights", torch.tensor(LUMA, dtype=torch.float32).view(3, 1, 1))

    def picture(self, y: Tensor) -> Tensor:
        self._check(y, self.shape_out, "measurements")
        return y.clamp(-1, 1).repeat(1, 3, 1, 1)

    def _forward(self, x: Tensor) -> Tensor:
        return (self.weights * x).sum(1, keepdim=True)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.weights * y

    def _norm(self) -> float:
        return math.hypot(*LUMA)


def _check_mask(mask: Tensor) -> Tensor:
    try:
        mask = torch.as_tensor(mask, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"a mask is a tensor (H, W) of 0 and 1, got {shown(mask)}") from error
    if mask.ndim == 3 and mask.shape[0] == 1:
        mask = mask[0]
    if mask.ndim != 2:
        raise ValueError(f"a mask has shape (H, W) or (1, H, W), got {tuple(mask.shape)}: it is shared by the channels")
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("a mask holds only 0 (missing) and 1 (observed): threshold it, as in mask > 127")
    if not mask.any():
        raise ValueError("the mask observes no pixel: 1 marks an observed pixel, 0 a missing one")
    return mask.bool()
