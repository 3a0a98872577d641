"""A round optimises the input of one layer, under constraints about where it started.

`Round` is the scheme of the ILO authors' release: the input of layer i, started from what the rounds before found,
moves inside an l1 ball about its start. With one round at layer 0 this is CSGM; with `constraint=keep_norm`
there it is PULSE's search on a sphere.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ilo.generators.base import Generator, State
from ilo.solver.objectives import Objective
from ilo.solver.optimisers import Optimiser, adam
from ilo.solver.projections import project_l1_ball, project_sphere

Constraint = Callable[[Tensor, Tensor], Tensor]  # (value, value at the round's start) -> nearest allowed value


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


@dataclass(frozen=True)
class Round:
    """Optimise the input of one layer, by Adam, starting where the rounds before ended.

    Args:
        layer: 0 … num_layers − 1; the layer whose input is searched. 0 is the latent.
        steps: gradient steps, at least 1.
        lr: Adam's learning rate; step s uses lr · schedule((s + ½)/steps). (The authors' release takes s/steps,
            whose first step has length 0.)
        radius: keep each sample's deviation from the round's start in the l1 ball of this radius: a number or (B,),
            for every variable, or a mapping from variable to one. None: no ball.
        variables: names of the state's tensors to optimise; None: the generator's choice.
        constraint: (value, start) -> nearest allowed value, in place of the ball; or a mapping from variable to one.
        penalty: an objective added in this round only; restarts are compared without it, and results report without it.
        schedule: factor of the learning rate at a fraction of the round.
        optimiser: (variables, lr) -> torch optimiser. Inside a ball that binds, `ilo.sample_adam` ends lower than the
            paper's Adam: see `ilo.solver.optimisers`.
    """

    layer: int
    steps: int
    lr: float = 0.1
    radius: float | Tensor | Mapping[str, float | Tensor] | None = None
    variables: tuple[str, ...] | None = None
    constraint: Constraint | Mapping[str, Constraint] | None = None
    penalty: Objective | None = None
    schedule: Callable[[float], float] = ramp
    optimiser: Optimiser = adam

    def __post_init__(self):
        check_search(self.layer, self.steps, self.lr)
        radii = self.radius.values() if isinstance(self.radius, Mapping) else [self.radius]
        for radius in radii:
            if radius is not None and not bool((torch.as_tensor(radius) >= 0).all()):
                raise ValueError(f"radius must be at least 0, got {radius!r}")
        if self.radius is not None and self.constraint is not None:
            raise ValueError("give a radius or a constraint, not both: a radius is the l1-ball constraint")

    @property
    def start_layer(self) -> int:
        """The layer whose input the round starts from; `ilo.recover` brings the state there."""
        return self.layer

    def begin(self, G: Generator, state: State) -> "Search":
        """Start the search at `state`, the input of this round's layer."""
        names = G.variables(state) if self.variables is None else self.variables
        missing = [name for name in names if name not in state]
        if missing or not names:
            raise ValueError(f"no variable {missing or names} at layer {self.layer}: its state holds {sorted(state)}")
        for what in (self.radius, self.constraint):
            unknown = set(what) - set(names) if isinstance(what, Mapping) else ()
            if unknown:
                raise ValueError(f"a radius or constraint is given for {sorted(unknown)}, but this round moves {names}")
        return Search(state, {name: self._constraint(name, state[name]) for name in names})

    def _constraint(self, name: str, start: Tensor) -> Constraint | None:
        if self.constraint is not None:
            return self.constraint.get(name) if isinstance(self.constraint, Mapping) else self.constraint
        radius = self.radius.get(name) if isinstance(self.radius, Mapping) else self.radius
        if radius is None:
            return None
        radius = radius_per_sample(radius, start)
        return lambda x, start: project_l1_ball(x, radius, center=start)


def check_search(layer: int, steps: int, lr: float) -> None:
    """Raise ValueError unless these can be a round's."""
    if isinstance(layer, bool) or not isinstance(layer, int) or layer < 0:
        raise ValueError(f"layer must be an integer of at least 0, got {layer!r}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be an integer of at least 1, got {steps!r}")
    if not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"lr must be positive and finite, got {lr!r}")


def radius_per_sample(radius: float | Tensor, start: Tensor) -> float | Tensor:
    """Repeat a radius that was given one a problem, as restarts repeat the batch; `start` is (restarts · B, ...)."""
    if not isinstance(radius, Tensor):
        return radius
    radius = radius.to(start)
    if radius.ndim == 0 or len(radius) == 1:
        return radius.reshape(())
    if radius.ndim != 1 or len(radius) == 0 or len(start) % len(radius):
        raise ValueError(f"radius must be a number or one a problem, got shape {tuple(radius.shape)}")
    return radius.repeat(len(start) // len(radius))


class Search:
    """The variables of one round in progress: what `ilo.recover`'s loop asks of any kind of round.

    `variables` are leaves to differentiate by; `state()` is the layer's input that they stand for, of which the
    tensors named in `moving` change; `project()` puts the variables back where they are allowed after a step.
    """

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
