"""The first stage of every search: the latent that fits the measurements best, found well.

CSGM (Bora et al. 2017) is a search of the latent alone, and ILO goes on from what it finds. Adam from random latents
does not find it: on images that the generator itself made it ends far above the truth. From the linear estimate of the
latent, L-BFGS does (`python -m benchmarks first_stage`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ilo.arithmetic import repeatable
from ilo.generators.base import Generator, State
from ilo.solver.lbfgs import lbfgs
from ilo.solver.linear_start import linear_model, linear_starts
from ilo.solver.objectives import Objective, SquaredError
from ilo.solver.starts import draw_states

LR = 0.1  # of the first trial: a tenth of a standard deviation of the latent


@dataclass(frozen=True)
class Latents:
    """What the search of the latent found.

    state: at layer 0, (B, ...). objective: (B,), the mean squared error of its measurements, penalty excluded.
    copies: state and objective of every restart, (restarts · B, ...), restart by restart.
    """

    state: State
    objective: Tensor
    copies: tuple[State, Tensor]


def first_stage(
    G: Generator,
    A: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    noise: float = 0.0,
    restarts: int = 4,
    steps: int = 300,
    penalty: Objective | None = None,
    seed: int = 0,
) -> Latents:
    """Search the latent by L-BFGS from the linear estimate and from `restarts` − 1 draws about it.

    Args:
        G, A, y: as in `ilo.recover`.
        noise: of the measurements, for the linear estimate alone; 0 where it is not known.
        steps: evaluations of objective and gradient, for each restart.
        penalty: added to the squared error; restarts are compared without it.
        seed: of the draws. All problems of the batch have the same, so problem i is searched alike alone and in any
            batch.
    """
    draws = draw_states(G, [seed], restarts, len(y))
    with repeatable():
        starts = linear_starts(G, linear_model(G, A, noise=noise), y, draws)
        state, objective = search_latents(G, A, y, starts, steps=steps, penalty=penalty)
    best = objective.view(restarts, -1).argmin(0)  # (B,)
    rows = best * len(y) + torch.arange(len(y), device=best.device)
    return Latents({name: t[rows] for name, t in state.items()}, objective[rows], (state, objective))


def search_latents(
    G: Generator, A, y: Tensor, starts: State, *, steps: int, penalty: Objective | None = None
) -> tuple[State, Tensor]:
    """Run L-BFGS from `starts`, (copies · B, ...); return the best iterates and their squared errors (copies · B,)."""
    names = G.variables(starts)
    copies = len(starts[names[0]]) // len(y)
    error = SquaredError(A, y.repeat(copies, *[1] * (y.ndim - 1)))
    variables = {name: starts[name].detach().clone().requires_grad_() for name in names}
    optimiser = lbfgs(list(variables.values()), LR)
    best = {name: v.detach().clone() for name, v in variables.items()}
    least = torch.full((len(starts[names[0]]),), torch.inf, dtype=y.dtype, device=y.device)
    objective = least.clone()
    for _ in range(steps):
        state = {**starts, **variables}
        images = G(state)
        value = error(images, state)
        loss = value if penalty is None else value + penalty(images, state)
        better = loss.detach() < least
        least, objective = torch.where(better, loss.detach(), least), torch.where(better, value.detach(), objective)
        for name, v in variables.items():
            best[name] = torch.where(better.view(-1, *[1] * (v.ndim - 1)), v.detach(), best[name])
        for v, g in zip(variables.values(), torch.autograd.grad(loss.sum(), list(variables.values())), strict=True):
            v.grad = g
        optimiser.step(loss.detach)
    return {**starts, **best}, objective
