"""What tells whether a linear operator is right: its dense matrix, and the dot-test of its adjoint."""

import math

import torch
from torch import Tensor

from ilo.checks import check_count, check_kind
from ilo.operators.base import LinearOperator
from ilo.rng import Rng, normal


@torch.no_grad()
def matrix(A: LinearOperator, batch: int = 256) -> Tensor:
    """Return the dense matrix (M, N) of `A`: M measurements flattened, N = C·H·W. For small shapes."""
    check_kind(A, LinearOperator, "the operator A")
    batch = check_count(batch, "batch")
    n = math.prod(A.shape_in)
    basis = torch.eye(n, dtype=A.dtype, device=A.device).view(n, *A.shape_in)
    return torch.cat([A(part).flatten(1) for part in basis.split(batch)]).T.contiguous()


@torch.no_grad()
def dot_test(A: LinearOperator, rng: Rng = 0, dtype: torch.dtype | None = None) -> float:
    """Return |⟨A x, y⟩ − ⟨x, Aᵀ y⟩| / (‖A x‖·‖y‖) for one standard normal x and y: rounding error if Aᵀ is right.

    `dtype` is for operators that take any; by default the operator's own.
    """
    check_kind(A, LinearOperator, "the operator A")
    sizes = [math.prod(A.shape_in), math.prod(A.shape_out)]
    both = normal(rng, 1, (sum(sizes),), purpose="probe", dtype=dtype or A.dtype, device=A.device)
    x, y = both.split(sizes, dim=1)
    Ax, Aty = A(x.view(1, *A.shape_in)), A.adjoint(y.view(1, *A.shape_out))
    Ax, Aty, x, y = (t.double().flatten() for t in (Ax, Aty, x, y))
    return float((Ax @ y - x @ Aty).abs() / (Ax.norm() * y.norm()))
