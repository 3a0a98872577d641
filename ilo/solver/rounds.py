"""A round optimises the input of one layer, under constraints about where it started.

`SearchRound` and `Search` write down what the solver's loop asks of any kind of round; `Descent` holds what all kinds
here have in common. `Round` is the scheme of the ILO authors' release: the input of layer i, started from what the
rounds before found, moves inside an l1 ball about its start. With one round at layer 0 this is CSGM; with
`constraint=keep_norm` there it is PULSE's search on a sphere.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ilo.checks import check_callable, check_count, check_positive, check_radius
from ilo.generators.base import Generator, State
from ilo.solver.copies import Copies
from ilo.solver.lbfgs import lbfgs
from ilo.solver.objectives import Objective
from ilo.solver.optimisers import Optimiser, adam
from ilo.solver.projections import project_l1_ball, project_sphere

Constraint = Callable[[Tensor, Tensor], Tensor]  # (value, value at the round's start) -> nearest allowed value
Radius = float | Tensor  # one for all problems, or (B,)


class Search(Protocol):
    """The variables of one round in progress. Rows are copies × problems (`Copies`).

    variables: leaves to differentiate by; the optimiser moves them.
    moving: names of the tensors of `state()` that change from step to step.
    """

    variables: Sequence[Tensor]
    moving: tuple[str, ...]

    def state(self) -> State:
        """The input of the round's layer that the variables stand for, differentiable."""

    def project(self) -> None:
        """After a step, put the variables back where they are allowed."""


class SearchRound(Protocol):
    """A kind of round: what the loop reads before, and the search that it begins.

    layer: whose input is searched. start_layer: whose input the round starts from; the solver brings the state there.
    steps, lr, penalty, schedule, optimiser: see `Descent`.
    radius: of the l1 ball that bounds the search, or one per variable; None: there is none.
    """

    layer: int
    start_layer: int
    steps: int
    lr: float
    penalty: Objective | None
    schedule: Callable[[float], float]
    optimiser: Optimiser
    radius: Radius | Mapping[str, Radius] | None

    def begin(self, G: Generator, state: State, copies: Copies) -> Search:
        """Start the search at `state`, the input of layer `start_layer`, rows as `copies` says."""


def ramp(t: float) -> float:
    """The learning-rate factor of PULSE and of the ILO release at a fraction t ∈ [0, 1] of the round.

    (½ − ½·cos(π·min(1, (1 − t)/0.75))) · min(1, t/0.05): up over the first 5 %, flat, down over the last 75 %.
    """
    return (0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / 0.75))) * min(1.0, t / 0.05)


def constant(t: float) -> float:
    """A learning rate that does not change: CSGM's."""
    return 1.0


def keep_norm(x: Tensor, start: Tensor) -> Tensor:
    """Constraint: each sample keeps the l2 norm that it started the round with (PULSE's sphere)."""
    return project_sphere(x, start.flatten(1).norm(dim=1))


def keep_norms(x: Tensor, start: Tensor) -> Tensor:
    """Constraint: every vector of a set of styles (B, vectors, width), or else every sample, keeps its start's norm."""
    if x.ndim != 3:
        return keep_norm(x, start)
    return keep_norm(x.flatten(0, 1), start.flatten(0, 1)).view_as(x)  # (B · vectors, width)


@dataclass(frozen=True)
class Descent:
    """What every round here has: gradient steps on the input of one layer.

    Args:
        layer: 0 … num_layers − 1; the layer whose input is searched. 0 is the latent.
        steps: gradient steps, at least 1.
        lr: learning rate; step s uses lr · schedule((s + ½)/steps). (The authors' release takes s/steps, whose first
            step has length 0.)
        penalty: an objective added in this round only; restarts are compared without it, and results report without it.
        schedule: factor of the learning rate at a fraction of the round.
        optimiser: (variables, lr) -> torch optimiser. Inside a ball that binds, `ilo.sample_adam` ends lower than the
            paper's Adam: see `ilo.solver.optimisers`.
    """

    layer: int
    steps: int
    lr: float = 0.1
    _: KW_ONLY
    penalty: Objective | None = None
    schedule: Callable[[float], float] = ramp
    optimiser: Optimiser = adam

    radius = None  # not a field: a kind of round that has a ball makes it one

    def __post_init__(self):
        check_count(self.layer, "layer", least=0)
        check_count(self.steps, "steps")
        check_positive(self.lr, "lr")
        check_callable(self.schedule, "schedule")
        check_callable(self.optimiser, "optimiser")

    @property
    def start_layer(self) -> int:
        """The layer whose input the round starts from."""
        return self.layer


