"""Modulated convolutions and the resampling between them: the arithmetic of StyleGAN2, for frozen weights.

Source: Karras et al., "Analyzing and improving the image quality of StyleGAN" (CVPR 2020), §2.2 and appendix B.
The paper scales the weights of each sample, w'_ijk = s_i·w_ijk, and divides them by their norm over i and k. The same
numbers come from scaling what enters and what leaves a convolution, which all samples then share (eq. 3):

    conv(x, w') = d · conv(s · x, w),   d_j = (Σ_i s_i² Σ_k w_ijk² + 1e-8)^−½.

No weight depends on a sample, so a backward pass computes no gradient of a weight. The weights of convolutions are laid
out channels-last, which features take over from them: a tenth faster on a CPU (benchmarks/stylegan2.py). The 4×4
filter is one depthwise convolution: two separable ones took longer.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-8
SLOPE = 0.2  # of the leaky ReLU
GAIN = math.sqrt(2)  # which follows it
STRIP = 2**20  # numbers of one image that are multiplied at a time


class Affine(nn.Module):
    """The map from a style w (B, w_dim) to one scale per channel (B, channels); weights as stored, gain 1/√w_dim."""

    def __init__(self, weight: Tensor, bias: Tensor, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(weight * (gain / math.sqrt(weight.shape[1])))
        self.bias = nn.Parameter(bias * gain)

    def forward(self, w: Tensor) -> Tensor:
        return F.linear(w, self.weight, self.bias)


class StyledConv(nn.Module):
    """Modulated 3×3 convolution, noise, bias, leaky ReLU; with `up`, from (h, w) to (2h, 2w).

    Args:
        weight: (c_out, c_in, 3, 3).
        bias: (c_out,).
        affine: from a style to the c_in scales.
        noise_strength: scalar, the factor of the noise map.
        up: whether to double the size (transposed convolution of stride 2, then the [1, 3, 3, 1] filter).
        clamp: bound on the absolute values that leave, or None.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        affine: Affine,
        noise_strength: Tensor,
        *,
        up: bool = False,
        clamp: float | None = None,
    ):
        super().__init__()
        self.affine, self.up, self.clamp = affine, up, clamp
        self.weight = nn.Parameter(_channels_last(weight.transpose(0, 1) if up else weight))
        self.register_buffer("energy", weight.square().sum((2, 3)))  # (c_out, c_in)
        # The gain of the leaky ReLU goes through it: √2·lrelu(x) = lrelu(√2·x).
        self.bias = nn.Parameter(GAIN * bias[:, None, None])
        self.noise_strength = nn.Parameter(GAIN * noise_strength.reshape(()))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """Features (B, c_in, h, w), styles (B, w_dim), noise map (B, 1, h', w') or None -> (B, c_out, h', w')."""
        dtype = _dtype_of_maps(x)
        with torch.autocast(x.device.type, enabled=False):
            s = self.affine(w)  # (B, c_in)
            d = GAIN * torch.rsqrt(F.linear(s.square(), self.energy) + EPS)  # (B, c_out)
            noise = None if noise is None else noise * self.noise_strength
            # All of one dtype: an operation on maps that has to convert is many times slower.
            x, s, d, noise, bias = (
                t if t is None else t.to(dtype) for t in (_channels_last(x), s, d, noise, self.bias)
            )
            x = ModulatedConv.apply(x, s, d, noise, self.weight, bias, self.up)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class ModulatedConv(torch.autograd.Function):
    """lrelu(d · conv(s · x, w) + noise + bias), with a backward pass that keeps only what enters and what leaves.

    Left to autograd, two more maps of this size are kept per convolution. They are not needed: with y what the leaky
    ReLU is applied to, and g the gradient that arrives, Σ g·lrelu'(y)·y = Σ g·lrelu(y). That gives the gradient of d,
    Σ g·lrelu'(y)·(y − noise − bias)/d. The weight and the bias are frozen: they get none.
    """

    @staticmethod
    def forward(x: Tensor, s: Tensor, d: Tensor, noise: Tensor | None, weight: Tensor, bias: Tensor, up: bool):
        y = _conv(x * _map(s), weight, up)
        y = torch.addcmul(bias, y, _map(d), out=y)
        return F.leaky_relu_(y if noise is None else y.add_(noise), SLOPE)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        *tensors, ctx.up = inputs
        ctx.save_for_backward(*tensors, output)
        ctx.save_for_forward(*tensors, output)

    @staticmethod
    def backward(ctx, g: Tensor):
        x, s, d, noise, weight, bias, out = ctx.saved_tensors
        need_x, need_s, need_d, need_noise, *_ = ctx.needs_input_grad
        g_y = torch.ops.aten.leaky_relu_backward(g, out, SLOPE, True)
        g_noise = g_y.sum(1, keepdim=True) if need_noise else None
        g_d = g_x = g_s = None
        if need_d:
            offset = g_y.sum((2, 3)) * bias.flatten()  # (B, c_out)
            if noise is not None:
                pixels = g_y.permute(0, 2, 3, 1).flatten(1, 2)  # (B, h·w, c_out)
                offset = offset + (noise.flatten(1)[:, None] @ pixels)[:, 0]
            g_d = (_dot(g, out) - offset) / d
        if need_x or need_s:
            g_u = _conv_adjoint(_scaled(g_y, d), weight, ctx.up)  # of u = s · x
            del g_y
            g_s = _dot(g_u, x) if need_s else None
            g_x = _scaled(g_u, s) if need_x else None
        return g_x, g_s, g_d, g_noise, None, None, None

    @staticmethod
    def jvp(ctx, t_x: Tensor, t_s: Tensor, t_d: Tensor, t_noise: Tensor | None, *_):
        x, s, d, noise, weight, bias, out = ctx.saved_tensors
        y = torch.where(out > 0, out, out / SLOPE) - bias
        t_y = _conv(t_x * _map(s) + x * _map(t_s), weight, ctx.up) * _map(d)
        t_y = t_y + (y if noise is None else y - noise) * _map(t_d / d)
        t_y = t_y if noise is None else t_y + t_noise
        return torch.where(out > 0, t_y, SLOPE * t_y)


