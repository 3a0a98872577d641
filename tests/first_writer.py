"""A small StyleGAN, the first: its equations, and its tensors as five programs store them.

A `Net` holds what acts: weights with their gains in them. The equations below are written from the paper and from what
NVIDIA's network does, one image at a time; nothing is shared with the package. The writers divide each program's
run-time gains out again.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Layer:
    """One of the two layers of a size. weight: (c_out, c_in, 3, 3), None for the constant's; early: the bias before the
    blur; noise: (c_out,); style: (2·c_out, w), and its bias, to which no 1 is added."""

    side: int
    weight: Tensor | None
    bias: Tensor
    noise: Tensor
    style: Tensor
    style_bias: Tensor
    map: Tensor  # (side, side)
    early: Tensor | None = None


@dataclass
class Net:
    """const: (c, 4, 4); mapping: (weight, bias) of each layer; rgb: (3, c); w_avg: (w,)."""

    const: Tensor
    mapping: list[tuple[Tensor, Tensor]]
    layers: list[Layer]
    rgb: Tensor
    rgb_bias: Tensor
    w_avg: Tensor
    fused_from: int = 128  # pixels
    epsilon: float = 1e-8
    unused: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # colours of smaller sizes


def random_net(sizes=(4, 8, 16), channels=(6, 5, 4), z=7, w=9, depth=3, rng=0, **options) -> Net:
    """All tensors are different from what training starts at. float64."""
    g = torch.Generator().manual_seed(rng)

    def normal(*shape, scale=1.0):
        return scale * torch.randn(shape, generator=g, dtype=torch.float64)

    layers, width = [], channels[0]
    for side, count in zip(sizes, channels, strict=True):
        for second in (False, True):
            constant = side == 4 and not second
            layers.append(
                Layer(
                    side=side,
                    weight=None if constant else normal(count, width, 3, 3, scale=math.sqrt(2 / 9 / width)),
                    bias=normal(count, scale=0.3),
                    noise=normal(count, scale=0.2),
                    style=normal(2 * count, w, scale=1 / math.sqrt(w)),
                    style_bias=normal(2 * count, scale=0.2) + torch.arange(2 * count).less(count),
                    map=normal(side, side),
                )
            )
            width = count
    mapping = []
    for i in range(depth):
        before = z if i == 0 else w
        mapping.append((normal(w, before, scale=math.sqrt(2 / before)), normal(w, scale=0.1)))
    unused = [(normal(3, c), normal(3)) for c in channels[:-1]]
    rgb, rgb_bias = normal(3, width, scale=0.3), normal(3, scale=0.1)
    const, w_avg = normal(channels[0], 4, 4), normal(w, scale=0.1)
    return Net(const, mapping, layers, rgb, rgb_bias, w_avg, unused=unused, **options)


# --- the equations ---


def styles_of(net: Net, z: Tensor) -> Tensor:
    """(z,) -> w (w,)."""
    x = z / (z.square().mean() + 1e-8).sqrt()
    for weight, bias in net.mapping:
        x = weight @ x + bias
        x = torch.where(x > 0, x, 0.2 * x)
    return x


def features_of(net: Net, ws: Tensor, maps: list[Tensor] | None) -> list[Tensor]:
    """Styles (layers, w), noise maps or None -> the features after every size, (c, side, side) each."""
    out, x = [], None
    for k, layer in enumerate(net.layers):
        x = net.const if x is None else _convolved(net, layer, x, doubles=k % 2 == 0)
        x = x + layer.bias[:, None, None]
        if maps is not None:
            x = x + layer.noise[:, None, None] * maps[k]
        x = torch.where(x > 0, x, 0.2 * x)
        flat = x.flatten(1)
        mean, variance = flat.mean(1), (flat - flat.mean(1, keepdim=True)).square().mean(1)
        x = (x - mean[:, None, None]) / (variance + net.epsilon).sqrt()[:, None, None]
        scale, shift = (layer.style @ ws[k] + layer.style_bias).view(2, -1)
        x = x * scale[:, None, None] + shift[:, None, None]
        if k % 2:
            out.append(x)
    return out


def colours_of(net: Net, x: Tensor) -> Tensor:
    return torch.einsum("rc,chw->rhw", net.rgb, x) + net.rgb_bias[:, None, None]


def _convolved(net: Net, layer: Layer, x: Tensor, doubles: bool) -> Tensor:
    if not doubles:
        return F.conv2d(x[None], layer.weight, padding=1)[0]
    if layer.side < net.fused_from:
        x = F.conv2d(x.repeat_interleave(2, 1).repeat_interleave(2, 2)[None], layer.weight, padding=1)[0]
    else:  # each pixel adds a kernel of 4×4, the 3×3 one at four places, about itself
        kernel = torch.zeros(*layer.weight.shape[:2], 4, 4, dtype=x.dtype)
        for i in (0, 1):
            for j in (0, 1):
                kernel[..., i : i + 3, j : j + 3] += layer.weight
        spread = torch.zeros(len(x), 2 * x.shape[1] + 5, 2 * x.shape[2] + 5, dtype=x.dtype)
        spread[:, 3:-2:2, 3:-2:2] = x
        x = F.conv2d(spread[None], kernel.flip(2, 3))[0, :, 1:-1, 1:-1]
    if layer.early is not None:
        x = x + layer.early[:, None, None]
    taps = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype)
    return F.conv2d(x[:, None], torch.outer(taps, taps)[None, None] / 16, padding=1)[:, 0]


# --- the formats ---

BLUR = torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])) / 16


def _he(weight: Tensor) -> float:
    return math.sqrt(2 / weight[0].numel())


def _less_one(bias: Tensor) -> Tensor:
    out = bias.clone()
    out[: len(bias) // 2] -= 1
    return out


def genforce(net: Net) -> dict[str, Tensor]:
    out = {"truncation.w_avg": net.w_avg, "synthesis.lod": torch.zeros((), dtype=torch.float64)}
    for i, (weight, bias) in enumerate(net.mapping):
        out |= {f"mapping.dense{i}.weight": weight / _he(weight) / 0.01, f"mapping.dense{i}.bias": bias / 0.01}
    for k, layer in enumerate(net.layers):
        name = f"synthesis.layer{k}"
        if layer.weight is None:
            out[f"{name}.const"] = net.const[None]
        else:
            out[f"{name}.weight"] = layer.weight / _he(layer.weight)
        if k > 0 and k % 2 == 0:
            out[f"{name}.blur.kernel"] = BLUR.double().repeat(len(layer.bias), 1, 1, 1)
        out |= {f"{name}.bias": layer.bias, f"{name}.apply_noise.weight": layer.noise}
        out[f"{name}.apply_noise.noise"] = layer.map[None, None]
        out[f"{name}.style.weight"] = layer.style * math.sqrt(layer.style.shape[1])
        out[f"{name}.style.bias"] = _less_one(layer.style_bias)
    for i, (weight, bias) in enumerate([*net.unused, (net.rgb, net.rgb_bias)]):
        gain = math.sqrt(weight.shape[1])
        out |= {f"synthesis.output{i}.weight": gain * weight[..., None, None], f"synthesis.output{i}.bias": bias}
    return out


def lernapparat(net: Net) -> dict[str, Tensor]:
    out = {}
    for i, (weight, bias) in enumerate(net.mapping):
        out |= {f"g_mapping.dense{i}.weight": weight / _he(weight) / 0.01, f"g_mapping.dense{i}.bias": bias / 0.01}
    for k, layer in enumerate(net.layers):
        block = f"g_synthesis.blocks.{layer.side}x{layer.side}"
        conv = f"{block}.{('conv0_up', 'conv1')[k % 2]}" if k > 1 else (block, f"{block}.conv")[k]
        if layer.weight is None:
            out[f"{conv}.const"] = net.const[None]
        else:
            out[f"{conv}.weight"] = layer.weight / _he(layer.weight)
        out[f"{conv}.bias"] = layer.bias
        if k > 1 and k % 2 == 0:
            out[f"{conv}.intermediate.kernel"] = BLUR[None, None].double()
        epilogue = f"{block}.epi{1 + k % 2}"
        out[f"{epilogue}.top_epi.noise.weight"] = layer.noise
        out[f"{epilogue}.style_mod.lin.weight"] = layer.style * math.sqrt(layer.style.shape[1])
        out[f"{epilogue}.style_mod.lin.bias"] = _less_one(layer.style_bias)
    gain = math.sqrt(net.rgb.shape[1])
    return out | {"g_synthesis.torgb.weight": gain * net.rgb[..., None, None], "g_synthesis.torgb.bias": net.rgb_bias}


def pulse(net: Net) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The files of the synthesis and of the mapping network."""
    whole = {name.replace(".top_epi.", "."): value for name, value in lernapparat(net).items()}
    synthesis, mapping = "g_synthesis.", "g_mapping."
    return tuple(
        {name.removeprefix(part): value for name, value in whole.items() if name.startswith(part)}
        for part in (synthesis, mapping)
    )


