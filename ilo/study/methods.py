"""The methods of the experiments, as `ilo.study` runs them, so that "ILO" and "TV" mean the same in every figure.

All see the same measurements, and the searches of the generator the same starting latents. The names are those of
`ilo.plots.METHODS`, which gives each its colour and its place.

The column `evaluations` counts forward and backward passes through the generator, an image: what a search costs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd
from torch import Tensor

from ilo import baselines, study
from ilo.generators.base import Generator
from ilo.operators import LinearOperator
from ilo.recovery import recover
from ilo.solver.result import Result
from ilo.solver.rounds import Round
from ilo.solver.schedules import csgm_rounds, default_rounds
from ilo.study.cells import Answer, Method
from ilo.study.problems import Problem

BALLS = "ILO (l1 balls)"


def searches(
    A: LinearOperator,
    y: Tensor,
    *,
    G: Generator,
    rng: int,
    restarts: int = 3,
    share: float = 1.0,
    radius: float | None = None,
) -> dict[str, Answer]:
    """Search the generator: "CSGM" from `restarts` latents, and "ILO" by `ilo.default_rounds` from what that found.

    CSGM goes without the penalty on its latent, which makes it worse on this project's generator: 24.7 against 20.7 dB
    at 10 % of the pixels (`python -m benchmarks baselines`).

    Args:
        share: of the steps of every round, in (0, 1]: less for a look in less time.
        radius: also "ILO (l1 balls)", from the same CSGM solution: ILO as the paper has it, 150 steps at layer 1 and
            100 at layer 2, each in an l1 ball of this radius about the solution of the round before.
    """
    first = shortened(csgm_rounds(G), share)
    found = recover(G, A, y, rounds=first, rng=rng, restarts=restarts, progress=False)
    spent = restarts * _steps(first)
    answers = {"CSGM": _answer(found, spent)}
    continued = {"ILO": default_rounds(G)[len(first) :]}
    if radius is not None:
        balls = [Round(1, steps=150, lr=0.05, radius=radius), Round(2, steps=100, lr=0.03, radius=radius)]
        continued[BALLS] = [round_ for round_ in balls if round_.layer < G.num_layers]
    for name, rounds in continued.items():
        result = found
        if rounds:
            rounds = shortened(rounds, share)
            start = G.run(found.state, found.layer, rounds[0].start_layer)
            result = recover(G, A, y, rounds=rounds, start=start, rng=rng, progress=False)
        answers[name] = _answer(result, spent + _steps(rounds))
    return answers


def pulse(A: LinearOperator, y: Tensor, *, G: Generator, rng: int, restarts: int = 3, share: float = 1.0) -> Answer:
    """`ilo.baselines.pulse`, with as many restarts as CSGM has, and twice the published rate.

    On this project's generator 0.8 ends 1.2 dB higher than 0.4 (`python -m benchmarks baselines`).
    """
    steps = max(1, round(100 * share))
    found = baselines.pulse(G, A, y, steps=steps, lr=0.8, restarts=restarts, rng=rng, progress=False)
    return _answer(found, restarts * steps)


def methods_for(
    problem: Problem, *, restarts: int = 3, share: float = 1.0, radius: float | None = None
) -> dict[str, Method]:
    """Return the methods that can solve `problem`, by name: bicubic interpolation is one of super-resolution alone."""
    methods: dict[str, Method] = {
        "searches": partial(searches, restarts=restarts, share=share, radius=radius),
        "PULSE": partial(pulse, restarts=restarts, share=share),
        "Deep decoder": baselines.deep_decoder,
        "TV": baselines.total_variation,
        "LASSO (wavelet)": baselines.lasso_wavelet,
        "LASSO (DCT)": baselines.lasso_dct,
    }
    if problem.task == "super-resolution":
        methods["Bicubic"] = baselines.bicubic
    return methods


def compare(
    images: Mapping[str, Tensor] | tuple[Sequence[str], Tensor],
    problems: Sequence[Problem],
    *,
    G: Generator,
    restarts: int = 3,
    share: float = 1.0,
    radius: float | None = None,
    leave_out: Sequence[str] = (),
    **options,
) -> pd.DataFrame:
    """Recover every image under every problem by every method that can: `ilo.study.run` on `methods_for`.

    Args:
        images, problems, G: as in `ilo.study.run`, and so are `options` (seeds, keep_images, …).
        restarts, share, radius: of the searches.
        leave_out: names of methods.

    Returns:
        Rows of `ilo.study.run`.

    Raises:
        ValueError: a method to leave out that there is not.
    """
    groups: dict[tuple[str, ...], list[Problem]] = {}
    chosen = {}
    for problem in problems:
        methods = methods_for(problem, restarts=restarts, share=share, radius=radius)
        unknown = sorted(set(leave_out) - {*methods, "Bicubic"})
        if unknown:
            raise ValueError(f"no method {unknown}: there are {', '.join(methods)}, Bicubic")
        methods = {name: method for name, method in methods.items() if name not in leave_out}
        groups.setdefault(tuple(methods), []).append(problem)
        chosen[tuple(methods)] = methods
    return pd.concat(
        [study.run(images, group, chosen[names], G=G, **options) for names, group in groups.items()], ignore_index=True
    )


def _answer(result: Result, evaluations: int) -> Answer:
    return Answer(result.images, {"evaluations": evaluations})


def _steps(rounds) -> int:
    return sum(round_.steps for round_ in rounds)


def shortened(rounds: Sequence[Round], share: float) -> list[Round]:
    """Return the rounds with `share` of their steps, in (0, 1], at least one each."""
    if not 0 < share <= 1:
        raise ValueError(f"share is the part of every round's steps to take, in (0, 1], got {share}")
    return [replace(round_, steps=max(1, round(share * round_.steps))) for round_ in rounds]