class ToRGB(nn.Module):
    """Modulated 1×1 convolution to the colours, without demodulation.

    Args:
        weight: (colours, c_in, 1, 1); gain 1/√c_in, here in `affine`.
        bias: (colours,).
        affine: from a style to the c_in scales.
    """

    def __init__(self, weight: Tensor, bias: Tensor, affine: Affine, *, clamp: float | None = None):
        super().__init__()
        self.affine, self.clamp = affine, clamp
        self.weight = nn.Parameter(weight[:, :, 0, 0])
        self.bias = nn.Parameter(bias.clone())

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Features (B, c_in, h, w), styles (B, w_dim) -> (B, colours, h, w)."""
        weight = self.weight * self.affine(w)[:, None]  # (B, colours, c_in): tiny, so each sample has its own
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, h·w, c_in): no copy, channels-last
        rgb = torch.matmul(pixels, weight.transpose(1, 2)) + self.bias  # (B, h·w, colours)
        rgb = rgb.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)


def blur(x: Tensor) -> Tensor:
    """[1, 3, 3, 1]/4 along both axes, padding 1: (B, C, 2h + 1, 2w + 1) -> (B, C, 2h, 2w)."""
    return F.conv2d(x, _filter(x), padding=1, groups=x.shape[1])


def upsample(x: Tensor) -> Tensor:
    """Double the size: zeros between pixels, then [1, 3, 3, 1]/4 along both axes. (B, C, h, w) -> (B, C, 2h, 2w)."""
    return F.conv_transpose2d(_channels_last(x), _filter(x), stride=2, padding=1, groups=x.shape[1])


def _conv(x: Tensor, weight: Tensor, up: bool) -> Tensor:
    weight = weight.to(x.dtype)
    if up:
        return blur(F.conv_transpose2d(x, weight, stride=2))
    return F.conv2d(x, weight, padding=1)


def _conv_adjoint(x: Tensor, weight: Tensor, up: bool) -> Tensor:
    weight = weight.to(x.dtype)  # again, since to keep it from the forward pass on would take more than maps do
    if up:
        wide = F.conv2d(x, _filter(x), padding=2, groups=x.shape[1])  # the filter is symmetric
        return F.conv2d(wide, weight, stride=2)
    return F.conv_transpose2d(x, weight, padding=1)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Σ x·y over pixels, (B, C, h, w) both -> (B, C)."""
    # On a CPU by strips, whose products take a third of the time: memory is not new, nor as far. Not by many of them,
    # since threads wait for each other at every one.
    rows = max(1, STRIP // (x.shape[1] * x.shape[3])) if x.is_cpu else x.shape[2]
    return sum((a * b).sum((2, 3)) for a, b in zip(x.split(rows, 2), y.split(rows, 2), strict=True))


def _dtype_of_maps(x: Tensor) -> torch.dtype:
    """What a convolution of `x` is computed in: that of torch.autocast, or its own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _scaled(x: Tensor, s: Tensor) -> Tensor:
    """x (B, C, h, w) times s (B, C): written over x, unless the product is itself to be differentiated."""
    return x * _map(s) if torch.is_grad_enabled() else x.mul_(_map(s))


def _map(x: Tensor) -> Tensor:
    """(B, C) -> (B, C, 1, 1)."""
    return x[:, :, None, None]


def _filter(x: Tensor) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device) / 4
    return torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
