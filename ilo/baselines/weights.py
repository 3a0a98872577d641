"""How much to weigh the prior: one rule for every operator and noise level, and the numbers it was tuned to.

With noise e of standard deviation s in every measurement, what the noise adds to the gradient of ½‖A x − y‖² is Aᵀ e,
of standard deviation s·‖a‖ at a pixel with column a of A: the prior must outweigh that, and no more. So

    weight = factor · noise · column_scale(A),   column_scale(A) = ‖A‖_F/√n, n = C·H·W,

which in denoising (A = I) is the usual multiple of the noise's standard deviation. Where A sees some directions far
better than others (a blur, few measurements), total variation needs less: its weight has the factor
column_scale(A)/‖A‖ besides, ‖A‖ the largest singular value, which is 1 where A sees all alike. `python -m benchmarks
tune` tries factors for every method and task on images that judge nothing and keeps what they gave in
data/reference/tuning_methods.csv.
"""

import math

import torch

from ilo.checks import check_choice, check_kind, check_number
from ilo.operators import LinearOperator
from ilo.rng import normal

FACTORS = {"lasso_dct": 1.2, "lasso_wavelet": 1.2, "total_variation": 1.2}
LEAST_NOISE = 0.01  # measurements without noise are weighed as if they had this: smaller weights gain nothing
PROBES = 16


def default_weight(method: str, A: LinearOperator, noise: float) -> float:
    """Return the weight that `method`, a key of `FACTORS`, takes for `A` when the noise has `noise`.

    Raises:
        ValueError: another method, or a `noise` that is negative or not finite.
    """
    check_choice(method, [*FACTORS], "method")
    noise = check_number(noise, "noise", 0)
    scale = column_scale(A)
    if method == "total_variation":
        scale *= min(1.0, scale / A.norm())  # at most 1 but for the estimate of the scale
    return FACTORS[method] * max(noise, LEAST_NOISE) * scale


@torch.no_grad()
def column_scale(A: LinearOperator) -> float:
    """Return the root mean square of the norms of A's columns, ‖A‖_F/√n, from 16 random signs per pixel.

    E‖A v‖² = ‖A‖_F² for random signs v (Hutchinson 1990): right to a few per cent,
    and exactly where the columns are orthogonal.
    """
    check_kind(A, LinearOperator, "the operator A")
    signs = normal(0, PROBES, A.shape_in, purpose="probe", dtype=torch.float64).sign().to(A.device, A.dtype)
    total = float(A(signs).double().square().sum())
    return math.sqrt(total / signs.numel())
