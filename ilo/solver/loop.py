"""The loop: one round of a search from a state, and the rounds of a schedule one after the other.

`run_round` is all that moves variables in this package: `ilo.recover` and the automatic search both call it. It knows
rounds by their contract alone (`ilo.solver.rounds`).
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ilo.generators.base import Generator, State
from ilo.solver.copies import Copies
from ilo.solver.inputs import ObjectiveFunction, frozen_run, moved
from ilo.solver.result import RoundResult
from ilo.solver.rounds import Search, SearchRound


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


@dataclass(frozen=True)
class Trace:
    """What one round did, for every row of copies × problems.

    state: the best iterates, input of layer `layer`. value: (rows,), the objective there, without the round's penalty.
    values: (steps + 1, rows), the objective along the way. lr, seconds: one value per step, wall time since the
    round began.
    """

    layer: int
    copies: Copies
    state: State
    value: Tensor
    values: Tensor
    lr: Sequence[float]
    seconds: Sequence[float]


class Watch:
    """Who looks on at every step: a progress bar, and a callback whose true return stops the search."""

    def __init__(self, callback: Callable[[Step], object] | None = None, bar: tqdm | None = None):
        self.callback, self.bar, self.stopped = callback, bar, False

    def __call__(self, step: Step) -> bool:
        if self.bar is not None:
            if step.step == 0:
                self.bar.set_description(f"layer {step.layer}")
            self.bar.update(step.step > 0)
        self.stopped = self.callback is not None and bool(self.callback(step))
        return self.stopped


def progress_bar(steps: int, shown: bool) -> tqdm:
    """A bar of so many steps, to be used by `with`; none where the environment sets TQDM_DISABLE."""
    return tqdm(total=steps, desc="recover", unit="step", disable=is_quiet(shown))


def is_quiet(shown: bool) -> bool:
    """Whether no bar is to be shown: tqdm's notebook bar does not look at TQDM_DISABLE itself."""
    return not shown or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")


def run_rounds(
    G: Generator,
    objective: ObjectiveFunction,
    rounds: Sequence[SearchRound],
    state: State,
    copies: Copies,
    watch: Watch,
) -> tuple[list[RoundResult], list[Trace]]:
    """Run the rounds one after the other from `state`, the input of the first one's start layer.

    After the first round each problem goes on with the best of its copies. `objective` takes one row per problem.
    """
    done: list[RoundResult] = []
    traces: list[Trace] = []
    restart = None
    for index, round_ in enumerate(rounds):
        trace = run_round(G, PerCopy(objective, copies), round_, state, copies, watch, index)
        chosen = copies.split(trace.value).argmin(0)  # (B,)
        restart = chosen if restart is None else restart
        rows = copies.pick(chosen)
        state = {name: tensor[rows] for name, tensor in trace.state.items()}
        with torch.no_grad():
            images = G(state, round_.layer)
        traces.append(trace)
        done.append(RoundResult(round_.layer, state, images, trace.value[rows], restart))
        if watch.stopped:
            break
        copies = Copies(1, copies.problems)
        if index + 1 < len(rounds):
            state = frozen_run(G, state, round_.layer, rounds[index + 1].start_layer)
    return done, traces


def run_round(
    G: Generator,
    objective: ObjectiveFunction,
    round_: SearchRound,
    state: State,
    copies: Copies,
    watch: Watch,
    index: int = 0,
) -> Trace:
    """Run one round from `state`, the input of its start layer; every row is searched by itself.

    What the rounds before found, `state`, competes too: a round may start elsewhere.

    Args:
        objective: (images, state) -> (rows,), minimised, beside the round's penalty.
        copies: what the rows are.
        watch: sees every step; its true return stops the round, keeping the best so far.
        index: the number that `watch` is told of this round.
    """
    search = round_.begin(G, state, copies)
    score = _Score(G, objective, round_, copies)
    moved = [_as_it_lies(variable) for variable in search.variables]
    optimiser = round_.optimiser(moved, round_.lr)
    began = time.perf_counter()
    best = _Best(score, frozen_run(G, state, round_.start_layer, round_.layer), search.moving)
    values, seconds, rates = [], [], []
    for step in range(round_.steps + 1):
        last = step == round_.steps
        with torch.set_grad_enabled(not last):
            at = search.state()
            images, value, loss = score(at, step)
        best.update(at, value.detach(), loss.detach())
        values.append(value.detach())
        seconds.append(time.perf_counter() - began)
        rates.append(0.0 if last else round_.lr * round_.schedule((step + 0.5) / round_.steps))
        if watch(Step(index, round_.layer, step, value.detach(), images.detach())) or last:
            break
        _descend(search, moved, optimiser, loss, rates[-1])
    return Trace(round_.layer, copies, best.state, best.value, torch.stack(values), rates, seconds)


