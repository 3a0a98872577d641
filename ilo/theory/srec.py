"""The extended range, sampled, and how nearly a measurement operator keeps its distances (S-REC).

The set-restricted eigenvalue condition S-REC(S, γ, δ) of Bora et al. (ICML 2017) asks of A that

    ‖A(x_1 − x_2)‖ ≥ γ·‖x_1 − x_2‖ − δ      for all x_1, x_2 in S.

The theorem uses it with S = G_2(extended range). No computation can check all pairs: what is computed here over
finitely many of them can only be too optimistic.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ilo.checks import check_callable, check_count, check_kind, check_layer, check_number, check_positive, check_tensor
from ilo.generators.base import Generator, State
from ilo.rng import Rng, seed_of, stream


def sample_l2_ball(n: int, dim: int, radius: float, rng: Rng) -> Tensor:
    """Draw points uniform in the l2 ball of `radius` in R^dim: (n, dim), float64. Sample i is the same for any n."""
    seed = seed_of(rng)
    draws = []
    for i in range(n):
        g = stream(seed, "ball", i)
        direction = torch.randn(dim, generator=g, dtype=torch.float64)
        depth = torch.rand((), generator=g, dtype=torch.float64) ** (1 / dim)
        draws.append(depth * direction / direction.norm())
    return radius * torch.stack(draws)


def sample_l1_ball(n: int, dim: int, radius: float, rng: Rng, *, nonzeros: int | None = None) -> Tensor:
    """Draw points uniform in the l1 ball of `radius` in R^dim: (n, dim), float64. Sample i is the same for any n.

    With exponential E_1, …, E_{dim+1}, the point (±E_1, …, ±E_dim)/(E_1 + … + E_{dim+1}) is uniform in the unit ball;
    without the last one it would be uniform on its surface. Almost all of the ball in high dimension is far from its
    corners: such a point has an l2 norm near radius·√(2/dim), where a corner has `radius`.

    Args:
        nonzeros: draw the point from the l1 ball in that many coordinates, chosen at random, the others zero (1: along
            an axis); None: in all of them.
    """
    nonzeros = dim if nonzeros is None else nonzeros
    if not 1 <= nonzeros <= dim:
        raise ValueError(f"nonzeros must lie in 1 … {dim}, got {nonzeros}")
    seed = seed_of(rng)
    points = torch.zeros(n, dim, dtype=torch.float64)
    for i, point in enumerate(points):
        g = stream(seed, "deviation", i)
        spacing = torch.empty(nonzeros + 1, dtype=torch.float64).exponential_(generator=g)
        sign = 1.0 - 2.0 * torch.randint(2, (nonzeros,), generator=g)
        where = torch.randperm(dim, generator=g)[:nonzeros]
        point[where] = radius * sign * spacing[:-1] / spacing.sum()
    return points


def sample_extended_range(
    G: Generator, layer: int, radius: float, n: int, r1: float, rng: Rng, *, nonzeros: int | None = None
) -> State:
    """Draw `n` points of the extended range G_1(B_2^k(r_1)) ⊕ B_1^p(r_2) at the input of layer `layer`.

    Each is G_1(z) + v with z uniform in the l2 ball of radius r_1 and v uniform in the l1 ball of radius r_2 = `radius`
    (the sum is not uniform in the set). Sample i draws the same z and v whatever `n`.

    Args:
        G: a generator with states of one tensor.
        layer: G_1 is layers 0, …, layer − 1; G_2 is the rest.
        radius: r_2 ≥ 0, in units of the layer's input (`extended_radius` gives the theorem's).
        n: number of points, at least 1.
        r1: r_1 > 0, in units of the latent. √k is the typical norm of a standard normal latent.
        rng: seed or torch.Generator.
        nonzeros: v is drawn in that many random coordinates only (see `sample_l1_ball`).

    Returns the state {name: (n, ...)} in the generator's dtype and on its device: images are `G(state, layer)`.
    """
    check_kind(G, Generator, "G")
    layer, n = check_layer(layer, G.num_layers - 1), check_count(n, "n")
    radius, r1 = check_number(radius, "radius", 0), check_positive(r1, "r1")
    if len(G.latent_shapes) != 1:
        raise TypeError(
            f"the extended range is that of states of one tensor, this generator has {sorted(G.latent_shapes)}"
        )
    seed = seed_of(rng)
    [(name, shape)] = G.latent_shapes.items()
    z = sample_l2_ball(n, math.prod(shape), r1, seed).reshape(n, *shape)
    state = G.run({name: z.to(G.device, G.dtype)}, 0, layer)
    [(name, features)] = state.items()
    v = sample_l1_ball(n, features[0].numel(), radius, seed, nonzeros=nonzeros).reshape(features.shape)
    return {name: features + v.to(G.device, G.dtype)}


def srec_ratios(A: Callable[[Tensor], Tensor], points: Tensor) -> tuple[Tensor, Tensor]:
    """Return ‖A(x_i) − A(x_j)‖ and ‖x_i − x_j‖ for all pairs i < j of `points`: two float64 tensors (N(N−1)/2,).

    Args:
        A: measurement operator on images (N, C, H, W); for a linear one the first is ‖A(x_i − x_j)‖.
        points: images (N, C, H, W), N ≥ 2.
    """
    check_callable(A, "the operator A")
    check_tensor(points, "points")
    if len(points) < 2:
        raise ValueError(f"S-REC compares pairs: give at least 2 points, got {len(points)}")
    with torch.no_grad():
        measured = A(points)
    return torch.pdist(measured.double().flatten(1)), torch.pdist(points.double().flatten(1))


def srec_constant(A: Callable[[Tensor], Tensor], points: Tensor, *, delta: float = 0.0) -> float:
    """Return the largest γ with ‖A(x_1 − x_2)‖ ≥ γ·‖x_1 − x_2‖ − δ over all pairs of `points`.

    This empirical S-REC constant, min (‖A(x_1 − x_2)‖ + δ)/‖x_1 − x_2‖, is an upper bound on the γ of any set that
    holds the points; with few of them it may exceed 1.

    Args:
        A: measurement operator on images, see `srec_ratios`.
        points: images (N, C, H, W), N ≥ 2, for instance ``G(sample_extended_range(…), layer)``. Pairs that coincide are
            left out; if all do, ValueError.
        delta: δ ≥ 0, the slack of the condition (l2 norm of an image).

    Source: S-REC, definition 1 of Bora et al. (ICML 2017); here over the extended range, as in the theorem of ILO.
    """
    delta = check_number(delta, "delta", 0)
    measured, apart = srec_ratios(A, points)
    distinct = apart > 0
    if not distinct.any():
        raise ValueError("all points coincide: S-REC says nothing about them")
    return float(((measured[distinct] + delta) / apart[distinct]).min())
