"""Intermediate Layer Optimization: recover images from measurements, round by round.

    y = A(x) + noise;   minimise the objective over the input of layer 0, then of deeper layers,
    each round starting where the one before ended and staying near it (ILO, ICML 2021).

CSGM (Bora et al. 2017) is one round at layer 0.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ilo.arithmetic import repeatable
from ilo.auto import search as automatic
from ilo.auto.search import Auto
from ilo.generators.base import Generator, State
from ilo.operators import LinearOperator
from ilo.provenance import provenance
from ilo.rng import Rng, seed_of
from ilo.solver.objectives import SquaredError
from ilo.solver.progress import progress_bar
from ilo.solver.result import Result, RoundResult, history_frame
from ilo.solver.rounds import Round, Search
from ilo.solver.starts import draw_states

ObjectiveFunction = Callable[[Tensor, Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Step:
    """What a callback sees: one step of one round, before the variables move.

    objective and images cover restarts × problems, restart by restart, while a round has restarts.
    """

    round: int
    layer: int
    step: int
    objective: Tensor  # (restarts · B,)
    images: Tensor  # (restarts · B, C, H, W)


def recover(
    G: Generator,
    A: Callable[[Tensor], Tensor] | None,
    y: Tensor | None,
    *,
    rounds: Sequence[Round] | Auto | str = "auto",
    rng: Rng | Sequence[int] = 0,
    restarts: int = 1,
    objective: ObjectiveFunction | None = None,
    start: Mapping[str, Tensor] | None = None,
    callback: Callable[[Step], Any] | None = None,
    progress: bool = True,
) -> Result:
    """Recover a batch of images from their measurements; each problem of the batch is independent of the others.

    Args:
        G: a layered generator. What is on another device or in another dtype is copied to its.
        A: operator, any differentiable callable from images (B, C, H, W) in [−1, 1] to measurements, batch first.
            None, with `y` None and an `objective`, generates without measurements.
        y: measurements (B, ...), finite.
        rounds: in order, at layers that never decrease. Or "auto": layer, radius and stopping point are chosen by
            measurements that are held out, and the image is the mean of several solutions (`ilo.auto.search`); an
            `ilo.Auto` says the noise, the budget and how many. That goes with a `LinearOperator`; with any other
            callable, or where nothing can be held out, it warns and takes the default setting.
        rng: a seed (or torch.Generator) for the starting latents. All problems of the batch start from the same
            draws, so problem i starts alike alone and in any batch. A sequence of seeds, one a problem, starts each
            problem from draws of its own.
        restarts: number of starting latents tried in the first round, as one batch; each problem goes on with the
            one whose objective is least. It, `objective` and `start` go with rounds that are given, not with "auto".
        objective: (images, state) -> (B,), minimised; default `SquaredError(A, y)`. Called with all problems at once.
        start: begin from this state, (B, ...) or (1, ...), instead of drawing: the input of the layer that the first
            round starts from (its `start_layer`).
        callback: called at each step with a `Step`; a true return stops the recovery, keeping the best so far.
        progress: show a progress bar (unless the environment sets TQDM_DISABLE).

    Returns:
        `Result`: for each problem the best iterate over all rounds, by the objective — never by the true image. (A
        round with a penalty takes the iterate with the least sum of both, which may raise the objective alone.)
        A hard problem gets its best image and a status that says so, not an exception. Of "auto": a mean of solutions,
        with one that is sharper, the spread and what was tried, and no `rounds`.

    Two problems of a batch never mix, but a batch is computed in another order of rounding than one image, and
    optimisation amplifies that: images alone and in a batch agree to about 1e-4 after ten steps, and may drift
    further apart after hundreds. The same call gives the same image bit for bit on one machine.

    Raises:
        ValueError: shapes that do not fit, measurements that are not finite or not floating point, a layer that does
            not exist, layers that go back, restarts < 1; "auto" with an objective, a start or restarts.
    """
    if isinstance(rounds, (str, Auto)):
        if isinstance(rounds, str) and rounds != "auto":
            raise ValueError(f'rounds is "auto", an ilo.Auto or a sequence of rounds, got {rounds!r}')
        given = {"objective": objective is not None, "start": start is not None, "restarts": restarts != 1}
        if A is None or any(given.values()):
            raise ValueError(
                'rounds="auto" searches for measurements y = A(x) + noise from latents of its own, ilo.Auto(samples=…) '
                f"of them: it cannot go with {' or '.join(n for n, g in given.items() if g) or 'A=None'}; give rounds, "
                "such as ilo.default_rounds(G)"
            )
        return _recover_automatically(G, A, y, Auto() if rounds == "auto" else rounds, rng, callback, progress)
    rounds = list(rounds)
    _check_rounds(G, rounds, restarts, start)
    if (A is None) != (y is None):
        raise ValueError("give both the operator A and the measurements y, or neither and an objective")
    if A is None and objective is None:
        raise ValueError("without measurements an objective is needed: recover(G, None, None, objective=…)")
    A = _moved(A, G)
    y = None if y is None else _check_measurements(G, A, y)
    given, objective = objective, _moved(SquaredError(A, y) if objective is None else objective, G)
    start = None if start is None else _check_start(G, start, rounds[0].start_layer)
    problems, seeds = _problems_and_seeds(y, rng, start)
    _check_radii(rounds, problems)
    with repeatable():
        done, traces, stopped = _run_rounds(
            G, objective, rounds, _beginning(G, rounds, start, seeds, restarts, problems), problems, callback, progress
        )
    history = history_frame(traces, problems)
    return Result(
        images=done[-1].images,
        state=done[-1].state,
        layer=done[-1].layer,
        objective=done[-1].objective,
        rounds=tuple(done),
        history=history,
        status=_status(history, done[-1], stopped),
        parameters={
            "generator": G.name,
            "operator": _words(A),
            "objective": "SquaredError" if given is None else _words(given),
            "rounds": [_words(r) for r in rounds],
            "restarts": restarts,
            "seeds": seeds,
            "start": start is not None,
            **provenance(G.device, G.dtype),
        },
    )


def _recover_automatically(G, A, y, settings: Auto, rng, callback, progress) -> Result:
    if y is None:
        raise ValueError("give both the operator A and the measurements y")
    A = _moved(A, G)
    y = _check_measurements(G, A, y)
    problems, seeds = _problems_and_seeds(y, rng, None)
    y = y.expand(problems, *y.shape[1:])  # one measurement goes with several seeds
    start = draw_states(G, seeds, settings.samples, problems)
    with repeatable(), torch.no_grad():  # an operator's own parameters must not reach the result
        found = automatic.search(recover, G, A, y, start, settings, seeds, callback, progress)
        objective = SquaredError(A, y)(found.images, {})
    return Result(
        images=found.images,
        state={"image": found.images.clone()},
        layer=G.num_layers,
        objective=objective,
        rounds=(),
        history=found.history,
        status=found.status,
        parameters={
            **found.words,
            "operator": _words(A),
            "restarts": settings.samples,
            "seeds": seeds,
            "start": False,
        },
        tries=found.tries,
        sharp=found.sharp,
        samples=found.samples,
        spread=found.spread,
    )


def _run_rounds(G, objective, rounds, state, problems, callback, progress):
    """Run the rounds from `state`, (copies · problems, ...); return their results, their traces and whether stopped."""
    done: list[RoundResult] = []
    traces: list[dict] = []
    stopped = False
    restart = None
    with progress_bar(sum(r.steps for r in rounds), progress) as bar:
        for index, round_ in enumerate(rounds):
            copies = len(next(iter(state.values()))) // problems
            search = round_.begin(G, state)
            penalty = None if round_.penalty is None else _per_copy(_moved(round_.penalty, G), copies)
            begin = _frozen_run(G, state, round_.start_layer, round_.layer)
            best, trace, stopped = _optimise(
                G, _per_copy(objective, copies), penalty, search, begin, index, round_, callback, bar
            )
            chosen = best.value.view(copies, problems).argmin(0)  # (B,)
            restart = chosen if restart is None else restart
            rows = chosen * problems + torch.arange(problems, device=chosen.device)
            state = {name: tensor[rows] for name, tensor in best.state.items()}
            traces.append({"round": index, "layer": round_.layer, "copies": copies, **trace})
            done.append(
                RoundResult(
                    layer=round_.layer,
                    state=state,
                    images=_images(G, state, round_.layer),
                    objective=best.value[rows],
                    restart=restart,
                )
            )
            if stopped:
                break
            if index + 1 < len(rounds):
                state = _frozen_run(G, state, round_.layer, rounds[index + 1].start_layer)
    return done, traces, stopped


class _Best:
    """The best iterate of each sample so far: the one whose loss, penalty included, was least."""

    def __init__(self, state: State, moving: Sequence[str], value: Tensor, loss: Tensor):
        self.state = {name: t.detach().clone() if name in moving else t for name, t in state.items()}
        self.moving = moving
        self.loss = loss.nan_to_num(nan=torch.inf)
        self.value = torch.where(self.loss < torch.inf, value, torch.inf)  # the objective, without the penalty

    def update(self, state: State, value: Tensor, loss: Tensor) -> None:
        better = loss < self.loss  # NaN is never better
        self.loss = torch.where(better, loss, self.loss)
        self.value = torch.where(better, value, self.value)
        all_better = bool(better.all())
        for name in self.moving:
            new, kept = state[name].detach(), self.state[name]
            if all_better:  # most steps, and a plain copy is several times as fast
                kept.copy_(new)
            else:
                torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, kept, out=kept)


def _optimise(G, objective, penalty, search: Search, begin: State, index: int, round_: Round, callback, bar):
    """Run one round; return the best iterates, the trace (values (steps + 1, samples), …) and whether to stop.

    What the rounds before found, `begin`, competes too: a round may start elsewhere.
    """
    optimiser = round_.optimiser(search.variables, round_.lr)
    values, seconds, rates = [], [], []
    stop, began = False, time.perf_counter()
    bar.set_description(f"layer {round_.layer}")

    def evaluate(state: State) -> tuple[Tensor, Tensor, Tensor]:
        images = G(state, round_.layer)
        value = objective(images, state)  # (samples,)
        if value.ndim != 1 or len(value) != len(images):
            raise ValueError(f"an objective gives one value a problem, but this one gave shape {tuple(value.shape)}")
        return images, value, value if penalty is None else value + penalty(images, state)

    _draw_for(objective, 0), _draw_for(penalty, 0)
    with torch.no_grad():
        _, value, loss = evaluate(begin)
    best = _Best(begin, search.moving, value, loss)
    for step in range(round_.steps + 1):
        last = step == round_.steps
        _draw_for(objective, step), _draw_for(penalty, step)
        with torch.set_grad_enabled(not last):
            state = search.state()
            images, value, loss = evaluate(state)
            total = loss.sum()
        best.update(state, value.detach(), loss.detach())
        values.append(value.detach())
        seconds.append(time.perf_counter() - began)
        rates.append(round_.lr * round_.schedule((step + 0.5) / round_.steps) if not last else 0.0)
        if callback is not None:
            stop = bool(callback(Step(index, round_.layer, step, value.detach(), images.detach())))
        if last or stop:
            break
        if not loss.requires_grad:
            raise ValueError(
                "the objective does not depend differentiably on what this round moves: the operator and the objective "
                "must keep gradients (no .detach(), no numpy), and recover cannot run under torch.inference_mode()"
            )
        gradients = torch.autograd.grad(total, search.variables, allow_unused=True)
        for variable, gradient in zip(search.variables, gradients, strict=True):
            variable.grad = None if gradient is None else _laid_out_as(variable, gradient)
        for group in optimiser.param_groups:
            group["lr"] = rates[-1]
        optimiser.step()
        search.project()
        bar.update()
    trace = {"values": torch.stack(values), "seconds": seconds, "lr": rates}
    return best, trace, stop


def _laid_out_as(variable: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in the memory order of its variable, which fused Adam takes for granted (backward() would copy)."""
    if gradient.stride() == variable.stride():
        return gradient
    return torch.empty_like(variable, requires_grad=False).copy_(gradient)


