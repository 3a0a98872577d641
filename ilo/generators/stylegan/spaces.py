"""StyleGAN2's mapping network, and the spaces in which a search over its styles can start.

Sources: Karras et al. (CVPR 2020; NeurIPS 2020 for the label) for the network; Menon et al., "PULSE" (CVPR 2020) for
the Gaussian before the last leaky ReLU, which the ILO authors' release uses too.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.generators.base import State
from ilo.generators.labels import AddFixed, label_vector
from ilo.generators.stylegan.network import EPS, GAIN, SLOPE
from ilo.rng import stream

LR_MULTIPLIER = 0.01  # of the mapping network's layers; checkpoints store weights divided by it
FIT_SAMPLES = 16384


class MappingNetwork(nn.Module):
    """From latents z (B, z_dim), and labels (B, classes) if class-conditional, to styles w (B, w_dim).

    Built from the ``mapping.*`` tensors of a state dict in NVIDIA's names. Without ``mapping.w_avg`` the mean style is
    measured.
    """

    def __init__(self, weights: Mapping[str, Tensor]):
        super().__init__()
        depth = sum(key.startswith("mapping.fc") and key.endswith(".weight") for key in weights)
        gain = LR_MULTIPLIER * GAIN  # GAIN is the leaky ReLU's: √2·lrelu(x) = lrelu(√2·x)
        self.layers = nn.ModuleList(
            _linear(weights[f"mapping.fc{i}.weight"], weights[f"mapping.fc{i}.bias"], gain) for i in range(depth)
        )
        self.embed = None
        if "mapping.embed.weight" in weights:
            self.embed = _linear(weights["mapping.embed.weight"], weights["mapping.embed.bias"], 1.0)
        self.num_classes = 0 if self.embed is None else self.embed.in_features
        self.z_dim = self.layers[0].in_features - (0 if self.embed is None else self.embed.out_features)
        self.w_dim = self.layers[-1].out_features
        self.register_buffer("w_avg", weights.get("mapping.w_avg"))
        if self.w_avg is None:
            w = F.leaky_relu(self.draw(torch.eye(self.num_classes)), SLOPE)
            self.w_avg = w.mean(0)

    def before_last_activation(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """The styles before the last leaky ReLU, scaled so that `forward` is leaky_relu of them. (B, w_dim)"""
        x = _normalize(z)
        if self.embed is not None:
            x = torch.cat([x, _normalize(self.embed(label))], 1)
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), SLOPE)
        return self.layers[-1](x)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return F.leaky_relu(self.before_last_activation(z, label), SLOPE)

    @torch.no_grad()
    def draw(self, labels: Tensor) -> Tensor:
        """`before_last_activation` of FIT_SAMPLES fixed latents, over `labels` (k, classes) in turn."""
        z = torch.randn(FIT_SAMPLES, self.z_dim, generator=stream(0, "prior"), dtype=torch.float64)
        z = z.to(self.layers[0].weight)
        turn = torch.arange(FIT_SAMPLES) % max(1, len(labels))
        return self.before_last_activation(z, labels.to(z)[turn] if self.num_classes else None)


class PaperStyles(nn.Module):
    """w = LeakyReLU_0.2(std·latent + mean): latents (B, n, w_dim) to styles, for any n.

    Mean and standard deviation, one per coordinate, are those of the mapping network before its last leaky ReLU.
    """

    def __init__(self, mapping: MappingNetwork, labels: Tensor):
        super().__init__()
        draws = mapping.draw(labels)
        self.register_buffer("mean", draws.mean(0))
        self.register_buffer("std", draws.std(0))

    def forward(self, latents: Tensor) -> Tensor:
        return F.leaky_relu(torch.addcmul(self.mean, self.std, latents), SLOPE)


class Truncation(nn.Module):
    """w_avg + ψ·(w − w_avg): ψ < 1 trades variety for fidelity."""

    def __init__(self, w_avg: Tensor, psi: float):
        super().__init__()
        self.psi = psi
        self.register_buffer("w_avg", w_avg.clone())

    def forward(self, w: Tensor) -> Tensor:
        return w if self.psi == 1 else self.w_avg.lerp(w, self.psi)


class MapLatents(nn.Module):
    """Layer 0's part in the space z: latents (B, z_dim), label (B, classes) -> styles (B, num_ws, w_dim)."""

    def __init__(self, mapping: MappingNetwork, truncation: Truncation, num_ws: int):
        super().__init__()
        self.mapping, self.truncation, self.num_ws = mapping, truncation, num_ws

    def forward(self, state: State) -> State:
        w = self.mapping(state["latents"], state.get("label"))
        return {"styles": self.truncation(w[:, None].expand(-1, self.num_ws, -1))}


