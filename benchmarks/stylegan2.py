"""How much faster StyleGAN2-256 with frozen weights is than the network written as its equations read.

    python -m benchmarks stylegan2

The plain version modulates the weights of each sample, convolves in one group a sample, and resamples by a 4×4 filter
(Karras et al. 2020, §2.2 and appendix B). It comes in the two ways in which published pure-torch code applies the
filter: to one channel at a time, all channels of all samples as one batch (rosinality/stylegan2-pytorch off the GPU),
and as a depthwise convolution (NVIDIA's reference operator). Both sides of each ratio do the same: from the styles and
the 4×4 features to images, and back to the gradient of both; random weights, 32-bit floats. They are timed in
alternation in one run, and the median ratio is reported, which holds on a shared machine where times do not.

The choices that `ilo.generators.stylegan.network` made are timed too, each against the other way.

Measured on two cores of a shared machine, two threads, batch 1 and batch 4: 3.7 and 4.6 times as fast as the filter
by channel, 2.1 and 2.0 times as with the depthwise one; contiguous memory takes 1.2 and 1.3 times as long as
channels-last, a separable filter as long as the one of 4×4 (1.00 and 1.05), which is why there is none. In CPU time
of one thread the first ratios are 3.4 and 3.6, 1.8 and 2.2. Four fifths of our time are convolutions, at the speed that
oneDNN has for any of 3×3; the plain version runs half as many again, for the gradient of the weights that it modulates.
"""

import math
import statistics
import time
from collections.abc import Callable
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from ilo.generators import random_stylegan2, stylegan2
from ilo.generators.stylegan import network

SIZE, BLOCKS = 256, 3
Filter = Callable[[Tensor, tuple[int, int]], Tensor]


def filter_4x4(gain: float = 4.0) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return gain * torch.outer(taps, taps) / 64


def by_channel(x: Tensor, pad: tuple[int, int]) -> Tensor:
    """Pad both axes and convolve with the filter: (B·C, 1, h, w) -> the same."""
    B, C = x.shape[:2]
    x = F.pad(x, (*pad, *pad)).flatten(0, 1)[:, None]
    return F.conv2d(x, filter_4x4()[None, None]).unflatten(0, (B, C))[:, :, 0]


def depthwise(x: Tensor, pad: tuple[int, int]) -> Tensor:
    """Pad both axes and convolve with the filter, one group a channel."""
    C = x.shape[1]
    return F.conv2d(F.pad(x, (*pad, *pad)), filter_4x4().expand(C, 1, 4, 4), groups=C)


def plain_stylegan2(weights: dict[str, Tensor], features: Tensor, styles: Tensor, resample: Filter) -> Tensor:
    """Styles (B, num_ws, w_dim) and the input of the 4×4 block (B, C, 4, 4) -> images, noise maps as stored."""
    B = len(styles)

    def scales(name: str, w: Tensor) -> Tensor:
        affine = weights[f"{name}.affine.weight"]
        return F.linear(w, affine / math.sqrt(affine.shape[1]), weights[f"{name}.affine.bias"])

    def convolve(name: str, x: Tensor, w: Tensor, up: bool) -> Tensor:
        weight = weights[f"{name}.weight"][None] * scales(name, w)[:, None, :, None, None]  # (B, c_out, c_in, 3, 3)
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        if up:
            grouped = weight.transpose(1, 2).flatten(0, 1)  # (B·c_in, c_out, 3, 3)
            x = F.conv_transpose2d(x.flatten(0, 1)[None], grouped, stride=2, groups=B)
            x = resample(x[0].unflatten(0, (B, -1)), (1, 1))
        else:
            x = F.conv2d(x.flatten(0, 1)[None], weight.flatten(0, 1), padding=1, groups=B)[0].unflatten(0, (B, -1))
        x = x + weights[f"{name}.noise_strength"] * weights[f"{name}.noise_const"]
        return F.leaky_relu(x + weights[f"{name}.bias"][:, None, None], 0.2) * math.sqrt(2)

    x, rgb, index = features, None, 0
    for size in (4 << i for i in range(int(math.log2(SIZE)) - 1)):
        name = f"synthesis.b{size}"
        for conv in ("conv1",) if size == 4 else ("conv0", "conv1"):
            x = convolve(f"{name}.{conv}", x, styles[:, index], up=conv == "conv0")
            index += 1
        s = scales(f"{name}.torgb", styles[:, index]) / math.sqrt(x.shape[1])
        weight = weights[f"{name}.torgb.weight"][None] * s[:, None, :, None, None]
        y = F.conv2d(x.flatten(0, 1)[None], weight.flatten(0, 1), groups=B)[0].unflatten(0, (B, -1))
        y = y + weights[f"{name}.torgb.bias"][:, None, None]
        if rgb is not None:
            zeros = rgb.new_zeros(B, 3, size, size)
            zeros[:, :, ::2, ::2] = rgb
            y = y + resample(zeros, (2, 1))
        rgb = y
    return rgb