def _draw_for(objective, step: int) -> None:
    """Let a random objective take the numbers of this step, the same for every restart."""
    objective = getattr(objective, "objective", objective)
    if hasattr(objective, "draw"):
        objective.draw(step)


def _per_copy(objective: ObjectiveFunction, copies: int) -> ObjectiveFunction:
    """Evaluate the objective on each restart's copy of the batch, so that it always sees all problems once."""
    if copies == 1:
        return objective

    def scored(images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        parts = [
            {name: c for name, c in zip(state, chunk, strict=True)}
            for chunk in zip(*(t.chunk(copies) for t in state.values()), strict=True)
        ]
        return torch.cat([objective(x, s) for x, s in zip(images.chunk(copies), parts, strict=True)])

    scored.objective = objective
    return scored


def _check_rounds(G: Generator, rounds: list[Round], restarts: int, start) -> None:
    if not rounds:
        raise ValueError("rounds is empty: give at least one, such as ilo.Round(layer=0, steps=300)")
    layers = [r.layer for r in rounds]
    if max(layers) >= G.num_layers:
        raise ValueError(f"layer {max(layers)} does not exist: {G.name} has layers 0 … {G.num_layers - 1}")
    for before, after in pairwise(rounds):
        if after.start_layer < before.layer:
            raise ValueError(
                f"rounds must not go back to an earlier layer, but one that starts at the input of layer "
                f"{after.start_layer} follows one at layer {before.layer}"
            )
    if isinstance(restarts, bool) or not isinstance(restarts, int) or restarts < 1:
        raise ValueError(f"restarts must be an integer of at least 1, got {restarts!r}")
    if start is not None and restarts > 1:
        raise ValueError("restarts draw new starting latents: with start=… there is nothing to draw, use restarts=1")


def _check_measurements(G: Generator, A: Callable, y: Tensor) -> Tensor:
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
    if isinstance(A, LinearOperator) and y.abs().max() > 8:  # few are: only then is the norm worth its time
        largest = 4 * A.norm() * math.prod(A.shape_in) ** 0.5  # an image in [−1, 1] measures ‖A‖·√n at most, plus noise
        if y.flatten(1).norm(dim=1).max() > largest:
            raise ValueError(
                f"y has values up to {y.abs().max():.4g}, more than any image in [−1, 1] measures: were the images in "
                "0–255? Bring those to [−1, 1] by x / 127.5 - 1 before measuring"
            )
    return y.detach().to(G.device, G.dtype)


def _check_radii(rounds: list[Round], problems: int) -> None:
    for round_ in rounds:
        radius = getattr(round_, "radius", None)
        for value in radius.values() if isinstance(radius, Mapping) else [radius]:
            if isinstance(value, Tensor) and value.ndim == 1 and len(value) not in (1, problems):
                raise ValueError(f"radius holds {len(value)} numbers for {problems} problems: give one, or one each")


def _check_start(G: Generator, start: Mapping[str, Tensor], layer: int) -> State:
    if not isinstance(start, Mapping):
        raise ValueError(f"start must be a state, a mapping of named tensors, got {type(start).__name__}")
    like = _frozen_run(G, G.sample(1, 0), 0, layer)
    shapes = {name: tuple(t.shape[1:]) for name, t in like.items()}
    found = {name: tuple(t.shape[1:]) for name, t in start.items()}
    if found != shapes:
        raise ValueError(f"start must be the input of layer {layer}, {shapes} without the batch, got {found}")
    if not all(torch.isfinite(t).all() for t in start.values()):
        raise ValueError("start holds NaN or infinite values")
    return {name: t.detach().to(like[name]) for name, t in start.items()}


def _beginning(G: Generator, rounds, start, seeds, restarts: int, problems: int) -> State:
    """The state that the first round starts from, restart by restart: (restarts · problems, ...)."""
    if start is not None:
        return {name: t.expand(problems, *t.shape[1:]).contiguous() for name, t in start.items()}
    return _frozen_run(G, draw_states(G, seeds, restarts, problems), 0, rounds[0].start_layer)


def _problems_and_seeds(y, rng, start) -> tuple[int, list[int] | None]:
    """Number of problems, and one seed for all or one a problem (None when nothing is drawn)."""
    counts = {
        "y": None if y is None else len(y),
        "rng": len(rng) if isinstance(rng, Sequence) else None,
        "start": None if start is None else len(next(iter(start.values()))),
    }
    given = {name: n for name, n in counts.items() if n not in (None, 1)}
    if len(set(given.values())) > 1:
        raise ValueError(f"the number of problems differs: {given}")
    if counts["rng"] == 0:
        raise ValueError("rng is an empty sequence: give a seed, or one a problem")
    problems = next(iter(given.values()), 1)
    if start is not None:
        return problems, None
    seeds = [seed_of(s) for s in rng] if isinstance(rng, Sequence) else [seed_of(rng)]
    return problems, seeds[:1] if len(set(seeds)) == 1 else seeds


@torch.no_grad()
def _frozen_run(G: Generator, state: State, start: int, stop: int) -> State:
    return G.run(state, start, stop)


@torch.no_grad()
def _images(G: Generator, state: State, layer: int) -> Tensor:
    return G(state, layer)


def _moved(thing, G: Generator):
    """The operator or objective on the generator's device and in its dtype: a copy where that changes anything."""
    if not isinstance(thing, nn.Module):
        return thing
    held = [t for t in (*thing.parameters(), *thing.buffers())]
    fits = all(t.device == G.device and (t.dtype == G.dtype or not t.is_floating_point()) for t in held)
    return thing if fits else copy.deepcopy(thing).to(G.device, G.dtype)


def _words(thing) -> str:
    """Describe an argument for the record: by its repr, with functions by their names and no addresses."""
    if hasattr(thing, "__qualname__"):
        return f"{thing.__module__}.{thing.__qualname__}"
    if is_dataclass(thing):
        shown = (f"{f.name}={_words(getattr(thing, f.name))}" for f in fields(thing) if f.repr)
        return f"{type(thing).__name__}({', '.join(shown)})"
    return repr(thing)


def _status(history, final: RoundResult, stopped: bool) -> list[str]:
    """One word a problem, as `Result.status` explains them."""
    last = history[history["round"] == history["round"].max()]
    early = last[last["step"] <= 0.9 * last["step"].max()].groupby("problem")["objective"].min()
    words = []
    for value, before in zip(final.objective.tolist(), early, strict=True):
        if not value < float("inf"):
            words.append("diverged")
        elif stopped:
            words.append("stopped")
        else:
            words.append("improving" if before - value > 0.05 * abs(before) else "converged")
    return words
