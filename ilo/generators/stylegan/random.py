"""Random weights of a StyleGAN2, in the names that `stylegan2` builds from."""

import math

import torch
from torch import Tensor

from ilo.rng import Rng, generator, seed_of


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
    g = generator(seed_of(rng))
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
