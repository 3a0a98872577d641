"""The DCGAN face generator: 64×64 RGB, trained on DigiFace-1M (synthetic faces), latent z ~ N(0, I_100).

Architecture: Radford et al., "Unsupervised representation learning with deep convolutional generative adversarial
networks" (ICLR 2016). Five layers, each a transposed convolution with what follows it:

    layer   input                output
    0       (B, 100)             (B, 512, 4, 4)
    1       (B, 512, 4, 4)       (B, 256, 8, 8)
    2       (B, 256, 8, 8)       (B, 128, 16, 16)
    3       (B, 128, 16, 16)     (B, 64, 32, 32)
    4       (B, 64, 32, 32)      (B, 3, 64, 64)
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ilo.generators.base import Generator
from ilo.generators.fit import Table, fit

WIDTHS = (100, 512, 256, 128, 64, 3)
WHAT = "it is a DCGAN of another shape than 100 → 64×64"


def dcgan_table() -> Table:
    """The tensors of a state dict; it may also count the batches of its training (`is_counter`)."""
    table: Table = {}
    for i, (c_in, c_out) in enumerate(pairwise(WIDTHS)):
        table[f"main.{3 * i}.weight"] = (c_in, c_out, 4, 4)
        if c_out != 3:
            names = ("weight", "bias", "running_mean", "running_var")
            table |= {f"main.{3 * i + 1}.{name}": (c_out,) for name in names}
    return table


def is_counter(name: str, value: Any) -> bool:
    """Whether this is a normalisation's count of the batches it was trained with."""
    return name.endswith(".num_batches_tracked") and getattr(value, "dtype", None) == torch.int64 and value.shape == ()


def check_dcgan(weights: Mapping[str, Any]) -> None:
    """ValueError naming the first tensor of `weights` that does not fit the architecture."""
    fit(weights, dcgan_table(), WHAT)
    others = [key for key, value in weights.items() if key not in dcgan_table() and hasattr(value, "dtype")]
    if others := [key for key in others if not key.endswith(".num_batches_tracked")]:
        raise ValueError(f"{WHAT}: that has no {others[0]}")


def dcgan(weights: Mapping[str, Tensor], name: str = "dcgan") -> Generator:
    """Build the generator from a state dict whose names start with ``main.`` (0: ConvTranspose, 1: BatchNorm, …).

    Raises:
        ValueError: a tensor is missing, is not of the architecture or has another shape or dtype; it is named.
    """
    weights = {f"main.{key.removeprefix('main.')}": value for key, value in weights.items()}
    check_dcgan(weights)
    modules: list[nn.Module] = []
    for i, (c_in, c_out) in enumerate(pairwise(WIDTHS)):
        stride, padding = (1, 0) if i == 0 else (2, 1)
        modules.append(nn.ConvTranspose2d(c_in, c_out, 4, stride, padding, bias=False))
        modules += [nn.Tanh()] if c_out == 3 else [nn.BatchNorm2d(c_out), nn.ReLU(inplace=False)]
    main = nn.Sequential(*modules)
    used = [key for key, value in weights.items() if key in dcgan_table() or is_counter(key, value)]
    main.load_state_dict({key.removeprefix("main."): weights[key] for key in used})
    main.to(memory_format=torch.channels_last)  # 1.2 to 1.9 times as fast on a CPU, forward and backward
    model = nn.Sequential(nn.Unflatten(1, (WIDTHS[0], 1, 1)), *main)
    return Generator.from_sequential(model, cuts=(4, 7, 10, 13), latent_shape=(WIDTHS[0],), name=name)
