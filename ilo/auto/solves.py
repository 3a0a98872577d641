"""The linear systems of the smooth deviation, (AᵀA + (ratio·K)⁻¹) d = b, where K is diagonal in a basis of cosines.

Two ways: by conjugate gradients, for any operator (`iterate`); and where AᵀA weighs pixel by pixel, all colours alike,
as masks do, exactly (`PixelSolver`): there each principal colour is a problem of its own, of as many unknowns as pixels
are seen, or missing, whichever are fewer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ilo.operators.separable import cosine_matrix
from ilo.rng import normal

LARGEST, LARGEST_OF_HOLES = 1024, 2048  # unknowns per colour up to which a matrix is factored
REACH = 4  # a pixel that has none that is seen within so many rows and columns lies in a hole
PROBES, SMOOTHING = 16, 5


@dataclass(frozen=True)
class Cosines:
    """Planes (N, H, W) in the basis of cosines: rows (H, H) and columns (W, W), the orthonormal DCT-II of each side."""

    rows: Tensor
    columns: Tensor

    @classmethod
    def of(cls, planes: Tensor) -> "Cosines":
        """The basis of (…, H, W), in double precision, on its device."""
        return cls(*(cosine_matrix(n).to(planes.device) for n in planes.shape[-2:]))

    def synthesise(self, c: Tensor) -> Tensor:
        return self.rows.T @ c @ self.columns

    def filter(self, planes: Tensor, factors: Tensor) -> Tensor:
        """Multiply what the planes' coefficients are by factors (H, W)."""
        return self.synthesise(factors * (self.rows @ planes @ self.columns.T))

    def matrix(self, factors: Tensor, pixels: Tensor, batch: int = 256) -> Tensor:
        """(n, n): `filter` between the n pixels (n, 2) that are given, as a matrix."""
        parts = []
        for part in pixels.split(batch):
            impulses = self.rows.T[part[:, 0], :, None] * self.columns.T[part[:, 1], None, :]  # coefficients
            parts.append(self.synthesise(factors * impulses)[:, pixels[:, 0], pixels[:, 1]])
        matrix = torch.cat(parts)
        return (matrix + matrix.T) / 2


class PixelSolver:
    """Solves it exactly where AᵀA multiplies pixel by pixel by `weights` (H, W), the same for all colours.

    By the matrix inversion lemma, in double precision. With the seen pixels' selection E and weights w, k = ratio·K:

        d = k Eᵀ (E k Eᵀ + 1/w)⁻¹ (b/w);

    or, where fewer are missing than seen and all seen weigh g, with E of the missing and M = g + 1/k, diagonal in the
    basis: d = M⁻¹ (b + Eᵀ (E (1/g − M⁻¹) Eᵀ)⁻¹ E M⁻¹ b), where 1/g − M⁻¹ = 1/(g·(1 + g·k)) is free of cancellation.

    The factors are kept, one for each ratio and colour.
    """

    def __init__(self, weights: Tensor, spectrum: Tensor):
        self._weights, self._spectrum = weights.double(), spectrum.double()
        self._basis = Cosines.of(spectrum)  # not single precision made double: the lemma needs it orthonormal
        seen = self._weights > 0
        values = self._weights[seen]
        uniform = bool(seen.any()) and bool(values.max() <= (1 + 1e-5) * values.min())
        self._gain = values.mean().item() if uniform and 2 * len(values) > seen.numel() else None
        self._pixels = (seen if self._gain is None else ~seen).nonzero()
        self._grams: dict[int, Tensor] = {}
        self._factors: dict[tuple[int, float], Tensor] = {}

    @property
    def pays(self) -> bool:
        """Whether this is the way: conjugate gradients take few steps among scattered pixels, hundreds in a hole."""
        near = F.max_pool2d((self._weights > 0).double()[None], 2 * REACH + 1, stride=1, padding=REACH)
        return len(self._pixels) <= (LARGEST if near.all() else LARGEST_OF_HOLES)

    def __call__(self, b: Tensor, ratio: float) -> Tensor:
        """(B, C, H, W) in principal colours -> d, likewise; ratio > 0."""
        solve = self._by_seen if self._gain is None else self._by_missing
        return torch.stack([solve(b[:, c].double(), c, ratio) for c in range(b.shape[1])], 1).to(b)

    def _by_seen(self, b: Tensor, colour: int, ratio: float) -> Tensor:
        i, j = self._pixels.T
        if colour not in self._grams:
            self._grams[colour] = self._basis.matrix(self._spectrum[colour], self._pixels)
        weights = self._weights[i, j]
        if (colour, ratio) not in self._factors:
            matrix = ratio * self._grams[colour]
            matrix.diagonal().add_(1 / weights)
            self._factors[colour, ratio] = torch.linalg.cholesky(matrix)
        solved = torch.cholesky_solve((b[:, i, j] / weights).T, self._factors[colour, ratio])
        return self._basis.filter(self._filled(b, solved.T), ratio * self._spectrum[colour])

    def _by_missing(self, b: Tensor, colour: int, ratio: float) -> Tensor:
        k, g = ratio * self._spectrum[colour], self._gain
        inverse = k / (1 + g * k)
        first = self._basis.filter(b, inverse)
        if len(self._pixels) == 0:
            return first
        i, j = self._pixels.T
        if (colour, ratio) not in self._factors:
            self._factors[colour, ratio] = torch.linalg.cholesky(
                self._basis.matrix(1 / (g * (1 + g * k)), self._pixels)
            )
        solved = torch.cholesky_solve(first[:, i, j].T, self._factors[colour, ratio])
        return first + self._basis.filter(self._filled(b, solved.T), inverse)

    def _filled(self, like: Tensor, values: Tensor) -> Tensor:
        planes = torch.zeros_like(like)
        planes[:, self._pixels[:, 0], self._pixels[:, 1]] = values
        return planes


