"""The walk: several solutions side by side along the plan's rounds, and candidates on the way."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ilo.auto.linearise import shared
from ilo.auto.plan import Plan
from ilo.generators.base import Generator, State
from ilo.operators import LinearOperator
from ilo.solver.copies import Copies
from ilo.solver.history import status_of_rows
from ilo.solver.inputs import frozen_run, words
from ilo.solver.linear_start import linear_images, linear_model, linear_starts
from ilo.solver.loop import Step, Trace, Watch, progress_bar, run_round
from ilo.solver.objectives import SquaredError
from ilo.solver.rounds import SearchRound


@dataclass(frozen=True)
class Candidate:
    """The solutions at one point of the search, of which one candidate is the default.

    images: (S, B, C, H, W) in [−1, 1]; after those that were searched the linear estimate, where there is one. radius:
    of the features' ball; None: no ball.
    """

    layer: int
    radius: float | None
    step: int
    images: Tensor
    default: bool = False


class Walk:
    """Runs the plan on given measurements, from the same draws, and collects candidates on the way.

    draws: latents, one for each of the solutions of each problem: they start there, or about the linear estimate.
    noise: standard deviation of the measurements'; 0: not known.
    linear: (B, C, H, W), the linear estimate of the images, where the plan starts from the one of the latents.
    traces, rounds, status: of the last pass. evaluations: gradient evaluations per problem, of all passes.
    """

    def __init__(
        self, G: Generator, plan: Plan, draws: State, samples: Copies, watch: Watch, progress: bool, noise: float
    ):
        self._G, self.plan, self._draws, self._samples, self._noise = G, plan, draws, samples, noise
        self._watch, self._progress = watch, progress
        self._ends: dict[int, State] = {}  # where the last round of each layer ended
        self._index = 0  # of the round, over all passes
        self.traces: list[Trace] = []
        self.rounds: list[str] = []
        self.status: list[str] = []
        self.evaluations = 0
        self.linear: Tensor | None = None

    @property
    def stopped(self) -> bool:
        return self._watch.stopped

    def __call__(self, A, y: Tensor) -> list[Candidate]:
        """Run the plan: (B, ...) measurements -> candidates, the last of which is the default."""
        self.traces, self.rounds, self.status = [], [], ["converged"] * len(y)
        repeated = self._samples.repeat(y)
        candidates: list[Candidate] = []
        state, layer = self._draws, 0
        if self.plan.linear_start:
            any_batch, seen = shared(A, y)
            model = linear_model(self._G, any_batch, noise=self._noise)
            state = linear_starts(self._G, model, seen, self._draws)
            self.linear = linear_images(self._G, model, seen) if isinstance(A, LinearOperator) else None
        with progress_bar(sum(round_.steps for round_ in self.plan.rounds()), self._progress) as self._watch.bar:
            for round_ in self.plan.trunk:
                if not self.stopped:
                    state, layer = self._round(A, repeated, round_, (state, layer), candidates)
            for round_ in self.plan.leaves:
                if not self.stopped:
                    self._round(A, repeated, round_, (state, layer), candidates)
        if self.linear is not None:
            # one solution more: searches share mistakes, and what is linear has others, so that the mean is nearer
            candidates = [replace(c, images=torch.cat([c.images, self.linear[None]])) for c in candidates]
        return [*candidates[:-1], replace(candidates[-1], default=True)]

    def finish(self, A, y: Tensor, otherwise: Tensor) -> Tensor:
        """(B, C, H, W): go on from the mean of the solutions' features; `otherwise` where there is no such search."""
        if self.stopped or not self.plan.finish:
            return otherwise
        layer = self.plan.finish[0].layer
        state = {name: self._samples.split(t).mean(0) for name, t in self._ends[layer].items()}
        found = [Candidate(layer, None, 0, otherwise[None])]
        with progress_bar(sum(round_.steps for round_ in self.plan.finish), self._progress) as self._watch.bar:
            for round_ in self.plan.finish:
                if not self.stopped:
                    state, layer = self._round(A, y, round_, (state, layer), found)
        return found[-1].images[0]

    def _round(self, A, y: Tensor, round_: SearchRound, begin: tuple[State, int], candidates: list[Candidate]):
        """Run one round on all rows of `y`, add its candidates, and return where it ended: a state and its layer."""
        copies = Copies(len(y) // self._samples.problems, self._samples.problems)
        state = {name: t.contiguous() for name, t in frozen_run(self._G, *begin, round_.start_layer).items()}
        watch = Watch(lambda step: self._collect(step, round_, copies, candidates))
        trace = run_round(self._G, SquaredError(A, y), round_, state, copies, watch, self._index)
        self.traces.append(trace)
        self.rounds.append(words(round_))
        if copies == self._samples:  # the images are of this search; `sharp` alone is of the one that finishes
            rows = status_of_rows(trace, self.stopped)
            self.status = [together(rows[b :: copies.problems]) for b in range(copies.problems)]
            self._ends[trace.layer] = trace.state
        self._index += 1
        self.evaluations += copies.count * (len(trace.values) - 1)
        return trace.state, trace.layer

    def _collect(self, step: Step, round_: SearchRound, copies: Copies, candidates: list[Candidate]) -> bool:
        """Show the step to whoever looks on; at half of the round and at its end take the images for a candidate."""
        stop = self._watch(step)
        if stop or step.step in (round_.steps // 2, round_.steps):
            images = copies.split(step.images.clamp(-1, 1))  # (S, B, C, H, W)
            before = candidates[-1].images if candidates else torch.zeros_like(images)
            finite = images.flatten(2).isfinite().all(2)[..., None, None, None]
            images = torch.where(finite, images, before)  # a search that diverged is where it was last seen
            candidates.append(Candidate(round_.layer, radius_of_features(round_), step.step, images))
        return stop


def together(words: list[str]) -> str:
    """One word for a problem, of one for each of its solutions."""
    alive = [word for word in words if word != "diverged"]
    if not alive:
        return "diverged"
    return "improving" if 2 * alive.count("improving") >= len(alive) else "converged"


def radius_of_features(round_: SearchRound) -> float | None:
    return round_.radius.get("features") if isinstance(round_.radius, dict) else round_.radius
