"""Rounds that search the extended range G_1(B_2^k(r_1)) ⊕ B_1^p(r_2): what the theorem of ILO speaks of.

The paper, its theorem and its authors' release do not search the same set. At the input of layer i, with G_1 the layers
before it, the l1 ball is centred on

- `ilo.Round` (the release): what the rounds before found, and stays there;
- `AlternatingRound` (the paper's Algorithm 1): the point of the range G_1(B_2^k(r_1)) nearest to the iterate, found
  anew every few steps;
- `JointRound` (the theorem): any point of the range: the latent and the deviation are searched together.

Both rounds here start from a state at layer 0, whose latent they first project onto B_2^k(r_1), and every iterate of
theirs lies in the extended range to rounding. (`ilo.recover` lets the start itself compete with the iterates: to have
the result in the extended range too, start inside the ball.) They know generators whose states are one tensor.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ilo.generators.base import Generator, State
from ilo.solver.objectives import Objective
from ilo.solver.optimisers import Optimiser, sample_adam
from ilo.solver.projections import project_l1_ball, project_l2_ball
from ilo.solver.rounds import check_search, radius_per_sample, ramp


@dataclass(frozen=True)
class JointRound:
    """Search z_p = G_1(z_k) + v over ‖z_k‖₂ ≤ r_1 and ‖v‖₁ ≤ r_2 together: the minimisation that the theorem speaks of.

    z_k and v move by gradient steps, and after every step each is projected onto its ball. v starts at zero.

    Args:
        layer: 1 … num_layers − 1; G_1 is layers 0, …, layer − 1.
        steps: gradient steps, at least 1.
        radius: r_2 ≥ 0, l1 radius of the deviation, a number or (B,); 0 searches the range alone, as CSGM does.
        r1: l2 radius of the ball of latents, positive.
        lr: learning rate of the latent; step s uses lr · schedule((s + ½)/steps).
        lr_deviation: learning rate of the deviation, under the same schedule; None: lr.
        penalty: an objective added in this round only.
        schedule: factor of the learning rates at a fraction of the round.
        optimiser: as in `ilo.Round`, but by default one whose steps a projection does not spoil
            (`ilo.solver.optimisers`).

    Source: the extended range of the theorem of ILO (ICML 2021). The authors' release does not hold this search.
    """

    layer: int
    steps: int
    radius: float | Tensor
    r1: float
    lr: float = 0.1
    lr_deviation: float | None = None
    penalty: Objective | None = None
    schedule: Callable[[float], float] = ramp
    optimiser: Optimiser = sample_adam

    def __post_init__(self):
        check_search(self.layer, self.steps, self.lr)
        _check_extended_range(self.layer, self.radius, self.r1)
        if self.lr_deviation is not None and not (math.isfinite(self.lr_deviation) and self.lr_deviation > 0):
            raise ValueError(f"lr_deviation must be positive and finite, got {self.lr_deviation!r}")

    @property
    def start_layer(self) -> int:
        return 0

    def begin(self, G: Generator, state: State) -> "JointSearch":
        """Start the search at `state`, the input of layer 0."""
        return JointSearch(G, state, self)


class JointSearch:
    """A `JointRound` in progress: `latent` z_k and `deviation` v, each inside its ball."""

    def __init__(self, G: Generator, state: State, settings: JointRound):
        self._G, self._settings = G, settings
        self._source, start = _single(state)
        self._radius = radius_per_sample(settings.radius, start)
        self._target, features = _single(_run(G, {self._source: start}, settings.layer))
        self._pace = 1.0 if settings.lr_deviation is None else settings.lr_deviation / settings.lr
        self.latent = project_l2_ball(start, settings.r1).clone().requires_grad_()
        # A step moves every variable by about lr: in units of `pace`, the deviation moves by lr_deviation.
        self._scaled = torch.zeros_like(features).requires_grad_()
        self.moving = (self._target,)
        self.variables = [self.latent, self._scaled]

    @property
    def deviation(self) -> Tensor:
        return self._pace * self._scaled

    def state(self) -> State:
        _, features = _single(self._G.run({self._source: self.latent}, 0, self._settings.layer))
        return {self._target: features + self.deviation}

    @torch.no_grad()
    def project(self) -> None:
        self.latent.copy_(project_l2_ball(self.latent, self._settings.r1))
        self._scaled.copy_(project_l1_ball(self._scaled, self._radius / self._pace))


@dataclass(frozen=True)
class AlternatingRound:
    """Search z_p in the l1 ball about G_1(z_k), and in turn move the ball to the range's nearest point: Algorithm 1.

    z_p moves inside the ball by gradient steps. After every `every` steps z_k goes to argmin ‖G_1(z) − z_p‖ over
    ‖z‖₂ ≤ r_1, as far as `range_steps` of Adam from the last z_k lead; the ball is centred on G_1(z_k), and z_p is
    projected onto it. A move that would not bring G_1(z_k) closer to z_p is not made.

    Args:
        layer: 1 … num_layers − 1; G_1 is layers 0, …, layer − 1.
        steps: gradient steps on z_p, at least 1.
        radius: r_2 ≥ 0, l1 radius of the ball, a number or (B,).
        r1: l2 radius of the ball of latents, positive.
        lr: learning rate of z_p; step s uses lr · schedule((s + ½)/steps).
        every: steps on z_p between projections back to the range, at least 1.
        range_steps: Adam steps of one projection back to the range, at least 1. They cost passes through G_1 only, and
            the history does not count them.
        range_lr: their learning rate.
        penalty: an objective added in this round only.
        schedule: factor of the learning rate of z_p at a fraction of the round.
        optimiser: as in `ilo.Round`, but by default one whose steps a projection does not spoil
            (`ilo.solver.optimisers`).

    Source: Algorithm 1 of ILO (ICML 2021), "ILO for one layer of the generator". The authors' release leaves the
    projection back to the range out: see `ilo.Round`.
    """

    layer: int
    steps: int
    radius: float | Tensor
    r1: float
    lr: float = 0.1
    every: int = 10
    range_steps: int = 10
    range_lr: float = 0.05
    penalty: Objective | None = None
    schedule: Callable[[float], float] = ramp
    optimiser: Optimiser = sample_adam

    def __post_init__(self):
        check_search(self.layer, self.steps, self.lr)
        _check_extended_range(self.layer, self.radius, self.r1)
        if min(self.every, self.range_steps) < 1:
            raise ValueError(f"every and range_steps must be at least 1, got {self.every} and {self.range_steps}")
        if not (math.isfinite(self.range_lr) and self.range_lr > 0):
            raise ValueError(f"range_lr must be positive and finite, got {self.range_lr!r}")

    @property
    def start_layer(self) -> int:
        return 0

    def begin(self, G: Generator, state: State) -> "AlternatingSearch":
        """Start the search at `state`, the input of layer 0."""
        return AlternatingSearch(G, state, self)


class AlternatingSearch:
    """An `AlternatingRound` in progress: z_p moves inside the l1 ball about `center`, which is G_1(`latent`)."""

    def __init__(self, G: Generator, state: State, settings: AlternatingRound):
        self._G, self._settings = G, settings
        self._source, start = _single(state)
        self._radius = radius_per_sample(settings.radius, start)
        self.latent = project_l2_ball(start, settings.r1)
        self._target, self.center = _single(_run(G, {self._source: self.latent}, settings.layer))
        self._features = self.center.clone().requires_grad_()
        self._steps_made = 0
        self.moving = (self._target,)
        self.variables = [self._features]

    def state(self) -> State:
        return {self._target: self._features}

    @torch.no_grad()
    def project(self) -> None:
        self._features.copy_(project_l1_ball(self._features, self._radius, center=self.center))
        self._steps_made += 1
        if self._steps_made % self._settings.every == 0:
            self._project_back()
            self._features.copy_(project_l1_ball(self._features, self._radius, center=self.center))

    def _project_back(self) -> None:
        """Move the latent, sample by sample, to the best found for min ‖G_1(z) − z_p‖; the centre follows."""
        best = (self._features - self.center).flatten(1).square().sum(1)  # (B,)
        z = self.latent.clone().requires_grad_()
        optimiser = torch.optim.Adam([z], lr=self._settings.range_lr)
        for _ in range(self._settings.range_steps):
            self._descend(optimiser, z)
            z.copy_(project_l2_ball(z, self._settings.r1))
            features = self._in_range(z)
            distance = (self._features - features).flatten(1).square().sum(1)
            better = distance < best
            best = torch.where(better, distance, best)
            self.latent = torch.where(_like(better, z), z, self.latent)
            self.center = torch.where(_like(better, features), features, self.center)

    def _descend(self, optimiser: torch.optim.Optimizer, z: Tensor) -> None:
        with torch.enable_grad():
            distance = (self._in_range(z) - self._features.detach()).square().sum()
            optimiser.zero_grad()
            distance.backward(inputs=[z])
        optimiser.step()

    def _in_range(self, z: Tensor) -> Tensor:
        return _single(self._G.run({self._source: z}, 0, self._settings.layer))[1]


def _check_extended_range(layer: int, radius: float | Tensor, r1: float) -> None:
    if layer < 1:
        raise ValueError(f"the range is that of the layers before `layer`, which must be at least 1, got {layer}")
    if not (bool((torch.as_tensor(radius) >= 0).all()) and math.isfinite(r1) and r1 > 0):
        raise ValueError(f"radius must be non-negative and r1 positive, got radius={radius!r}, r1={r1!r}")


def _single(state: State) -> tuple[str, Tensor]:
    if len(state) != 1:
        raise TypeError(
            f"the extended range is searched in states of one tensor, this one holds {sorted(state)}: use ilo.Round"
        )
    return next(iter(state.items()))


@torch.no_grad()
def _run(G: Generator, state: State, stop: int) -> State:
    return G.run(state, 0, stop)


def _like(chosen: Tensor, x: Tensor) -> Tensor:
    return chosen.view(-1, *[1] * (x.ndim - 1))
