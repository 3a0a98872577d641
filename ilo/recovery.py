"""Intermediate Layer Optimization: recover images from measurements, round by round.

    y = A(x) + noise;   minimise the objective over the input of layer 0, then of deeper layers,
    each round starting where the one before ended and staying near it (ILO, ICML 2021).

CSGM (Bora et al. 2017) is one round at layer 0. This is the front door: arguments in, a `Result` out. The rounds that
are given go to `ilo.solver.loop`, "auto" to `ilo.auto.search`; both run on the same loop.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ilo.arithmetic import repeatable
from ilo.auto.plan import Auto
from ilo.auto.search import Request, search_automatically
from ilo.checks import check_callable, check_kind
from ilo.generators.base import Generator, State
from ilo.provenance import provenance
from ilo.rng import Rng
from ilo.solver import inputs
from ilo.solver.copies import Copies
from ilo.solver.history import history_frame, status_of_problems
from ilo.solver.inputs import ObjectiveFunction
from ilo.solver.loop import Step, Watch, progress_bar, run_rounds
from ilo.solver.objectives import SquaredError
from ilo.solver.result import AutoResult, Result, RoundsResult
from ilo.solver.rounds import SearchRound


def recover(
    G: Generator,
    A: Callable[[Tensor], Tensor] | None,
    y: Tensor | None,
    *,
    rounds: Sequence[SearchRound] | Auto | str = "auto",
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
            `ilo.Auto` says the noise, the budget and how many. A callable that is not a `LinearOperator` is linearised
            (`ilo.auto.linearise`); where that cannot be done, or nothing be held out, it warns and takes the default
            setting.
        rng: a seed (or torch.Generator) for the starting latents. All problems of the batch start from the same
            draws, so problem i starts alike alone and in any batch. A sequence of seeds, one per problem, starts each
            problem from draws of its own.
        restarts: number of starting latents tried in the first round, as one batch; each problem goes on with the
            one whose objective is least. It, `objective` and `start` go with rounds that are given, not with "auto".
        objective: (images, state) -> (B,), minimised; default `SquaredError(A, y)`. Called with all problems at once.
        start: begin from this state, (restarts · B, ...), restart by restart, or (restarts, ...) for all problems,
            instead of drawing: the input of the layer that the first round starts from (its `start_layer`).
            `ilo.linear_start` makes one.
        callback: called at each step with a `Step`; a true return stops the recovery, keeping the best so far.
        progress: show a progress bar (unless the environment sets TQDM_DISABLE).

    Returns:
        `RoundsResult`: for each problem the best iterate over all rounds, by the objective — never by the true image.
        (A round with a penalty takes the iterate with the least sum of both, which may raise the objective alone.)
        A hard problem gets its best image and a status that says so, not an exception. Of "auto" an `AutoResult`: a
        mean of solutions, with one that is sharper, the spread and what was tried; its `summary` says what to believe.

    Two problems of a batch never mix, but a batch is computed in another order of rounding than one image, and
    optimisation amplifies that: images alone and in a batch agree to about 1e-4 after ten steps, and may drift
    further apart after hundreds. The same call gives the same image bit for bit on one machine.

    Raises:
        ValueError: shapes that do not fit, measurements that are not finite or not floating point, a layer that does
            not exist, layers that go back, restarts < 1; "auto" with an objective, a start or restarts.
    """
    check_kind(G, Generator, "G")
    _check_precision(G)
    if callback is not None:
        check_callable(callback, "callback")
    if objective is not None:
        check_callable(objective, "objective")
    watch = Watch(callback)
    if isinstance(rounds, (str, Auto)):
        settings = _settings(rounds, A, restarts, objective, start)
        return _recover_automatically(G, A, y, settings, rng, watch, progress)
    rounds = list(check_kind(rounds, Sequence, "rounds"))
    inputs.check_rounds(G, rounds, restarts)
    if (A is None) != (y is None):
        raise ValueError("give both the operator A and the measurements y, or neither and an objective")
    if A is None and objective is None:
        raise ValueError("without measurements an objective is needed: recover(G, None, None, objective=…)")
    A = inputs.moved(A, G)
    y = None if y is None else inputs.checked_measurements(G, A, y)
    start = None if start is None else inputs.checked_start(G, start, rounds[0].start_layer)
    problems, seeds = inputs.problems_and_seeds(y, rng, start, restarts)
    inputs.check_radii(rounds, problems)
    copies = Copies(restarts, problems)
    minimised = inputs.moved(SquaredError(A, y) if objective is None else objective, G)
    with repeatable(), progress_bar(sum(r.steps for r in rounds), progress) as watch.bar:
        state = _beginning(G, rounds[0], start, seeds, copies)
        done, traces = run_rounds(G, minimised, rounds, state, copies, watch)
    return RoundsResult(
        images=done[-1].images,
        state=done[-1].state,
        layer=done[-1].layer,
        objective=done[-1].objective,
        rounds=tuple(done),
        history=history_frame(traces),
        status=status_of_problems(traces[-1], done[-1].objective, watch.stopped),
        parameters={
            "generator": G.name,
            "operator": inputs.words(A),
            "objective": "SquaredError" if objective is None else inputs.words(objective),
            "rounds": [inputs.words(r) for r in rounds],
            "restarts": restarts,
            "seeds": seeds,
            "start": start is not None,
            **provenance(G.device, G.dtype),
        },
    )


