"""ILO that needs no tuning: layer, radius and stopping point chosen by measurements that are held out.

`ilo.recover(..., rounds="auto")`:

1. A part of the measurements is held out. On the rest, several solutions are searched side by side, each from a latent
   of its own: the latent first, then the features of layer 1 in whitened coordinates, then those of layer 2 in l1 balls
   of several radii (`plan`).
2. At checkpoints along the way the mean of the solutions is a candidate, and so is the generator's mean image. What a
   candidate leaves unexplained is taken for a smooth deviation from the range, a round on the image itself
   (`ilo.auto.smooth`), at several scales.
3. The candidate with the least error on what was held out is chosen, problem by problem; but where it leads the default
   by no more than noise and the choice of the held-out part do by chance, the default is.
4. The deviation of the chosen candidate is fitted to all measurements, or the whole setting is (`Auto.refit`).
5. The mean of several solutions has the least squared error, and is blurred where they disagree. So that there is a
   picture as well, `Found.sharp` is one solution: the search of the default leaf goes on from the mean of the
   solutions' *features*, on all measurements.

Samples of the posterior, as far as this model goes, come from the same solutions by perturbing the measurements and the
prior (Matheron's rule); their spread is stretched until it covers what was held out. Ours, not the paper's.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ilo.auto.smooth import Conditioner, SmoothPrior, smooth_prior
from ilo.generators.base import Generator, State
from ilo.operators import LinearOperator
from ilo.rng import normal, stream
from ilo.solver.progress import progress_bar
from ilo.solver.rounds import Round
from ilo.solver.schedules import csgm_rounds, style_rounds
from ilo.solver.whitened import PriorRound, feature_prior

RADII = (3000.0, 1000.0)  # of the balls at layer 2; the last is the default
SCALES = (0.0, 0.1, 0.3, 1.0)  # of the deviation's variance, in units of the generator's own
DEFAULT_SCALE = 0.3
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # standard deviations tried where the noise is not given
PRIOR_IMAGES = 512
NINETY = 1.6449  # standard normal quantile: 90 % lie within


@dataclass(frozen=True)
class Auto:
    """How much `rounds="auto"` may spend, and what it knows.

    Args:
        budget: gradient evaluations a problem, at most: passes through the generator, forward and back. Every solution
            needs one a round; what cannot have that is refused.
        samples: solutions searched side by side, at least 2; the image is their mean.
        held_out: fraction of the measurements to judge by, in (0, 1).
        noise: standard deviation of the noise, in the units of the measurements. None: estimated.
        refit: search anew on all measurements, in the second half of the budget. False: what was found without those
            held out is kept, and only the deviation on the image is fitted to all of them, which costs no evaluations.
        draws: samples of the posterior to return, at least 2.
    """

    budget: int = 600
    samples: int = 4
    held_out: float = 0.1
    noise: float | None = None
    refit: bool = False
    draws: int = 16

    def __post_init__(self):
        for name, least in (("budget", 1), ("samples", 2), ("draws", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        if not (isinstance(self.held_out, Real) and 0 < self.held_out < 1):
            raise ValueError(f"held_out is a fraction of the measurements, in (0, 1), got {self.held_out!r}")
        if self.noise is not None and not (isinstance(self.noise, Real) and 0 <= self.noise < math.inf):
            raise ValueError(f"noise must be one number, a finite standard deviation of at least 0, got {self.noise!r}")


@dataclass(frozen=True)
class Plan:
    """Rounds that are run one after the other (`trunk`), and alternatives for the last (`leaves`), the default last.

    finish: steps of the default leaf's search that goes on from the mean of the features, one for all solutions.
    """

    trunk: tuple
    leaves: tuple
    finish: int = 0

    def rounds(self) -> tuple:
        return (*self.trunk, *self.leaves)

    def cost(self, samples: int, passes: int = 1) -> int:
        """Gradient evaluations a problem, with so many solutions and passes over the plan."""
        return passes * samples * sum(round_.steps for round_ in self.rounds()) + self.finish

    def within(self, budget: int, samples: int, passes: int = 1) -> "Plan":
        """The same with all steps scaled by one factor, so that it costs at most `budget`; at least one a round.

        ValueError where the budget is less than one step a round.
        """
        least = passes * samples * len(self.rounds())
        if budget < least:
            raise ValueError(
                f"a budget of {budget} gradient evaluations is too small: {samples} solutions take at least {least}, "
                f"one in each of {passes * len(self.rounds())} rounds; raise the budget, or search fewer samples"
            )
        factor = budget / self.cost(samples, passes)
        while (plan := self._scaled(factor)).cost(samples, passes) > budget:  # where one step is more than its share
            factor *= 0.99
        return plan

    def _scaled(self, factor: float) -> "Plan":
        def scaled(rounds):
            return tuple(replace(r, steps=max(1, math.floor(r.steps * factor))) for r in rounds)

        return Plan(scaled(self.trunk), scaled(self.leaves), math.floor(self.finish * factor))


def plan(G: Generator) -> Plan:
    """What to search, in proportions of steps: see the module's description.

    A StyleGAN2 is searched by `ilo.solver.schedules.style_rounds`; other generators whose state is more than one
    tensor, without whitening.
    """
    if G.num_layers == 1:
        return Plan((), (Round(0, steps=100, lr=0.1),))
    start = G.sample(1, 0)
    first = Round(0, steps=40, lr=0.1)
    if set(start) == {"features"}:
        second = PriorRound(feature_prior(G, 1), steps=40, lr=0.1, from_mean=False)
    elif {"latents", "styles"} & set(G.run(start, 0, 1)):
        *middle, last = style_rounds(G)
        wider = replace(last, radius={name: 3 * r for name, r in last.radius.items()})
        return Plan((*csgm_rounds(G), *middle), (wider, last), finish=2 * last.steps)
    else:
        second = Round(1, steps=40, lr=0.05)
    if G.num_layers == 2:
        return Plan((first,), (second,))
    leaves = tuple(Round(2, steps=30, lr=0.03, radius=radius) for radius in RADII)
    return Plan((first, second), leaves, finish=40)


@dataclass(frozen=True)
class Candidate:
    """The solutions at one point of the search. images: (S, B, C, H, W) in [−1, 1]; radius None: no ball."""

    layer: int
    radius: float | None
    step: int
    images: Tensor


@dataclass(frozen=True)
class Found:
    """What `search` returns. images, sharp, spread: (B, C, H, W). samples: (draws, B, C, H, W).

    renders(): for each problem-by-problem setting of `tries`, in its order, the images (B, C, H, W) that choosing it
    for all problems would have led to: for experiments that ask what an oracle would choose.
    """

    images: Tensor
    sharp: Tensor
    samples: Tensor
    spread: Tensor
    tries: pd.DataFrame
    history: pd.DataFrame
    status: list[str]
    words: dict[str, Any]
    renders: Callable[[], Iterator[Tensor]]


def search(
    recover: Callable[..., Any],
    G: Generator,
    A: Callable[[Tensor], Tensor],
    y: Tensor,
    start: State,
    settings: Auto,
    seeds: Sequence[int],
    callback: Callable[..., Any] | None,
    progress: bool,
) -> Found:
    """Run the search that the module describes. `recover` runs rounds from a state: `ilo.recover`.

    start: states at layer 0, sample by sample, (S · B, ...). seeds: one for all problems, or one each.
    """
    S, B = settings.samples, len(y)
    linear = isinstance(A, LinearOperator)
    split = _split(A, settings) if linear else None
    if split is None:
        warnings.warn(
            f"nothing can be held out of {'these measurements' if linear else 'measurements by a function that is no '}"
            f"{'' if linear else 'LinearOperator'}: the default setting is used (the last layer, radius and iterate of "
            "the plan)",
            stacklevel=4,
        )
    path = plan(G)
    passes = 2 if settings.refit and split is not None else 1
    path = path.within(settings.budget, S, passes)
    walk = _Walk(recover, G, path, start, S, callback, progress)
    prior = _image_prior(G) if linear else None
    if split is None:
        return _by_default(walk, A, y, prior, settings, seeds)
    kept, held = split
    A_kept, y_kept = A.rows(kept), y.flatten(1)[:, kept]
    A_held, y_held = A.rows(held), y.flatten(1)[:, held]
    candidates = [*walk(A_kept, y_kept), _mean_image(prior, S, B)]
    condition = Conditioner(A_kept, prior.smooth)
    ratios = _ratios(settings.noise)
    errors, predictions = _judge(candidates, ratios, condition, y_kept, A_held, y_held)
    units = A_held.units().to(y.device)
    noise = settings.noise
    noise = (
        torch.full((B,), noise).to(y) if noise is not None else _noise(errors, ratios, condition, y_kept, candidates)
    )
    default = _default(candidates, ratios, noise)
    chosen = _choose(errors, predictions, units, noise, default)
    which, ratio = chosen // len(ratios), torch.tensor(ratios).to(y)[chosen % len(ratios)]
    # solutions that are all the mean image, without a deviation, would be certain of it: theirs is the prior's spread
    certain = (which == len(candidates) - 1) & (ratio == 0)
    tries = _table(candidates, ratios, errors, chosen)
    choice = _Choice(_gather(candidates, which), ratio, noise, certain)
    # the spread is stretched by how far off what was held out really is
    draws = _draws(condition, prior, y_kept, choice, settings.draws, seeds)
    predicted = torch.stack([A_held(x) for x in draws]).flatten(2).var(0) + noise.square()[:, None]  # (B, held)
    missed = errors[chosen, torch.arange(B, device=y.device)].sqrt()  # (B, held)
    stretch = _stretch(missed / predicted.clamp(min=1e-12).sqrt())
    if passes == 2 and not walk.stopped:
        again = [*walk(A, y), _mean_image(prior, S, B)]
        if not walk.stopped:  # else what was found before stands
            candidates, choice = again, replace(choice, solutions=_gather(again, which))
    condition = Conditioner(A, prior.smooth)

    def renders() -> Iterator[Tensor]:
        for candidate in candidates:
            for value in ratios:
                yield condition(y, candidate.images.mean(0), torch.full((B,), value).to(y)).clamp(-1, 1)

    return _finish(walk, condition, prior, A, y, choice, stretch, tries, settings, seeds, renders)


@dataclass(frozen=True)
class _Choice:
    """What was chosen, problem by problem.

    solutions: (S, B, C, H, W). ratio: (B,), scale of the deviation over the noise's variance. noise: (B,), standard
    deviation. certain: (B,), where the deviation is drawn from the generator's variance, whatever the measurements.
    """

    solutions: Tensor
    ratio: Tensor
    noise: Tensor
    certain: Tensor


class _Walk:
    """Runs the plan on given measurements, from the same starts, and collects candidates on the way."""

    def __init__(self, recover, G, path: Plan, start: State, samples: int, callback, progress: bool):
        self._recover, self._G, self.path, self._start, self._samples = recover, G, path, start, samples
        self._callback, self._progress = callback, progress
        self.stopped = False
        self._last: tuple[State, int] = (start, 0)
        self.history: list[pd.DataFrame] = []
        self.status: list[str] = []
        self.words: dict[str, Any] = {}
        self.rounds: list[str] = []
        self.evaluations = 0
        self._index = 0  # of the round, over both passes

    def __call__(self, A, y: Tensor) -> list[Candidate]:
        self.history, self.status, self.rounds = [], ["converged"] * len(y), []
        repeated = y.repeat(self._samples, *[1] * (y.ndim - 1))
        candidates: list[Candidate] = []
        state, layer = self._start, 0
        with progress_bar(sum(round_.steps for round_ in self.path.rounds()), self._progress) as bar:
            for round_ in self.path.trunk:
                state, layer = self._round(A, repeated, round_, state, layer, candidates, bar)
            for round_ in self.path.leaves:
                if not self.stopped:
                    self._last = self._round(A, repeated, round_, state, layer, candidates, bar)
        return candidates

    def finish(self, A, y: Tensor, otherwise: Tensor) -> Tensor:
        """(B, C, H, W): go on from the mean of the solutions' features; `otherwise` where there is no such search."""
        if self.stopped or not self.path.finish:
            return otherwise
        state, layer = self._last
        start = {name: t.unflatten(0, (self._samples, -1)).mean(0) for name, t in state.items()}
        round_ = replace(self.path.leaves[-1], steps=self.path.finish)
        found = [Candidate(round_.layer, None, 0, otherwise[None])]
        with progress_bar(round_.steps, self._progress) as bar:
            self._round(A, y, round_, start, layer, found, bar, samples=1)
        return found[-1].images[0]

    def _round(self, A, y, round_, state, layer, candidates, bar, samples=None):
        if self.stopped:
            return state, layer
        samples = self._samples if samples is None else samples
        half = round_.steps // 2
        bar.set_description(f"layer {round_.layer}")

        def collect(step) -> bool:
            self.stopped = self._callback is not None and bool(self._callback(replace(step, round=self._index)))
            bar.update(step.step > 0)
            if self.stopped or step.step in (half, round_.steps):
                images = step.images.clamp(-1, 1).unflatten(0, (samples, -1))  # (S, B, C, H, W)
                before = candidates[-1].images if candidates else torch.zeros_like(images)
                finite = images.flatten(2).isfinite().all(2)[..., None, None, None]
                images = torch.where(finite, images, before)  # a search that diverged is where it was last seen
                candidates.append(Candidate(round_.layer, _radius(round_), step.step, images))
            return self.stopped

        with torch.no_grad():
            state = self._G.run(state, layer, round_.start_layer)
        with torch.enable_grad():
            result = self._recover(self._G, A, y, rounds=[round_], start=state, callback=collect, progress=False)
        problems = len(y) // samples
        history = result.history
        self.history.append(
            history.assign(
                round=len(self.history), restart=history["problem"] // problems, problem=history["problem"] % problems
            )
        )
        if samples == self._samples:  # the images are of this search; `sharp` alone is of the one that finishes
            self.status = [_together(result.status[b::problems]) for b in range(problems)]
        self.words = result.parameters
        self.rounds += result.parameters["rounds"]
        self._index += 1
        self.evaluations += samples * int(history["step"].max())
        return result.state, result.layer


