"""The leaky ReLU between two filters, which keeps StyleGAN3 free of aliasing, for frozen weights.

Source: Karras et al., "Alias-free generative adversarial networks" (NeurIPS 2021), §3.2 and appendix C. A nonlinearity
makes frequencies that its grid cannot hold. So the image is first brought to a finer grid, the nonlinearity applied
there, and what the coarser grid cannot hold removed on the way back:

    out = D · σ(U · x),   σ(v) = clamp(√2 · lrelu(v), −c, c).

U and D are linear, and the filters are frozen: a backward pass needs of the fine grid, which is by far the largest map
of the network, only which of its three slopes σ had, a byte a value in place of four. Filters along one axis at a time
and maps laid out channels-last are the fastest of seven ways that were timed on a CPU (a third of the next, products
with band matrices; an eighth of depthwise convolutions of contiguous maps).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.generators.stylegan.network import GAIN, SLOPE

MOST_VALUES = 2**24  # of a fine grid at a time: 64 MiB


class FilteredLReLU(nn.Module):
    """From features (B, C, n, n) to (B, C, m, m), through a grid of (m − 1)·down + taps values a side.

    Args:
        up_filter: (taps,), of the zeros put between values, along both axes; they sum to 1.
        down_filter: (taps,) along both axes, or (taps, taps), radially symmetric.
        up, down: how many times finer than the features, and than what leaves, the grid between them is.
        crop: values that are cut off every edge of the fine grid.
        clamp: bound on the absolute values on the fine grid.
    """

    def __init__(self, up_filter: Tensor, down_filter: Tensor, *, up: int, down: int, crop: int, clamp: float):
        super().__init__()
        self.up, self.down, self.crop, self.clamp = up, down, crop, clamp
        # √2·lrelu(v) = lrelu(√2·v); zeros between values leave one of up², which the filter makes up for. Per axis:
        self.register_buffer("up_filter", up_filter * (up * GAIN**0.5))
        # A convolution reverses its filter, torch's does not.
        self.register_buffer("down_filter", down_filter.flip(tuple(range(down_filter.ndim))))

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C, n, n) -> (B, C, m, m)."""
        filters = self.up_filter, self.down_filter
        return _Filtered.apply(x, *filters, self.up, self.down, self.crop, self.clamp)[0]


class _Filtered(torch.autograd.Function):
    """D σ(U x), and per value of the fine grid which slope σ has: 2 for √2's, 1 for the lesser, 0 where it clamps.

    The fine grid of some channels at a time: filters know none of the others.
    """

    @staticmethod
    def forward(x: Tensor, up_filter: Tensor, down_filter: Tensor, up: int, down: int, crop: int, clamp: float):
        outs, slopes = [], []
        for part in _parts(x, up):
            fine = F.leaky_relu_(_spread(part, up_filter, up, crop), SLOPE)
            slope = (fine > 0).to(torch.uint8).add_(1)
            slopes.append(slope.masked_fill_(fine > clamp, 0).masked_fill_(fine < -clamp, 0))
            outs.append(_gather(fine.clamp_(-clamp, clamp), down_filter, down, 0))
        return torch.cat(outs, 1), torch.cat(slopes, 1)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, up_filter, down_filter, ctx.up, ctx.down, ctx.crop, _ = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(up_filter, down_filter, output[1])
        ctx.save_for_forward(up_filter, down_filter, output[1])

    @staticmethod
    def backward(ctx, g: Tensor | None, _: None):
        up_filter, down_filter, slope = ctx.saved_tensors
        if g is None or not ctx.needs_input_grad[0]:
            return (None,) * 7
        parts = [
            _gather(_sloped(_spread(part, down_filter, ctx.down, 0), part_slope), up_filter, ctx.up, ctx.crop)
            for part, part_slope in _parts(g, ctx.down, slope)
        ]
        return (torch.cat(parts, 1), *(None,) * 6)

    @staticmethod
    def jvp(ctx, t: Tensor | None, *_):
        up_filter, down_filter, slope = ctx.saved_tensors
        if t is None:
            return None, None
        fine = _sloped(_spread(t, up_filter, ctx.up, ctx.crop), slope)
        return _gather(fine, down_filter, ctx.down, 0), None


def _parts(x: Tensor, factor: int, beside: Tensor | None = None):
    """x in parts of some channels, 16 or a multiple, whose grid, finer by `factor`, has about `MOST_VALUES`."""
    step = 16 * max(1, MOST_VALUES // (16 * len(x) * factor**2 * x.shape[2] * x.shape[3]))
    return x.split(step, 1) if beside is None else zip(x.split(step, 1), beside.split(step, 1), strict=True)


def _sloped(fine: Tensor, slope: Tensor) -> Tensor:
    """fine times σ's slope, but for √2: written over it, unless the product is itself to be differentiated."""
    factor = torch.where(slope > 1, fine.new_ones(()), fine.new_tensor(SLOPE)).masked_fill_(slope == 0, 0)
    return fine * factor if torch.is_grad_enabled() else fine.mul_(factor)


def _spread(x: Tensor, taps: Tensor, factor: int, crop: int) -> Tensor:
    """factor − 1 zeros after every value, the filter, `crop` values less at every edge; the adjoint of `_gather`."""
    x = x.contiguous(memory_format=torch.channels_last)
    for kernel, stride, padding in _axes(x, taps, factor, crop):
        x = F.conv_transpose2d(x, kernel, stride=stride, padding=padding, groups=x.shape[1])
    return x


def _gather(x: Tensor, taps: Tensor, factor: int, crop: int) -> Tensor:
    """`crop` zeros more at every edge, the reversed filter, every `factor`-th value."""
    x = x.contiguous(memory_format=torch.channels_last)
    for kernel, stride, padding in _axes(x, taps, factor, crop):
        x = F.conv2d(x, kernel, stride=stride, padding=padding, groups=x.shape[1])
    return x


def _axes(x: Tensor, taps: Tensor, factor: int, crop: int):
    """The steps of a filter along both axes: (kernel, stride, padding); of one that is not separable a single step."""
    taps, channels = taps.to(x.dtype), x.shape[1]  # under autocast the maps are half as wide
    if taps.ndim == 2:
        return [(taps.expand(channels, 1, -1, -1), factor, crop)]
    return [
        (taps[:, None].expand(channels, 1, -1, -1), (factor, 1), (crop, 0)),
        (taps.expand(channels, 1, 1, -1), (1, factor), (0, crop)),
    ]
