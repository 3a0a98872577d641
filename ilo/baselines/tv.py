"""Total variation: images that are flat but for few edges.

argmin_x  ½‖A x − y‖² + weight·TV(x)   over images x in [−1, 1].
"""

import torch
from torch import Tensor

from ilo.baselines.checks import check_linear, weight_per_problem
from ilo.baselines.weights import default_weight
from ilo.checks import check_count, check_tensor
from ilo.operators import LinearOperator

GRADIENT_NORM_SQUARED = 8.0  # Chambolle's (2004) bound on ‖∇‖² of two-dimensional forward differences
DATA_STEP = 3.0  # of the dual step sizes' ratio: found by trial on inpainting, Gaussian, super-resolution, denoising


def variation(x: Tensor) -> Tensor:
    """Return TV(x) of images (B, C, H, W), shape (B,): isotropic and coupled over the channels.

    Σ over pixels of the l2 norm of the 2·C forward differences there, down and across, which are 0 across the border
    (Bresson and Chan, Inverse Problems and Imaging 2008). With one channel it is that of Rudin, Osher and Fatemi.
    """
    check_tensor(x, "the images x", least_axes=4)
    return _size(_differences(x)).sum((1, 2, 3, 4))


@torch.no_grad()
def total_variation(
    A: LinearOperator,
    y: Tensor,
    *,
    weight: float | Tensor | None = None,
    noise: float = 0.02,
    steps: int = 200,
) -> Tensor:
    """Minimise ½‖A x − y‖² + weight·TV(x) over images in [−1, 1]: Rudin, Osher and Fatemi (Physica D 1992), any A.

    TV is isotropic and couples the channels (see `variation`): an edge in one makes an edge in the others cheap.
    Solved by the primal–dual method of Chambolle and Pock (J. Mathematical Imaging and Vision 2011, algorithm 1) with
    both the data term and TV in the dual, for which A and its adjoint are enough. The dual step sizes are proportional
    to the weight, as the dual variables are, which makes the method's pace much the same for every weight.

    Args:
        A: linear operator, on the device and in the dtype of `y`.
        y: measurements (B, *A.shape_out), finite.
        weight: of TV, at least 0: a number, or (B,). None: `default_weight("total_variation", A, noise)`.
        noise: standard deviation of the noise in the measurements; read only where `weight` is None.
        steps: of the method; each costs one product with A and one with its adjoint.

    Returns:
        images (B, C, H, W) in [−1, 1]; each problem is solved by itself.

    Raises:
        TypeError: `A` is not a linear operator.
        ValueError: measurements that do not fit it or are not finite, a negative weight, steps < 1.
    """
    check_linear(A, y, "total_variation")
    check_count(steps, "steps")
    weight = default_weight("total_variation", A, noise) if weight is None else weight
    weight = weight_per_problem(weight, y)  # (1 or B, 1, 1, 1)
    norm = A.norm()
    edge_step = weight.clamp_min(1e-4)  # a weight of 0 keeps a pace
    data_step = DATA_STEP / max(1.0, norm) * edge_step
    step = 0.99 / (data_step * norm**2 + edge_step * GRADIENT_NORM_SQUARED)
    data_step = data_step.view(-1, *[1] * (y.ndim - 1))
    edge_step, limit = edge_step[:, None], weight[:, None]  # (1 or B, 1, 1, 1, 1)

    x = (A.adjoint(y) / norm**2).clamp(-1, 1)
    ahead = x
    edges = torch.zeros_like(_differences(x))  # (B, 2, C, H, W), the dual variable of TV
    data = torch.zeros_like(y)  # that of the data term
    for _ in range(steps):
        edges = _shorten(edges + edge_step * _differences(ahead), limit)
        data = (data + data_step * (A(ahead) - y)) / (1 + data_step)
        new = (x - step * (A.adjoint(data) + _differences_adjoint(edges))).clamp(-1, 1)
        ahead, x = 2 * new - x, new
    return x


def _differences(x: Tensor) -> Tensor:
    """Forward differences down and across: (B, C, H, W) -> (B, 2, C, H, W), 0 across the border."""
    d = x.new_zeros(len(x), 2, *x.shape[1:])
    torch.sub(x[:, :, 1:], x[:, :, :-1], out=d[:, 0, :, :-1])
    torch.sub(x[..., 1:], x[..., :-1], out=d[:, 1, :, :, :-1])
    return d


def _differences_adjoint(d: Tensor) -> Tensor:
    """The adjoint of `_differences`: (B, 2, C, H, W) -> (B, C, H, W)."""
    down, across = d[:, 0, :, :-1], d[:, 1, :, :, :-1]
    x = d.new_zeros(len(d), *d.shape[2:])
    x[:, :, 1:] += down
    x[:, :, :-1] -= down
    x[..., 1:] += across
    x[..., :-1] -= across
    return x


def _size(d: Tensor) -> Tensor:
    """The l2 norm of each pixel's differences in all channels: (B, 2, C, H, W) -> (B, 1, 1, H, W)."""
    return d.square().sum((1, 2), keepdim=True).sqrt()


def _shorten(d: Tensor, limit: Tensor) -> Tensor:
    """Project each pixel's differences onto the l2 ball of radius `limit`."""
    size = _size(d)
    return d * (limit / torch.maximum(size, limit)).where(size > limit, 1)
