"""Deep decoder: an untrained network with fewer weights than the image has pixels, fitted to the measurements."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from ilo.arithmetic import repeatable
from ilo.checks import check_callable, check_count, check_measurements, check_positive, check_shape
from ilo.rng import Rng, normal, seed_of

EPS = 1e-5  # of the channel normalisation, as batch normalisation has it


def deep_decoder(
    A: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    shape: Sequence[int] | None = None,
    width: int = 32,
    levels: int = 3,
    steps: int = 200,
    lr: float = 0.03,
    rng: Rng | Sequence[int] = 0,
) -> Tensor:
    """Fit a deep decoder (Heckel and Hand, ICLR 2019) to each problem's measurements, and return the images it makes.

        min over weights of the mean of (A(G(weights)) − y)²

    From fixed random features (width, h, w), `levels` times: a 1×1 convolution (a linear mix of the channels),
    bilinear up-sampling to twice the sides, ReLU, and channel normalisation with a scale and a shift each; then once
    the same without up-sampling, and a last 1×1 convolution to the image's channels. The prior is the architecture:
    with so few weights it can show no noise. `weights_of` counts them: 4,448 for the defaults on 3×64×64 = 12,288.
    The paper ends with a sigmoid, for images in [0, 1]; here a tanh, which is the same in [−1, 1].

    Each problem has a network of its own, trained by Adam at a constant rate (the authors' is 0.01, for thousands of
    steps; with the defaults here it is done after 200, and past them it fits the noise: 500 cost 2 dB in
    denoising at 0.3 and gain nothing elsewhere). The mixes are batched matrix products, so that problems never meet.
    The iterate of the least error to the measurements is returned: never chosen by the true image.

    Args:
        A: any differentiable callable from images (B, C, H, W) in [−1, 1] to measurements, batch first.
        y: measurements (B, ...), finite.
        shape: (C, H, W) of the images; None: `A.shape_in`.
        width: channels of every level.
        levels: up-samplings. The first features have sides ⌈H/2^levels⌉, ⌈W/2^levels⌉.
        steps, lr: of Adam.
        rng: seed (or torch.Generator) of the features and the first weights, the same for every problem; or one
            seed per problem.

    Returns:
        images (B, C, H, W) in [−1, 1].

    Raises:
        TypeError, ValueError: measurements that are not finite or do not fit the operator, counts < 1, lr <= 0.
    """
    check_callable(A, "the operator A")
    check_measurements(y, "the measurements y")
    check_count(width, "width"), check_count(levels, "levels"), check_count(steps, "steps"), check_positive(lr, "lr")
    if shape is None:
        if not hasattr(A, "shape_in"):
            raise ValueError("this operator does not tell the images' shape (A.shape_in): give shape=(C, H, W)")
        shape = A.shape_in
    shape = check_shape(shape)
    with repeatable(), torch.enable_grad():
        return _fit(A, y, shape, width, levels, steps, lr, rng)


def weights_of(shape: Sequence[int], width: int, levels: int) -> int:
    """Return how many weights a problem's decoder has: (levels + 1)·(width² + 2·width) + C·width."""
    shape, width, levels = check_shape(shape), check_count(width, "width"), check_count(levels, "levels")
    return (levels + 1) * (width**2 + 2 * width) + shape[0] * width


def _fit(A, y, shape, width: int, levels: int, steps: int, lr: float, rng) -> Tensor:
    sides = [[math.ceil(side / 2**level) for side in shape[1:]] for level in reversed(range(levels + 1))]
    features, weights = _begin(y, shape[0], sides[0], width, levels, rng)
    enlarge = [[_enlarge(a, b).to(y) for a, b in zip(*pair, strict=True)] for pair in pairwise(sides)]
    optimiser = torch.optim.Adam(weights, lr=lr, fused=True)
    best, least = None, y.new_full((len(y),), torch.inf)
    for step in range(steps + 1):
        last = step == steps
        with torch.set_grad_enabled(not last):
            images = _decode(features, weights, enlarge)
            measured = A(images)
            if measured.shape != y.shape:
                raise ValueError(f"the operator measures shape {tuple(measured.shape)}, but y has {tuple(y.shape)}")
            loss = (measured - y).square().flatten(1).mean(1)  # (B,)
        better = loss.detach() < least
        least = torch.where(better, loss.detach(), least)
        best = images.detach() if best is None else torch.where(better.view(-1, 1, 1, 1), images.detach(), best)
        if not last:
            for weight, gradient in zip(weights, torch.autograd.grad(loss.sum(), weights), strict=True):
                weight.grad = gradient
            optimiser.step()
    return best


def _begin(y: Tensor, channels: int, sides, width: int, levels: int, rng) -> tuple[Tensor, list[Tensor]]:
    """Random features (B, width, h, w) and first weights: a mix, scale and shift per level, and the last mix."""
    sizes = [width * sides[0] * sides[1], *[width * width] * (levels + 1), channels * width]
    seeds = [seed_of(seed) for seed in rng] if isinstance(rng, Sequence) else [seed_of(rng)]
    like = {"purpose": "network", "dtype": y.dtype, "device": y.device}
    draws = torch.cat([normal(seed, 1, (sum(sizes),), **like) for seed in seeds])
    if len(draws) not in (1, len(y)):
        raise ValueError(f"rng holds {len(draws)} seeds for {len(y)} problems: give one, or one per problem")
    features, *mixes, last = draws.expand(len(y), -1).split(sizes, dim=1)
    weights = []
    for mix in mixes:
        weights += [mix.reshape(-1, width, width) / math.sqrt(width)]
        weights += [y.new_ones(len(y), width, 1), y.new_zeros(len(y), width, 1)]
    weights.append(last.reshape(-1, channels, width) / math.sqrt(width))
    return features.reshape(-1, width, *sides), [w.contiguous().requires_grad_() for w in weights]


def _decode(x: Tensor, weights: list[Tensor], enlarge) -> Tensor:
    for level, (mix, scale, shift) in enumerate(zip(weights[:-1:3], weights[1:-1:3], weights[2:-1:3], strict=True)):
        sides = x.shape[2:]
        x = (mix @ x.flatten(2)).unflatten(2, sides)  # (B, width, h, w)
        if level < len(enlarge):
            down, across = enlarge[level]
            x = down @ x @ across.T
        x = F.relu(x)
        sides = x.shape[2:]
        # each channel of each problem by its own mean and variance, as the paper's normalisation with a batch of one
        x = F.layer_norm(x, sides, eps=EPS).flatten(2)
        x = (scale * x + shift).unflatten(2, sides)
    return torch.tanh((weights[-1] @ x.flatten(2)).unflatten(2, x.shape[2:]))


@lru_cache(maxsize=64)
def _enlarge(small: int, large: int) -> Tensor:
    """The matrix (large, small) of linear interpolation along a line, pixel centres aligned, float64."""
    line = torch.eye(small, dtype=torch.float64)[:, None]  # (small, 1, small)
    return F.interpolate(line, size=large, mode="linear", align_corners=False)[:, 0].T.contiguous()
