"""The smooth field: what the measurements say of an image of which no more is known than its mean and covariance."""

import torch
from torch import Tensor

from ilo.auto.choose import NO_NOISE
from ilo.auto.posterior import image_prior
from ilo.auto.smooth import Conditioner
from ilo.baselines.checks import check_linear
from ilo.checks import check_kind, check_number
from ilo.generators.base import Generator
from ilo.operators import LinearOperator


@torch.no_grad()
def smooth_field(G: Generator, A: LinearOperator, y: Tensor, *, noise: float = 0.02) -> Tensor:
    """The closed-form smooth deviation about the generator's mean image, without any search (`ilo.auto.smooth`).

    The image is taken for N(mean of G's images, K), K smooth in space and correlated in colour as those images are. It
    shows what a search is worth beyond it.

    Args:
        y: measurements (B, *A.shape_out). noise: their standard deviation; below 0.001 it counts as 0.001.

    Returns:
        images (B, C, H, W) in [−1, 1].
    """
    check_kind(G, Generator, "G")
    noise = check_number(noise, "noise", 0)
    check_linear(A, y, "smooth_field")
    prior = image_prior(G)
    ratio = torch.full((len(y),), 1 / max(noise, NO_NOISE) ** 2).to(y)
    return Conditioner(A, prior.smooth)(y, prior.mean.expand(len(y), -1, -1, -1), ratio).clamp(-1, 1)
