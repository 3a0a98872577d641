"""The automatic search, `ilo.recover(..., rounds="auto")`, in four steps. Ours, not the paper's.

1. Hold out: a part of the measurements is put aside (`ilo.auto.choose`), beside holes in blocks (`ilo.auto.holes`).
2. Walk: on the rest, several solutions are searched side by side, from latents about the linear estimate: the latent
   first, then the features of layer 1 in whitened coordinates, then those of layer 2 in an l1 ball (`ilo.auto.plan`).
   At checkpoints along the way the mean of the solutions, the linear estimate of the image counted as one more, is a
   candidate, and so is the generator's mean image (`ilo.auto.walk`).
3. Judge: what a candidate leaves unexplained is taken for a smooth deviation from the range, a round on the image
   itself, at several scales (`ilo.auto.smooth`). The candidate with the least error on what was held out is chosen,
   problem by problem; but where it leads the default by no more than noise and the choice of the held-out part do by
   chance, the default is.
4. Finish: the deviation of the chosen candidate is fitted to all measurements, or the whole setting is (`Auto.refit`);
   samples of the posterior and their spread come from the same solutions (`ilo.auto.posterior`). The mean of several
   solutions has the least squared error, and is blurred where they disagree: so that there is a picture as well,
   `AutoResult.sharp` is one solution more, the search of the last layer going on from the mean of the solutions'
   *features*, on all measurements. Where the default candidate was chosen it has a share in the mean, too.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ilo.auto import choose, evidence, holes, linearise, posterior
from ilo.auto.familiar import familiarity
from ilo.auto.plan import Auto, plan_for
from ilo.auto.posterior import Choice, ImagePrior
from ilo.auto.walk import Candidate, Walk
from ilo.generators.base import Generator
from ilo.operators import Camera, LinearOperator
from ilo.solver.copies import Copies
from ilo.solver.history import history_frame
from ilo.solver.inputs import drawn_states
from ilo.solver.loop import Watch
from ilo.solver.objectives import SquaredError
from ilo.solver.result import AutoResult

SHARE = 0.2  # of the search that finishes, in the mean of the solutions
UNKNOWN_NOISE = 0.02  # what is taken for the noise where it is neither given nor can be estimated


@dataclass(frozen=True)
class Request:
    """What is asked: measurements y (B, ...) by A, checked and on the generator's device; seeds: one, or one each."""

    G: Generator
    A: Callable[[Tensor], Tensor]
    y: Tensor
    settings: Auto
    seeds: Sequence[int]

    @property
    def samples(self) -> Copies:
        return Copies(self.settings.samples, len(self.y))


@dataclass(frozen=True)
class Verdict:
    """What was chosen, by what, and by how much the spread is stretched, (B,)."""

    choice: Choice
    candidate: Tensor  # (B,)
    default: Tensor  # (B,), whether that is the default one
    stretch: Tensor  # (B,)
    tries: pd.DataFrame
    ratios: Sequence[float]
    evidence: dict[str, list]  # columns of `AutoResult.evidence`


def search_automatically(request: Request, watch: Watch, progress: bool) -> AutoResult:
    """Run the search that the module describes; to be called under `torch.no_grad`."""
    A, y, settings = linearise.prepared(request.G, request.A, request.y, request.settings)
    result = _search(replace(request, A=A, y=y, settings=settings), watch, progress)
    return (
        result if A is request.A else replace(result, objective=SquaredError(request.A, request.y)(result.images, {}))
    )


def _search(request: Request, watch: Watch, progress: bool) -> AutoResult:
    split = choose.hold_out(request.A, request.y, request.settings)
    if split is None:
        if isinstance(request.A, (LinearOperator, Camera)):
            warnings.warn(
                "nothing can be held out of these measurements: the default setting is used (the last layer, radius "
                "and iterate of the plan)",
                stacklevel=5,
            )
        return _by_default(request, _walk(request, 1, watch, progress))
    passes = 2 if request.settings.refit else 1
    walk = _walk(request, passes, watch, progress)
    prior = posterior.image_prior(request.G)
    candidates = _candidates(walk, prior, split.A, split.y)
    verdict = _judge(request, split, candidates, prior)
    if passes == 2 and not walk.stopped:
        again = _candidates(walk, prior, request.A, request.y)
        if not walk.stopped:  # else what was found before stands
            candidates = again
            choice = replace(verdict.choice, solutions=choose.gather(again, verdict.candidate))
            verdict = replace(verdict, choice=choice)
    return _finish(request, walk, prior, candidates, verdict)


