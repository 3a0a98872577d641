"""What lies outside the generator's range is smooth: a Gaussian prior of the deviation, and its exact conditional mean.

ILO's deeper rounds end where the input of the last layer could be anything. A last round searches the image itself:
x = G(…) + d, where d is what no layer explains. With d ~ N(0, scale · K) and Gaussian noise that round is linear in the
measurements, so it has a solution in closed form, which is what geostatistics calls kriging:

    d = s·K Aᵀ (s·A K Aᵀ + σ² I)⁻¹ (y − A G(…)).

K is the covariance of a field whose correlation falls exponentially with distance (spectral density
(1 + L²|ω|²)^(−3/2), reflected at the borders), times the covariance of the generator's colours. Ours, not the paper's.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ilo.operators import LinearOperator
from ilo.operators.separable import cosine_matrix
from ilo.rng import Rng, normal

DIRECT = 4096  # measurements up to which the Gram matrix is built and factored


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

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Draw n fields (n, C, H, W) from N(0, K); field i does not depend on n."""
        like = self.spectrum
        white = normal(rng, n, tuple(like.shape), dtype=like.dtype, device=like.device)
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

    What does not depend on the measurements is kept between calls: with at most `DIRECT` measurements, and fewer than a
    quarter of the pixels, the matrix A K Aᵀ and its factors; else the sum is found by conjugate gradients,
    preconditioned by the spectrum.
    """

    def __init__(self, A: LinearOperator, prior: SmoothPrior):
        self._A, self._prior = A, prior
        m, n = math.prod(A.shape_out), math.prod(A.shape_in)
        self.direct = m <= DIRECT and 4 * m <= n
        self._gram: Tensor | None = None
        self._factors: dict[float, Tensor] = {}
        self._gain: float | None = None

    @torch.no_grad()
    def __call__(self, y: Tensor, images: Tensor, ratio: Tensor) -> Tensor:
        """Return images + E[d | y = A(images + d) + noise], (B, C, H, W).

        Args:
            y: measurements (B, *shape_out). images: (B, C, H, W), what the deviation is from.
            ratio: (B,), scale of the prior over the noise's variance, at least 0; 0 gives `images` back.
        """
        rest = y - self._A(images)
        moved = self._directly(rest, ratio) if self.direct else self._iterate(rest, ratio)
        return images + moved

    @torch.no_grad()
    def noise(self, y: Tensor, images: Tensor, ratio: Tensor) -> Tensor:
        """Return the most likely standard deviation of the noise, (B,), if `ratio` is right.

        It is √(rᵀ (ratio·A K Aᵀ + I)⁻¹ r / m) for r = y − A(images), of m numbers. (Arguments as in a call.)
        """
        rest = y - self._A(images)
        explained = self._A(self._directly(rest, ratio) if self.direct else self._iterate(rest, ratio))
        return ((rest * (rest - explained)).flatten(1).mean(1)).clamp(min=0).sqrt()

    def _directly(self, rest: Tensor, ratio: Tensor) -> Tensor:
        flat = rest.flatten(1)
        weights = torch.zeros_like(flat)
        for value in ratio.unique().tolist():
            if value == 0:
                continue
            chosen = ratio == value
            weights[chosen] = value * torch.cholesky_solve(flat[chosen].T, self._factor(value)).T
        return self._prior.covariance(self._A.adjoint(weights.view_as(rest)))

    def _factor(self, ratio: float) -> Tensor:
        """Cholesky factor of ratio · A K Aᵀ + I.

        Measurements that repeat one another, in large units, leave that singular to rounding: then more is added to the
        diagonal, a little of its largest entry, as if they had more noise.
        """
        if ratio not in self._factors:
            if self._gram is None:
                self._gram = self._build()
            matrix = ratio * self._gram
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

    def _iterate(self, rest: Tensor, ratio: Tensor, tolerance: float = 1e-5, most: int = 200) -> Tensor:
        """Solve (Aᵀ A + (ratio · K)⁻¹) d = Aᵀ rest in the basis where K is diagonal."""
        prior, A = self._prior, self._A
        if self._gain is None:  # mean eigenvalue of AᵀA, by Hutchinson's estimate: all of it that the spectrum can know
            probe = normal(0, 8, A.shape_in, dtype=rest.dtype, device=rest.device).sign()
            self._gain = max(A(probe).square().sum().item() / probe.numel(), 1e-12)
        zero = (ratio == 0).view(-1, 1, 1, 1)
        variances = torch.where(zero, 1.0, ratio.view(-1, 1, 1, 1)) * prior.spectrum
        ridge = 1 / variances.clamp(min=1e-30)
        inverse = 1 / (self._gain + ridge)
        residual = prior.analyse(A.adjoint(rest))
        solution = torch.zeros_like(residual)
        z = inverse * residual
        direction, energy = z.clone(), _dot(residual, z)
        first = energy.clone()
        for _ in range(most):
            image = prior.analyse(A.adjoint(A(prior.synthesise(direction)))) + ridge * direction
            step = energy / _dot(direction, image).clamp(min=1e-30)
            solution += step * direction
            residual -= step * image
            z = inverse * residual
            after = _dot(residual, z)
            if bool((after <= tolerance**2 * first).all()):
                break
            direction = z + after / energy.clamp(min=1e-30) * direction
            energy = after
        return torch.where(zero, 0.0, prior.synthesise(solution))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1).view(-1, 1, 1, 1)
