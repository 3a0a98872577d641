"""StyleGAN, the first, plainly: its equations as the paper and FACTS of five programs state them, and their files.

Nothing here is shared with `ilo.generators`: repeat and convolve, blur, noise, leaky ReLU, normalise, style. A network
is a dictionary of what a training program would store for the format it is of (`stored`), from one set of effective
weights (`effective`), so that all formats hold one network.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

EPSILON = {"TensorFlow": 1e-8, "genforce": 1e-8, "PULSE": 1e-5, "lernapparat": 1e-5, "rosinality": 1e-5}
TRAINED = 3  # numbers of colours


def effective(sizes=(4, 8, 16), channels=(6, 5, 4), z=7, w=9, depth=3, seed=0) -> dict[str, torch.Tensor]:
    """Weights as they enter the arithmetic, float64. k counts convolutions; 0 is the constant."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return scale * torch.randn(shape, generator=g, dtype=torch.float64)

    out = {"const": normal(1, channels[0], 4, 4)}
    for i in range(depth):
        width = z if i == 0 else w
        out[f"dense{i}.weight"], out[f"dense{i}.bias"] = normal(w, width, scale=width**-0.5), normal(w, scale=0.3)
    before = channels[0]
    for k in range(2 * len(sizes)):
        count = channels[k // 2]
        if k:
            out[f"{k}.weight"] = normal(count, before, 3, 3, scale=(9 * before) ** -0.5)
        out[f"{k}.bias"] = normal(count, scale=0.2)
        out[f"{k}.noise"] = normal(count, scale=0.3)
        out[f"{k}.map"] = normal(sizes[k // 2], sizes[k // 2])
        out[f"{k}.scale"], out[f"{k}.shift"] = (normal(count, w, scale=w**-0.5) for _ in range(2))
        out[f"{k}.scale_bias"], out[f"{k}.shift_bias"] = 1 + normal(count, scale=0.2), normal(count, scale=0.2)
        before = count
    out["rgb.weight"] = normal(TRAINED, before, 1, 1, scale=0.1 * before**-0.5)  # images near [−1, 1]
    out["rgb.bias"] = normal(TRAINED, scale=0.1)
    return out


def styles(net: dict[str, torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    """The mapping network: (B, z) -> (B, w)."""
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for i in range(sum(name.startswith("dense") for name in net) // 2):
        x = F.leaky_relu(x @ net[f"dense{i}.weight"].T + net[f"dense{i}.bias"], 0.2)
    return x


def synthesis(net, ws: torch.Tensor, epsilon: float, *, bias_first=False, start=None, begin=0) -> torch.Tensor:
    """Images of styles (B, n, w); from `start`, what leaves block `begin` − 1, on."""
    x = net["const"].repeat(len(ws), 1, 1, 1) if start is None else start
    count = sum(name.endswith(".map") for name in net)
    for k in range(2 * begin, count):
        bias = net[f"{k}.bias"].reshape(1, -1, 1, 1)
        if k == 0:
            x = x + bias
        elif k % 2 == 0:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = F.conv2d(x, net[f"{k}.weight"], padding=1)
            x = blurred(x + bias) if bias_first else blurred(x) + bias
        else:
            x = F.conv2d(x, net[f"{k}.weight"], padding=1) + bias
        x = x + net[f"{k}.noise"].reshape(1, -1, 1, 1) * net[f"{k}.map"]
        x = torch.where(x > 0, x, 0.2 * x)
        mean = x.mean((2, 3), keepdim=True)
        x = (x - mean) / ((x - mean).square().mean((2, 3), keepdim=True) + epsilon).sqrt()
        scale = ws[:, k] @ net[f"{k}.scale"].T + net[f"{k}.scale_bias"]
        shift = ws[:, k] @ net[f"{k}.shift"].T + net[f"{k}.shift_bias"]
        x = x * scale[:, :, None, None] + shift[:, :, None, None]
    return torch.einsum("bchw,oc->bohw", x, net["rgb.weight"][:, :, 0, 0]) + net["rgb.bias"].reshape(1, -1, 1, 1)


def blurred(x: torch.Tensor) -> torch.Tensor:
    x = F.pad(x, (1, 1, 1, 1))
    x = (x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]) / 4
    return (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4


def stored(net: dict[str, torch.Tensor], form: str) -> dict[str, torch.Tensor]:
    """The tensors of a file of this format, in torch's layout but for TensorFlow's."""
    make = {"TensorFlow": _tensorflow, "genforce": _genforce, "PULSE": _pulse, "rosinality": _rosinality}
    if form == "lernapparat":
        both = _pulse(net)
        renamed = {("g_mapping." if n.startswith("dense") else "g_synthesis.") + n: t for n, t in both.items()}
        return {n.replace(".noise.weight", ".top_epi.noise.weight"): t for n, t in renamed.items()}
    return make[form](net)


def _turned(weight: torch.Tensor, k: int) -> torch.Tensor:
    """From 128 pixels on (k of 10 and more) what is stored is turned by 180°."""
    return weight.flip(2, 3) if k % 2 == 0 and k >= 10 else weight


def _parts(net):
    """k, the kernel without its gain √(2/fan_in), and the style without 1/√w and its 1."""
    for k in range(sum(name.endswith(".map") for name in net)):
        kernel = net["const"] if k == 0 else _turned(net[f"{k}.weight"], k)
        kernel = kernel if k == 0 else kernel / math.sqrt(2 / kernel[0].numel())
        style = torch.cat([net[f"{k}.scale"], net[f"{k}.shift"]]) * math.sqrt(net[f"{k}.scale"].shape[1])
        yield k, 4 << k // 2, kernel, style, torch.cat([net[f"{k}.scale_bias"] - 1, net[f"{k}.shift_bias"]])


def _dense(net, name: str):
    for i in range(sum(key.startswith("dense") for key in net) // 2):
        weight = net[f"dense{i}.weight"]
        yield name.format(i), weight / (0.01 * math.sqrt(2 / weight.shape[1])), net[f"dense{i}.bias"] / 0.01


def _tensorflow(net):
    out = {}
    for name, weight, bias in _dense(net, "mapping/Dense{}"):
        out |= {f"{name}/weight": weight.T, f"{name}/bias": bias}
    for k, size, kernel, style, style_bias in _parts(net):
        kind = ("Const", "Conv")[k] if k < 2 else ("Conv0_up", "Conv1")[k % 2]
        name = f"synthesis/{size}x{size}/{kind}"
        out |= {f"{name}/const": kernel} if k == 0 else {f"{name}/weight": kernel.permute(2, 3, 1, 0)}
        out |= {f"{name}/bias": net[f"{k}.bias"], f"{name}/Noise/weight": net[f"{k}.noise"]}
        out |= {f"{name}/StyleMod/weight": style.T, f"{name}/StyleMod/bias": style_bias}
        out[f"synthesis/noise{k}"] = net[f"{k}.map"][None, None]
    rgb = net["rgb.weight"] * math.sqrt(net["rgb.weight"].shape[1])
    out |= {"synthesis/ToRGB_lod0/weight": rgb.permute(2, 3, 1, 0), "synthesis/ToRGB_lod0/bias": net["rgb.bias"]}
    return out | {"synthesis/ToRGB_lod1/bias": net["rgb.bias"], "lod": torch.zeros(())}


def arrays(tensors: dict[str, torch.Tensor], dtype=np.float64) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(tensor.numpy().astype(dtype)) for name, tensor in tensors.items()}


def _genforce(net):
    out = {"truncation.w_avg": torch.full_like(net["dense0.bias"], 0.1), "synthesis.lod": torch.zeros(())}
    for name, weight, bias in _dense(net, "mapping.dense{}"):
        out |= {f"{name}.weight": weight, f"{name}.bias": bias}
    for k, _, kernel, style, style_bias in _parts(net):
        name = f"synthesis.layer{k}"
        out |= {f"{name}.{'weight' if k else 'const'}": kernel, f"{name}.bias": net[f"{k}.bias"]}
        out |= {
            f"{name}.apply_noise.weight": net[f"{k}.noise"],
            f"{name}.apply_noise.noise": net[f"{k}.map"][None, None],
        }
        out |= {f"{name}.style.weight": style, f"{name}.style.bias": style_bias}
    rgb = net["rgb.weight"] * math.sqrt(net["rgb.weight"].shape[1])
    for i in range(len(list(_parts(net))) // 2):
        out |= {f"synthesis.output{i}.weight": rgb, f"synthesis.output{i}.bias": net["rgb.bias"]}
    return out


def _pulse(net):
    out = {}
    for name, weight, bias in _dense(net, "dense{}"):
        out |= {f"{name}.weight": weight, f"{name}.bias": bias}
    for k, size, kernel, style, style_bias in _parts(net):
        block = f"blocks.{size}x{size}"
        conv = f"{block}.{'conv' if k == 1 else ('conv0_up', 'conv1')[k % 2]}"
        out |= (
            {f"{block}.const": kernel, f"{block}.bias": net["0.bias"]}
            if k == 0
            else {f"{conv}.weight": kernel, f"{conv}.bias": net[f"{k}.bias"]}
        )
        if k > 1 and k % 2 == 0:
            out[f"{conv}.intermediate.kernel"] = torch.ones(1, 1, 3, 3)
        epilogue = f"{block}.epi{1 + k % 2}"
        out |= {f"{epilogue}.noise.weight": net[f"{k}.noise"], f"{epilogue}.style_mod.lin.weight": style}
        out[f"{epilogue}.style_mod.lin.bias"] = style_bias
    return out | {
        "torgb.weight": net["rgb.weight"] * math.sqrt(net["rgb.weight"].shape[1]),
        "torgb.bias": net["rgb.bias"],
    }


def _rosinality(net):
    out = {}
    for i in range(sum(key.startswith("dense") for key in net) // 2):
        weight = net[f"dense{i}.weight"]
        name = f"style.{2 * i + 1}.linear"
        out |= {f"{name}.weight_orig": weight / math.sqrt(2 / weight.shape[1]), f"{name}.bias": net[f"dense{i}.bias"]}
    for k, size, kernel, style, style_bias in _parts(net):
        block, i = f"generator.progression.{k // 2}", 1 + k % 2
        count = len(net[f"{k}.noise"])
        if k == 0:
            out[f"{block}.conv1.input"] = kernel
        elif i == 1 and size >= 128:
            out |= {f"{block}.conv1.0.weight": 4 * kernel.transpose(0, 1), f"{block}.conv1.0.bias": net[f"{k}.bias"]}
        else:
            name = f"{block}.conv{i}{'.1' if i == 1 else ''}.conv"
            out |= {f"{name}.weight_orig": kernel, f"{name}.bias": net[f"{k}.bias"]}
        out[f"{block}.noise{i}.weight_orig"] = (net[f"{k}.noise"] / math.sqrt(2 / count)).reshape(1, -1, 1, 1)
        one = torch.cat([torch.ones(count), torch.zeros(count)]).to(style)
        out[f"{block}.adain{i}.style.linear.weight_orig"] = style / math.sqrt(2)
        out[f"{block}.adain{i}.style.linear.bias"] = style_bias + one
    rgb = net["rgb.weight"] * math.sqrt(net["rgb.weight"].shape[1] / 2)
    for i in range(len(list(_parts(net))) // 2):
        out |= {f"generator.to_rgb.{i}.conv.weight_orig": rgb, f"generator.to_rgb.{i}.conv.bias": net["rgb.bias"]}
    return out
