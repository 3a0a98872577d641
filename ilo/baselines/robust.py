"""Robust unsupervised recovery by a GAN: three stages of ever more variables, one setting for every degradation.

Source: Poirier-Ginter and Lalonde, "Robust Unsupervised StyleGAN Image Restoration" (CVPR 2023). Written from its
description, for any layered generator: their stages W, W+ and W++ are here the latent, the features of layer 1 and
those of layer 2.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.checks import check_count, check_kind, check_positive
from ilo.generators.base import Generator, State
from ilo.operators import Chain, Entries, Photons
from ilo.recovery import recover
from ilo.rng import seed_of, stream
from ilo.solver.inputs import moved
from ilo.solver.objectives import Objective
from ilo.solver.result import RoundsResult
from ilo.solver.rounds import Round, constant

RATES = (0.08, 0.02, 0.005)  # of the three stages
L1 = 0.1  # weight of the mean absolute difference
COARSEST = 16  # pixels a side from which down images are compared by that alone


def robust_unsupervised(
    G: Generator,
    A: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    steps: int = 150,
    stride: float = 1.0,
    network: nn.Module | None = None,
    rng: int = 0,
    **options: Any,
) -> RoundsResult:
    """Recover images by `steps` normalised gradient steps in each of three stages, from the generator's mean latent.

        min  Σ_s LPIPS(A(G(v))_s, y_s) + 0.1·mean|A(G(v)) − y|,   s halving the resolution down to 16 pixels a side

    The steps are 0.08, 0.02 and 0.005 long in the space of the latent; at deeper layers as much longer as the features
    of a pixel typically deviate more from their mean, over the generator's samples, than a latent, which deviates by
    √k. Photon noise and dead pixels are drawn anew for the prediction at every step, and what a mask hides is filled
    with the same noise in both images.

    Differences from the source: LPIPS has the trunk that is given, by default AlexNet (theirs is VGG, ten times as
    dear); the best iterate is returned, not the last; where measurements are no images, l1 alone is left.

    Args:
        G, A, y: as in `ilo.recover`. steps: of each stage.
        stride: factor of their length: 2 gets as far in half of the steps, less finely.
        network: (images, images) -> distance (B, 1, 1, 1). options: of `ilo.recover`.
    """
    check_kind(G, Generator, "G")
    check_count(steps, "steps")
    check_positive(stride, "stride")
    objective = moved(Multiscale(A, y, network, seed_of(rng)), G)
    layers = range(min(len(RATES), G.num_layers))
    state = G.sample(256, 0, "prior")
    rounds, reached = [], 0
    for layer in layers:
        with torch.no_grad():
            state, reached = G.run(state, reached, layer), layer
        unit = 1.0 if layer == 0 else _spread(G, state) / math.sqrt(_spread_of_latent(G))
        rounds.append(Round(layer, steps, lr=stride * RATES[layer] * unit, schedule=constant, optimiser=normalised))
    start = {name: t.new_zeros(1, *t.shape[1:]) for name, t in G.sample(1, 0).items()}
    start = {name: t.expand(len(y), *t.shape[1:]).contiguous() for name, t in start.items()}
    return recover(G, A, y, rounds=rounds, objective=objective, start=start, rng=rng, **options)


def _spread(G: Generator, state: State) -> float:
    """The root mean square, over samples and places, of the length of what deviates from the mean: along axis 1."""
    name = G.variables(state)[0]
    deviation = state[name] - state[name].mean(0)
    return float(deviation.square().sum(1).mean().sqrt())


def _spread_of_latent(G: Generator) -> int:
    state = G.sample(1, 0)
    return state[G.variables(state)[0]].shape[1]


def normalised(variables: Sequence[Tensor], lr: float) -> torch.optim.Optimizer:
    """Steps of length `lr` along each vector's own gradient; the vectors lie along axis 1."""
    return Normalised(variables, {"lr": lr})


class Normalised(torch.optim.Optimizer):
    """See `normalised`."""

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for variable in (v for v in group["params"] if v.grad is not None):
                gradient = variable.grad
                length = gradient.norm(dim=1, keepdim=True)
                variable -= group["lr"] * gradient / length.clamp(min=torch.finfo(gradient.dtype).tiny)


class Multiscale(Objective):
    """LPIPS at every resolution above 16 pixels a side, and 0.1 times the mean absolute difference at the last."""

    def __init__(self, A: Callable[[Tensor], Tensor], y: Tensor, network: nn.Module | None, seed: int):
        super().__init__()
        if network is None:
            from ilo.perceptual import lpips_network  # imports torchvision: only who asks for it waits

            network = lpips_network("alex")
        self.A, self.network, self._seed, self._step = A, network, seed, 0
        self.register_buffer("y", y)

    def draw(self, step: int) -> None:
        self._step = step

    def forward(self, images: Tensor, state: State) -> Tensor:
        g = stream(self._seed, "exposure", 3, self._step)
        x, y = predicted(self.A, images, g), self.y
        mask = self.A.outer if isinstance(self.A, Chain) else self.A
        if isinstance(mask, Entries):
            grain = (torch.randn(mask.shape_in, generator=g).to(x) + 0.5).clamp(-1, 1)
            x, y = (mask.fill(t, grain.expand(len(t), *grain.shape)) for t in (x, y))
        if x.ndim != 4:
            return L1 * (x - y).abs().flatten(1).mean(1)
        total = 0
        while min(x.shape[-2:]) > COARSEST:
            if min(x.shape[-2:]) > 30:  # what the trunk's pooling needs
                total = total + self.network(x, y).flatten(1).sum(1)
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        return total + L1 * (x - y).abs().flatten(1).mean(1)


def predicted(A: Callable[[Tensor], Tensor], x: Tensor, g: torch.Generator) -> Tensor:
    """What `A` might measure of `x`: photon noise by a normal variable of its mean and variance, differentiable."""
    if isinstance(A, Chain):
        return predicted(A.outer, predicted(A.inner, x, g), g)
    if not isinstance(A, Photons):
        return A(x)
    light = _soft_clamp((x + 1) / 2)
    noise = torch.randn(A.shape_in, generator=g).to(x)
    alive = torch.rand(1, *A.shape_in[1:], generator=g).to(x) >= A.dead
    counted = light - 0.5 / A.peak + ((light + 1e-3) / A.peak).sqrt() * noise
    return 2 * _soft_clamp(counted * alive) - 1


def _soft_clamp(x: Tensor) -> Tensor:
    """`x` cut to [0, 1], with the gradient of a sigmoid, which is nowhere 0."""
    soft = torch.sigmoid(2 * (x - 0.5))
    return soft + (x.clamp(0, 1) - soft).detach()