def tensorflow(net: Net) -> dict[str, np.ndarray]:
    """The variables of Gs."""
    out = {"lod": torch.zeros((), dtype=torch.float64), "dlatent_avg": net.w_avg}
    for i, (weight, bias) in enumerate(net.mapping):
        out |= {f"mapping/Dense{i}/weight": weight.T / _he(weight) / 0.01, f"mapping/Dense{i}/bias": bias / 0.01}
    for k, layer in enumerate(net.layers):
        name = f"synthesis/{layer.side}x{layer.side}/" + (
            ("Conv0_up", "Conv1")[k % 2] if k > 1 else ("Const", "Conv")[k]
        )
        if layer.weight is None:
            out[f"{name}/const"] = net.const[None]
        else:
            out[f"{name}/weight"] = layer.weight.permute(2, 3, 1, 0) / _he(layer.weight)
        out |= {f"{name}/bias": layer.bias, f"{name}/Noise/weight": layer.noise}
        out[f"synthesis/noise{k}"] = layer.map[None, None]
        out[f"{name}/StyleMod/weight"] = layer.style.T * math.sqrt(layer.style.shape[1])
        out[f"{name}/StyleMod/bias"] = _less_one(layer.style_bias)
    colours = [*net.unused, (net.rgb, net.rgb_bias)]
    for i, (weight, bias) in enumerate(colours):
        name = f"synthesis/ToRGB_lod{len(colours) - 1 - i}"
        out |= {f"{name}/weight": math.sqrt(weight.shape[1]) * weight.T[None, None], f"{name}/bias": bias}
    return {name: value.numpy() for name, value in out.items()}


