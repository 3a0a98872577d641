"""What the baselines share: checks of what they are given, and the last touch to what they return."""

import math

import torch
from torch import Tensor

from ilo.operators import LinearOperator


def check_linear(A: LinearOperator, y: Tensor, method: str) -> None:
    """Raise unless `A` is a linear operator and `y` measurements of it, (B, *A.shape_out)."""
    if not isinstance(A, LinearOperator):
        name = A.__name__ if hasattr(A, "__name__") else type(A).__name__
        raise TypeError(
            f"{method} needs a linear operator (ilo.operators.LinearOperator: shape_in, adjoint, norm), got {name}"
        )
    check_measurements(y)
    A.adjoint(y[:1])  # complains of shape, dtype and device in the operator's own words


def check_measurements(y: Tensor) -> None:
    """Raise unless `y` is a batch of finite floating-point measurements, (B, ...)."""
    if not isinstance(y, Tensor):
        raise TypeError(f"measurements must be a torch.Tensor, got {type(y).__name__}")
    if y.ndim < 2 or y.numel() == 0:
        raise ValueError(f"measurements come batch first, (B, ...), at least one; got shape {tuple(y.shape)}")
    if not y.is_floating_point():
        raise ValueError(f"measurements must be floating point, got {y.dtype}: convert with y.float()")
    if not torch.isfinite(y).all():
        raise ValueError("measurements hold NaN or infinite values")


def check_positive(value: float, what: str) -> None:
    """Raise ValueError unless `value` is a positive finite number."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{what} must be positive and finite, got {value!r}")


def weight_per_problem(weight: float | Tensor, y: Tensor) -> Tensor:
    """Return the weight as (1, 1, 1, 1) or (B, 1, 1, 1), like `y`; ValueError unless finite and at least 0."""
    weight = torch.as_tensor(weight, dtype=y.dtype, device=y.device)
    if weight.ndim > 1 or weight.numel() not in (1, len(y)):
        raise ValueError(f"weight must be a number or of shape ({len(y)},), one per problem, got {tuple(weight.shape)}")
    if not (torch.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(f"weight must be finite and at least 0, got {weight.tolist()}")
    return weight.view(-1, 1, 1, 1)