class PerCopy:
    """An objective of one row per problem, evaluated on each copy of the batch, so that it sees all problems once."""

    def __init__(self, objective: ObjectiveFunction, copies: Copies):
        self._objective, self._count = objective, copies.count

    def __call__(self, images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        if self._count == 1:
            return self._objective(images, state)
        parts = zip(images.chunk(self._count), *(t.chunk(self._count) for t in state.values()), strict=True)
        return torch.cat([self._objective(x, dict(zip(state, chunk, strict=True))) for x, *chunk in parts])

    def draw(self, step: int) -> None:
        """Let a random objective take the numbers of this step, the same for every copy."""
        if hasattr(self._objective, "draw"):
            self._objective.draw(step)


class _Score:
    """What a round minimises: state, step -> images, objective and loss (the objective plus the round's penalty)."""

    def __init__(self, G: Generator, objective: ObjectiveFunction, round_: SearchRound, copies: Copies):
        self._G, self._layer = G, round_.layer
        self._objective = PerCopy(objective, Copies(1, 1))
        self._penalty = None if round_.penalty is None else PerCopy(moved(round_.penalty, G), copies)

    def __call__(self, state: State, step: int) -> tuple[Tensor, Tensor, Tensor]:
        self._objective.draw(step)
        images = self._G(state, self._layer)
        value = self._objective(images, state)
        if value.ndim != 1 or len(value) != len(images):
            raise ValueError(f"an objective gives one value per problem, but this one gave shape {tuple(value.shape)}")
        if self._penalty is None:
            return images, value, value
        self._penalty.draw(step)
        return images, value, value + self._penalty(images, state)


class _Best:
    """The best iterate of each row so far: the one whose loss, penalty included, was least."""

    @torch.no_grad()
    def __init__(self, score: _Score, state: State, moving: Sequence[str]):
        _, value, loss = score(state, 0)
        self.state = {name: t.detach().clone() if name in moving else t for name, t in state.items()}
        self._moving = moving
        self._loss = loss.nan_to_num(nan=torch.inf)
        self.value = torch.where(self._loss < torch.inf, value, torch.inf)  # the objective, without the penalty

    def update(self, state: State, value: Tensor, loss: Tensor) -> None:
        better = loss < self._loss  # NaN is never better
        self._loss = torch.where(better, loss, self._loss)
        self.value = torch.where(better, value, self.value)
        all_better = bool(better.all())
        for name in self._moving:
            new, kept = state[name].detach(), self.state[name]
            if all_better:  # most steps, and a plain copy is several times as fast
                kept.copy_(new)
            else:
                torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, kept, out=kept)


def _descend(
    search: Search, moved: Sequence[Tensor], optimiser: torch.optim.Optimizer, loss: Tensor, rate: float
) -> None:
    """One step of the optimiser down the sum of the rows' losses, and back to where the variables are allowed.

    moved: the variables as the optimiser knows them, `_as_it_lies`.
    """
    if not loss.requires_grad:
        raise ValueError(
            "the objective does not depend differentiably on what this round moves: the operator and the objective "
            "must keep gradients (no .detach(), no numpy), and recover cannot run under torch.inference_mode()"
        )
    with torch.enable_grad():
        total = loss.sum()
    gradients = torch.autograd.grad(total, search.variables, allow_unused=True)
    for variable, view, gradient in zip(search.variables, moved, gradients, strict=True):
        view.grad = None if gradient is None else _as_it_lies(_laid_out_as(variable, gradient))
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step(loss.detach)  # a closure, for those that search a line: it evaluates nothing anew
    search.project()


def _as_it_lies(x: Tensor) -> Tensor:
    """A view of `x`, (B, ...), its axes but the first in the order of memory: fused Adam copies all else to and fro."""
    return x.detach().permute(0, *sorted(range(1, x.ndim), key=x.stride, reverse=True))


def _laid_out_as(variable: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in the memory order of its variable (backward() would copy too)."""
    strides = zip(variable.shape, variable.stride(), gradient.stride(), strict=True)
    if all(ours == theirs for size, ours, theirs in strides if size > 1):
        return gradient
    return torch.empty_like(variable, requires_grad=False).copy_(gradient)
