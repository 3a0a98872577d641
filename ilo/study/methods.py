"""The methods of the experiments, by name, so that "ILO" and "TV" mean the same in every figure.

Each has the one signature of a grid's methods (`ilo.study.cells.Method`), and a line of `METHODS`. All see the same
measurements. The names are those of `ilo.plots.METHODS`, which gives each its colour and its place.

| name | what it is |
| --- | --- |
| CSGM | the latent alone (Bora et al. 2017), by its best search here: L-BFGS from the linear estimate, restarts |
| CSGM (published) | the same by its authors' setting: Adam at 0.1, 500 steps, 2 random restarts |
| PULSE | the latent on its sphere (Menon et al. 2020), with the authors' schedule, at twice their rate |
| ILO | the paper's: from CSGM's solution on, deeper rounds, each in an l1 ball: `ilo.paper_rounds` |
| ILO (no ball) | the same without its balls |
| ILO (Algorithm 1) | the same with the paper's Algorithm 1 at layer 1: the ball follows the range |
| ILO (joint) | the same with latent and deviation searched together at layer 1, as the theorem has it |
| ILO (release) | its authors' code by default: no ball, LPIPS beside the squared error: `ilo.baselines.release` |
| ILO (whitened) | ours: layer 1 from its prior's mean in whitened coordinates, then a ball: `ilo.whitened_rounds` |
| ILO auto · ILO auto, sharp | ours, `rounds="auto"`: the mean of several solutions · one solution |
| Smooth field | no search: what the measurements say of a smooth image: `ilo.baselines.smooth_field` |
| TV · LASSO (DCT) · LASSO (wavelet) · Deep decoder · Bicubic | no generator: `ilo.baselines` |
| Deep decoder (mean of 4) | four of them, averaged: to its one what "ILO auto" is to "ILO auto, sharp" |

The column `evaluations` counts forward and backward passes through the generator, per image: what a search costs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor

from ilo import baselines
from ilo.auto.plan import Auto
from ilo.generators.base import Generator
from ilo.operators import LinearOperator
from ilo.recovery import recover
from ilo.solver.extended_range import AlternatingRound, JointRound
from ilo.solver.inputs import frozen_run
from ilo.solver.linear_start import linear_start
from ilo.solver.result import Result
from ilo.solver.rounds import Round, SearchRound, with_share
from ilo.solver.schedules import latent_rounds, paper_rounds, release_rounds, whitened_rounds
from ilo.study import autos, classical
from ilo.study.cells import Answer, Method
from ilo.study.problems import Problem

RESTARTS = 4


@dataclass(frozen=True)
class Latent:
    """What CSGM found, from which the deeper searches go on; evaluations: what it has cost."""

    result: Result
    evaluations: int

    @classmethod
    def found(cls, G: Generator, A: LinearOperator, y: Tensor, first: Round, drawn: Mapping[str, Any]) -> "Latent":
        """Search from the linear estimate; drawn: restarts, rng and noise, as `ilo.linear_start` takes them."""
        start = linear_start(G, A, y, **drawn)
        options = {"start": start, "rng": drawn["rng"], "restarts": drawn["restarts"], "progress": False}
        return cls(recover(G, A, y, rounds=[first], **options), drawn["restarts"] * first.steps)

    def answer(self) -> Answer:
        return _answer(self.result, self.evaluations)

    def onward(self, G: Generator, A: LinearOperator, y: Tensor, rounds: Sequence[SearchRound]) -> Answer:
        """Go on by deeper rounds; a generator of one layer has none."""
        if not rounds:
            return self.answer()
        state = frozen_run(G, self.result.state, 0, rounds[0].start_layer)
        found = recover(G, A, y, rounds=rounds, start=state, progress=False)
        return _answer(found, self.evaluations + _steps(rounds))


def searches(
    A: LinearOperator,
    y: Tensor,
    *,
    G: Generator,
    rng: int,
    noise: float,
    restarts: int = RESTARTS,
    share: float = 1.0,
    radius: float | None = 1000.0,
) -> dict[str, Answer]:
    """Search the generator as the paper does: "CSGM", then "ILO" from what that found, by `ilo.paper_rounds`.

    CSGM goes without the penalty on its latent, which makes it worse (data/reference/tuning_first_stage.csv).

    Args:
        share: of the steps of every round, in (0, 1]: less for a look in less time.
        radius: of ILO's balls, None for none; not of a StyleGAN2's.
    """
    first, *deeper = shortened(paper_rounds(G, radius), share)
    csgm = Latent.found(G, A, y, first, {"restarts": restarts, "rng": rng, "noise": noise})
    return {"CSGM": csgm.answer(), "ILO": csgm.onward(G, A, y, deeper)}


def no_ball(
    A: LinearOperator,
    y: Tensor,
    *,
    G: Generator,
    rng: int,
    noise: float,
    restarts: int = RESTARTS,
    share: float = 1.0,
) -> Answer:
    """`searches` without radii: what the balls are worth."""
    found = searches(A, y, G=G, rng=rng, noise=noise, restarts=restarts, share=share, radius=None)
    return found["ILO"]


def schemes(
    A: LinearOperator,
    y: Tensor,
    *,
    G: Generator,
    rng: int,
    noise: float,
    restarts: int = RESTARTS,
    share: float = 1.0,
    radius: float = 1000.0,
) -> dict[str, Answer]:
    """`searches` and, from the same latent that "CSGM" found, the other searches of the extended range.

    Those are "ILO (no ball)"; "ILO (Algorithm 1)" and "ILO (joint)" (`ilo.AlternatingRound`, `ilo.JointRound`) at
    layer 1, then the paper's round at layer 2. Their ball of latents holds nearly all that the generator draws, and
    what was found: its radius is 1.2·√k for k numbers.
    """
    first, *deeper = shortened(paper_rounds(G, radius), share)
    csgm = Latent.found(G, A, y, first, {"restarts": restarts, "rng": rng, "noise": noise})
    r1 = 1.2 * math.prod(G.latent_shapes["features"]) ** 0.5
    at_1, *after = deeper
    extended = {"steps": at_1.steps, "lr": at_1.lr, "radius": radius, "r1": r1}
    rounds = {
        "ILO": deeper,
        "ILO (no ball)": [replace(round_, radius=None) for round_ in deeper],
        "ILO (Algorithm 1)": [AlternatingRound(1, **extended), *after],
        "ILO (joint)": [JointRound(1, **extended), *after],
    }
    return {"CSGM": csgm.answer(), **{name: csgm.onward(G, A, y, each) for name, each in rounds.items()}}


def strong_csgm(
    A: LinearOperator,
    y: Tensor,
    *,
    G: Generator,
    rng: int,
    noise: float,
    restarts: int = RESTARTS,
    share: float = 1.0,
) -> Answer:
    """The first round of `searches` alone."""
    (first,) = shortened(latent_rounds(G), share)
    return Latent.found(G, A, y, first, {"restarts": restarts, "rng": rng, "noise": noise}).answer()


def published_csgm(A: LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float, share: float = 1.0) -> Answer:
    """`ilo.baselines.csgm` as its authors ran it on CelebA without the penalty: 500 steps at 0.1, 2 restarts."""
    steps, restarts = max(1, round(500 * share)), 2
    found = baselines.csgm(G, A, y, steps=steps, restarts=restarts, penalty=0.0, rng=rng, progress=False)
    return _answer(found, restarts * steps)


def pulse(A: LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float, restarts: int = RESTARTS) -> Answer:
    """`ilo.baselines.pulse`, with as many restarts as CSGM has, and twice the published rate.

    It has all its steps whatever share the others take: its schedule is made for so many, and in fewer it gets nowhere.
    """
    steps = 100
    found = baselines.pulse(G, A, y, steps=steps, lr=0.8, restarts=restarts, rng=rng, progress=False)
    return _answer(found, restarts * steps)


def whitened(A: LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float, share: float = 1.0) -> Answer:
    """`ilo.whitened_rounds`: from the prior's mean where the state is one tensor, else from a drawn latent."""
    rounds = shortened(whitened_rounds(G), share)
    return _answer(recover(G, A, y, rounds=rounds, rng=rng, progress=False), _steps(rounds))


