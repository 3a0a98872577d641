"""Lipschitz constants of the layers of a generator: certified from above, found from below.

The norms are l2 norms of whole states, so L_1 of the theorem is `(G, 0, i)` and L_2 is `(G, i, G.num_layers)`.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ilo.checks import check_count, check_kind, check_state
from ilo.generators.base import FeatureLayer, Generator, State
from ilo.rng import Rng, normal, seed_of
from ilo.theory.operator_norm import linear_taps, operator_norm_bound

LINEAR = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d)
NON_EXPANSIVE = (nn.Identity, nn.Flatten, nn.Unflatten, nn.ReLU, nn.Tanh, nn.Dropout, nn.PixelShuffle)


def lipschitz_upper_bound(G: Generator, start: int = 0, stop: int | None = None) -> float:
    """Return a certified upper bound on the Lipschitz constant of layers start, …, stop − 1 of `G`.

    It is the product over the elementary modules of

    - linear, convolution and transposed convolution: the l2 operator norm for the size of its real input, zero padding
      included, with a batch normalisation that follows folded in. It exceeds the exact norm by 1e-6 (relative), and a
      Cholesky factorisation certifies that it is not below it (`ilo.theory.operator_norm`);
    - batch normalisation that follows no linear module: max |weight|/√(running_var + eps);
    - nearest-neighbour upsampling: √(pixels out / pixels in);
    - activations: the largest slope (1 for ReLU and tanh, 1/4 for the sigmoid, max(1, |slope|) for LeakyReLU).

    So the outputs for any two states whatever are at most bound times as far apart as the states. What is certified is
    the function that the stored weights define in exact arithmetic. The product is above the constant itself, often
    far: it supposes that what one module stretches most is what the next one stretches most. The bound of several
    layers is the product of theirs.

    Takes about 10 s on two cores for all layers of the 64-pixel DCGAN.

    Args:
        G: a generator whose layers are single-tensor modules (`FeatureLayer`), in evaluation mode.
        start, stop: the layers, 0 ≤ start ≤ stop ≤ G.num_layers; `stop` defaults to the last. An empty range gives 1.

    Raises TypeError for a module whose norm is not known here, naming it.
    """
    start, stop = check_kind(G, Generator, "G").span(start, stop)
    bound, x = 1.0, _features(G.run(G.sample(1, 0), 0, start))
    for layer in G.layers[start:stop]:
        for module, normalisation in _pieces(_single_tensor(layer)):
            y = module(x)
            if type(module) in LINEAR:
                bound *= operator_norm_bound(linear_taps(module, x.shape, y.shape, _scale(normalisation)))
            else:
                bound *= _largest_slope(module, x, y)
            x = y if normalisation is None else normalisation(y)
    return bound


def lipschitz_lower_bound(
    G: Generator,
    start: int = 0,
    stop: int | None = None,
    *,
    points: Mapping[str, Tensor] | Tensor | None = None,
    n: int = 8,
    rng: Rng = 0,
    iterations: int = 30,
) -> float:
    """Return the largest singular value found of the Jacobian of layers start, …, stop − 1 of `G`.

    The Lipschitz constant is the supremum of the Jacobian's largest singular value over all points, so each value found
    is a lower bound on it (up to the rounding of the generator's dtype). At every point v ← JᵀJv/‖JᵀJv‖ is iterated
    with forward products Jv and reverse products Jᵀu; ‖Jv‖/‖v‖ grows to the largest singular value there, and is below
    it wherever the iteration stops.

    Args:
        G: any generator; the norm is that of all tensors of the state together.
        start, stop: the layers, as in `lipschitz_upper_bound`.
        points: the states at layer `start` at which to look, batch first; None: those of `n` samples of the generator.
        n: number of sampled points, at least 1 (unused if `points` are given).
        rng: seed or torch.Generator, for the points and for the first v.
        iterations: of the power iteration, at least 1.
    """
    start, stop = check_kind(G, Generator, "G").span(start, stop)
    n, iterations = check_count(n, "n"), check_count(iterations, "iterations")
    if points is not None and not isinstance(points, Tensor):
        check_state(points, "points")
    seed = seed_of(rng)
    points = G.run(G.sample(n, seed, "probe"), 0, start) if points is None else G.run(points, start, start)
    names, shapes = list(points), [t.shape[1:] for t in points.values()]
    x = _flat(points)  # (B, all numbers of a state)

    def layers(flat: Tensor) -> Tensor:
        parts = flat.split([s.numel() for s in shapes], dim=1)
        state = {k: p.reshape(-1, *s) for k, p, s in zip(names, parts, shapes, strict=True)}
        return _flat(G.run(state, start, stop))

    _, pull_back = torch.func.vjp(layers, x)
    v = normal(seed, len(x), x.shape[1:], purpose="direction", dtype=x.dtype, device=x.device)
    for _ in range(iterations):
        v = v / v.norm(dim=1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)
        u = _forward_product(layers, x, v)  # (B, d_out)
        (v,) = pull_back(u)
    return float(u.norm(dim=1).max())


def _forward_product(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    with warnings.catch_warnings():
        # torch 2.13 compiles its forward-mode rules at their first use, with a function that it deprecates
        warnings.filterwarnings("ignore", message=".torch.jit.script. is deprecated", category=DeprecationWarning)
        return torch.func.jvp(function, (x,), (v,))[1]


def _flat(state: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([t.flatten(1) for t in state.values()], dim=1)


def _features(state: State) -> Tensor:
    if len(state) != 1:
        raise TypeError(
            f"lipschitz_upper_bound knows states of one tensor, this one holds {sorted(state)}; "
            "lipschitz_lower_bound has no such limit"
        )
    return next(iter(state.values()))


def _single_tensor(layer: nn.Module) -> nn.Module:
    if type(layer) is not FeatureLayer:
        raise TypeError(f"no certified norm is known for a layer of type {type(layer).__name__}, only for FeatureLayer")
    return layer.module


def _elementary(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is nn.Sequential:
        for part in module:
            yield from _elementary(part)
    else:
        yield module


def _pieces(module: nn.Module) -> Iterator[tuple[nn.Module, nn.Module | None]]:
    """Elementary modules in order, each linear one with the batch normalisation that directly follows it, if any."""
    modules = list(_elementary(module))
    while modules:
        piece = modules.pop(0)
        folds = type(piece) in LINEAR and modules and type(modules[0]) in NORMALISATION
        yield piece, modules.pop(0) if folds else None


def _scale(normalisation: nn.Module | None) -> np.ndarray | float:
    """What a batch normalisation multiplies each channel by in evaluation mode, (C,); 1 if there is none."""
    if normalisation is None:
        return 1.0
    if normalisation.training or normalisation.running_var is None:
        raise ValueError(f"{normalisation} uses the statistics of its batch: only stored ones have a norm of their own")
    scale = (normalisation.running_var.double() + normalisation.eps).rsqrt()
    if normalisation.weight is not None:
        scale = scale * normalisation.weight.detach().double()
    return scale.cpu().numpy()


def _largest_slope(module: nn.Module, x: Tensor, y: Tensor) -> float:
    """Lipschitz constant of a module other than a linear map, which takes `x` to `y`."""
    kind = type(module)
    if kind in NON_EXPANSIVE and not (kind is nn.Dropout and module.training):
        return 1.0
    if kind is nn.Sigmoid:
        return 0.25
    if kind is nn.LeakyReLU:
        return max(1.0, abs(module.negative_slope))
    if kind in NORMALISATION:
        return float(np.abs(_scale(module)).max())
    if (
        kind is nn.Upsample
        and module.mode == "nearest"
        and all(b % a == 0 for a, b in zip(x.shape, y.shape, strict=True))
    ):
        return math.sqrt(y.numel() / x.numel())
    raise TypeError(
        f"no certified norm is known for {module}; known are linear and convolution layers, batch normalisation, "
        "ReLU, LeakyReLU, tanh, sigmoid, nearest upsampling by a whole factor and reshaping"
    )
