"""What the baselines share: checks of what they are given, and the last touch to what they return."""

import torch
from torch import Tensor

from ilo.checks import check_measurements, shown
from ilo.operators import LinearOperator


def check_linear(A: LinearOperator, y: Tensor, method: str) -> None:
    """Raise unless `A` is a linear operator and `y` measurements of it, (B, *A.shape_out)."""
    if not isinstance(A, LinearOperator):
        name = A.__name__ if hasattr(A, "__name__") else type(A).__name__
        raise TypeError(
            f"{method} needs a linear operator (ilo.operators.LinearOperator: shape_in, adjoint, norm), got {name}"
        )
    check_measurements(y, "the measurements y")
    A.adjoint(y[:1])  # complains of shape, dtype and device in the operator's own words


def weight_per_problem(weight: float | Tensor, y: Tensor) -> Tensor:
    """Return the weight as (1, 1, 1, 1) or (B, 1, 1, 1), like `y`; ValueError unless finite and at least 0."""
    try:
        weight = torch.as_tensor(weight, dtype=y.dtype, device=y.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"weight must be a number, or one per problem, got {shown(weight)}") from error
    if weight.ndim > 1 or weight.numel() not in (1, len(y)):
        raise ValueError(f"weight must be a number or of shape ({len(y)},), one per problem, got {tuple(weight.shape)}")
    if not (torch.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(f"weight must be finite and at least 0, got {weight.tolist()}")
    return weight.view(-1, 1, 1, 1)