def rosinality(net: Net, fused: bool = True, untrained: int = 0) -> dict[str, Tensor]:
    """`fused`: as the program stores what is doubled by a transposed convolution; `untrained`: blocks it has beyond."""
    out = {}
    for i, (weight, bias) in enumerate(net.mapping):
        name = f"style.{2 * i + 1}.linear"
        out |= {f"{name}.weight_orig": weight / _he(weight), f"{name}.bias": bias}
    for k, layer in enumerate(net.layers):
        block, number = f"generator.progression.{k // 2}", 1 + k % 2
        kernels = BLUR.double().repeat(len(layer.bias), 1, 1, 1)
        if layer.weight is None:
            out[f"{block}.conv1.input"] = net.const[None] + layer.bias[:, None, None]
        elif k % 2:
            out |= {f"{block}.conv2.conv.weight_orig": layer.weight / _he(layer.weight)}
            out |= {f"{block}.conv2.conv.bias": layer.bias}
        else:
            assert not layer.bias.any(), "its bias comes before the blur"
            early = torch.zeros_like(layer.bias) if layer.early is None else layer.early
            transposed = fused and layer.side >= net.fused_from
            name, blur = (f"{block}.conv1.0", 1) if transposed else (f"{block}.conv1.1.conv", 2)
            if transposed:
                out[f"{name}.weight"] = 4 * layer.weight.transpose(0, 1) / _he(layer.weight)
            else:
                out[f"{name}.weight_orig"] = layer.weight / _he(layer.weight)
            out |= {f"{name}.bias": early, f"{block}.conv1.{blur}.weight": kernels}
            out[f"{block}.conv1.{blur}.weight_flip"] = kernels
        gain = math.sqrt(2 / len(layer.noise))
        out[f"{block}.noise{number}.weight_orig"] = layer.noise[None, :, None, None] / gain
        style = layer.style / math.sqrt(2 / layer.style.shape[1])
        out |= {f"{block}.adain{number}.style.linear.weight_orig": style}
        out |= {f"{block}.adain{number}.style.linear.bias": layer.style_bias}
    for i, (weight, bias) in enumerate([*net.unused, (net.rgb, net.rgb_bias)]):
        name = f"generator.to_rgb.{i}.conv"
        gain = math.sqrt(2 / weight.shape[1])
        out |= {f"{name}.weight_orig": weight[..., None, None] / gain, f"{name}.bias": bias}
    last = len(net.layers) // 2 - 1
    for i in range(1, untrained + 1):
        for part in ("generator.progression", "generator.to_rgb"):
            beyond = {name: value for name, value in out.items() if name.startswith(f"{part}.{last}.")}
            for name, value in beyond.items():
                new = name.replace(f"{part}.{last}.", f"{part}.{last + i}.")
                out[new] = torch.zeros_like(value) if ".noise" in name else value
    return out
