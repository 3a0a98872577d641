"""What moves the variables of a round: functions (variables, lr) -> torch optimiser.

Adam gives each coordinate a step size of its own, by the history of its gradient, so that all of them move at much the
same pace. Followed by a Euclidean projection that is no projected gradient method any more, and it stops where the
objective has no minimum over the ball: on the surface of an l1 ball equal steps in all coordinates are what the
projection takes back, however unequal the gradient. `sample_adam` has one step size a sample: its steps stay along the
averaged gradient, and the points it stops at are those where a projected gradient method does.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Optimiser = Callable[[Sequence[Tensor], float], torch.optim.Optimizer]


def adam(variables: Sequence[Tensor], lr: float) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015), as CSGM, PULSE and the ILO authors' release use it."""
    return torch.optim.Adam(variables, lr=lr, fused=variables[0].dtype != torch.float16)


def sample_adam(variables: Sequence[Tensor], lr: float) -> torch.optim.Optimizer:
    """Adam with one second moment for each sample of each variable: the mean of those of its coordinates.

    A step then moves each sample's coordinates by about `lr` in root mean square, along its averaged gradient.
    """
    return SampleAdam(variables, lr)


class SampleAdam(torch.optim.Optimizer):
    """See `sample_adam`. Variables are batch first; samples do not influence each other."""

    def __init__(self, variables: Sequence[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.999)):
        super().__init__(variables, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for variable in (v for v in group["params"] if v.grad is not None):
                variable -= group["lr"] * self._direction(variable, *group["betas"])

    def _direction(self, variable: Tensor, beta1: float, beta2: float) -> Tensor:
        gradient, state = variable.grad, self.state[variable]
        size = gradient.flatten(1).square().mean(1).view(-1, *[1] * (gradient.ndim - 1))  # (B, 1, …)
        if not state:
            state.update(steps=0, mean=torch.zeros_like(gradient), square=torch.zeros_like(size))
        state["steps"] += 1
        state["mean"].lerp_(gradient, 1 - beta1)
        state["square"].lerp_(size, 1 - beta2)
        mean = state["mean"] / (1 - beta1 ** state["steps"])
        square = state["square"] / (1 - beta2 ** state["steps"])
        return mean / square.sqrt().clamp_min(torch.finfo(mean.dtype).tiny)
