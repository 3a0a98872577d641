"""How much faster StyleGAN2-256 with frozen weights is than the network written as its equations read.

    python -m benchmarks stylegan2

The plain version modulates the weights of each sample, convolves in one group a sample, and resamples by a 4×4 filter
(Karras et al. 2020, §2.2 and appendix B). It comes in the two ways in which published pure-torch code applies the
filter: to one channel at a time, all channels of all samples as one batch (rosinality/stylegan2-pytorch off the GPU),
and as a depthwise convolution (NVIDIA's reference operator). Both sides of each ratio do the same: from the styles and
the 4×4 features to images, and back to the gradient of both; random weights, 32-bit floats. They are timed in
alternation in one run, and the median ratio is reported, which holds on a shared machine where times do not.

The bound is what the convolutions alone take: bare conv2d of the same shapes, forward and back to the features, none to
the weights, which are frozen. bfloat16 is `ilo.generators.economical(G, half=True)`, whose gradients and images differ
by a few per cent. The choices that `ilo.generators.stylegan.network` made are timed too, each against the other way.

Measured on two cores of a shared machine with AMX, two threads, batch 1 and batch 4: 4.0 and 5.5 times as fast
as the filter by channel, 2.1 and 2.5 times as with the depthwise one; in bfloat16 9.6 and 13.6, 5.0 and 6.1 times. The
bound is 0.77 and 0.70 of our time, so that no arrangement of what stands between these convolutions makes float32 2.7
times as fast as the depthwise way at batch 1, or 3.6 times at batch 4. Contiguous memory takes 1.2 and 1.3 times as
long as channels-last, a separable filter as long as the one of 4×4 (0.96 and 0.99), which is why there is none.

Tried and left out: Winograd's 4×4 tiles in torch (296 ms for 115 at 128 channels of 256 pixels, 111 for 101 at 256 of
128; 60 for 92 at 512 of 64, with 2.7 times the rounding error); bfloat16 inside float32 convolutions (oneDNN's switch:
little gained at 256 pixels, half of the time below, as inexact as bfloat16 there); huge pages. Not tried: one
convolution to all four phases in place of stride 2 and filter (four times the products, where the filter is 3 % of a
step); torch.compile (it needs a compiler at run time). Styles that a round does not move are not kept as scales, since
making all of them anew is half a per cent of a step.
"""

import math
import statistics
import time
from collections.abc import Callable
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from ilo.generators import economical, random_stylegan2, stylegan2
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


def images_of(generator, features: Tensor, styles: Tensor) -> Tensor:
    maps = {k: v for k, v in generator.run({"styles": styles}, 0, 1).items() if k.startswith("noise")}
    return generator({"features": features, "styles": styles, **maps}, 1)


def whole(images: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], None]:
    """What a step computes: images, and the gradient of features and styles."""

    def step(features: Tensor, styles: Tensor) -> None:
        features, styles = (t.clone().requires_grad_() for t in (features, styles))
        images(features, styles).square().sum().backward()

    return step


def bare_convolutions(generator, features: Tensor, styles: Tensor) -> Callable[[Tensor, Tensor], None]:
    """The convolutions of `whole`, and of the way back to their input, without anything between them."""
    shapes: list[tuple[network.StyledConv, torch.Size]] = []
    convs = [m for m in generator.modules() if isinstance(m, network.StyledConv)]
    hooks = [m.register_forward_hook(lambda m, inputs, _: shapes.append((m, inputs[0].shape))) for m in convs]
    with torch.no_grad():
        images_of(generator, features, styles)
    for hook in hooks:
        hook.remove()
    inputs = [(m, torch.randn(shape).contiguous(memory_format=torch.channels_last)) for m, shape in shapes]

    @torch.no_grad()
    def step(features: Tensor, styles: Tensor) -> None:
        for m, x in inputs:
            if m.up:
                F.conv2d(F.conv_transpose2d(x, m.weight, stride=2), m.weight, stride=2)
            else:
                F.conv_transpose2d(F.conv2d(x, m.weight, padding=1), m.weight, padding=1)

    return step


def seconds(step: Callable[[Tensor, Tensor], None], features: Tensor, styles: Tensor) -> float:
    """Wall time of one step."""
    began = time.perf_counter()
    step(features, styles)
    return time.perf_counter() - began


def check(name: str, found: Tensor, expected: Tensor) -> None:
    """They are the same images: to rounding, or in bfloat16 to a twentieth of their standard deviation."""
    limit = 0.05 if "bfloat16" in name else 1e-4
    error = (found - expected).square().mean().sqrt() / expected.std()
    assert error < limit, (name, error)


def ways(weights: dict[str, Tensor]) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Name → features, styles to images."""
    G = stylegan2(weights, space="w+")
    half = economical(G, checkpointing=False, half=True)
    with mock.patch.object(network, "_channels_last", lambda x: x.contiguous()):
        contiguous = stylegan2(weights, space="w+")

    def without_channels_last(features: Tensor, styles: Tensor) -> Tensor:
        with mock.patch.object(network, "_channels_last", lambda x: x.contiguous()):
            return images_of(contiguous, features, styles)

    def with_separable_blur(features: Tensor, styles: Tensor) -> Tensor:
        with mock.patch.object(network, "blur", separable_blur):
            return images_of(G, features, styles)

    return {
        "ours": lambda x, w: images_of(G, x, w),
        "ours in bfloat16": lambda x, w: images_of(half, x, w),
        "plain, filter by channel": lambda x, w: plain_stylegan2(weights, x, w, by_channel),
        "plain, filter depthwise": lambda x, w: plain_stylegan2(weights, x, w, depthwise),
        "ours, contiguous layout": without_channels_last,
        "ours, separable filter": with_separable_blur,
    }


def main() -> None:
    weights = random_stylegan2(SIZE)
    G = stylegan2(weights, space="w+")
    print(f"StyleGAN2-{SIZE}, forward and backward, {torch.get_num_threads()} threads: time of … over …")
    print(f"  {'':26} {'ours':>6}                   ours in bfloat16")
    for batch in (1, 4):
        styles = G.sample(batch, 0)["styles"]
        features = weights["synthesis.b4.const"].expand(batch, -1, -1, -1).contiguous()
        expected = images_of(G, features, styles).detach()
        steps = {}
        for name, images in ways(weights).items():
            with torch.no_grad():  # warms up as well
                check(name, images(features, styles), expected)
            steps[name] = whole(images)
        steps["bare convolutions (bound)"] = bare_convolutions(G, features, styles)
        blocks = [{name: seconds(step, features, styles) for name, step in steps.items()} for _ in range(BLOCKS)]
        print(f"batch {batch}: ours {statistics.median(times['ours'] for times in blocks):.2f} s")
        for name in steps:
            shown = []
            for base in ("ours", "ours in bfloat16"):
                ratios = [times[name] / times[base] for times in blocks]
                shown.append(f"{statistics.median(ratios):6.2f} ({min(ratios):.2f} … {max(ratios):.2f})")
            print(f"  {name:26} {'   '.join(shown)}")


if __name__ == "__main__":
    main()