@dataclass(frozen=True)
class Round(Descent):
    """Optimise the input of one layer, by Adam, starting where the rounds before ended.

    Args:
        layer, steps, lr, penalty, schedule, optimiser: see `Descent`.
        radius: keep each sample's deviation from the round's start in the l1 ball of this radius: a number or (B,),
            for every variable, or a mapping from variable to one. None: no ball.
        variables: names of the state's tensors to optimise; None: the generator's choice.
        constraint: (value, start) -> nearest allowed value, in place of the ball; or a mapping from variable to one.
    """

    radius: Radius | Mapping[str, Radius] | None = None
    variables: tuple[str, ...] | None = None
    constraint: Constraint | Mapping[str, Constraint] | None = None

    def __post_init__(self):
        super().__post_init__()
        for radius in radii(self.radius):
            check_radius(radius)
        if self.radius is not None and self.constraint is not None:
            raise ValueError("give a radius or a constraint, not both: a radius is the l1-ball constraint")
        if self.optimiser is lbfgs and (self.radius is not None or self.constraint is not None):
            raise ValueError(
                "L-BFGS knows no projection: inside a ball or on a sphere take ilo.adam or ilo.sample_adam"
            )

    def begin(self, G: Generator, state: State, copies: Copies) -> "BallSearch":
        names = G.variables(state) if self.variables is None else self.variables
        missing = [name for name in names if name not in state]
        if missing or not names:
            raise ValueError(f"no variable {missing or names} at layer {self.layer}: its state holds {sorted(state)}")
        for what in (self.radius, self.constraint):
            unknown = set(what) - set(names) if isinstance(what, Mapping) else ()
            if unknown:
                raise ValueError(f"a radius or constraint is given for {sorted(unknown)}, but this round moves {names}")
        return BallSearch(state, {name: self._constraint(name, state[name], copies) for name in names})

    def _constraint(self, name: str, start: Tensor, copies: Copies) -> Constraint | None:
        if self.constraint is not None:
            return self.constraint.get(name) if isinstance(self.constraint, Mapping) else self.constraint
        radius = self.radius.get(name) if isinstance(self.radius, Mapping) else self.radius
        if radius is None:
            return None
        radius = radius_of_rows(radius, start, copies)
        return lambda x, start: project_l1_ball(x, radius, center=start)


class BallSearch:
    """The `Search` of a `Round`: the layer's input itself, each variable under its constraint."""

    def __init__(self, start: State, constraints: Mapping[str, Constraint | None]):
        self._start = start
        self._constraints = constraints
        self._values = {name: start[name].clone().requires_grad_() for name in constraints}
        self.moving = tuple(constraints)
        self.variables = list(self._values.values())

    def state(self) -> State:
        return {**self._start, **self._values}

    @torch.no_grad()
    def project(self) -> None:
        for name, constraint in self._constraints.items():
            if constraint is not None:
                x = self._values[name]
                x.copy_(constraint(x, self._start[name]))


def radii(radius: Radius | Mapping[str, Radius] | None) -> list[Radius]:
    """All radii that a round was given."""
    given = radius.values() if isinstance(radius, Mapping) else [radius]
    return [r for r in given if r is not None]


def radius_of_rows(radius: Radius, start: Tensor, copies: Copies) -> Radius:
    """The radius of every row of `start`, (copies · B, ...): one for all, or of each row by its problem."""
    if not isinstance(radius, Tensor):
        return radius
    radius = radius.to(start)
    if radius.ndim == 0 or len(radius) == 1:
        return radius.reshape(())
    if radius.shape != (copies.problems,):
        raise ValueError(
            f"radius must be a number or one per problem, ({copies.problems},), got shape {tuple(radius.shape)}"
        )
    return copies.repeat(radius)


def with_share(
    rounds: Sequence[SearchRound], factor: float, whole: Callable[[float], int] = round
) -> list[SearchRound]:
    """The rounds with `factor` times their steps, made whole by `whole`, at least one each."""
    return [replace(round_, steps=max(1, whole(factor * round_.steps))) for round_ in rounds]
