"""What a recovery is given, checked and brought to the generator: measurements, rounds, radii, starts, seeds."""

import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from ilo.checks import check_callable, check_count, check_kind, check_state, shown
from ilo.generators.base import Generator, State
from ilo.operators import LinearOperator
from ilo.rng import Rng, seed_of
from ilo.solver.copies import Copies
from ilo.solver.rounds import SearchRound, radii

ObjectiveFunction = Callable[[Tensor, Mapping[str, Tensor]], Tensor]


def check_rounds(G: Generator, rounds: Sequence[SearchRound], restarts: int) -> None:
    """Raise ValueError unless these rounds can be run on this generator, with so many restarts."""
    check_kind(G, Generator, "G")
    if not rounds:
        raise ValueError("rounds is empty: give at least one, such as ilo.Round(layer=0, steps=300)")
    if not all(hasattr(round_, "begin") for round_ in rounds):
        raise TypeError(f"rounds must hold rounds, such as ilo.Round(layer=0, steps=300), got {shown(rounds)}")
    deepest = max(r.layer for r in rounds)
    if deepest >= G.num_layers:
        raise ValueError(f"layer {deepest} does not exist: {G.name} has layers 0 … {G.num_layers - 1}")
    for before, after in pairwise(rounds):
        if after.start_layer < before.layer:
            raise ValueError(
                f"rounds must not go back to an earlier layer, but one that starts at the input of layer "
                f"{after.start_layer} follows one at layer {before.layer}"
            )
    check_count(restarts, "restarts")


def check_radii(rounds: Sequence[SearchRound], problems: int) -> None:
    """Raise ValueError where a round has one radius per problem, but not for so many problems."""
    for radius in (r for round_ in rounds for r in radii(round_.radius)):
        if isinstance(radius, Tensor) and radius.ndim == 1 and len(radius) not in (1, problems):
            raise ValueError(f"radius holds {len(radius)} values for {problems} problems: give one, or one each")


def checked_measurements(G: Generator, A: Callable, y: Tensor) -> Tensor:
    """Return `y` on the generator's device and in its dtype; ValueError unless it is measurements (B, ...) by `A`."""
    check_kind(G, Generator, "G")
    check_callable(A, "the operator A")
    if not isinstance(y, Tensor) or not y.is_floating_point():
        kind = f"a {y.dtype} tensor" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"y must be a floating-point tensor of measurements of images in [−1, 1], got {kind}")
    if not torch.isfinite(y).all():
        raise ValueError(
            "y holds NaN or infinite values: leave missing entries out by the operator (a mask), not by NaN"
        )
    if getattr(A, "shape_in", G.image_shape) != G.image_shape:
        raise ValueError(f"A measures images of shape {tuple(A.shape_in)}, but {G.name} makes {G.image_shape}")
    shape_out = getattr(A, "shape_out", None)
    if shape_out is None:
        with torch.no_grad():
            shape_out = A(torch.zeros(1, *G.image_shape, dtype=G.dtype, device=G.device)).shape[1:]
    if y.ndim == 0 or len(y) == 0 or tuple(y.shape[1:]) != tuple(shape_out):
        hint = " (batch first: y.unsqueeze(0) makes a batch of one)" if tuple(y.shape) == tuple(shape_out) else ""
        raise ValueError(f"y must have shape (B, {', '.join(map(str, shape_out))}), got {tuple(y.shape)}{hint}")
    if isinstance(A, LinearOperator):
        _check_size(A, y)
    return y.detach().to(G.device, G.dtype)


def _check_size(A: LinearOperator, y: Tensor) -> None:
    """An image in [−1, 1] measures ‖A‖·√n at most, plus noise: more is measurements of 8-bit values."""
    if y.abs().max() <= 8:  # most are below: the norm is not worth its time
        return
    largest = 4 * A.norm() * math.prod(A.shape_in) ** 0.5
    if y.flatten(1).norm(dim=1).max() > largest:
        raise ValueError(
            f"y has values up to {y.abs().max():.4g}, more than any image in [−1, 1] measures: were the images in "
            "0–255? Bring those to [−1, 1] by x / 127.5 - 1 before measuring"
        )


