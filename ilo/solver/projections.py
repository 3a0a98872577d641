"""Euclidean projections onto balls and spheres, sample by sample: what keeps a round near where it started.

Each takes `x` (B, ...), a radius (a number, or (B,)) and a center (like `x`; 0 by default), treats every sample by
itself over all but the batch axis, never modifies what it is given, and may be differentiated through.
"""

import torch
from torch import Tensor

from ilo.checks import check_kind, check_radius


def project_l1_ball(x: Tensor, radius: float | Tensor, center: Tensor | None = None) -> Tensor:
    r"""Return, for every sample, the nearest point of the l1 ball:

        argmin_p ‖p − x‖₂  subject to  ‖p − center‖₁ ≤ radius.

    With v = x − center the solution is center + sign(v)·max(|v| − τ, 0), where τ ≥ 0 solves Σ max(|v| − τ, 0) =
    radius. Newton's method on τ from 0 finds it without sorting, in linear time but for the few passes it takes
    (Michelot, "A finite algorithm for finding the projection of a point onto the canonical simplex of R^n", 1986).

    Args:
        x: (B, ...), float32 or float64.
        radius: at least 0; a number or (B,).
        center: like `x`; 0 if not given.

    Returns:
        Like `x`. A sample already in its ball comes back bit for bit (and `x` itself if all are). For the others
        ‖p − center‖₁ exceeds the radius by at most 1e-6 (float32; 2e-15 in float64) of it, whatever the size of
        `x`, plus the rounding of the sum center + (p − center). A sample that is NaN or infinite, or whose norm
        overflows, comes back as NaN.

    Raises:
        TypeError: `x` is not float32 or float64.
        ValueError: a radius is negative or NaN; shapes do not go together.
    """
    v, radius = _deviation(x, radius, center)  # (B, ...), (B, 1, ...)
    size = v.detach().abs()
    total = _sum(size)  # (B, 1, ...)
    inside = total <= radius * (1 + _slack(x))
    if inside.all():
        return x
    return _restore(_onto_l1_sphere(v, radius, size, total), inside, x, center)


def project_l2_ball(x: Tensor, radius: float | Tensor, center: Tensor | None = None) -> Tensor:
    """Return, for every sample, the nearest point of the l2 ball: argmin_p ‖p − x‖₂ subject to ‖p − center‖₂ ≤ radius.

    Arguments, errors and what is promised are those of `project_l1_ball`.
    """
    v, radius = _deviation(x, radius, center)
    norm = _l2(v)
    inside = norm <= radius * (1 + _slack(x))
    if inside.all():
        return x
    return _restore(v * (radius / norm.where(~inside, 1)).to(v), inside, x, center)


def project_sphere(x: Tensor, radius: float | Tensor, center: Tensor | None = None) -> Tensor:
    """Return, for every sample, the nearest point of the sphere: argmin_p ‖p − x‖₂ subject to ‖p − center‖₂ = radius.

    A sample at the center is as far from every point of the sphere: it goes to center + radius·(1, …, 1)/√N.
    Arguments and errors are those of `project_l1_ball`.
    """
    v, radius = _deviation(x, radius, center)
    v = torch.where(_l2(v) == 0, 1, v)
    return _restore(v * (radius / _l2(v)).to(v), None, x, center)


def _onto_l1_sphere(v: Tensor, radius: Tensor, size: Tensor, total: Tensor) -> Tensor:
    """The nearest point to `v` of norm `radius`, ‖v‖₁ being more; uses up `size` = |v|, whose sum is `total`."""
    with torch.no_grad():
        d = _onto_simplex(size, radius, total).copysign_(v)
    if not (torch.is_grad_enabled() and (v.requires_grad or radius.requires_grad)):
        return d
    # On the support of d, with signs s, d is v − s·τ with τ = (Σ s·v − radius)/|support|: these are its derivatives.
    s = d.sign()
    tau = (_sum(s * v) - radius) / _sum(s.abs()).clamp(min=1)
    same = s * (s * v - tau)
    return d + (same - same.detach())


def _onto_simplex(size: Tensor, radius: Tensor, total: Tensor) -> Tensor:
    """Lower `size` ≥ 0, in place, to max(size − τ, 0) of sum `radius`; `total` is its sum, which is more."""
    limit = radius * (1 + _slack(size))
    # Stepping short by the rounding of `total` keeps τ from passing its root: entries can shrink again, but not
    # come back. It is the entries that are lowered, not τ that is raised: exact for those near τ, so that
    # a radius far below the rounding error of |v| is met all the same.
    short = 1 - 4 * _slack(size)
    count = size[0].numel()
    support = torch.empty_like(size)
    while True:
        step = (total - radius).clamp_(min=0).mul_(short).div_(count)
        size.sub_(step).relu_()
        before, total = total, _sum(size)
        if not ((total > limit) & (total < before)).any():  # met, or steps underflow
            return size
        count = _sum(torch.sign(size, out=support)).clamp_(min=1)


def _slack(x: Tensor) -> float:
    """The relative excess over the radius that counts as rounding."""
    return 4 * torch.finfo(x.dtype).eps


def _axes(x: Tensor) -> tuple[int, ...]:
    return tuple(range(1, x.ndim))


def _sum(x: Tensor) -> Tensor:
    """(B, ...) -> (B, 1, ...)"""
    return x.sum(_axes(x), keepdim=True)


def _l2(v: Tensor) -> Tensor:
    """(B, ...) -> (B, 1, ...): in float64, where squares neither overflow nor vanish."""
    return torch.linalg.vector_norm(v, dim=_axes(v), keepdim=True, dtype=torch.float64)


def _deviation(x: Tensor, radius: float | Tensor, center: Tensor | None) -> tuple[Tensor, Tensor]:
    """Check the arguments; return x − center (B, ...) and the radius as (B, 1, ...) or (1, 1, ...)."""
    check_radius(radius)
    if center is not None:
        check_kind(center, Tensor, "center")
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x must be a float32 or float64 tensor, got {getattr(x, 'dtype', type(x).__name__)}")
    if x.ndim < 2:
        raise ValueError(f"x must have a batch axis and more, (B, ...), got shape {tuple(x.shape)}")
    if center is not None and (center.shape, center.dtype) != (x.shape, x.dtype):
        raise ValueError(
            f"center must have the shape and dtype of x, {tuple(x.shape)} and {x.dtype}, "
            f"got {tuple(center.shape)} and {center.dtype}"
        )
    radius = torch.as_tensor(radius, dtype=x.dtype, device=x.device)
    if radius.ndim > 1 or radius.numel() not in (1, len(x)):
        raise ValueError(f"radius must be a number or of shape ({len(x)},), one per sample, got {tuple(radius.shape)}")
    return x if center is None else x - center, radius.view(-1, *[1] * (x.ndim - 1))


def _restore(d: Tensor, inside: Tensor | None, x: Tensor, center: Tensor | None) -> Tensor:
    """Return center + d (in place of `d`), with the samples of `x` that are `inside` as they were."""
    p = d if center is None else d.add_(center)
    if inside is not None and inside.any():
        p[inside.flatten()] = x[inside.flatten()]
    return p
