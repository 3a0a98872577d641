"""A small layered generator whose every layer is to be searched, and the encoder that guesses what a search finds.

The generator is a DCGAN (Radford et al. 2016) with fewer channels and residual convolutions at 16, 32 and 64 pixels; it
begins as `dcgan-digiface64` without the channels that matter least, and with residual branches that add nothing.

    layer   input                output
    0       (B, 100)             (B, 288, 4, 4)
    1       (B, 288, 4, 4)       (B, 224, 8, 8)
    2       (B, 224, 8, 8)       (B, 128, 16, 16)
    3       (B, 128, 16, 16)     (B, 64, 32, 32)
    4       (B, 64, 32, 32)      (B, 3, 64, 64)
"""

import math
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ilo.generators import Generator
from ilo.rng import stream

Z_DIM = 100
WIDTHS = (Z_DIM, 288, 224, 128, 64)  # with FINE, 2.3 million numbers: 4.6 MB in half precision
FINE = 32  # channels of the detail at 64 pixels
OF_ENCODER = (3, 64, 128, 192, 320)


class First(nn.Module):
    """Latents (B, c_in) -> features (B, c_out, 4, 4)."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(c_in, c_out, 4)

    def forward(self, z: Tensor) -> Tensor:
        return F.relu(self.up(z[:, :, None, None]))


class Up(nn.Module):
    """Twice the size: a transposed convolution and ReLU, then a residual convolution and ReLU where there is one."""

    def __init__(self, c_in: int, c_out: int, *, residual: bool):
        super().__init__()
        self.up = nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)
        self.residual = nn.Conv2d(c_out, c_out, 3, padding=1) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.up(x))
        return x if self.residual is None else F.relu(x + self.residual(x))


class Last(nn.Module):
    """The image, by a transposed convolution as in a DCGAN, and detail from a branch of two convolutions; tanh."""

    def __init__(self, c_in: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(c_in, 3, 4, 2, 1)
        self.fine = nn.ConvTranspose2d(c_in, FINE, 4, 2, 1)
        self.detail = nn.Conv2d(FINE, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.up(x) + self.detail(F.relu(self.fine(x))))


def layers() -> nn.Sequential:
    """The five layers, untrained."""
    (_, first), *middle = pairwise(WIDTHS)
    ups = (Up(a, b, residual=b <= 128) for a, b in middle)
    return nn.Sequential(First(Z_DIM, first), *ups, Last(WIDTHS[-1])).to(memory_format=torch.channels_last)


def generator_of(model: nn.Sequential, name: str = "searchable64") -> Generator:
    """The layers as what `ilo` searches; they are used, not copied."""
    return Generator.from_sequential(model, cuts=range(1, len(model)), latent_shape=(Z_DIM,), name=name)


def opened(path: Path) -> Generator:
    """The generator of a file that `python -m training.searchable` wrote, in float32."""
    model = layers()
    model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return generator_of(model)


@torch.no_grad()
def begin_as(model: nn.Sequential, G: Generator, z: Tensor) -> None:
    """Fill `model` from the DCGAN `G`, normalisations folded into the weights.

    Of each layer's channels those are kept that add most to the next one: by the mean square of their features over the
    latents z (N, 100), times the squared norm of the weights that read them.
    """
    modules = [module for layer in G.layers for module in layer.modules()]
    convs = [module for module in modules if isinstance(module, nn.ConvTranspose2d)]
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    inside = torch.arange(Z_DIM)  # the channels kept of what the layer reads
    for i, layer in enumerate(model):
        weight = convs[i].weight[inside]  # (in, out, 4, 4)
        bias = torch.zeros(weight.shape[1])
        if i < len(norms):
            scale = norms[i].weight / (norms[i].running_var + norms[i].eps).sqrt()
            weight, bias = weight * scale.view(1, -1, 1, 1), norms[i].bias - norms[i].running_mean * scale
            features = G.run({"features": z}, 0, i + 1)["features"]
            worth = features.square().mean((0, 2, 3)) * convs[i + 1].weight.square().sum((1, 2, 3))
            inside = worth.argsort(descending=True)[: WIDTHS[i + 1]].sort().values
            weight, bias = weight[:, inside], bias[inside]
        layer.up.weight.copy_(weight)
        layer.up.bias.copy_(bias)
        branch = layer.detail if isinstance(layer, Last) else getattr(layer, "residual", None)
        if branch is not None:
            branch.weight.zero_()
            branch.bias.zero_()


class Encoder(nn.Module):
    """Guesses what a search would find of an image: thrown away after the training.

    `latent`: mean and log-variance of the latent, (B, 200). `at_1`, `at_2`: the deviation at the input of layer 1, 2,
    of the encoder's features and those features of the generator that it is added to.
    """

    def __init__(self, rng: int):
        super().__init__()
        c = OF_ENCODER
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(c))
        self.mixes = nn.ModuleList(nn.Conv2d(b, b, 3, padding=1) for b in c[3:])
        self.latent = nn.Linear(c[4] * 16, 2 * Z_DIM)
        self.at_1 = _head(c[4] + WIDTHS[1], 256, WIDTHS[1])
        self.at_2 = _head(c[3] + WIDTHS[2], 192, WIDTHS[2])
        g = stream(rng, "weights", 2)
        with torch.no_grad():
            for name, value in self.named_parameters():
                if value.ndim == 1:
                    value.zero_()  # a bias
                else:
                    small = 1e-3 if name.endswith(("at_1.2.weight", "at_2.2.weight", "latent.weight")) else 1.0
                    spread = small * math.sqrt(2 / value[0].numel())
                    value.copy_(torch.randn(value.shape, generator=g) * spread)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 64, 64) -> features (B, 192, 8, 8) and (B, 320, 4, 4)."""
        for down in self.downs[:2]:
            x = F.leaky_relu(down(x), 0.2)
        found = []
        for down, mix in zip(self.downs[2:], self.mixes, strict=True):
            x = F.leaky_relu(down(x), 0.2)
            x = x + F.leaky_relu(mix(x), 0.2)
            found.append(x)
        return found[0], found[1]


def _head(c_in: int, between: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, between, 3, padding=1), nn.ReLU(), nn.Conv2d(between, c_out, 3, padding=1))