def separable_blur(x: Tensor) -> Tensor:
    """`network.blur` as two depthwise convolutions along one axis each."""
    taps, C = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4, x.shape[1]
    x = F.conv2d(x, taps.view(4, 1).expand(C, 1, 4, 1), padding=(1, 0), groups=C)
    return F.conv2d(x, taps.expand(C, 1, 1, 4), padding=(0, 1), groups=C)


def seconds(images: Callable[[Tensor, Tensor], Tensor], features: Tensor, styles: Tensor) -> float:
    """Wall time of images and gradients."""
    features, styles = (t.clone().requires_grad_() for t in (features, styles))
    began = time.perf_counter()
    images(features, styles).square().sum().backward()
    return time.perf_counter() - began


def main() -> None:
    weights = random_stylegan2(SIZE)
    G = stylegan2(weights, space="w+")
    with mock.patch.object(network, "_channels_last", lambda x: x.contiguous()):
        contiguous = stylegan2(weights, space="w+")

    def ours(generator, features: Tensor, styles: Tensor) -> Tensor:
        maps = {k: v for k, v in generator.run({"styles": styles}, 0, 1).items() if k.startswith("noise")}
        return generator({"features": features, "styles": styles, **maps}, 1)

    def without_channels_last(features: Tensor, styles: Tensor) -> Tensor:
        with mock.patch.object(network, "_channels_last", lambda x: x.contiguous()):
            return ours(contiguous, features, styles)

    def with_separable_blur(features: Tensor, styles: Tensor) -> Tensor:
        with mock.patch.object(network, "blur", separable_blur):
            return ours(G, features, styles)

    others = {
        "plain, filter by channel": lambda x, w: plain_stylegan2(weights, x, w, by_channel),
        "plain, filter depthwise": lambda x, w: plain_stylegan2(weights, x, w, depthwise),
        "ours, contiguous layout": without_channels_last,
        "ours, separable filter": with_separable_blur,
    }
    print(f"StyleGAN2-{SIZE}, forward and backward, {torch.get_num_threads()} threads: time of … over ours")
    for batch in (1, 4):
        styles = G.sample(batch, 0)["styles"]
        features = weights["synthesis.b4.const"].expand(batch, -1, -1, -1).contiguous()
        expected = ours(G, features, styles)
        for name, other in others.items():  # warms up as well
            with torch.no_grad():
                error = (other(features, styles) - expected).abs().max() / expected.abs().max()
            assert error < 1e-4, (name, error)
        ratios: dict[str, list[float]] = {name: [] for name in others}
        times = []
        for _ in range(BLOCKS):
            for name, other in others.items():
                own = seconds(lambda x, w: ours(G, x, w), features, styles)
                times.append(own)
                ratios[name].append(seconds(other, features, styles) / own)
        print(f"batch {batch}: ours {statistics.median(times):.2f} s")
        for name, values in ratios.items():
            print(f"  {name:26} {statistics.median(values):5.2f}   ({min(values):.2f} … {max(values):.2f})")


if __name__ == "__main__":
    main()