def pixel_weights(gram: Callable[[Tensor], Tensor], like: Tensor) -> Tensor | None:
    """(H, W): what AᵀA multiplies every pixel by, if it does no more than that, all colours alike; else None.

    Asked of two probes, random numbers: off-diagonal entries that map both to nothing are none.

    Args:
        gram: AᵀA, of images (B, C, H, W). like: (C, H, W), for shape, dtype and device.
    """
    probes = normal(0, 2, tuple(like.shape), purpose="probe", dtype=like.dtype, device=like.device)
    ones, *seen = gram(torch.cat([torch.ones_like(like)[None], probes]))
    weights = ones.mean(0)  # (H, W)
    error = max((s - weights * p).abs().max() for s, p in zip(seen, probes, strict=True))
    same = (ones - weights).abs().max()
    return weights if max(error, same) <= 1e-5 * weights.abs().max() and bool((weights >= 0).all()) else None


def gains(gram: Callable[[Tensor], Tensor], spectrum: Tensor) -> Tensor:
    """(C, H, W): about the diagonal of AᵀA in the basis, by Hutchinson's estimate, smoothed over near frequencies.

    gram: AᵀA, of coefficients (B, C, H, W).
    """
    like = {"purpose": "probe", "dtype": spectrum.dtype, "device": spectrum.device}
    probes = normal(1, PROBES, tuple(spectrum.shape), **like).sign()
    diagonal = (probes * gram(probes)).mean(0)
    half = SMOOTHING // 2
    sums, counts = (
        F.avg_pool2d(F.pad(x[None], [half] * 4), SMOOTHING, stride=1)[0] for x in (diagonal, torch.ones_like(diagonal))
    )
    return (sums / counts).clamp(min=1e-12)


def iterate(
    gram: Callable[[Tensor], Tensor],
    b: Tensor,
    ridge: Tensor,
    gain: Tensor,
    tolerance: float = 1e-5,
    most: int = 200,
    whole: bool = False,
) -> Tensor:
    """Solve (gram + ridge) x = b, (B, C, H, W) each, by conjugate gradients preconditioned by 1/(gain + ridge).

    A row that has converged is left as it is, whatever the others of its batch still need.

    Args:
        gram: AᵀA, of coefficients. ridge: (B, C, H, W), positive. gain: (C, H, W) or (B, 1, 1, 1), about the diagonal
            of `gram`.
        tolerance: of the residual, relative, in the norm of the preconditioner. most: iterations.
        whole: `gram` takes all B rows at a time, each its own.
    """
    solution = torch.zeros_like(b)
    rows = torch.arange(len(b), device=b.device)
    inverse = 1 / (gain + ridge)
    x, residual = torch.zeros_like(b), b.clone()
    z = inverse * residual
    direction, energy = z.clone(), _dot(residual, z)
    enough = tolerance**2 * energy
    for _ in range(most):
        going = (energy > enough).flatten()
        if not bool(going.all()):
            solution[rows[~going]] = x[~going]
            if not bool(going.any()):
                return solution
            rows = rows[going]
            parts = (x, residual, direction, energy, enough, inverse, ridge)
            x, residual, direction, energy, enough, inverse, ridge = (part[going] for part in parts)
        if whole and len(rows) < len(b):
            image = gram(torch.zeros_like(b).index_copy_(0, rows, direction))[rows]
        else:
            image = gram(direction)
        image = image.addcmul(ridge, direction)
        step = energy / _dot(direction, image).clamp(min=1e-30)
        x.addcmul_(step, direction)
        residual.addcmul_(step, image, value=-1)
        z = inverse * residual
        after = _dot(residual, z)
        direction = z.addcmul_(after / energy.clamp(min=1e-30), direction)
        energy = after
    solution[rows] = x
    return solution


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1)).view(-1, 1, 1, 1)