def release(A: LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float, share: float = 1.0) -> Answer:
    """`ilo.baselines.release`, with the steps that are the default there."""
    rounds = shortened(release_rounds(G), share)
    return _answer(baselines.release(G, A, y, rounds=rounds, rng=rng, progress=False), _steps(rounds))


def smooth_field(A: LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float) -> Tensor:
    """`ilo.baselines.smooth_field`, which sees of the generator its images' mean and how smooth they are."""
    return baselines.smooth_field(G, A, y, noise=noise)


METHODS: dict[str, Method] = {
    "CSGM": strong_csgm,
    "CSGM (published)": published_csgm,
    "PULSE": pulse,
    "ILO": searches,
    "ILO (no ball)": no_ball,
    "ILO (schemes)": schemes,
    "ILO (release)": release,
    "ILO (whitened)": whitened,
    "ILO auto": autos.automatic,
    "Smooth field": smooth_field,
    "TV": classical.by_total_variation,
    "LASSO (DCT)": classical.by_lasso_dct,
    "LASSO (wavelet)": classical.by_lasso_wavelet,
    "Deep decoder": classical.by_deep_decoder,
    "Deep decoder (mean of 4)": classical.by_four_decoders,
    "Bicubic": classical.by_bicubic,
}
# The names of their rows, of those that answer for several.
ANSWERS = {
    "ILO": ("CSGM", "ILO"),
    "ILO (schemes)": ("CSGM", "ILO", "ILO (no ball)", "ILO (Algorithm 1)", "ILO (joint)"),
    "ILO auto": ("ILO auto", "ILO auto, sharp", "oracle"),
}
# In the experiments, side by side; CSGM comes with ILO. The second settings of methods are in the reference rows.
COMPARED = (
    *("ILO auto", "ILO", "ILO (whitened)", "PULSE", "Smooth field"),
    *("LASSO (DCT)", "LASSO (wavelet)", "TV", "Deep decoder", "Bicubic"),
)


