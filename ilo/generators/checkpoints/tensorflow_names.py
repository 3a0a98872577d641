"""Variables of NVIDIA's TensorFlow StyleGAN2, turned into the names and the layout of its PyTorch successor.

What differs: a dense layer's weight is (in, out) and a convolution's (height, width, in, out); the convolution that
doubles an image is stored flipped; a style's scale has its 1 added at run time; a 3×3 weight has a run-time gain
1/√fan_in, which is folded in so that the demodulation's epsilon means the same.
"""

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor

from ilo.generators.checkpoints.names import check_settings
from ilo.generators.fit import MOST_PIXELS, Table, positive
from ilo.generators.stylegan.table import check

TENSORFLOW = "this looks like NVIDIA's TensorFlow StyleGAN2"
# Settings that a network may have been made with, and what it must be where it says so.
EXPECTED = {
    **{"architecture": "skip", "nonlinearity": "lrelu", "mapping_nonlinearity": "lrelu"},
    **{"normalize_latents": True, "num_channels": 3, "label_size": 0, "resample_kernel": [1, 3, 3, 1]},
}


def is_tensorflow(weights: Mapping[str, Any]) -> bool:
    return any(name.startswith("synthesis/4x4/") for name in weights)


def tensorflow_table(weights: Mapping[str, Any]) -> Table:
    """The variables of a network with the blocks and the mapping layers that `weights` has."""
    table: Table = {"synthesis/4x4/Const/const": (1, "4", 4, 4)}
    width = "4"  # of the features that come in: each word is a number of channels
    for number, (theirs, ours, size) in enumerate(_convolutions(weights)):
        table |= _modulated(f"synthesis/{theirs}", ours, width, 3)
        table |= {f"synthesis/{theirs}/noise_strength": (), f"synthesis/noise{number}": (1, 1, size, size)}
        width = ours
        if ours.endswith("conv1"):
            table |= _modulated(f"synthesis/{size}x{size}/ToRGB", "colours", width, 1)
    depth = _depth(weights)
    widths = ["z", *(f"fc{i}" for i in range(depth - 1)), "w"]
    for i, (before, after) in enumerate(pairwise(widths)):
        table |= {f"mapping/Dense{i}/weight": (before, after), f"mapping/Dense{i}/bias": (after,)}
    return table | ({"dlatent_avg": ("w",)} if "dlatent_avg" in weights else {})


def check_tensorflow(weights: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """ValueError naming the first setting or variable that is not of such a StyleGAN2."""
    check_settings(settings, EXPECTED, TENSORFLOW)
    check(weights, tensorflow_table(weights), TENSORFLOW)


def from_tensorflow(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Turn variables that `check_tensorflow` has passed into NVIDIA's PyTorch names."""
    out = {"synthesis.b4.const": weights["synthesis/4x4/Const/const"][0]}
    for number, (theirs, ours, size) in enumerate(_convolutions(weights)):
        weight = weights[f"synthesis/{theirs}/weight"]  # (3, 3, c_in, c_out)
        flipped = weight.flip(0, 1) if theirs.endswith("Conv0_up") else weight
        out |= _renamed(weights, f"synthesis/{theirs}", f"synthesis.{ours}")
        out |= {
            f"synthesis.{ours}.weight": flipped.permute(3, 2, 0, 1) / math.sqrt(weight[..., 0].numel()),
            f"synthesis.{ours}.noise_strength": weights[f"synthesis/{theirs}/noise_strength"].reshape(()),
            f"synthesis.{ours}.noise_const": weights[f"synthesis/noise{number}"][0, 0],
        }
        if ours.endswith("conv1"):
            out |= _renamed(weights, f"synthesis/{size}x{size}/ToRGB", f"synthesis.b{size}.torgb")
    gain = positive(settings, "mapping_lrmul", 0.01) / 0.01
    for i in range(_depth(weights)):
        out[f"mapping.fc{i}.weight"] = gain * weights[f"mapping/Dense{i}/weight"].T
        out[f"mapping.fc{i}.bias"] = gain * weights[f"mapping/Dense{i}/bias"]
    if "dlatent_avg" in weights:
        out["mapping.w_avg"] = weights["dlatent_avg"]
    return {name: value.contiguous() for name, value in out.items()}


def _renamed(weights: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    return {
        f"{ours}.weight": weights[f"{theirs}/weight"].permute(3, 2, 0, 1),
        f"{ours}.bias": weights[f"{theirs}/bias"],
        f"{ours}.affine.weight": weights[f"{theirs}/mod_weight"].T,
        f"{ours}.affine.bias": weights[f"{theirs}/mod_bias"] + 1,
    }


def _modulated(name: str, out: str, width: str, kernel: int) -> Table:
    return {
        f"{name}/weight": (kernel, kernel, width, out),
        f"{name}/bias": (out,),
        f"{name}/mod_weight": ("w", width),
        f"{name}/mod_bias": (width,),
    }


def _convolutions(weights: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """(their name, ours, pixels), of as many doublings as there are, in the order of the noise maps."""
    found = (re.match(r"synthesis/(\d{1,6})x(\d{1,6})/", name) for name in weights)
    sizes = sorted({int(match[1]) for match in found if match and match[1] == match[2]})
    if len(sizes) < 2 or sizes != [4 << i for i in range(len(sizes))] or sizes[-1] > MOST_PIXELS:
        raise ValueError(f"{TENSORFLOW}, but not of 8 to {MOST_PIXELS} pixels: its blocks are of {sizes[:12]}")
    out = [("4x4/Conv", "b4.conv1", 4)]
    for size in sizes[1:]:
        out += [(f"{size}x{size}/Conv0_up", f"b{size}.conv0", size), (f"{size}x{size}/Conv1", f"b{size}.conv1", size)]
    return out


def _depth(weights: Mapping[str, Any]) -> int:
    found = (re.match(r"mapping/Dense(\d{1,6})/", name) for name in weights)
    return max(1, len({int(match[1]) for match in found if match}))
