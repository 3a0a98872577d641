"""What tells whether a linear operator is right, and how large: dense matrix, dot-test, largest singular value."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ilo.rng import Rng, normal

if TYPE_CHECKING:
    from ilo.operators.base import LinearOperator


@torch.no_grad()
def matrix(A: "LinearOperator", batch: int = 256) -> Tensor:
    """Return the dense matrix (M, N) of `A`: M measurements flattened, N = C·H·W. For small shapes."""
    n = math.prod(A.shape_in)
    basis = torch.eye(n, dtype=A.dtype, device=A.device).view(n, *A.shape_in)
    return torch.cat([A(part).flatten(1) for part in basis.split(batch)]).T.contiguous()


@torch.no_grad()
def dot_test(A: "LinearOperator", rng: Rng = 0, dtype: torch.dtype | None = None) -> float:
    """Return |⟨A x, y⟩ − ⟨x, Aᵀ y⟩| / (‖A x‖·‖y‖) for one standard normal x and y: rounding error if Aᵀ is right.

    `dtype` is for operators that take any; by default the operator's own.
    """
    like = {"dtype": dtype or A.dtype, "device": A.device}
    n = math.prod(A.shape_in)
    x, y = normal(rng, 1, (n + math.prod(A.shape_out),), **like).split([n, math.prod(A.shape_out)], dim=1)
    Ax, Aty = A(x.view(1, *A.shape_in)), A.adjoint(y.view(1, *A.shape_out))
    Ax, Aty, x, y = (t.double().flatten() for t in (Ax, Aty, x, y))
    return float((Ax @ y - x @ Aty).abs() / (Ax.norm() * y.norm()))


@torch.no_grad()
def spectral_norm(A: "LinearOperator", tolerance: float = 1e-6, max_steps: int = 500) -> float:
    """Return the largest singular value of `A` by Lanczos' method, from a fixed start.

    The method runs on Aᵀ A or A Aᵀ, whichever is smaller, with full reorthogonalisation, until the residual of its
    largest Ritz pair is below `tolerance` of the value; after `max_steps` it returns what it has, a lower bound.
    (Power iteration would need some hundred times the products on random matrices, whose largest singular values
    crowd.)
    """
    wide = math.prod(A.shape_out) < math.prod(A.shape_in)
    shape = A.shape_out if wide else A.shape_in
    size = math.prod(shape)

    def gram(v: Tensor) -> Tensor:
        v = v.view(1, *shape)
        return (A(A.adjoint(v)) if wide else A.adjoint(A(v))).flatten()

    q = normal(0, 1, (size,), dtype=A.dtype, device=A.device).flatten()
    basis = [q / q.norm()]
    alphas, betas, value = [], [], 0.0
    for _ in range(min(max_steps, size)):
        w = gram(basis[-1])
        alphas.append(float(w @ basis[-1]))
        Q = torch.stack(basis)  # (steps, size)
        for _ in range(2):  # once is not enough in floating point
            w = w - Q.T @ (Q @ w)
        beta = float(w.norm())
        T = torch.diag(torch.tensor(alphas, dtype=torch.float64))
        if betas:
            off = torch.tensor(betas, dtype=torch.float64)
            T = T + torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(T)
        value = float(values[-1])
        if beta * abs(float(vectors[-1, -1])) <= tolerance * value:
            break
        betas.append(beta)
        basis.append(w / beta)
    return math.sqrt(max(value, 0.0))
