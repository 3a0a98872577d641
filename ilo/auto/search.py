"""The automatic search, `ilo.recover(..., rounds="auto")`, in four steps. Ours, not the paper's.

1. Hold out: a part of the measurements is put aside (`ilo.auto.choose`).
2. Walk: on the rest, several solutions are searched side by side, from latents about the linear estimate: the latent
   first, then the features of layer 1 in whitened coordinates, then those of layer 2 in an l1 ball (`ilo.auto.plan`).
   At checkpoints along the way the mean of the solutions is a candidate, and so is the generator's mean image
   (`ilo.auto.walk`).
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

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ilo.auto import choose, posterior
from ilo.auto.plan import Auto, plan_for
from ilo.auto.posterior import Choice, ImagePrior
from ilo.auto.smooth import Conditioner
from ilo.auto.walk import Candidate, Walk
from ilo.generators.base import Generator
from ilo.operators import LinearOperator
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


def search_automatically(request: Request, watch: Watch, progress: bool) -> AutoResult:
    """Run the search that the module describes; to be called under `torch.no_grad`."""
    split = choose.hold_out(request.A, request.y, request.settings)
    if split is None:
        linear = isinstance(request.A, LinearOperator)
        warnings.warn(
            f"nothing can be held out of {'these measurements' if linear else 'measurements by a function that is no '}"
            f"{'' if linear else 'LinearOperator'}: the default setting is used (the last layer, radius and iterate of "
            "the plan)",
            stacklevel=4,
        )
        return _by_default(request, _walk(request, 1, watch, progress))
    passes = 2 if request.settings.refit else 1
    walk = _walk(request, passes, watch, progress)
    prior = posterior.image_prior(request.G)
    candidates = [*walk(split.A, split.y), posterior.mean_image(prior, request.samples)]
    verdict = _judge(request, split, candidates, prior)
    if passes == 2 and not walk.stopped:
        again = [*walk(request.A, request.y), posterior.mean_image(prior, request.samples)]
        if not walk.stopped:  # else what was found before stands
            candidates = again
            choice = replace(verdict.choice, solutions=choose.gather(again, verdict.candidate))
            verdict = replace(verdict, choice=choice)
    return _finish(request, walk, prior, candidates, verdict)


def _walk(request: Request, passes: int, watch: Watch, progress: bool) -> Walk:
    plan = plan_for(request.G).within(request.settings.budget, request.settings.samples, passes)
    draws = drawn_states(request.G, request.seeds, request.samples)
    return Walk(request.G, plan, draws, request.samples, watch, progress, request.settings.noise or 0.0)


def _judge(request: Request, split: choose.Split, candidates: Sequence[Candidate], prior: ImagePrior) -> Verdict:
    settings, y = request.settings, request.y
    condition = Conditioner(split.A, prior.smooth)
    ratios = choose.scale_ratios(settings.noise)
    judged = choose.judge(candidates, ratios, condition, split)
    if settings.noise is None:
        noise = choose.estimated_noise(judged, candidates, ratios, condition, split.y)
    else:
        noise = torch.full((len(y),), settings.noise).to(y)
    default = choose.default_setting(candidates, ratios, noise)
    chosen = choose.choose(judged, split.A_held.units().to(y.device), noise, default)
    ratio = torch.tensor(ratios).to(y)[chosen.scale]
    # solutions that are all the mean image, without a deviation, would be certain of it: theirs is the prior's spread
    certain = (chosen.candidate == len(candidates) - 1) & (ratio == 0)
    choice = Choice(choose.gather(candidates, chosen.candidate), ratio, noise, certain)
    # the spread is stretched by how far off what was held out really is
    drawn = posterior.draws(condition, prior, split.y, choice, settings.draws, request.seeds)
    predicted = torch.stack([split.A_held(x) for x in drawn]).flatten(2).var(0) + noise.square()[:, None]  # (B, held)
    missed = chosen.of(judged.errors).sqrt()  # (B, held)
    stretch = posterior.stretch(missed / predicted.clamp(min=1e-12).sqrt())
    by_default = chosen.candidate == default.candidate
    return Verdict(
        choice, chosen.candidate, by_default, stretch, choose.table(candidates, ratios, judged, chosen), ratios
    )


def _finish(
    request: Request, walk: Walk, prior: ImagePrior, candidates: Sequence[Candidate], verdict: Verdict
) -> AutoResult:
    A, y, choice = request.A, request.y, verdict.choice
    condition = Conditioner(A, prior.smooth)
    samples = posterior.draws(condition, prior, y, choice, request.settings.draws, request.seeds)
    one = walk.finish(A, y, otherwise=posterior.nearest(A, y, choice.solutions))

    def mean(solutions: Tensor, default: Tensor) -> Tensor:
        """(B, C, H, W): of the solutions (S, B, C, H, W), with the one that finishes the default candidate (B,)."""
        return solutions.mean(0).lerp(one, SHARE * default.to(y).view(-1, 1, 1, 1))

    images = condition(y, mean(choice.solutions, verdict.default), choice.ratio).clamp(-1, 1)

    def renders() -> Iterator[Tensor]:
        for candidate in candidates:
            start = mean(candidate.images, torch.full((len(y),), candidate.default))
            for ratio in verdict.ratios:
                yield condition(y, start, torch.full((len(y),), ratio).to(y)).clamp(-1, 1)

    return AutoResult(
        images=images,
        sharp=condition(y, one, choice.ratio).clamp(-1, 1),
        samples=samples,
        spread=samples.std(0) * verdict.stretch.view(-1, 1, 1, 1),
        tries=verdict.tries,
        renders=renders,
        **_report(request, walk, images, choice.noise, verdict.stretch),
    )


def _by_default(request: Request, walk: Walk) -> AutoResult:
    """Nothing was held out: the last candidate, and if the operator is linear the deviation at the default scale."""
    y, settings = request.y, request.settings
    prior = posterior.image_prior(request.G) if isinstance(request.A, LinearOperator) else None
    last = walk(request.A, y)[-1].images  # (S, B, C, H, W)
    noise = torch.full((len(y),), UNKNOWN_NOISE if settings.noise is None else settings.noise).to(y)
    one = torch.ones_like(noise)
    if prior is not None:
        ratio = choose.DEFAULT_SCALE / noise.clamp(min=choose.NO_NOISE).square()
        choice = Choice(last, ratio, noise, certain=torch.zeros_like(noise, dtype=torch.bool))
        verdict = Verdict(choice, torch.zeros_like(noise), one > 0, one, choose.empty_table(), ratios=())
        return _finish(request, walk, prior, (), verdict)
    images = posterior.nearest(request.A, y, last)  # the mean of solutions does not solve a problem that is not linear
    return AutoResult(
        images=images,
        sharp=images,
        samples=last,
        spread=last.std(0),
        tries=choose.empty_table(),
        renders=lambda: iter(()),
        **_report(request, walk, images, noise, one),
    )


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