def _together(words: list[str]) -> str:
    """One word for a problem, of one for each of its solutions."""
    alive = [word for word in words if word != "diverged"]
    if not alive:
        return "diverged"
    return "improving" if 2 * alive.count("improving") >= len(alive) else "converged"


def _radius(round_) -> float | None:
    radius = getattr(round_, "radius", None)
    return radius.get("features") if isinstance(radius, dict) else radius


@dataclass(frozen=True)
class _ImagePrior:
    mean: Tensor  # (1, C, H, W)
    smooth: SmoothPrior
    layer: int


@torch.no_grad()
def _image_prior(G: Generator) -> _ImagePrior:
    n = max(16, min(PRIOR_IMAGES, 2**26 // math.prod(G.image_shape)))
    latents = G.sample(n, 0)
    images = torch.cat([G({k: t[i : i + 16] for k, t in latents.items()}) for i in range(0, n, 16)]).clamp(-1, 1)
    return _ImagePrior(images.mean(0, keepdim=True), smooth_prior(images), G.num_layers)


def _mean_image(prior: _ImagePrior, S: int, B: int) -> Candidate:
    return Candidate(prior.layer, None, 0, prior.mean.expand(S, B, *prior.mean.shape[1:]))


def _split(A: LinearOperator, settings: Auto):
    """Always the same part: a problem must not depend on the seed of another one in its batch."""
    try:
        return A.split(settings.held_out, 0)
    except ValueError:
        return None


def _ratios(noise: float | None) -> list[float]:
    """Scale over the noise's variance. The smallest noise told from none is 0.001."""
    if noise is not None:
        return [scale / max(noise, 1e-3) ** 2 for scale in SCALES]
    return [0.0, *(DEFAULT_SCALE / n**2 for n in reversed(NOISES))]


@torch.no_grad()
def _judge(candidates, ratios, condition, y, A_held, y_held) -> tuple[Tensor, Tensor]:
    """Squared errors on what was held out, and the predictions of it: (candidates · ratios, B, held) each."""
    predictions = []
    for candidate in candidates:
        mean = candidate.images.mean(0)
        for ratio in ratios:
            image = condition(y, mean, torch.full((len(y),), ratio).to(y)).clamp(-1, 1)
            predictions.append(A_held(image).flatten(1))
    predictions = torch.stack(predictions)
    return (predictions - y_held).square(), predictions


def _default(candidates: list[Candidate], ratios: list[float], noise: Tensor) -> Tensor:
    """(B,): the last candidate of the search, at the default scale."""
    wanted = DEFAULT_SCALE / noise.clamp(min=1e-3).square()
    logs = torch.tensor([max(r, 1e-9) for r in ratios]).log().to(noise)
    return (len(candidates) - 2) * len(ratios) + (logs[:, None] - wanted.log()).abs().argmin(0)


def _choose(errors: Tensor, predictions: Tensor, units: Tensor, noise: Tensor, default: Tensor) -> Tensor:
    """(B,): the least mean error, or the default where that is as good.

    As good is: the difference of the means is below twice its standard error, over units that are measured together
    (the channels of a pixel err alike), or below twice the standard deviation that the noise alone gives it,
    2·noise·‖p − q‖/n for predictions p and q of n measurements. Twice, as the least of dozens is least by luck too.
    """
    best = errors.mean(2).argmin(0)  # (B,)
    b = torch.arange(len(best), device=best.device)
    difference = errors[default, b] - errors[best, b]  # (B, held)
    n = difference.shape[1]
    _, where, size = units.unique(return_inverse=True, return_counts=True)
    by_unit = torch.zeros(len(b), len(size)).to(difference).index_add_(1, where, difference) / size  # (B, units)
    count = by_unit.shape[1]
    by_chance = by_unit.std(1) / math.sqrt(count) if count > 1 else torch.full_like(noise, torch.inf)
    by_noise = 2 * noise * (predictions[default, b] - predictions[best, b]).norm(dim=1) / n
    return torch.where(difference.mean(1) > 2 * torch.maximum(by_chance, by_noise), best, default)


def _noise(errors, ratios, condition, y, candidates) -> Tensor:
    """(B,): the most likely noise, given the best ratio of scale to noise: see `Conditioner.noise`."""
    best = errors.mean(2).argmin(0)
    ratio = torch.tensor(ratios).to(y)[best % len(ratios)]
    images = _gather(candidates, best // len(ratios)).mean(0)
    return condition.noise(y, images, ratio)


def _table(candidates, ratios, errors, chosen) -> pd.DataFrame:
    means, picked = errors.mean(2).double().cpu().numpy(), chosen.tolist()
    rows = []
    for c, candidate in enumerate(candidates):
        for r, ratio in enumerate(ratios):
            for problem in range(len(picked)):
                rows.append(
                    {
                        "problem": problem,
                        "layer": candidate.layer,
                        "radius": candidate.radius,
                        "step": candidate.step,
                        "scale_over_noise": ratio,
                        "held_out_mse": means[c * len(ratios) + r, problem],
                        "chosen": picked[problem] == c * len(ratios) + r,
                    }
                )
    return pd.DataFrame(rows).astype({"radius": float})


def _gather(candidates: list[Candidate], which: Tensor) -> Tensor:
    """(S, B, C, H, W): the solutions that each problem chose."""
    return torch.stack([candidates[c].images[:, b] for b, c in enumerate(which.tolist())], 1)


@torch.no_grad()
def _draws(condition, prior, y, choice: _Choice, count: int, seeds) -> Tensor:
    """(count, B, C, H, W): each a solution plus a smooth deviation drawn given the measurements, by Matheron's rule."""
    S, B = choice.solutions.shape[:2]
    variance = torch.where(choice.certain, 1.0, choice.ratio * choice.noise.clamp(min=1e-3).square())
    scale = variance.sqrt().view(-1, 1, 1, 1)
    # streams of their own: deviation and error must not repeat each other, nor the latents that the search began from
    streams = [[stream(seed, purpose).initial_seed() for seed in seeds] for purpose in ("deviation", "error")]
    fields = torch.stack([prior.smooth.sample(count, seed) for seed in streams[0]], 1)  # (count, seeds, C, H, W)
    errors = [normal(seed, count, y.shape[1:], dtype=y.dtype, device=y.device) for seed in streams[1]]
    errors = torch.stack(errors, 1)
    draws = []
    for i in range(count):
        start = choice.solutions[i % S] + scale * fields[i]
        perturbed = y + choice.noise.view(-1, *[1] * (y.ndim - 1)) * errors[i]
        draws.append(condition(perturbed, start.expand(B, *start.shape[1:]), choice.ratio).clamp(-1, 1))
    return torch.stack(draws)


def _stretch(standardised: Tensor, prior: int = 20) -> Tensor:
    """(B,): factor of the spread with which 90 % of what was held out lies within its 90 % interval.

    The 90 % quantile of the standardised errors over that of a normal variable, drawn toward 1 as `prior` held-out
    measurements more would.
    """
    n = standardised.shape[1]
    factor = standardised.quantile(0.9, dim=1) / NINETY
    return ((n * factor.square() + prior) / (n + prior)).sqrt()


def _finish(walk, condition, prior, A, y, choice: _Choice, stretch, tries, settings, seeds, renders) -> Found:
    images = condition(y, choice.solutions.mean(0), choice.ratio).clamp(-1, 1)
    samples = _draws(condition, prior, y, choice, settings.draws, seeds)
    spread = samples.std(0) * stretch.view(-1, 1, 1, 1)
    one = walk.finish(A, y, otherwise=_nearest(A, y, choice.solutions))
    sharp = condition(y, one, choice.ratio).clamp(-1, 1)
    return Found(images, sharp, samples, spread, tries, *_report(walk, settings, choice.noise, stretch), renders)


def _nearest(A, y: Tensor, found: Tensor) -> Tensor:
    """(B, C, H, W): of each problem's solutions (S, B, C, H, W) the one that is nearest to its measurements."""
    misfit = torch.stack([(A(x) - y).flatten(1).square().sum(1) for x in found]).nan_to_num(nan=torch.inf)  # (S, B)
    return found[misfit.argmin(0), torch.arange(len(y), device=y.device)]


def _by_default(walk, A, y, prior, settings, seeds) -> Found:
    """Nothing was held out: the last candidate, and if the operator is linear the deviation at the default scale."""
    B = len(y)
    last = walk(A, y)[-1]
    noise = torch.full((B,), 0.02 if settings.noise is None else settings.noise).to(y)
    tries = pd.DataFrame(
        columns=["problem", "layer", "radius", "step", "scale_over_noise", "held_out_mse", "chosen"], dtype=float
    )
    one = torch.ones_like(noise)
    if prior is not None:
        ratio = DEFAULT_SCALE / noise.clamp(min=1e-3).square()
        choice = _Choice(last.images, ratio, noise, certain=torch.zeros_like(noise, dtype=torch.bool))
        condition = Conditioner(A, prior.smooth)
        return _finish(walk, condition, prior, A, y, choice, one, tries, settings, seeds, lambda: iter(()))
    images = _nearest(A, y, last.images)  # the mean of solutions does not solve a problem that is not linear
    samples = last.images
    return Found(images, images, samples, samples.std(0), tries, *_report(walk, settings, noise, one), lambda: iter(()))


def _report(walk: _Walk, settings: Auto, noise: Tensor, stretch: Tensor):
    history = pd.concat(walk.history, ignore_index=True)
    status = ["stopped"] * len(walk.status) if walk.stopped else walk.status
    words = {
        **walk.words,
        "rounds": [repr(settings), *walk.rounds],
        "noise": [round(float(n), 6) for n in noise],
        "stretch": [round(float(s), 4) for s in stretch],
        "evaluations": walk.evaluations,
    }
    return history, status, words
