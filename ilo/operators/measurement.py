"""Taking measurements: y = A(x) + noise."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ilo.images import check_images
from ilo.rng import Rng, normal, seed_of, stream


@torch.no_grad()
def measure(A: Callable[[Tensor], Tensor], x: Tensor, noise: float = 0.0, rng: Rng | Sequence[int] = 0) -> Tensor:
    """Return A(x) plus independent N(0, noise²) noise on every measurement, shape (B, …).

    Args:
        A: any callable from images to measurements, batch first; it need not be linear.
        x: images (B, C, H, W) in [−1, 1].
        noise: in the units of the measurements, at least 0.
        rng: seed or torch.Generator; sample i draws the same noise whatever the batch. Or one seed per sample.

    Raises:
        ValueError: if `x` is no batch of images in [−1, 1], or `noise` is negative or not finite.
    """
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be a finite number of at least 0, got {noise}")
    check_images(x)
    y = A(x)
    if noise == 0:
        return y.clone()  # the identity gives x itself
    return y + noise * normal(_noise_seeds(rng, len(y)), len(y), y.shape[1:], dtype=y.dtype, device=y.device)


def _noise_seeds(rng: Rng | Sequence[int], n: int) -> list[int]:
    """One seed per sample, of streams that nothing else draws from: an image of the same `rng` is independent."""
    if isinstance(rng, Sequence):
        return [stream(seed, "noise", 0).initial_seed() for seed in rng]
    seed = seed_of(rng)
    return [stream(seed, "noise", i).initial_seed() for i in range(n)]
