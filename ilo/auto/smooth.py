"""What lies outside the generator's range is smooth: a Gaussian prior of the deviation, and its exact conditional mean.

ILO's deeper rounds end where the input of the last layer could be anything. A last round searches the image itself:
x = G(…) + d, where d is what no layer explains. With d ~ N(0, scale · K) and Gaussian noise that round is linear in the
measurements, so it has a solution in closed form, which is what geostatistics calls kriging:

    d = s·K Aᵀ (s·A K Aᵀ + σ² I)⁻¹ (y − A G(…)).

K is the covariance of a field whose correlation falls exponentially with distance (spectral density
(1 + L²|ω|²)^(−3/2), reflected at the borders), times the covariance of the generator's colours. Ours, not the paper's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ilo.auto.solves import PixelSolver, gains, iterate, pixel_weights
from ilo.operators import LinearOperator
from ilo.operators.separable import cosine_matrix
from ilo.rng import Rng, normal

DIRECT = 4096  # measurements up to which the Gram matrix is built and factored
TOGETHER = 2**22  # numbers of images that one system is solved for at once


@dataclass(frozen=True)
class SmoothPrior:
    """A stationary Gaussian field on images (C, H, W), N(0, K): smooth in space, correlated in colour.

    spectrum: (C, H, W), variances of the coefficients in the basis of cosines (DCT-II) and principal colours.
    colours: (C, C), the principal colours in its columns. rows, columns: the orthonormal DCT-II of H and of W.
    """

    spectrum: Tensor = field(repr=False)
    colours: Tensor = field(repr=False)
    rows: Tensor = field(repr=False)
    columns: Tensor = field(repr=False)

    def analyse(self, x: Tensor) -> Tensor:
        """Coefficients (B, C, H, W) of images (B, C, H, W): an orthonormal change of basis."""
        return self.rows @ torch.einsum("dc,bdhw->bchw", self.colours, x) @ self.columns.T

    def synthesise(self, c: Tensor) -> Tensor:
        """Images (B, C, H, W) of coefficients: the inverse, and adjoint, of `analyse`."""
        return torch.einsum("cd,bdhw->bchw", self.colours, self.rows.T @ c @ self.columns)

    def covariance(self, x: Tensor) -> Tensor:
        """K x, (B, C, H, W)."""
        return self.synthesise(self.spectrum * self.analyse(x))

    def gram(self, A: LinearOperator) -> Callable[[Tensor], Tensor]:
        """AᵀA in the basis: of coefficients (B, C, H, W)."""
        return lambda c: self.analyse(A.adjoint(A(self.synthesise(c))))

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Draw n fields (n, C, H, W) from N(0, K); field i does not depend on n."""
        like = self.spectrum
        white = normal(rng, n, tuple(like.shape), purpose="field", dtype=like.dtype, device=like.device)
        return self.synthesise(like.sqrt() * white)


@torch.no_grad()
def smooth_prior(images: Tensor, length: float | None = None) -> SmoothPrior:
    """The prior whose pixels vary, and whose colours go together, as those of `images` (N, C, H, W) about their mean.

    Args:
        length: distance in pixels at which the correlation has fallen to about 1/e; default an eighth of the height.
    """
    deviations = images - images.mean(0)
    height, width = images.shape[-2:]
    length = height / 8 if length is None else length
    if not (math.isfinite(length) and length > 0):
        raise ValueError(f"length is a distance in pixels, positive and finite, got {length}")
    covariance = torch.einsum("bchw,bdhw->cd", deviations, deviations) / deviations[:, 0].numel()
    variances, colours = torch.linalg.eigh(covariance.double())
    rows, columns = cosine_matrix(height), cosine_matrix(width)
    frequencies = (math.pi * torch.arange(n, dtype=torch.float64) / n for n in (height, width))
    squares = [f.square() for f in frequencies]
    density = (1 + length**2 * (squares[0][:, None] + squares[1])) ** -1.5  # (H, W)
    density = density / density.mean()  # the mean over pixels of the variance is then 1
    spectrum = variances.clamp(min=0).cpu().view(-1, 1, 1) * density
    return SmoothPrior(*(t.to(images) for t in (spectrum, colours, rows, columns)))


