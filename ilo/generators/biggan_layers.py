"""BigGAN as a layered generator, from the state dicts of BigGAN-PyTorch.

Source: Brock et al., "Large scale GAN training for high fidelity natural image synthesis" (ICLR 2019), appendix B,
with a hierarchical latent: chunk 0 makes the 4 × 4 features, chunk i + 1 joins the class embedding in the conditional
batch normalisation of block i. The layers, for n blocks:

    layer   what it does                              reads of the state                  gives
    0       linear                                    latent_0                            features (B, C, 4, 4)
    i       block i − 1, doubling; attention in one   features, embedding, latent_i       features
    n       the last block, batch norm, conv, tanh    features, embedding, latent_n       image (B, 3, R, R)

The state also carries the embedding (B, shared_dim) and the chunks (B, dim_z / (n + 1)) that later layers will read;
without a hierarchical latent, latent_0 is the only one. Spectral normalisation is folded into the weights.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.generators.base import Generator, State
from ilo.generators.fit import MOST_PIXELS, Table, fit, numbered, same_dtype
from ilo.generators.labels import AddFixed, label_vector

BN_EPS = 1e-5
WHAT = "this looks like BigGAN-PyTorch's generator"


def biggan(
    weights: Mapping[str, Tensor], *, label: int | Sequence[float] | None = None, name: str = "biggan"
) -> Generator:
    """Build the generator from a state dict with a shared class embedding (``shared.weight``, ``linear.weight``, …).

    Args:
        weights: name → tensor; one floating dtype, which becomes the generator's.
        label: the class whose embedding samples start from: an index, or one weight per class; None: their mean.
        name: what results and figures call it.

    A round optimises, unless told otherwise, everything that the state at its layer holds: features, the embedding and
    the chunks of the latent.

    Raises:
        ValueError: a tensor is missing or does not fit the others, and is named; or the label is none of the classes.
    """
    table = biggan_table(weights)
    check_biggan(weights, table)
    same_dtype(weights, table, WHAT)
    classes = weights["shared.weight"]  # (num_classes, shared_dim)
    count = _blocks(weights)
    chunk = weights["linear.weight"].shape[1]
    hierarchical = weights["blocks.0.0.bn1.gain.weight"].shape[1] > classes.shape[1]
    layers: list[nn.Module] = [Seed(weights)]
    for i in range(count):
        layers.append(Layer(weights, i, latent=f"latent_{i + 1}" if hierarchical else None, last=i == count - 1))
    side = layers[0].side << count
    return Generator(
        layers,
        latent_shapes={f"latent_{i}": (chunk,) for i in range(count + 1 if hierarchical else 1)},
        image_shape=(weights["output_layer.2.weight"].shape[0], side, side),
        name=name,
        prior=AddFixed("embedding", label_vector(label, len(classes)).to(classes) @ classes),
    )


def biggan_table(weights: Mapping[str, Any]) -> Table:
    """The tensors of a state dict with the blocks, attention and biases that `weights` has."""
    table: Table = {"shared.weight": ("classes", "class"), "linear.bias": ("seed",)}
    table |= _normalized(weights, "linear", ("seed", "chunk"))
    for i in range(_blocks(weights)):
        block, attention = f"blocks.{i}.0", f"blocks.{i}.1"
        before, between, after = f"{i}", f"{i}, between", f"{i + 1}"  # numbers of channels
        for norm, channels in ("bn1", before), ("bn2", between):
            table |= {f"{block}.{norm}.{name}": (channels,) for name in ("stored_mean", "stored_var")}
            for part in ("gain", "bias"):
                table |= _normalized(weights, f"{block}.{norm}.{part}", (channels, "condition"))
        table |= _normalized(weights, f"{block}.conv1", (between, before, 3, 3))
        table |= _normalized(weights, f"{block}.conv2", (after, between, 3, 3))
        table |= _normalized(weights, f"{block}.conv_sc", (after, before, 1, 1))
        if any(name.startswith(f"{attention}.") for name in weights):
            table[f"{attention}.gamma"] = ()
            for part in ("theta", "phi"):
                table |= _normalized(weights, f"{attention}.{part}", (f"{i}, query", after, 1, 1))
            table |= _normalized(weights, f"{attention}.g", (f"{i}, value", after, 1, 1))
            table |= _normalized(weights, f"{attention}.o", (after, f"{i}, value", 1, 1))
    last = f"{_blocks(weights)}"
    table |= {f"output_layer.0.{name}": (last,) for name in ("gain", "bias", "stored_mean", "stored_var")}
    return table | _normalized(weights, "output_layer.2", ("colours", last, 3, 3))


def _normalized(weights: Mapping[str, Any], name: str, shape: tuple[int | str, ...]) -> Table:
    """What `normalized` reads of a layer, and its bias if it has one."""
    more = {"bias": (shape[0],), "u0": (1, shape[0]), "sv0": (1,)}
    has = {part for part in more if f"{name}.{part}" in weights}
    # What one layer has, all have: a part that is missing would change the images in silence.
    if any(f"{other}.u0" in weights for other in ("linear", "output_layer.2")):
        has.add("u0")
    convolution = name == "output_layer.2" or ".0.conv" in name
    if convolution and any(f"blocks.0.0.{other}.bias" in weights for other in ("conv1", "conv2")):
        has.add("bias")
    return {f"{name}.weight": shape} | {f"{name}.{part}": row for part, row in more.items() if part in has}


def _blocks(weights: Mapping[str, Any]) -> int:
    count = 1 + max(numbered(weights, "blocks."), default=0)
    if count > math.log2(MOST_PIXELS):
        raise ValueError(
            f"{WHAT}, but has {count} blocks, each of which doubles an image of at most {MOST_PIXELS} pixels"
        )
    return count


def check_biggan(weights: Mapping[str, Any], table: Table) -> None:
    """ValueError naming the first tensor of `weights` that does not fit the table."""
    sizes = fit(weights, table, WHAT)
    shared, chunk, condition = (sizes[name] for name in ("class", "chunk", "condition"))
    if condition not in (shared, shared + chunk):
        raise ValueError(
            f"{WHAT}, but blocks.0.0.bn1.gain.weight takes {condition} numbers: expected the {shared} of "
            f"shared.weight, with or without the {chunk} of linear.weight"
        )
    side = math.isqrt(sizes["seed"] // sizes["0"])
    if sizes["0"] * side**2 != sizes["seed"] or side << _blocks(weights) > MOST_PIXELS:
        raise ValueError(
            f"{WHAT}, but linear.weight and linear.bias make {sizes['seed']} numbers, no square of {sizes['0']} "
            f"channels (as blocks.0.0.conv1.weight has) from which images of at most {MOST_PIXELS} pixels come"
        )


class Seed(nn.Module):
    """Layer 0: latent_0 (B, chunk) -> features (B, C, side, side)."""

    def __init__(self, weights: Mapping[str, Tensor]):
        super().__init__()
        self.weight, self.bias = normalized(weights, "linear"), nn.Parameter(weights["linear.bias"])
        self.channels = len(weights["blocks.0.0.bn1.stored_mean"])
        self.side = math.isqrt(len(self.bias) // self.channels)

    def forward(self, state: State) -> State:
        state = dict(state)
        x = F.linear(state.pop("latent_0"), self.weight, self.bias)
        return {"features": x.view(-1, self.channels, self.side, self.side), **state}


class Layer(nn.Module):
    """Block `index` with what follows it: attention, and after the last block what turns features into colours."""

    def __init__(self, weights: Mapping[str, Tensor], index: int, *, latent: str | None, last: bool):
        super().__init__()
        self.block = Block(weights, f"blocks.{index}.0")
        attention = f"blocks.{index}.1"
        self.attention = Attention(weights, attention) if f"{attention}.gamma" in weights else nn.Identity()
        self.output = Output(weights) if last else None
        self.latent = latent

    def forward(self, state: State) -> State:
        state = dict(state)
        condition = state["embedding"]
        if self.latent is not None:
            condition = torch.cat([condition, state.pop(self.latent)], 1)  # (B, shared_dim + chunk)
        x = self.attention(self.block(state["features"], condition))
        return {**state, "features": x} if self.output is None else {"image": self.output(x)}


class Block(nn.Module):
    """Residual block that doubles the size: (B, c_in, h, w), condition (B, k) -> (B, c_out, 2h, 2w)."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str):
        super().__init__()
        self.bn1, self.bn2 = (ConditionalNorm(weights, f"{prefix}.{name}") for name in ("bn1", "bn2"))
        self.conv1, self.conv2, self.shortcut = (
            Conv(weights, f"{prefix}.{name}") for name in ("conv1", "conv2", "conv_sc")
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(_double(F.relu(self.bn1(x, condition))))
        h = self.conv2(F.relu(self.bn2(h, condition)))
        return h + _double(self.shortcut(x))  # a 1×1 convolution commutes with repeating pixels


class ConditionalNorm(nn.Module):
    """Batch normalisation by stored statistics, its gain and bias linear in the condition (B, k)."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str):
        super().__init__()
        self.gain, self.bias = (normalized(weights, f"{prefix}.{name}") for name in ("gain", "bias"))
        self.register_buffer("mean", weights[f"{prefix}.stored_mean"])
        self.register_buffer("inverse_std", (weights[f"{prefix}.stored_var"] + BN_EPS).rsqrt())

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale = self.inverse_std * (1 + F.linear(condition, self.gain))  # (B, C)
        shift = F.linear(condition, self.bias) - self.mean * scale
        return torch.addcmul(shift[:, :, None, None], x, scale[:, :, None, None])


class Attention(nn.Module):
    """Self-attention, keys and values max-pooled 2×2 (Zhang et al., "Self-attention GANs", ICML 2019)."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str):
        super().__init__()
        self.query, self.key, self.value, self.out = (
            Conv(weights, f"{prefix}.{name}") for name in ("theta", "phi", "g", "o")
        )
        self.gamma = nn.Parameter(weights[f"{prefix}.gamma"])

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2)  # (B, C/8, h·w)
        key = F.max_pool2d(self.key(x), 2).flatten(2)  # (B, C/8, h·w/4)
        value = F.max_pool2d(self.value(x), 2).flatten(2)  # (B, C/2, h·w/4)
        attention = torch.softmax(query.transpose(1, 2) @ key, dim=2)  # (B, h·w, h·w/4)
        mixed = value @ attention.transpose(1, 2)  # (B, C/2, h·w)
        return x + self.gamma * self.out(mixed.unflatten(2, x.shape[2:]))