def _walk(request: Request, passes: int, watch: Watch, progress: bool) -> Walk:
    plan = plan_for(request.G).within(request.settings.budget, request.settings.samples, passes)
    draws = drawn_states(request.G, request.seeds, request.samples)
    return Walk(request.G, plan, draws, request.samples, watch, progress, request.settings.noise or 0.0)


def _candidates(walk: Walk, prior: ImagePrior, A: LinearOperator, y: Tensor) -> list[Candidate]:
    found = walk(A, y)
    return [*found, posterior.mean_image(prior, found[-1])]


def _judge(request: Request, split: choose.Split, candidates: Sequence[Candidate], prior: ImagePrior) -> Verdict:
    settings, y = request.settings, request.y
    condition = linearise.conditioner(split.A, prior.smooth, steps=1)  # enough to compare by
    ratios = choose.scale_ratios(settings.noise)
    judged = choose.judge(candidates, ratios, condition, split)
    if settings.noise is None and split.blocks:
        # what is best for a hole is not what the noise is like: pixels held out one by one tell it
        one, known = split.scattered(settings.held_out), [c for c in candidates if c.default][:1]
        by_pixels = choose.judge(known, ratios, linearise.conditioner(one.A, prior.smooth, steps=1), one)
        noise = choose.estimated_noise(by_pixels, known, ratios, condition, split.y)
    elif settings.noise is None:
        noise = choose.estimated_noise(judged, candidates, ratios, condition, split.y)
    else:
        noise = torch.full((len(y),), settings.noise).to(y)
    default = choose.default_setting(candidates, ratios, noise)
    chosen = choose.choose(judged, split.together.to(y.device), noise, default)
    ratio = torch.tensor(ratios).to(y)[chosen.scale]
    # solutions that are all the mean image, without a deviation, would be certain of it: theirs is the prior's spread
    certain = (chosen.candidate == len(candidates) - 1) & (ratio == 0)
    choice = Choice(choose.gather(candidates, chosen.candidate), ratio, noise, certain)
    # the spread is stretched by how far off what was held out really is
    drawn = posterior.draws(condition, prior, split.y, choice, settings.draws, request.seeds, view=split.A_held)
    missed = chosen.of(judged.errors).sqrt()  # (B, held)
    errors = missed.masked_fill(linearise.left_out(split.A_held, missed), torch.nan)
    stretch = posterior.stretch(errors, drawn.prior, drawn.noise + noise.square()[:, None])
    if not (isinstance(split.A, LinearOperator) and holes.sees_all_colours(split.A_held)):
        # what is rounded to 0 is predicted too well, and says little of pixels; grey says nothing of colours
        stretch = stretch.clamp(min=1)
    by_default = chosen.candidate == default.candidate
    tries = choose.table(candidates, ratios, judged, chosen)
    told = evidence.of_choice(candidates, judged, chosen, default) | evidence.of_places(request.A, split, len(y))
    return Verdict(choice, chosen.candidate, by_default, stretch, tries, ratios, told)


