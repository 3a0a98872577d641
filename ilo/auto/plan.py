"""What the automatic search may spend, and the rounds that it spends it on."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ilo.checks import check_count, check_number, check_probability
from ilo.generators.base import Generator
from ilo.solver.rounds import Round, SearchRound, with_share
from ilo.solver.schedules import csgm_rounds, style_rounds
from ilo.solver.whitened import PriorRound, feature_prior

RADIUS = 1000.0  # of the ball at layer 2


@dataclass(frozen=True)
class Auto:
    """How much `rounds="auto"` may spend, and what it knows.

    Args:
        budget: gradient evaluations per problem, at most: passes through the generator, forward and back. Every
            solution needs one per round; what cannot have that is refused.
        samples: solutions searched side by side, at least 2; the image is their mean.
        held_out: fraction of the measurements to judge by, in (0, 1).
        noise: standard deviation of the noise, in the units of the measurements. None: estimated. A camera that knows
            its own noise (`ilo.operators.Camera.whitened`) goes by that.
        refit: search anew on all measurements, in the second half of the budget. False: what was found without those
            held out is kept, and only the deviation on the image is fitted to all of them, which costs no evaluations.
        draws: samples of the posterior to return, at least 2.
    """

    budget: int = 480
    samples: int = 4
    held_out: float = 0.1
    noise: float | None = None
    refit: bool = False
    draws: int = 16

    def __post_init__(self):
        for name, least in (("budget", 1), ("samples", 2), ("draws", 2)):
            check_count(getattr(self, name), name, least)
        check_probability(self.held_out, "held_out")
        if self.noise is not None:
            check_number(self.noise, "noise", 0)


@dataclass(frozen=True)
class Plan:
    """Rounds that are run one after the other (`trunk`), and alternatives for the last (`leaves`), the default last.

    finish: rounds of one search more, for the sharp image: it goes on from the mean of the solutions' features at the
        layer of the first of these.
    linear_start: begin at `ilo.linear_start`, not at random latents. It costs 1024 passes forward.
    """

    trunk: tuple[SearchRound, ...]
    leaves: tuple[SearchRound, ...]
    finish: tuple[SearchRound, ...] = ()
    linear_start: bool = False

    def rounds(self) -> tuple[SearchRound, ...]:
        return (*self.trunk, *self.leaves)

    def cost(self, samples: int, passes: int = 1) -> int:
        """Gradient evaluations per problem, with so many solutions and passes over the plan."""
        return passes * samples * _steps(self.rounds()) + _steps(self.finish)

    def within(self, budget: int, samples: int, passes: int = 1) -> "Plan":
        """The same with all steps scaled by one factor, so that it costs at most `budget`; at least one per round.

        ValueError where the budget is less than one step per round.
        """
        least = passes * samples * len(self.rounds())
        if budget < least:
            raise ValueError(
                f"a budget of {budget} gradient evaluations is too small: {samples} solutions take at least {least}, "
                f"one in each of {passes * len(self.rounds())} rounds; raise the budget, or search fewer samples"
            )
        factor = budget / self.cost(samples, passes)
        while (plan := self._scaled(factor)).cost(samples, passes) > budget:  # where one step is more than its share
            factor *= 0.99
        return plan

    def _scaled(self, factor: float) -> "Plan":
        trunk, leaves = (tuple(with_share(rounds, factor, math.floor)) for rounds in (self.trunk, self.leaves))
        finish = [round_ for round_ in self.finish if factor * round_.steps >= 1]
        return replace(self, trunk=trunk, leaves=leaves, finish=tuple(with_share(finish, factor, math.floor)))


def _steps(rounds: Iterable[SearchRound]) -> int:
    return sum(round_.steps for round_ in rounds)


def plan_for(G: Generator) -> Plan:
    """What to search, in proportions of steps: see `ilo.auto.search`.

    A StyleGAN2 is searched by `ilo.solver.schedules.style_rounds`, from random latents, since passes forward are dear
    there; other generators start from the linear estimate; those whose state is more than one tensor, without
    whitening.
    """
    if G.num_layers == 1:
        return Plan((), (Round(0, steps=100, lr=0.1),), linear_start=True)
    start = G.sample(1, 0)
    first = Round(0, steps=40, lr=0.1)
    if set(start) == {"features"}:
        second = PriorRound(prior=feature_prior(G, 1), steps=40, lr=0.1, from_mean=False)
    elif {"latents", "styles"} & set(G.run(start, 0, 1)):
        *middle, last = style_rounds(G)
        wider = replace(last, radius={name: 3 * r for name, r in last.radius.items()})
        return Plan((*csgm_rounds(G), *middle), (wider, last), finish=(replace(last, steps=2 * last.steps),))
    else:
        second = Round(1, steps=40, lr=0.05)
    if G.num_layers == 2:
        return Plan((first,), (second,), linear_start=True)
    last = Round(2, steps=30, lr=0.03, radius=RADIUS)
    return Plan((first, second), (last,), finish=(replace(last, steps=40),), linear_start=True)
