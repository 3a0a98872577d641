"""Operators that act on rows and columns apart: down-sampling and blur.

Each is a sum of few terms, A x = Σ_r L_r x R_rᵀ on every channel, with small matrices L_r (h, H) and R_r (w, W).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dct
from torch import Tensor

from ilo.checks import check_choice, check_count, check_number, check_positive, check_shape, shown
from ilo.operators.base import LinearOperator

LARGEST_KERNEL = 801  # pixels a side: its singular values take a second


class Separable(LinearOperator):
    """A x = Σ_r L_r x R_rᵀ on every channel.

    Args:
        shape: (C, H, W).
        left: (terms, h, H).
        right: (terms, w, W).
    """

    def __init__(self, shape: Sequence[int], left: Tensor, right: Tensor):
        shape = check_shape(shape)
        if (
            not (left.ndim == right.ndim == 3 and len(left) == len(right))
            or (left.shape[2], right.shape[2]) != shape[1:]
        ):
            raise ValueError(
                f"left (terms, h, H) and right (terms, w, W) must fit the image's shape {shape}, "
                f"got {tuple(left.shape)} and {tuple(right.shape)}"
            )
        (terms, h, H), (_, w, W) = left.shape, right.shape
        super().__init__(shape, (shape[0], h, w))
        self._exact_norm = None
        if terms == 1:
            self._exact_norm = float(torch.linalg.matrix_norm(left[0], 2) * torch.linalg.matrix_norm(right[0], 2))
        # Laid out so that the sum over terms is part of a matrix product.
        self.register_buffer("left", left.permute(1, 2, 0).reshape(h, H * terms).float())
        self.register_buffer("right", right.permute(2, 0, 1).reshape(W, terms * w).float())

    def _forward(self, x: Tensor) -> Tensor:
        w = self.shape_out[2]
        x = (x @ self.right).view(*x.shape[:2], -1, w)  # (B, C, H·terms, w)
        return self.left @ x  # (B, C, h, w)

    def _adjoint(self, y: Tensor) -> Tensor:
        H = self.shape_in[1]
        y = (self.left.T @ y).view(*y.shape[:2], H, -1)  # (B, C, H, terms·w)
        return y @ self.right.T  # (B, C, H, W)

    def _norm(self) -> float:
        return super()._norm() if self._exact_norm is None else self._exact_norm


class Downsample(Separable):
    """Fewer, larger pixels: (C, H, W) -> (C, H // factor, W // factor), at least one; for super-resolution.

    Where `factor` does not divide a side, the grid is stretched to cover the whole image. At the border "bicubic"
    weighs the pixels that there are, so that weights sum to 1; the ILO authors continue the image by reflection. The
    two agree to rounding from the third large pixel inwards, and differ by up to 0.12 at the border of 64-pixel faces.

    Args:
        shape: (C, H, W).
        factor: an integer of at least 1.
        kernel: "bicubic", the cubic convolution kernel with a = −0.5 (Keys 1981), widened by the factor so that it
            antialiases: what `F.interpolate(mode="bicubic", antialias=True)` (to 3e-7) and Pillow compute. Or "box":
            the mean over the area of each large pixel.
    """

    def __init__(self, shape: Sequence[int], factor: int = 4, kernel: str = "bicubic"):
        shape, factor = check_shape(shape), check_count(factor, "factor")
        kernels = {"bicubic": _bicubic_weights, "box": _box_weights}
        check_choice(kernel, sorted(kernels), "kernel")
        sides = [kernels[kernel](side, max(1, side // factor)) for side in shape[1:]]
        super().__init__(shape, *(torch.from_numpy(side)[None] for side in sides))

    def picture(self, y: Tensor) -> Tensor:
        self._check(y, self.shape_out, "measurements")
        return F.interpolate(y, size=self.shape_in[1:], mode="nearest-exact").clamp(-1, 1)


class Blur(Separable):
    """Convolution with a kernel; the image is mirrored beyond its border, without repeating the border's pixels.

    The kernel becomes a sum of separable ones by its singular value decomposition: one for a Gaussian.

    Args:
        shape: (C, H, W).
        kernel: (kh, kw), odd sides, such as `motion_kernel(9, 45)`; used as it is (a blur's sums to 1). Or else
        sigma: standard deviation in pixels of a Gaussian, cut at 4 sigma.
    """

    def __init__(self, shape: Sequence[int], kernel: Tensor | None = None, sigma: float | None = None):
        shape = check_shape(shape)
        if (kernel is None) == (sigma is None):
            raise ValueError("give a kernel or a sigma, one of them")
        if kernel is None:
            kernel = gaussian_kernel(sigma)
        try:
            kernel = torch.as_tensor(kernel, dtype=torch.float64, device="cpu").numpy()
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"a kernel is a tensor (kh, kw), got {shown(kernel)}") from error
        if kernel.ndim != 2 or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
            raise ValueError(f"a kernel has shape (kh, kw) with odd sides, got {kernel.shape}: pad it with zeros")
        if max(kernel.shape) > LARGEST_KERNEL:
            raise ValueError(f"a kernel has at most {LARGEST_KERNEL} pixels a side, got {kernel.shape}")
        if not (np.isfinite(kernel).all() and kernel.any()):
            raise ValueError("a kernel holds finite numbers, not all 0")
        U, s, Vt = np.linalg.svd(kernel)
        terms = [(U[:, i] * s[i], Vt[i]) for i in range(len(s)) if s[i] > 1e-12 * s[0]]
        left = np.stack([_convolution(u, shape[1]) for u, _ in terms])
        right = np.stack([_convolution(v, shape[2]) for _, v in terms])
        super().__init__(shape, torch.from_numpy(left), torch.from_numpy(right))

    def picture(self, y: Tensor) -> Tensor:
        self._check(y, self.shape_out, "measurements")
        return y.clamp(-1, 1)


def gaussian_kernel(sigma: float) -> Tensor:
    """Return a Gaussian of standard deviation `sigma` pixels, cut at 4 sigma, that sums to 1; odd square, float64."""
    sigma = check_positive(sigma, "sigma")
    if 4 * sigma > LARGEST_KERNEL // 2:
        raise ValueError(f"sigma must be at most {LARGEST_KERNEL // 2 / 4:g} pixels, got {sigma:g}")
    reach = math.ceil(4 * sigma)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    kernel = line[:, None] * line
    return kernel / kernel.sum()


def motion_kernel(length: float, angle: float = 0.0) -> Tensor:
    """Return the kernel of a straight motion: a segment of `length` pixels at `angle` degrees, that sums to 1.

    The angle is counter-clockwise from the horizontal. Odd square, float64.
    """
    length, angle = check_number(length, "length", 1), check_number(angle, "angle")
    if length > 256:
        raise ValueError(f"length must be at most 256 pixels, got {length:g}")
    reach = math.ceil((length - 1) / 2)
    t = np.linspace(-(length - 1) / 2, (length - 1) / 2, 16 * (reach + 1) + 1)
    rows = reach - t * math.sin(math.radians(angle))
    cols = reach + t * math.cos(math.radians(angle))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for row, col in zip(rows, cols, strict=True):
        kernel += np.outer(_tent(row, len(kernel)), _tent(col, len(kernel)))
    return torch.from_numpy(kernel / kernel.sum())


@lru_cache(maxsize=16)
def cosine_matrix(n: int) -> Tensor:
    """Return the orthonormal DCT-II as a matrix (n, n): row k is the cosine of frequency π·k/n. float64, shared."""
    return torch.from_numpy(dct(np.eye(n), axis=0, norm="ortho"))


def _tent(position: float, size: int) -> np.ndarray:
    return np.maximum(0.0, 1 - np.abs(np.arange(size) - position))


def _bicubic_weights(side: int, small: int) -> np.ndarray:
    """(small, side): the weights of every pixel in every large one, each row summing to 1."""
    scale = side / small
    centers = (np.arange(small) + 0.5) * scale - 0.5
    t = np.abs(np.arange(side) - centers[:, None]) / scale
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    weights = np.where(t <= 1, near, np.where(t < 2, far, 0.0))
    return weights / weights.sum(1, keepdims=True)


def _box_weights(side: int, small: int) -> np.ndarray:
    """(small, side): the share of each large pixel's length that each pixel covers."""
    scale = side / small
    start = np.arange(small)[:, None] * scale
    pixel = np.arange(side)
    overlap = np.minimum(start + scale, pixel + 1) - np.maximum(start, pixel)
    return np.maximum(overlap, 0.0) / scale


def _convolution(line: np.ndarray, side: int) -> np.ndarray:
    """(side, side): the matrix of a convolution along a mirrored line."""
    reach = len(line) // 2
    matrix = np.zeros((side, side))
    period = max(1, 2 * side - 2)
    for offset, weight in zip(range(reach, -reach - 1, -1), line, strict=True):
        source = np.abs((np.arange(side) + offset) % period)
        source = np.where(source >= side, period - source, source)
        np.add.at(matrix, (np.arange(side), source), weight)
    return matrix
