"""State dicts of StyleGAN, the first, turned into what `ilo.generators.stylegan.first` builds from.

All store weights without their run-time gains, which are folded in here. The first convolution of a block doubles the
features: below 128 pixels each is repeated and then convolved, from there on a transposed convolution does both. The
first is the second with its kernel turned by 180°, so that one arithmetic serves all.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ilo.generators.checkpoints.first_forms import FUSED, TENSORFLOW, Form, rows
from ilo.generators.checkpoints.names import positive
from ilo.generators.fit import Table, fit
from ilo.generators.stylegan.network import GAIN
from ilo.generators.stylegan.table import MOST
from ilo.rng import stream

# Settings of TensorFlow's networks, and what each must be where it is told.
EXPECTED = {
    **{"use_wscale": True, "use_styles": True, "use_noise": True, "use_instance_norm": True, "use_pixel_norm": False},
    **{"const_input_layer": True, "normalize_latents": True, "fused_scale": "auto", "blur_filter": [1, 2, 1]},
    **{"nonlinearity": "lrelu", "mapping_nonlinearity": "lrelu", "num_channels": 3, "label_size": 0},
}


def check_first(form: Form, weights: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """The names of the tensors that are read; ValueError naming the first setting or tensor that does not fit."""
    for name, expected in EXPECTED.items() if form is TENSORFLOW else ():
        found = settings.get(name, expected)
        if found is not None and found != expected:  # None: the default
            raise ValueError(f"{form.what}, with {name} = {str(found)[:40]}, where only {expected} is supported")
    table: Table = {row.name: row.shape for row in rows(form, weights)}
    sizes = fit(weights, table, form.what, MOST | {f"fc{i}": MOST["w"] for i in range(form.counts(weights)[1])})
    for name, shape in table.items():
        for word in shape:
            if isinstance(word, str) and word.startswith("2 ") and sizes[word] != 2 * sizes[word[2:]]:
                raise ValueError(
                    f"{form.what}, but {name} has the shape {tuple(weights[name].shape)}, where a scale and a shift "
                    f"for each of {sizes[word[2:]]} channels are expected"
                )
    return [*table]


def from_first(form: Form, weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Turn tensors that `check_first` has passed into the names of `ilo.generators.stylegan.first`."""
    raw = {}
    for row in rows(form, weights):
        tensor = weights[row.name]
        raw[row.ours] = tensor if row.axes is None else tensor.permute(row.axes)
    count, depth = form.counts(weights)
    like = raw["const"]
    out = {name: torch.tensor(value).to(like) for name, value in _numbers(form).items()}
    rate = 100.0 if form.equal else positive(settings, "mapping_lrmul", 0.01) / 0.01
    for i in range(depth):
        out[f"mapping.fc{i}.weight"] = raw[f"dense{i}.weight"] * rate
        out[f"mapping.fc{i}.bias"] = raw[f"dense{i}.bias"] * (rate / GAIN)
    if "mean" in raw:
        out["mapping.w_avg"] = raw["mean"].flatten()
    for k in range(2 * count):
        size, name = 4 << k // 2, f"synthesis.b{4 << k // 2}.conv{k % 2}"
        if k == 0:
            out["synthesis.b4.const"] = raw["const"][0] + raw.get("0.bias", torch.zeros(1).to(like))[:, None, None]
        else:
            kernel = _doubling(raw[f"{k}.weight"], size, form) if k % 2 == 0 else raw[f"{k}.weight"]
            fan_in = raw[f"{k}.weight"][0].numel()
            out |= {f"{name}.weight": kernel * math.sqrt(2 / fan_in), f"{name}.bias": raw[f"{k}.bias"]}
        out |= _epilogue(form, raw, k, size, name)
    weight = raw["rgb.weight"]
    out["synthesis.torgb.weight"] = weight * math.sqrt((2 if form.equal else 1) / weight.shape[1])
    out["synthesis.torgb.bias"] = raw["rgb.bias"]
    return {name: value.contiguous() for name, value in out.items()}


def _numbers(form: Form) -> dict[str, float]:
    return {"synthesis.epsilon": form.epsilon, "synthesis.bias_first": float(form.bias_first)}


def _doubling(kernel: Tensor, size: int, form: Form) -> Tensor:
    """(out, in, 3, 3) to the (in, out, 4, 4) of a transposed convolution: four copies, each shifted by a pixel."""
    wide = kernel.transpose(0, 1) if size >= FUSED else kernel.transpose(0, 1).flip(2, 3)
    wide = F.pad(wide, (1, 1, 1, 1))
    wide = wide[..., 1:, 1:] + wide[..., :-1, 1:] + wide[..., 1:, :-1] + wide[..., :-1, :-1]
    return wide / 4 if form.equal and size >= FUSED else wide


def _epilogue(form: Form, raw: Mapping[str, Tensor], k: int, size: int, name: str) -> dict[str, Tensor]:
    noise = raw.get(f"{k}.map")
    if noise is None:  # where the files have no maps, their programs draw them anew for every image
        noise = torch.randn(size, size, generator=stream(0, "weights", k // 2 if form.equal else k))
    style, strength = raw[f"{k}.style.weight"], raw[f"{k}.noise"].flatten()
    style = style * math.sqrt((2 if form.equal else 1) / style.shape[1])
    more, less = raw[f"{k}.style.bias"].chunk(2)
    return {
        f"{name}.noise_strength": strength * (math.sqrt(2 / len(strength)) if form.equal else 1.0),
        f"{name}.noise_const": noise.reshape(size, size).to(strength),
        f"{name}.scale.weight": style.chunk(2)[0],
        f"{name}.scale.bias": more if form.equal else more + 1,
        f"{name}.shift.weight": style.chunk(2)[1],
        f"{name}.shift.bias": less,
    }