class Conditioner:
    """Conditional means of the smooth deviation, given measurements by one operator.

    What does not depend on the measurements is kept between calls. Where AᵀA only weighs pixels, as masks do, the
    systems are solved exactly, colour by colour; with at most `DIRECT` measurements, and fewer than a quarter of the
    pixels, by the matrix A K Aᵀ and its factors; else by conjugate gradients in the basis of the spectrum, `TOGETHER`
    numbers at a time (`ilo.auto.solves`).
    """

    @torch.no_grad()
    def __init__(self, A: LinearOperator, prior: SmoothPrior):
        self._A, self._prior = A, prior
        m, n = math.prod(A.shape_out), math.prod(A.shape_in)
        self._pixels = self._pixel_solver()
        self.direct = self._pixels is None and m <= DIRECT and 4 * m <= n
        self._matrix: Tensor | None = None
        self._factors: dict[float, Tensor] = {}
        self._gains: Tensor | None = None

    @torch.no_grad()
    def __call__(self, y: Tensor, images: Tensor, ratio: Tensor) -> Tensor:
        """Return images + E[d | y = A(images + d) + noise], (B, C, H, W).

        Args:
            y: measurements (B, *shape_out). images: (B, C, H, W), what the deviation is from.
            ratio: (B,), scale of the prior over the noise's variance, at least 0; 0 gives `images` back.
        """
        return images + self._deviation(y - self._A(images), ratio)

    def about(self, images: Tensor) -> "Conditioner":
        """Itself: what it says of a deviation does not depend on the images that it is from."""
        return self

    @torch.no_grad()
    def noise(self, y: Tensor, images: Tensor, ratio: Tensor) -> Tensor:
        """Return the most likely standard deviation of the noise, (B,), if `ratio` is right.

        It is √(rᵀ (ratio·A K Aᵀ + I)⁻¹ r / m) for r = y − A(images), of m numbers. (Arguments as in a call.)
        """
        rest = y - self._A(images)
        explained = self._A(self._deviation(rest, ratio))
        return ((rest * (rest - explained)).flatten(1).mean(1)).clamp(min=0).sqrt()

    def _deviation(self, rest: Tensor, ratio: Tensor) -> Tensor:
        """(B, C, H, W): the conditional mean of the deviation, given what is left of the measurements."""
        moved = torch.zeros(len(rest), *self._A.shape_in, dtype=rest.dtype, device=rest.device)
        chosen = (ratio > 0).nonzero().flatten()
        if len(chosen) == 0:
            return moved
        if self._pixels is not None or self.direct:
            for value in ratio[chosen].unique().tolist():
                rows = (ratio == value).nonzero().flatten()
                moved[rows] = (self._directly if self.direct else self._by_pixels)(rest[rows], value)
            return moved
        for rows in chosen.split(max(1, TOGETHER // moved[0].numel())):
            moved[rows] = self._iterate(rest[rows], ratio[rows])
        return moved

    def _pixel_solver(self) -> PixelSolver | None:
        prior = self._prior
        weights = pixel_weights(lambda x: self._A.adjoint(self._A(x)), prior.spectrum)
        if weights is None:
            return None
        solver = PixelSolver(weights, prior.spectrum)
        return solver if solver.pays else None

    def _by_pixels(self, rest: Tensor, ratio: float) -> Tensor:
        b = torch.einsum("dc,bdhw->bchw", self._prior.colours, self._A.adjoint(rest))
        return torch.einsum("cd,bdhw->bchw", self._prior.colours, self._pixels(b, ratio))

    def _directly(self, rest: Tensor, ratio: float) -> Tensor:
        weights = ratio * torch.cholesky_solve(rest.flatten(1).T, self._factor(ratio)).T
        return self._prior.covariance(self._A.adjoint(weights.view_as(rest)))

    def _factor(self, ratio: float) -> Tensor:
        """Cholesky factor of ratio · A K Aᵀ + I.

        Measurements that repeat one another, in large units, leave that singular to rounding: then more is added to the
        diagonal, a little of its largest entry, as if they had more noise.
        """
        if ratio not in self._factors:
            if self._matrix is None:
                self._matrix = self._build()
            matrix = ratio * self._matrix
            matrix.diagonal().add_(1)
            factor, failed = torch.linalg.cholesky_ex(matrix)
            more = 1e-6 * matrix.diagonal().max()
            while failed and torch.isfinite(more):
                matrix.diagonal().add_(more)
                factor, failed = torch.linalg.cholesky_ex(matrix)
                more = 10 * more
            self._factors[ratio] = factor
        return self._factors[ratio]

    def _build(self, batch: int = 256) -> Tensor:
        m = math.prod(self._A.shape_out)
        parts = []
        for begin in range(0, m, batch):
            units = torch.zeros(min(batch, m - begin), m, dtype=self._prior.rows.dtype, device=self._prior.rows.device)
            units[torch.arange(len(units)), begin + torch.arange(len(units))] = 1
            images = self._A.adjoint(units.view(-1, *self._A.shape_out))
            parts.append(self._A(self._prior.covariance(images)).flatten(1))
        gram = torch.cat(parts)
        return (gram + gram.T) / 2

    def _iterate(self, rest: Tensor, ratio: Tensor) -> Tensor:
        """Solve (Aᵀ A + (ratio · K)⁻¹) d = Aᵀ rest in the basis where K is diagonal; ratio > 0."""
        prior, A = self._prior, self._A
        gram = prior.gram(A)
        if self._gains is None:
            self._gains = gains(gram, prior.spectrum)
        ridge = 1 / (ratio.view(-1, 1, 1, 1) * prior.spectrum).clamp(min=1e-30)
        return prior.synthesise(iterate(gram, prior.analyse(A.adjoint(rest)), ridge, self._gains))
