"""How the generator `ilo.generators.decoder_layers` begins, and the encoder that guesses what a search would find.

It begins as `dcgan-digiface64` without the channels that matter least, and with residual branches that add nothing.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.generators import Generator
from ilo.generators.decoder_layers import WIDTHS, Z_DIM, Last
from ilo.rng import stream

OF_ENCODER = (3, 64, 128, 192, 320)


@torch.no_grad()
def begin_as(model: nn.Sequential, G: Generator, z: Tensor, rng: int) -> None:
    """Fill `model` from the DCGAN `G`, normalisations folded into the weights; what that has not is drawn from `rng`.

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
    fine = model[-1].fine
    fine.weight.copy_(torch.randn(fine.weight.shape, generator=stream(rng, "weights", 3)) / math.sqrt(WIDTHS[-1] * 4))
    fine.bias.zero_()


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