def methods_for(
    problem: Problem,
    names: Sequence[str] = COMPARED,
    *,
    restarts: int = RESTARTS,
    share: float = 1.0,
    radius: float = 1000.0,
) -> dict[str, Method]:
    """Return the methods that answer for `names` and can solve `problem`: bicubic is one of super-resolution alone.

    A name that another of the chosen methods answers for brings nothing of its own: "CSGM" beside "ILO".

    restarts, share, radius: of the searches of a generator that have them; auto has the share of its budget, and PULSE
    all of its steps.

    ValueError for a name that there is not, or a share outside (0, 1].
    """
    _check_share(share)
    chosen = [_method_of(name) for name in names]
    answered = {answer for name in chosen for answer in ANSWERS.get(name, ()) if answer != name}
    if problem.task != "super-resolution":
        answered.add("Bicubic")
    searched = {"restarts": restarts, "share": share}
    settings = {name: searched for name in ("CSGM", "ILO (no ball)")}
    settings["PULSE"] = {"restarts": restarts}
    settings |= {name: {**searched, "radius": radius} for name in ("ILO", "ILO (schemes)")}
    settings |= {name: {"share": share} for name in ("CSGM (published)", "ILO (release)", "ILO (whitened)")}
    settings["ILO auto"] = {"budget": round(share * Auto.budget)}
    return {name: partial(METHODS[name], **settings.get(name, {})) for name in chosen if name not in answered}


def _method_of(name: str) -> str:
    """The method that answers for a name."""
    found = name if name in METHODS else next((m for m, answers in ANSWERS.items() if name in answers), None)
    if found is None:
        raise ValueError(f"no method {name!r}: there are {', '.join(METHODS)}")
    return found


def _answer(result: Result, evaluations: int) -> Answer:
    return Answer(result.images, {"evaluations": evaluations})


def _steps(rounds: Sequence[SearchRound]) -> int:
    return sum(round_.steps for round_ in rounds)


def shortened(rounds: Sequence[Round], share: float) -> list[Round]:
    """Return the rounds with `share` of their steps, in (0, 1], at least one each."""
    _check_share(share)
    return with_share(rounds, share)


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"share is the part of every round's steps to take, in (0, 1], got {share}")
