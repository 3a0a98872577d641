"""JPEG as a camera: what a picture is after it was compressed and read again.

Source: ITU-T T.81 (1992): its example tables (annex K.1), and the DCT of blocks of 8 × 8; JFIF 1.02 for the colours;
how tables follow a quality, and how colours are enlarged, is libjpeg's.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.checks import check_count, check_shape
from ilo.operators.camera import Camera
from ilo.operators.pixels import LUMA
from ilo.operators.separable import cosine_matrix

# T.81, tables K.1 and K.2, row by row: steps of the quantiser at quality 50.
LUMA_STEPS = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMA_STEPS = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
)  # fmt: skip
# Standard deviation of the rounding, in steps: 1/√12 of what is not rounded to 0, but most is, from nearer by. On faces
# of 64 pixels it is 0.09 at quality 5 and 0.13 at 15.
ROUNDING = 0.125


class JPEG(Camera):
    """An RGB image compressed at a quality and read again, (3, H, W) in [−1, 1], as libjpeg's default does it.

    Rounding passes gradients as if it were not there (straight through). `whitened` gives the coefficients of the
    blocks in steps of the quantiser, before rounding: there the noise, which the rounding is, is alike in all
    frequencies (`ROUNDING`), where in pixels it is large in fine detail and small in smooth areas.

    Args:
        shape: (3, H, W); sides that are no multiple of the blocks are continued by their border.
        quality: 1 … 100.
        subsample: whether colours have half the resolution (4:2:0), as Pillow has it below its highest qualities.
    """

    def __init__(self, shape: Sequence[int], quality: int = 75, subsample: bool = True):
        channels, height, width = check_shape(shape)
        if channels != 3:
            raise ValueError(f"JPEG takes RGB images (3, H, W), got shape {(channels, height, width)}")
        super().__init__((3, height, width), (3, height, width))
        self.quality, self.subsample = check_count(quality, "quality", most=100), bool(subsample)
        steps = torch.stack([quantiser(table, self.quality) for table in (LUMA_STEPS, CHROMA_STEPS, CHROMA_STEPS)])
        self.register_buffer("steps", steps)  # (3, 8, 8), of Y, Cb, Cr
        self.register_buffer("colours", _ycbcr())  # (3, 3)
        self.register_buffer("colours_back", torch.linalg.inv(_ycbcr().double()).float())
        self.register_buffer("cosines", cosine_matrix(8).float())

    def whitened(self, y: Tensor) -> tuple[Camera, Tensor, float]:
        coefficients = Coefficients(self)
        return coefficients, coefficients(y).round(), ROUNDING

    def coefficients(self, x: Tensor, whole: bool = False) -> list[Tensor]:
        """Of Y, Cb and Cr, (B, rows of blocks, 8, columns of blocks, 8) each: in steps of the quantiser.

        whole: of colours that are rounded to whole numbers first, as a file's are.
        """
        rounded = straight_round if whole else nn.Identity()
        planes = rounded(torch.einsum("dc,bchw->bdhw", self.colours, 127.5 * (x + 1) - 128))  # grey of 128 is 0 in each
        side = 16 if self.subsample else 8
        height, width = x.shape[-2:]
        planes = F.pad(planes, (0, -width % side, 0, -height % side), mode="replicate")
        found = []
        for i, plane in enumerate(planes.unbind(1)):
            if i and self.subsample:
                plane = rounded(F.avg_pool2d(plane, 2))
            blocks = plane.unflatten(1, (-1, 8)).unflatten(3, (-1, 8))  # (B, rows, 8, columns, 8)
            blocks = torch.einsum("ui,bricj,vj->brucv", self.cosines, blocks, self.cosines)
            found.append(blocks / self.steps[i][:, None])
        return found

    def _forward(self, x: Tensor) -> Tensor:
        planes = []
        for i, blocks in enumerate(self.coefficients(x, whole=True)):
            blocks = straight_round(blocks) * self.steps[i][:, None]
            plane = torch.einsum("ui,brucv,vj->bricj", self.cosines, blocks, self.cosines)
            plane = straight_round(plane.flatten(3, 4).flatten(1, 2)).clamp(-128, 127)
            if i and self.subsample:  # a triangle: 3/4 of the nearest value and 1/4 of the next
                plane = F.interpolate(plane[:, None], scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
            planes.append(plane)
        height, width = self.shape_in[1:]
        planes = torch.stack(planes, 1)[:, :, :height, :width]
        rgb = torch.einsum("cd,bdhw->bchw", self.colours_back, planes) + 128
        return straight_round(rgb).clamp(0, 255) / 127.5 - 1

    def extra_repr(self) -> str:
        return f"{self.shape_in}, quality={self.quality}, subsample={self.subsample}"


class Coefficients(Camera):
    """The coefficients of `jpeg` in steps of its quantiser, not rounded, (M,): an affine map. Each is a unit."""

    def __init__(self, jpeg: JPEG):
        _, height, width = jpeg.shape_in
        side = 16 if jpeg.subsample else 8
        luma = (height + -height % side) * (width + -width % side)
        super().__init__(jpeg.shape_in, (luma + 2 * luma // (4 if jpeg.subsample else 1),))
        self.jpeg = jpeg

    def _forward(self, x: Tensor) -> Tensor:
        return torch.cat([blocks.flatten(1) for blocks in self.jpeg.coefficients(x)], 1)


def quantiser(table: Sequence[int], quality: int) -> Tensor:
    """(8, 8): libjpeg's steps at a quality of 1 … 100, from those at 50."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return torch.tensor([min(255, max(1, (step * percent + 50) // 100)) for step in table]).view(8, 8).float()


def straight_round(x: Tensor) -> Tensor:
    """`x` rounded, with the gradient of `x`."""
    return x + (x.round() - x).detach()


def _ycbcr() -> Tensor:
    """(3, 3): RGB to Y, Cb − 128 and Cr − 128, full range (JFIF)."""
    red, green, blue = LUMA
    cb = [-red / (2 - 2 * blue), -green / (2 - 2 * blue), 0.5]
    cr = [0.5, -green / (2 - 2 * red), -blue / (2 - 2 * red)]
    return torch.tensor([[red, green, blue], cb, cr])