class ExpandStyles(nn.Module):
    """Layer 0's part in the spaces w and w+: styles (B, 1 or num_ws, w_dim) -> (B, num_ws, w_dim)."""

    def __init__(self, truncation: Truncation, num_ws: int):
        super().__init__()
        self.truncation, self.num_ws = truncation, num_ws

    def forward(self, state: State) -> State:
        return {"styles": self.truncation(state["styles"].expand(-1, self.num_ws, -1))}


class KeepLatents(nn.Module):
    """Layer 0's part in the paper's space: the blocks make their own styles of the latents."""

    def forward(self, state: State) -> State:
        return {"latents": state["latents"]}


class DrawStyles(nn.Module):
    """Prior of the spaces w and w+: latents (B, z_dim) through the mapping network, `count` times."""

    def __init__(self, mapping: MappingNetwork, label: Tensor, count: int):
        super().__init__()
        self.mapping, self.count = mapping, count
        self.register_buffer("label", label)

    def forward(self, state: State) -> State:
        rest = {key: value for key, value in state.items() if key != "latents"}
        z = state["latents"]
        w = self.mapping(z, self.label.expand(len(z), -1))
        return {"styles": w[:, None].repeat(1, self.count, 1), **rest}


class Space(NamedTuple):
    """Where a search over styles starts.

    key: of the state, what the blocks read. shape: of the latents that are drawn, without batch. prior: from what is
    drawn to the state at layer 0, or None. entrance: layer 0's part. to_w: state[key] (B, n, …) to styles.
    """

    key: str
    shape: tuple[int, ...]
    prior: nn.Module | None
    entrance: nn.Module
    to_w: nn.Module


def space_of(
    name: str, mapping: MappingNetwork, truncate: nn.Module, num_ws: int, label: int | Sequence[float] | None = None
) -> Space:
    """The space `name`, "paper", "z", "w" or "w+", of `num_ws` styles; `truncate` takes them all, (B, num_ws, w_dim).

    `label` as of `stylegan2`.
    """
    vector = label_vector(label, mapping.num_classes).to(mapping.w_avg)
    if name == "paper":
        labels = torch.eye(mapping.num_classes) if label is None else vector[None]
        to_w = nn.Sequential(PaperStyles(mapping, labels), truncate)
        return Space("latents", (num_ws, mapping.w_dim), None, KeepLatents(), to_w)
    if name == "z":
        prior = AddFixed("label", vector) if mapping.num_classes else None
        entrance = MapLatents(mapping, truncate, num_ws)
    else:
        prior = DrawStyles(mapping, vector, count=1 if name == "w" else num_ws)
        entrance = ExpandStyles(truncate, num_ws)
    return Space("styles", (mapping.z_dim,), prior, entrance, nn.Identity())


def _linear(weight: Tensor, bias: Tensor, gain: float) -> nn.Linear:
    """A layer as StyleGAN stores it: weights have a run-time gain of gain/√fan_in, biases of `gain`."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype, device=weight.device)
    layer.weight = nn.Parameter(weight * (gain / math.sqrt(weight.shape[1])))
    layer.bias = nn.Parameter(bias * gain)
    return layer


def _normalize(x: Tensor) -> Tensor:
    """Scale each row of (B, d) to a mean square of 1."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPS)