def _finish(
    request: Request, walk: Walk, prior: ImagePrior, candidates: Sequence[Candidate], verdict: Verdict
) -> AutoResult:
    A, y, choice = request.A, request.y, verdict.choice
    condition = linearise.conditioner(A, prior.smooth)
    roughly = linearise.conditioner(A, prior.smooth, steps=1) if isinstance(A, Camera) else condition
    drawn = posterior.draws(roughly, prior, y, choice, request.settings.draws, request.seeds)
    searched = choice.solutions[: request.settings.samples]  # without the linear estimate
    one = walk.finish(A, y, otherwise=posterior.nearest(A, y, searched))

    def mean(solutions: Tensor, default: Tensor) -> Tensor:
        """(B, C, H, W): of the solutions (S, B, C, H, W), with the one that finishes the default candidate (B,)."""
        return solutions.mean(0).lerp(one, SHARE * default.to(y).view(-1, 1, 1, 1))

    found = mean(choice.solutions, verdict.default)
    images = condition(y, found, choice.ratio).clamp(-1, 1)

    def renders() -> Iterator[Tensor]:
        for candidate in candidates:
            start = mean(candidate.images, torch.full((len(y),), candidate.default))
            for ratio in verdict.ratios:
                yield roughly(y, start, torch.full((len(y),), ratio).to(y)).clamp(-1, 1)

    inside = [candidate.images.mean(0) for candidate in candidates if candidate.layer == 0]
    parts = evidence.of_parts(images, found, prior.mean, inside[-1] if inside else None)
    return AutoResult(
        images=images,
        sharp=condition(y, one, choice.ratio).clamp(-1, 1),
        samples=drawn.samples,
        spread=drawn.spread(verdict.stretch),
        tries=verdict.tries,
        evidence=_evidence(request, choice, verdict.evidence | parts),
        renders=renders,
        **_report(request, walk, images, choice.noise, verdict.stretch),
    )


def _by_default(request: Request, walk: Walk) -> AutoResult:
    """Nothing was held out: the last candidate, and the deviation at the default scale, if there can be one."""
    y, settings = request.y, request.settings
    known = isinstance(request.A, (LinearOperator, Camera))
    prior = posterior.image_prior(request.G) if known else None
    last = walk(request.A, y)[-1].images  # (S, B, C, H, W)
    noise = torch.full((len(y),), UNKNOWN_NOISE if settings.noise is None else settings.noise).to(y)
    one = torch.ones_like(noise)
    told = evidence.unjudged(len(y)) | evidence.of_places(request.A, None, len(y))
    if prior is not None:
        ratio = choose.DEFAULT_SCALE / noise.clamp(min=choose.NO_NOISE).square()
        choice = Choice(last, ratio, noise, certain=torch.zeros_like(noise, dtype=torch.bool))
        verdict = Verdict(choice, torch.zeros_like(noise), one > 0, one, choose.empty_table(), (), told)
        return _finish(request, walk, prior, (), verdict)
    last = last[: settings.samples]  # without the linear estimate
    images = posterior.nearest(request.A, y, last)  # the mean of solutions does not solve a problem that is not linear
    choice = Choice(last, torch.zeros_like(noise), noise, certain=torch.zeros_like(noise, dtype=torch.bool))
    return AutoResult(
        images=images,
        sharp=images,
        samples=last,
        spread=last.std(0),
        tries=choose.empty_table(),
        evidence=_evidence(request, choice, told | evidence.of_parts(images, images, None, None)),
        renders=lambda: iter(()),
        **_report(request, walk, images, noise, one),
    )


def _evidence(request: Request, choice: Choice, told: dict[str, list]) -> pd.DataFrame:
    """The table of that name. told: its columns of what was chosen and of the image."""
    given, problems = request.settings.noise is not None, len(request.y)
    judged = not math.isnan(told["held_out_mse"][0])  # else a noise that is not given is not estimated either
    noise = choice.noise if given or judged else torch.full_like(choice.noise, torch.nan)
    strange = familiarity(request.G, *linearise.shared(request.A, request.y), noise)
    said = [request.settings.noise] * problems if given else noise.tolist()  # as it was given, not as rounded
    # of the deviation's variance, in units of the generator's own
    scale = (choice.ratio * choice.noise.clamp(min=choose.NO_NOISE).square()).tolist()
    return evidence.table(**told, scale=scale, noise=said, noise_given=[given] * problems, familiar=strange.tolist())


def _report(request: Request, walk: Walk, images: Tensor, noise: Tensor, stretch: Tensor) -> dict[str, Any]:
    """What every result has, beside its images."""
    return {
        "objective": SquaredError(request.A, request.y)(images, {}),
        "history": history_frame(walk.traces),
        "status": ["stopped"] * len(walk.status) if walk.stopped else walk.status,
        "parameters": {
            "rounds": [repr(request.settings), *walk.rounds],
            "noise": [round(float(n), 6) for n in noise],
            "stretch": [round(float(s), 4) for s in stretch],
            "evaluations": walk.evaluations,
        },
    }
