"""The baselines that know nothing of faces, under the one signature of a grid's methods (`ilo.study.cells.Method`).

They are apart from the searches of a generator so that no edit of the solver makes a grid compute them again.
"""

import torch
from torch import Tensor

from ilo.baselines.interpolation import bicubic
from ilo.baselines.sparse import lasso_dct, lasso_wavelet
from ilo.baselines.tv import total_variation
from ilo.baselines.untrained import deep_decoder
from ilo.generators.base import Generator
from ilo.operators import LinearOperator
from ilo.rng import seed_of, stream

WIDTH = 64  # of the deep decoder: ahead of 32, by `python -m benchmarks tune`


def by_total_variation(A: LinearOperator, y: Tensor, *, G: Generator | None, rng: int, noise: float) -> Tensor:
    """`ilo.baselines.total_variation`, its weight from the noise."""
    return total_variation(A, y, noise=noise)


def by_lasso_wavelet(A: LinearOperator, y: Tensor, *, G: Generator | None, rng: int, noise: float) -> Tensor:
    """`ilo.baselines.lasso_wavelet`, its weight from the noise."""
    return lasso_wavelet(A, y, noise=noise)


def by_lasso_dct(A: LinearOperator, y: Tensor, *, G: Generator | None, rng: int, noise: float) -> Tensor:
    """`ilo.baselines.lasso_dct`, its weight from the noise."""
    return lasso_dct(A, y, noise=noise)


def by_deep_decoder(A: LinearOperator, y: Tensor, *, G: Generator | None, rng: int, noise: float) -> Tensor:
    """`ilo.baselines.deep_decoder`, from the grid's seed."""
    return deep_decoder(A, y, width=WIDTH, rng=rng)


def by_four_decoders(A: LinearOperator, y: Tensor, *, G: Generator | None, rng: int, noise: float) -> Tensor:
    """The mean of four decoders, whose seeds follow from the grid's: what averaging is worth to it."""
    return torch.stack(
        [deep_decoder(A, y, width=WIDTH, rng=seed_of(stream(rng, "network", i))) for i in range(4)]
    ).mean(0)


def by_bicubic(A: LinearOperator, y: Tensor, *, G: Generator | None, rng: int, noise: float) -> Tensor:
    """`ilo.baselines.bicubic`: of super-resolution alone."""
    return bicubic(A, y)
