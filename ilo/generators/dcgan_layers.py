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

import torch
from torch import Tensor, nn

from ilo.generators.base import Generator

WIDTHS = (100, 512, 256, 128, 64, 3)


def dcgan(weights: Mapping[str, Tensor], name: str = "dcgan") -> Generator:
    """Build the generator from a state dict whose names start with ``main.`` (0: ConvTranspose, 1: BatchNorm, …)."""
    modules: list[nn.Module] = []
    for i, (c_in, c_out) in enumerate(pairwise(WIDTHS)):
        stride, padding = (1, 0) if i == 0 else (2, 1)
        modules.append(nn.ConvTranspose2d(c_in, c_out, 4, stride, padding, bias=False))
        modules += [nn.Tanh()] if c_out == 3 else [nn.BatchNorm2d(c_out), nn.ReLU(inplace=False)]
    main = nn.Sequential(*modules)
    main.load_state_dict({key.removeprefix("main."): value for key, value in weights.items()})
    main.to(memory_format=torch.channels_last)  # 1.2 to 1.9 times as fast on a CPU, forward and backward
    model = nn.Sequential(nn.Unflatten(1, (WIDTHS[0], 1, 1)), *main)
    return Generator.from_sequential(model, cuts=(4, 7, 10, 13), latent_shape=(WIDTHS[0],), name=name)