def checked_start(G: Generator, start: Mapping[str, Tensor], layer: int) -> State:
    """Return the state on the generator's device and in its dtype; ValueError unless it is an input of `layer`."""
    if not isinstance(start, Mapping):
        raise ValueError(f"start must be a state, a mapping of named tensors, got {type(start).__name__}")
    check_state(start, "start")
    like = frozen_run(G, G.sample(1, 0), 0, layer)
    shapes = {name: tuple(t.shape[1:]) for name, t in like.items()}
    found = {name: tuple(t.shape[1:]) for name, t in start.items()}
    if found != shapes:
        raise ValueError(f"start must be the input of layer {layer}, {shapes} without the batch, got {found}")
    if not all(torch.isfinite(t).all() for t in start.values()):
        raise ValueError("start holds NaN or infinite values")
    return {name: laid_out_as(like[name], t.detach().to(like[name])) for name, t in start.items()}


def laid_out_as(like: Tensor, x: Tensor) -> Tensor:
    """`x` in the memory order of `like`, which has as many axes: a layer that wants another converts at every step."""
    last = like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def problems_and_seeds(
    y: Tensor | None, rng: Rng | Sequence[int], start: State | None, restarts: int = 1
) -> tuple[int, list[int] | None]:
    """Number of problems, and one seed for all or one per problem (None where nothing is drawn).

    start: (restarts · B, ...), or one row for all where there is one restart.
    """
    rows = None if start is None else len(next(iter(start.values())))
    if rows is not None and rows % restarts:
        raise ValueError(f"start holds {rows} rows for {restarts} restarts: give one per restart and problem")
    counts = {
        "y": None if y is None else len(y),
        "rng": len(rng) if isinstance(rng, Sequence) else None,
        "start": None if rows is None else rows // restarts,
    }
    given = {name: n for name, n in counts.items() if n not in (None, 1)}
    if len(set(given.values())) > 1:
        raise ValueError(f"the number of problems differs: {given}")
    if counts["rng"] == 0:
        raise ValueError("rng is an empty sequence: give a seed, or one per problem")
    problems = next(iter(given.values()), 1)
    if start is not None:
        return problems, None
    seeds = [seed_of(s) for s in rng] if isinstance(rng, Sequence) else [seed_of(rng)]
    return problems, seeds[:1] if len(set(seeds)) == 1 else seeds


def drawn_states(G: Generator, seeds: Sequence[int], copies: Copies) -> State:
    """Draw states at layer 0, (copies · problems, ...); `seeds` holds one, or one per problem.

    A problem starts from the same draws alone and in any batch.
    """
    drawn = [G.sample(copies.count, seed, "start") for seed in seeds]
    state = {}
    for name in drawn[0]:
        stacked = torch.stack([d[name] for d in drawn], 1)  # (copies, seeds, ...)
        state[name] = stacked.expand(copies.count, copies.problems, *stacked.shape[2:]).flatten(0, 1).contiguous()
    return state


@torch.no_grad()
def frozen_run(G: Generator, state: State, start: int, stop: int) -> State:
    """`G.run`, keeping no gradient."""
    return G.run(state, start, stop)


def moved(thing, G: Generator):
    """The operator or objective on the generator's device and in its dtype: a copy where that changes anything."""
    if not isinstance(thing, nn.Module):
        return thing
    held = [t for t in (*thing.parameters(), *thing.buffers())]
    fits = all(t.device == G.device and (t.dtype == G.dtype or not t.is_floating_point()) for t in held)
    return thing if fits else copy.deepcopy(thing).to(G.device, G.dtype)


def words(thing) -> str:
    """Describe an argument for the record: by its repr, with functions by their names and no addresses.

    So the records of equal calls are equal, in any process.
    """
    if hasattr(thing, "__qualname__"):
        return f"{thing.__module__}.{thing.__qualname__}"
    if isinstance(thing, partial):
        shown = [words(thing.func), *map(words, thing.args), *(f"{k}={words(v)}" for k, v in thing.keywords.items())]
        return f"partial({', '.join(shown)})"
    if isinstance(thing, Mapping):
        return f"{{{', '.join(f'{k!r}: {words(v)}' for k, v in thing.items())}}}"
    if isinstance(thing, (list, tuple)):
        return f"({', '.join(map(words, thing))})"
    if is_dataclass(thing):
        shown = (f"{f.name}={words(getattr(thing, f.name))}" for f in fields(thing) if f.repr)
        return f"{type(thing).__name__}({', '.join(shown)})"
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(thing))
