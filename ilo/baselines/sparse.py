"""LASSO: images that are sparse in a cosine or a wavelet basis, found by FISTA.

    argmin_x  ½‖A x − y‖² + weight·‖Ψ x‖₁,   Ψ orthonormal, on every channel by itself.

These are the baselines of Bora et al. ("Compressed Sensing using Generative Models", ICML 2017), who solve the same in
a DCT and in a wavelet basis. As there, what comes out is clipped to [−1, 1].
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ilo.baselines.checks import check_linear, weight_per_problem
from ilo.baselines.weights import default_weight
from ilo.checks import check_count, check_kind
from ilo.operators import LinearOperator
from ilo.operators.separable import cosine_matrix

Transform = Callable[[Tensor], Tensor]


@torch.no_grad()
def lasso_dct(
    A: LinearOperator,
    y: Tensor,
    *,
    weight: float | Tensor | None = None,
    noise: float = 0.02,
    steps: int = 150,
) -> Tensor:
    """LASSO in the basis of the two-dimensional discrete cosine transform (type II, orthonormal) of every channel.

    Args:
        A: linear operator, on the device and in the dtype of `y`.
        y: measurements (B, *A.shape_out), finite.
        weight: of the l1 norm, at least 0: a number, or (B,). None: `default_weight("lasso_dct", A, noise)`.
        noise: standard deviation of the noise in the measurements; read only where `weight` is None.
        steps: of FISTA; each costs one product with A and one with its adjoint.

    Returns:
        images (B, C, H, W) in [−1, 1]; each problem is solved by itself.

    Raises:
        TypeError: `A` is not a linear operator.
        ValueError: measurements that do not fit it or are not finite, a negative weight, steps < 1.
    """
    check_linear(A, y, "lasso_dct")
    return _lasso(A, y, cosine_transform(*A.shape_in[1:]), "lasso_dct", weight, noise, steps)


@torch.no_grad()
def lasso_wavelet(
    A: LinearOperator,
    y: Tensor,
    *,
    weight: float | Tensor | None = None,
    noise: float = 0.02,
    wavelet: str = "db4",
    steps: int = 150,
) -> Tensor:
    """LASSO in the basis of an orthogonal wavelet (Mallat's two-dimensional transform, periodic) of every channel.

    All coefficients are weighted alike, the coarsest too. See `wavelet_transform` for the depth and for odd sides.

    Args:
        wavelet: name of an orthogonal wavelet in PyWavelets: "haar", "db4", "sym4", ….
        A, y, weight, noise, steps, and what is returned and raised: as in `lasso_dct`; also ValueError for a
            wavelet that is not known or not orthogonal.
    """
    check_linear(A, y, "lasso_wavelet")
    return _lasso(A, y, wavelet_transform(*A.shape_in[1:], wavelet), "lasso_wavelet", weight, noise, steps)


def _lasso(A, y, transforms, method: str, weight, noise: float, steps: int) -> Tensor:
    weight = default_weight(method, A, noise) if weight is None else weight
    analysis, synthesis = transforms
    return fista(A, y, analysis, synthesis, weight=weight, steps=steps).clamp(-1, 1)


@torch.no_grad()
def fista(
    A: LinearOperator, y: Tensor, analysis: Transform, synthesis: Transform, *, weight: float | Tensor, steps: int
) -> Tensor:
    """Minimise ½‖A x − y‖² + weight·‖Ψ x‖₁ for Ψ orthonormal; `analysis` is Ψ and `synthesis` its transpose.

    FISTA with the constant step 1/‖A‖² (Beck and Teboulle, SIAM J. Imaging Sciences 2009), from zero. A small weight
    makes it slow, so the weight comes down: from a tenth of what would leave nothing, geometrically over the
    first 60 % of the steps, the rest being taken at `weight` itself (continuation: Hale, Yin and Zhang, SIAM J.
    Optimization 2008). A problem's momentum starts again where it points uphill, which ends the method's ripples
    (O'Donoghue and Candès, Foundations of Computational Mathematics 2015, the gradient scheme).

    Returns:
        x (B, C, H, W), not clipped.
    """
    check_count(steps, "steps")
    weight = weight_per_problem(weight, y)
    step = 1 / A.norm() ** 2
    c = analysis(A.adjoint(y))  # (B, C, H, W): the coefficients of Aᵀ y
    first = torch.maximum(0.1 * c.abs().amax((1, 2, 3), keepdim=True), weight)
    fall = (weight / first).nan_to_num(nan=1.0).clamp_min(1e-6)
    c = z = torch.zeros_like(c)  # the coefficients found, and where the gradient is taken
    t = y.new_ones(len(y), 1, 1, 1)
    for index in range(steps):
        done = index / (0.6 * steps)
        now = weight if done >= 1 else torch.maximum(first * fall**done, weight)
        gradient = analysis(A.adjoint(A(synthesis(z)) - y))
        new = soft_threshold(z - step * gradient, step * now)
        uphill = ((z - new) * (new - c)).sum((1, 2, 3), keepdim=True) > 0
        t = torch.where(uphill, 1, t)
        t_next = (1 + (1 + 4 * t.square()).sqrt()) / 2
        z = new + torch.where(uphill, 0, (t - 1) / t_next) * (new - c)
        c, t = new, t_next
    return synthesis(c)


def soft_threshold(x: Tensor, threshold: Tensor) -> Tensor:
    """Return sign(x)·max(|x| − threshold, 0)."""
    return x - x.clamp(-threshold, threshold)


def cosine_transform(height: int, width: int) -> tuple[Transform, Transform]:
    """Return Ψ and Ψᵀ of the orthonormal two-dimensional DCT-II, on (B, C, height, width)."""
    height, width = check_count(height, "height"), check_count(width, "width")

    def analysis(x: Tensor) -> Tensor:
        return cosine_matrix(height).to(x) @ x @ cosine_matrix(width).to(x).T

    def synthesis(c: Tensor) -> Tensor:
        return cosine_matrix(height).to(c).T @ c @ cosine_matrix(width).to(c)

    return analysis, synthesis


def wavelet_transform(height: int, width: int, wavelet: str = "db4") -> tuple[Transform, Transform]:
    """Return Ψ and Ψᵀ of Mallat's orthonormal wavelet transform, on (B, C, height, width).

    Each level splits the coarse part, kept in the top left corner, into halves along its rows and columns. A side is
    halved while it is even and no shorter than the wavelet's filter; a side that cannot be halved is left as it is.
    (An image with two odd sides is thus left whole: Ψ is the identity.) The image is continued periodically, which is
    what keeps the basis orthonormal (PyWavelets' mode "periodization").

    Raises:
        ValueError: a wavelet that PyWavelets does not know, or that is not orthogonal.
    """
    check_kind(wavelet, str, "wavelet")
    levels, sides = [], [check_count(height, "height"), check_count(width, "width")]
    while True:
        halved = [_halves(side, wavelet) for side in sides]
        if all(half is None for half in halved):
            break
        rows, columns = (
            torch.eye(n, dtype=torch.float64) if h is None else h for n, h in zip(sides, halved, strict=True)
        )
        levels.append((rows, columns))
        sides = tuple(n if h is None else n // 2 for n, h in zip(sides, halved, strict=True))

    def analysis(x: Tensor) -> Tensor:
        x = x.clone()
        for rows, columns in levels:
            corner = x[..., : len(rows), : len(columns)]
            corner.copy_(rows.to(x) @ corner @ columns.to(x).T)
        return x

    def synthesis(c: Tensor) -> Tensor:
        c = c.clone()
        for rows, columns in reversed(levels):
            corner = c[..., : len(rows), : len(columns)]
            corner.copy_(rows.to(c).T @ corner @ columns.to(c))
        return c

    return analysis, synthesis


@lru_cache(maxsize=64)
def _halves(side: int, wavelet: str) -> Tensor | None:
    """The matrix (side, side) of one level: averages, then details. None where the side cannot be halved. float64."""
    try:
        import pywt  # of the experiments' extra: only this method needs it
    except ImportError as error:
        raise ImportError("lasso_wavelet needs PyWavelets: pip install 'ilo[experiments]'") from error
    if wavelet not in pywt.wavelist(kind="discrete"):
        raise ValueError(f"no wavelet {wavelet!r}: PyWavelets knows {', '.join(pywt.wavelist(kind='discrete'))}")
    if not pywt.Wavelet(wavelet).orthogonal:
        raise ValueError(f"the wavelet {wavelet!r} is not orthogonal: take one such as 'haar', 'db4' or 'sym4'")
    if side % 2 or side < pywt.Wavelet(wavelet).dec_len:
        return None
    return torch.from_numpy(np.concatenate(pywt.dwt(np.eye(side), wavelet, mode="periodization", axis=0)))
