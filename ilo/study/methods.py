"""The methods of the experiments, by name, so that "ILO" and "TV" mean the same in every figure.

Each has the one signature of a grid's methods (`ilo.study.cells.Method`), and a line of `METHODS`. All see the same
measurements, and the searches of the generator the same starting latents. The names are those of `ilo.plots.METHODS`,
which gives each its colour and its place.

The column `evaluations` counts forward and backward passes through the generator, per image: what a search costs.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from ilo import baselines
from ilo.auto.plan import Auto
from ilo.generators.base import Generator
from ilo.operators import LinearOperator
from ilo.recovery import recover
from ilo.solver.result import Result
from ilo.solver.rounds import Round, with_share
from ilo.solver.schedules import csgm_rounds, default_rounds, release_rounds
from ilo.study import autos, classical
from ilo.study.cells import Answer, Method
from ilo.study.problems import Problem

BALLS = "ILO (l1 balls)"


def searches(
    A: LinearOperator,
    y: Tensor,
    *,
    G: Generator,
    rng: int,
    noise: float,
    restarts: int = 3,
    share: float = 1.0,
    radius: float | None = None,
) -> dict[str, Answer]:
    """Search the generator: "CSGM" from `restarts` latents, and "ILO" by `ilo.default_rounds` from what that found.

    CSGM goes without the penalty on its latent, which makes it worse on this project's generator: 24.7 against 20.7 dB
    at 10 % of the pixels (`python -m benchmarks tune`).

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


def pulse(
    A: LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float, restarts: int = 3, share: float = 1.0
) -> Answer:
    """`ilo.baselines.pulse`, with as many restarts as CSGM has, and twice the published rate.

    On this project's generator 0.8 ends 1.2 dB higher than 0.4 (`python -m benchmarks tune`).
    """
    steps = max(1, round(100 * share))
    found = baselines.pulse(G, A, y, steps=steps, lr=0.8, restarts=restarts, rng=rng, progress=False)
    return _answer(found, restarts * steps)


def release(A: LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float) -> Answer:
    """The ILO authors' rounds without radii, their steps scaled to the gradient evaluations of `rounds="auto"`."""
    rounds = release_rounds(G)
    rounds = with_share(rounds, Auto.budget / _steps(rounds))
    return _answer(recover(G, A, y, rounds=rounds, rng=rng, progress=False), _steps(rounds))


METHODS: dict[str, Method] = {
    "ILO": searches,
    "PULSE": pulse,
    "Deep decoder": classical.by_deep_decoder,
    "TV": classical.by_total_variation,
    "LASSO (wavelet)": classical.by_lasso_wavelet,
    "LASSO (DCT)": classical.by_lasso_dct,
    "Bicubic": classical.by_bicubic,
    "ILO auto": autos.automatic,
    "release": release,
}
# The names of their rows, of those that answer for several.
ANSWERS = {"ILO": ("CSGM", "ILO"), "ILO auto": ("ILO auto", "ILO auto, sharp", "oracle")}
COMPARED = tuple(name for name in METHODS if name not in ("ILO auto", "release"))  # in the experiments, side by side


def methods_for(
    problem: Problem,
    names: Sequence[str] = COMPARED,
    *,
    restarts: int = 3,
    share: float = 1.0,
    radius: float | None = None,
) -> dict[str, Method]:
    """Return those of `METHODS` that can solve `problem`: bicubic interpolation is one of super-resolution alone.

    restarts, share, radius: of `searches` and `pulse`.

    ValueError for a name that there is not.
    """
    if unknown := sorted(set(names) - METHODS.keys()):
        raise ValueError(f"no method {unknown}: there are {', '.join(METHODS)}")
    chosen = {name: METHODS[name] for name in names if name != "Bicubic" or problem.task == "super-resolution"}
    settings = {"ILO": {"restarts": restarts, "share": share, "radius": radius}}
    settings["PULSE"] = {"restarts": restarts, "share": share}
    return {name: partial(method, **settings.get(name, {})) for name, method in chosen.items()}


def _answer(result: Result, evaluations: int) -> Answer:
    return Answer(result.images, {"evaluations": evaluations})


def _steps(rounds) -> int:
    return sum(round_.steps for round_ in rounds)


def shortened(rounds: Sequence[Round], share: float) -> list[Round]:
    """Return the rounds with `share` of their steps, in (0, 1], at least one each."""
    if not 0 < share <= 1:
        raise ValueError(f"share is the part of every round's steps to take, in (0, 1], got {share}")
    return with_share(rounds, share)
