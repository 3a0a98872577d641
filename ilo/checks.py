"""What an argument must be, one check per kind, so that a wrong one is told in the same words wherever it is given.

Every check takes the value and its name, returns the value as the kind has it, and raises TypeError or ValueError with
the name, what was expected and what came. (Of a batch of images: `ilo.images.check_images`.)
"""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

LONGEST = 120  # letters of a wrong value that a message repeats


def check_count(n: Any, what: str, least: int = 1, most: int | None = None) -> int:
    """Return `n` as an int; ValueError unless it is an integer (numpy's too, a bool not) from `least` to `most`."""
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    if isinstance(n, (bool, np.bool_)) or not isinstance(n, Integral) or n < least or (most is not None and n > most):
        raise ValueError(f"{what} must be an integer {bounds}, got {shown(n)}")
    return int(n)


def check_layer(layer: Any, last: int, what: str = "layer", first: int = 0) -> int:
    """Return a layer's number as an int; ValueError unless it lies in `first` … `last`."""
    if isinstance(layer, (bool, np.bool_)) or not isinstance(layer, Integral) or not first <= layer <= last:
        raise ValueError(f"{what} must lie in {first} … {last}, got {shown(layer)}")
    return int(layer)


def check_number(value: Any, what: str, low: float = -math.inf, *, above: float = -math.inf) -> float:
    """Return a finite real number as a float; TypeError for anything else, ValueError below `low` or at `above`."""
    value = _real(value, what)
    if not (math.isfinite(value) and value >= low and value > above):
        bounds = f" of at least {low:g}" if low > -math.inf else f" above {above:g}" if above > -math.inf else ""
        raise ValueError(f"{what} must be a finite number{bounds}, got {shown(value)}")
    return value


def check_positive(value: Any, what: str) -> float:
    """Return a positive finite number."""
    value = _real(value, what)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{what} must be positive and finite, got {shown(value)}")
    return value


def check_probability(value: Any, what: str) -> float:
    """Return a number strictly between 0 and 1."""
    value = _real(value, what)
    if not 0 < value < 1:
        raise ValueError(f"{what} must lie strictly between 0 and 1, got {shown(value)}")
    return value


def check_fraction(value: Any, what: str) -> float:
    """Return a number above 0 and at most 1."""
    value = _real(value, what)
    if not 0 < value <= 1:
        raise ValueError(f"{what} must lie in (0, 1], got {shown(value)}")
    return value


def _real(value: Any, what: str) -> float:
    """A number of any kind as a float, NaN too; TypeError for anything else."""
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{what} must be a number, got {shown(value)}")
    return float(value)


def check_radius(radius: Any, what: str = "radius") -> float | Tensor:
    """Return a radius: a number of at least 0 (inf is no bound), or a tensor of them, one per sample, (B,)."""
    if isinstance(radius, Tensor):
        if radius.ndim > 1 or radius.numel() == 0 or radius.is_complex() or radius.dtype == torch.bool:
            raise ValueError(
                f"{what} must be a number or a tensor (B,) of them, got {radius.dtype} of shape {tuple(radius.shape)}"
            )
        if not (radius >= 0).all():
            raise ValueError(f"{what} must be at least 0, got {shown(radius.tolist())}")
        return radius
    if isinstance(radius, (bool, np.bool_)) or not isinstance(radius, Real):
        raise TypeError(f"{what} must be a number or a tensor (B,) of them, got {shown(radius)}")
    if not radius >= 0:
        raise ValueError(f"{what} must be at least 0, got {shown(radius)}")
    return float(radius)


def check_tensor(x: Any, what: str, least_axes: int = 1) -> Tensor:
    """Return a floating-point tensor of finite values that is not empty, batch first, of at least so many axes."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{what} must be a torch.Tensor, got {type(x).__name__}")
    if x.layout != torch.strided or x.device.type == "meta":
        raise TypeError(f"{what} must be a dense tensor with values, got one of {x.layout} on {x.device}")
    if not x.is_floating_point():
        raise TypeError(f"{what} must be floating point, got {x.dtype}: convert by .float()")
    if x.ndim < least_axes or x.numel() == 0:
        raise ValueError(f"{what} must have a batch first, (B, …), and at least one value, got shape {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        raise ValueError(f"{what} holds NaN or infinite values")
    return x


def check_measurements(y: Any, what: str = "y") -> Tensor:
    """Return measurements, (B, …): see `check_tensor`."""
    return check_tensor(y, what, least_axes=2)


def check_choice(value: Any, choices: Sequence[str], what: str) -> str:
    """Return one of `choices`; ValueError for anything else."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{what} must be one of {', '.join(map(repr, choices))}, got {shown(value)}")
    return value


def check_kind(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """Return an instance of `kind`; TypeError for anything else."""
    if not isinstance(value, kind):
        names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise TypeError(f"{what} must be a {names}, got {shown(value)}")
    return value


def check_callable(value: Any, what: str) -> Callable:
    """Return what can be called; TypeError for anything else."""
    if not callable(value):
        raise TypeError(f"{what} must be a function or a module to call, got {shown(value)}")
    return value


def check_state(state: Any, what: str = "state") -> Mapping[str, Tensor]:
    """Return a mapping of names to tensors; TypeError for anything else."""
    if not isinstance(state, Mapping) or not state or not all(isinstance(t, Tensor) for t in state.values()):
        raise TypeError(f"{what} must be a mapping of named tensors, got {shown(state)}")
    return state


def check_shape(shape: Any, what: str = "shape") -> tuple[int, int, int]:
    """Return an image's shape as a tuple (C, H, W); ValueError unless it is three integers of at least 1."""
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) != 3:
        raise ValueError(f"{what}: an image's shape is (C, H, W), such as (3, 64, 64), got {shown(shape)}")
    return tuple(check_count(n, f"each of C, H and W of {what}") for n in shape)


def shown(value: Any) -> str:
    """A value in a message: short, and never a failure of its own."""
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype} and shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    try:
        text = repr(value)
    except Exception:  # somebody else's class
        text = type(value).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
