"""Taking measurements: y = A(x) + noise."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ilo.checks import check_callable, check_number
from ilo.images import check_images
from ilo.operators.camera import Camera
from ilo.rng import Rng, normal


@torch.no_grad()
def measure(A: Callable[[Tensor], Tensor], x: Tensor, noise: float = 0.0, rng: Rng | Sequence[int] = 0) -> Tensor:
    """Return A(x) plus independent N(0, noise²) noise on every measurement, shape (B, …).

    Args:
        A: any callable from images to measurements, batch first; it need not be linear. A `Camera` that has noise of
            its own draws that first.
        x: images (B, C, H, W) in [−1, 1].
        noise: in the units of the measurements, at least 0.
        rng: seed or torch.Generator; sample i draws the same noise whatever the batch. Or one seed per sample.

    Raises:
        ValueError: if `x` is no batch of images in [−1, 1], or `noise` is negative or not finite.
    """
    noise = check_number(noise, "noise", 0)
    check_callable(A, "the operator A")
    check_images(x)
    y = A.draw(x, rng) if isinstance(A, Camera) else A(x)
    if noise == 0:
        return y.clone()  # the identity gives x itself
    return y + noise * normal(rng, len(y), y.shape[1:], purpose="noise", dtype=y.dtype, device=y.device)