class Output(nn.Module):
    """Batch normalisation, ReLU, convolution to the colours, tanh."""

    def __init__(self, weights: Mapping[str, Tensor]):
        super().__init__()
        scale = weights["output_layer.0.gain"] * (weights["output_layer.0.stored_var"] + BN_EPS).rsqrt()
        shift = weights["output_layer.0.bias"] - weights["output_layer.0.stored_mean"] * scale
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", shift[:, None, None])
        self.conv = Conv(weights, "output_layer.2")

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.conv(F.relu(torch.addcmul(self.shift, x, self.scale))))


class Conv(nn.Module):
    """Convolution that keeps the size, its spectral norm folded in; with a bias if the state dict has one."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str):
        super().__init__()
        self.weight = normalized(weights, prefix)
        bias = weights.get(f"{prefix}.bias")
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


def normalized(weights: Mapping[str, Tensor], prefix: str) -> nn.Parameter:
    """The weight over its spectral norm, as the network in evaluation has it.

    That is the estimate which one power iteration gives from the stored left singular vector ``u0``; the stored
    ``sv0`` is the training's, and only a record. A weight without ``u0`` is taken as normalised already.
    """
    weight, u = weights[f"{prefix}.weight"], weights.get(f"{prefix}.u0")
    if u is None:
        return nn.Parameter(weight)
    matrix = weight.flatten(1)  # (c_out, fan_in)
    v = F.normalize(u @ matrix, dim=1)  # (1, fan_in)
    return nn.Parameter(weight / torch.linalg.vector_norm(matrix @ v.T))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
