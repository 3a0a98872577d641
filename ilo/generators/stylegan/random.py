"""Random weights of a StyleGAN2 or a StyleGAN3, in the names that `stylegan2` and `stylegan3` build from."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ilo.generators.stylegan.third_table import SETTINGS
from ilo.rng import Rng, stream


def random_stylegan2(
    size: int,
    *,
    channel_base: int = 32768,
    channel_max: int = 512,
    z_dim: int = 512,
    w_dim: int = 512,
    mapping_layers: int = 8,
    num_classes: int = 0,
    rng: Rng = 0,
) -> dict[str, Tensor]:
    """Random weights of a `size` × `size` RGB generator, in NVIDIA's names: for tests, timing and memory estimates.

    As at the start of training, but for the colours, scaled so that images mostly lie in [−1, 1], and for noise and
    biases, which are not zero. A block of r × r pixels has min(channel_base // r, channel_max) channels.
    """
    if size < 8 or size & (size - 1):
        raise ValueError(f"size must be a power of two of at least 8, got {size}")
    g = stream(rng, "weights")
    sizes = [4 << i for i in range(int(math.log2(size)) - 1)]

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    out: dict[str, Tensor] = {}

    def layer(name: str, weight_shape: tuple[int, ...], colour_gain: float = 1.0) -> None:
        c_out, c_in = weight_shape[:2]
        out[f"{name}.weight"] = normal(*weight_shape) * colour_gain
        out[f"{name}.bias"] = 0.1 * normal(c_out) * colour_gain
        out[f"{name}.affine.weight"] = normal(c_in, w_dim)
        out[f"{name}.affine.bias"] = torch.ones(c_in)

    c_in = min(channel_base // 4, channel_max)
    out["synthesis.b4.const"] = normal(c_in, 4, 4)
    for r in sizes:
        channels = min(channel_base // r, channel_max)
        for conv in ("conv1",) if r == 4 else ("conv0", "conv1"):
            name = f"synthesis.b{r}.{conv}"
            layer(name, (channels, c_in, 3, 3))
            out[f"{name}.noise_strength"] = torch.tensor(0.1)
            out[f"{name}.noise_const"] = normal(r, r)
            c_in = channels
        layer(f"synthesis.b{r}.torgb", (3, channels, 1, 1), colour_gain=0.5 / math.sqrt(len(sizes)))
    fan_in = z_dim
    if num_classes:
        out["mapping.embed.weight"], out["mapping.embed.bias"] = normal(w_dim, num_classes), normal(w_dim)
        fan_in += w_dim
    for i in range(mapping_layers):
        out[f"mapping.fc{i}.weight"] = normal(w_dim, fan_in) / 0.01
        out[f"mapping.fc{i}.bias"] = torch.zeros(w_dim)
        fan_in = w_dim
    return out


# Of StyleGAN3's published networks (appendix C.1): cutoffs and stopbands in periods per image, taps per sample, layers
# at the end whose cutoff is all that their samples hold.
FIRST_CUTOFF, FIRST_STOPBAND, LAST_STOPBAND = 2.0, 2**2.1, 2**0.3
TAPS, CRITICAL = 6, 2


def random_stylegan3(
    size: int,
    *,
    config: str = "t",
    channel_base: int = 32768,
    channel_max: int = 512,
    layers: int = 14,
    z_dim: int = 512,
    w_dim: int = 512,
    rng: Rng = 0,
) -> dict[str, Tensor]:
    """Random weights of a `size` × `size` RGB generator, in NVIDIA's names: for tests, timing and memory estimates.

    As at the start of training, but that biases and what a style does to the input are not zero. Layer i, of cutoff
    f_i, has min(channel_base/(2·f_i), channel_max) channels. `config` is "t" or "r"; R has twice the channels, 1×1
    convolutions and radially symmetric filters. `layers` is without the last, to the colours.
    """
    if size < 8 or size & (size - 1):
        raise ValueError(f"size must be a power of two of at least 8, got {size}")
    if config not in ("t", "r") or layers <= CRITICAL:
        raise ValueError(f"config must be t or r, and layers more than {CRITICAL}, got {config!r} and {layers}")
    g, many = stream(rng, "weights"), 2 if config == "r" else 1

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    bands = _bands(size, layers)
    channels = [round(min(many * channel_base / 2 / band.cutoff, many * channel_max)) for band in bands[:-1]] + [3]
    c_in = channels[0]
    freqs = normal(c_in, 2)
    radii = freqs.norm(dim=1, keepdim=True)
    out = {
        "synthesis.input.weight": normal(c_in, c_in),
        "synthesis.input.affine.weight": 0.1 * normal(4, w_dim),
        "synthesis.input.affine.bias": torch.tensor([1.0, 0.0, 0.0, 0.0]),
        "synthesis.input.transform": torch.eye(3),
        "synthesis.input.freqs": FIRST_CUTOFF * freqs / radii * torch.exp(-radii.square() / 4),
        "synthesis.input.phases": torch.rand(c_in, generator=g) - 0.5,
    }
    before = bands[0]
    for i, (band, c_out) in enumerate(zip(bands, channels, strict=True)):
        name, kernel = f"synthesis.L{i}_{band.size}_{c_out}", 3 if config == "t" and i < layers else 1
        out[f"{name}.weight"] = normal(c_out, c_in, kernel, kernel)
        out[f"{name}.bias"] = 0.1 * normal(c_out)
        out[f"{name}.affine.weight"] = normal(c_in, w_dim)
        out[f"{name}.affine.bias"] = torch.ones(c_in)
        out[f"{name}.magnitude_ema"] = torch.tensor(0.5 if i == 0 else 1.0)
        if i < layers:
            taps, fine, radial = TAPS * 2, 2 * band.rate, config == "r" and i < layers - CRITICAL
            out[f"{name}.up_filter"] = low_pass(taps * band.rate // before.rate, before.cutoff, before.width, fine)
            out[f"{name}.down_filter"] = low_pass(taps, band.cutoff, band.width, fine, radial=radial)
        before, c_in = band, c_out
    for i, fan_in in enumerate((z_dim, w_dim)):
        out[f"mapping.fc{i}.weight"] = normal(w_dim, fan_in) / 0.01
        out[f"mapping.fc{i}.bias"] = torch.zeros(w_dim)
    return out


class _Band(NamedTuple):
    """What a layer's samples hold. cutoff, rate, width (from pass to stop) per image; size: samples a side."""

    cutoff: float
    width: float
    rate: int
    size: int


def _bands(size: int, layers: int) -> list[_Band]:
    """Of the layers of a network, the last included: cutoffs and stopbands grow geometrically (appendix C.1)."""
    at = np.minimum(np.arange(layers + 1) / (layers - CRITICAL), 1)
    cutoffs = FIRST_CUTOFF * (size / 2 / FIRST_CUTOFF) ** at
    stopbands = FIRST_STOPBAND * (size / 2 * LAST_STOPBAND / FIRST_STOPBAND) ** at
    rates = [2 ** math.ceil(math.log2(min(2 * stopband, size))) for stopband in stopbands]
    margins = [2 * int(SETTINGS["synthesis.margin_size"])] * (layers - 1) + [0, 0]
    return [
        _Band(cutoff, 2 * (max(stopband, rate / 2) - cutoff), rate, rate + margin)
        for cutoff, stopband, rate, margin in zip(cutoffs, stopbands, rates, margins, strict=True)
    ]


def low_pass(taps: int, cutoff: float, width: float, rate: float, *, radial: bool = False) -> Tensor:
    """A windowed ideal low-pass filter that sums to 1: (taps,), or, radially symmetric, (taps, taps).

    The ideal one is 2f·sinc(2f·x) along an axis and f/r·J₁(2πf·r) in the plane; Kaiser's window is as steep as `taps`
    allow for a band of `width` between pass and stop (appendix C.1). cutoff, width and rate in one unit; taps even.
    """
    from scipy.signal import kaiser_atten, kaiser_beta
    from scipy.special import j1

    x = (np.arange(taps) - (taps - 1) / 2) / rate
    window = np.kaiser(taps, kaiser_beta(kaiser_atten(taps, 2 * width / rate)))
    if radial:
        r = np.hypot(x, x[:, None])
        ideal, window = cutoff / r * j1(2 * np.pi * cutoff * r), np.outer(window, window)
    else:
        ideal = np.sinc(2 * cutoff * x)
    filtered = ideal * window
    return torch.from_numpy(filtered / filtered.sum()).float()
