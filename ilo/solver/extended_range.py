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

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ilo.checks import check_count, check_positive, check_radius
from ilo.generators.base import Generator, State
from ilo.solver.copies import Copies
from ilo.solver.optimisers import Optimiser, sample_adam
from ilo.solver.projections import project_l1_ball, project_l2_ball
from ilo.solver.rounds import Descent, Radius, radius_of_rows


@dataclass(frozen=True)
class ExtendedRangeRound(Descent):
    """What both rounds have: they start at the latent, in the ball of latents, and bound the deviation from the range.

    Args:
        layer: 1 … num_layers − 1; G_1 is layers 0, …, layer − 1.
        steps, lr, penalty, schedule: see `Descent`.
        optimiser: as there, but by default one whose steps a projection does not spoil (`ilo.solver.optimisers`).
        radius: r_2 ≥ 0, l1 radius of the deviation, a number or (B,); 0 searches the range alone, as CSGM does.
        r1: l2 radius of the ball of latents, positive.
    """

    radius: Radius = field(kw_only=True)
    r1: float = field(kw_only=True)
    optimiser: Optimiser = field(default=sample_adam, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if self.layer < 1:
            raise ValueError(
                f"the range is that of the layers before `layer`, which must be at least 1, got {self.layer}"
            )
        check_radius(self.radius)
        check_positive(self.r1, "r1")

    @property
    def start_layer(self) -> int:
        return 0


@dataclass(frozen=True)
class JointRound(ExtendedRangeRound):
    """Search z_p = G_1(z_k) + v over ‖z_k‖₂ ≤ r_1 and ‖v‖₁ ≤ r_2 together: the minimisation that the theorem speaks of.

    z_k and v move by gradient steps, and after every step each is projected onto its ball. v starts at zero.

    Args:
        layer, steps, lr (of the latent), radius, r1, penalty, schedule, optimiser: see `ExtendedRangeRound`.
        lr_deviation: learning rate of the deviation, under the same schedule; None: lr.

    Source: the extended range of the theorem of ILO (ICML 2021). The authors' release does not hold this search.
    """

    lr_deviation: float | None = field(default=None, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if self.lr_deviation is not None:
            check_positive(self.lr_deviation, "lr_deviation")

    def begin(self, G: Generator, state: State, copies: Copies) -> "JointSearch":
        return JointSearch(G, state, self, copies)


class JointSearch:
    """The `Search` of a `JointRound`: `latent` z_k and `deviation` v, each inside its ball."""

    def __init__(self, G: Generator, state: State, settings: JointRound, copies: Copies):
        self._G, self._settings = G, settings
        self._source, start = _single(state)
        self._radius = radius_of_rows(settings.radius, start, copies)
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
class AlternatingRound(ExtendedRangeRound):
    """Search z_p in the l1 ball about G_1(z_k), and in turn move the ball to the range's nearest point: Algorithm 1.

    z_p moves inside the ball by gradient steps. After every `every` steps z_k goes to argmin ‖G_1(z) − z_p‖ over
    ‖z‖₂ ≤ r_1, as far as `range_steps` of Adam from the last z_k lead; the ball is centred on G_1(z_k), and z_p is
    projected onto it. A move that would not bring G_1(z_k) closer to z_p is not made.

    Args:
        layer, steps, lr (of z_p), radius, r1, penalty, schedule, optimiser: see `ExtendedRangeRound`.
        every: steps on z_p between projections back to the range, at least 1.
        range_steps: Adam steps of one projection back to the range, at least 1. They cost passes through G_1 only, and
            the history does not count them.
        range_lr: their learning rate.

    Source: Algorithm 1 of ILO (ICML 2021), "ILO for one layer of the generator". The authors' release leaves the
    projection back to the range out: see `ilo.Round`.
    """

    every: int = field(default=10, kw_only=True)
    range_steps: int = field(default=10, kw_only=True)
    range_lr: float = field(default=0.05, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        check_count(self.every, "every")
        check_count(self.range_steps, "range_steps")
        check_positive(self.range_lr, "range_lr")

    def begin(self, G: Generator, state: State, copies: Copies) -> "AlternatingSearch":
        return AlternatingSearch(G, state, self, copies)


class AlternatingSearch:
    """The `Search` of an `AlternatingRound`: z_p moves inside the l1 ball about `center`, which is G_1(`latent`)."""

    def __init__(self, G: Generator, state: State, settings: AlternatingRound, copies: Copies):
        self._G, self._settings = G, settings
        self._source, start = _single(state)
        self._radius = radius_of_rows(settings.radius, start, copies)
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