def _check_precision(G: Generator) -> None:
    """ValueError for half precision, of a generator or a surrounding autocast: l1 balls and priors do not bear it."""
    if G.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"G computes in {G.dtype}, and a search needs float32: use G.float(), and to save memory "
            "ilo.generators.economical(G, half=True), which takes half precision where that does no harm"
        )
    if torch.is_autocast_enabled(G.device.type):
        raise ValueError(
            "a search needs float32, and this is inside torch.autocast: leave it, and to save memory use "
            "ilo.generators.economical(G, half=True)"
        )


def _settings(rounds: Auto | str, A, restarts: int, objective, start) -> Auto:
    """The settings of the automatic search; ValueError for what does not go with it."""
    if isinstance(rounds, str) and rounds != "auto":
        raise ValueError(f'rounds is "auto", an ilo.Auto or a sequence of rounds, got {rounds!r}')
    given = {"objective": objective is not None, "start": start is not None, "restarts": restarts != 1}
    if A is None or any(given.values()):
        raise ValueError(
            'rounds="auto" searches for measurements y = A(x) + noise from latents of its own, ilo.Auto(samples=…) '
            f"of them: it cannot go with {' or '.join(n for n, g in given.items() if g) or 'A=None'}; give rounds, "
            "such as ilo.paper_rounds(G)"
        )
    return Auto() if rounds == "auto" else rounds


def _recover_automatically(G: Generator, A, y, settings: Auto, rng, watch: Watch, progress: bool) -> AutoResult:
    if y is None:
        raise ValueError("give both the operator A and the measurements y")
    A = inputs.moved(A, G)
    y = inputs.checked_measurements(G, A, y)
    problems, seeds = inputs.problems_and_seeds(y, rng, None)
    y = y.expand(problems, *y.shape[1:])  # one measurement goes with several seeds
    with repeatable(), torch.no_grad():  # an operator's own parameters must not reach the result
        result = search_automatically(Request(G, A, y, settings, seeds), watch, progress)
    common = {
        "generator": G.name,
        "operator": inputs.words(A),
        "objective": "SquaredError",
        "restarts": settings.samples,
        "seeds": seeds,
        "start": False,
        **provenance(G.device, G.dtype),
    }
    return replace(result, parameters={**common, **result.parameters})


def _beginning(G: Generator, first: SearchRound, start: State | None, seeds, copies: Copies) -> State:
    """The state that the first round starts from, copy by copy: (copies · problems, ...)."""
    if start is not None:
        given = {name: t.unflatten(0, (copies.count, -1)) for name, t in start.items()}  # (copies, B or 1, ...)
        shape = (copies.count, copies.problems)
        rows = {name: t.expand(*shape, *t.shape[2:]).flatten(0, 1) for name, t in given.items()}
        return {name: inputs.laid_out_as(start[name], t) for name, t in rows.items()}
    return inputs.frozen_run(G, inputs.drawn_states(G, seeds, copies), 0, first.start_layer)
