"""The reference networks of tests/golden: weights drawn from their names, and what the reference made of them.

Each tensor is numpy.random.default_rng(zlib.crc32(name)).standard_normal(shape) in float32, scaled by a rule of its
format; so is the input, under the name "z".
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"


def weights(name: str, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The state dict of the reference network `name`."""
    scaled = {"stylegan2_r": _rosinality, "stylegan2_a": _nvidia, "biggan_64": _biggan}[name[:11]]
    shapes = json.loads((FOLDER / f"{name}.json").read_text())["shapes"]
    return {key: scaled(key, draw(key, shape)).to(dtype) for key, shape in shapes.items()}


def init(name: str) -> dict:
    """What the reference network was constructed with."""
    return json.loads((FOLDER / f"{name}.json").read_text())["init"]


def outputs(name: str) -> dict[str, Tensor]:
    """What the reference network gave."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def draw(key: str, shape) -> Tensor:
    array = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    return torch.from_numpy(np.asarray(array, dtype=np.float32))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest error over the largest magnitude."""
    assert actual.shape == expected.shape
    return float((actual.double() - expected.double()).abs().max() / expected.double().abs().max())


def filter_4x4() -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64


def _rosinality(key: str, r: Tensor) -> Tensor:
    if key.endswith("kernel"):
        return 4 * filter_4x4()
    if key.endswith("modulation.bias"):
        return 1 + 0.1 * r
    if key.endswith(("bias", "noise.weight")):
        return 0.1 * r
    return r / 0.01 if key.startswith("style.") else r


def _nvidia(key: str, r: Tensor) -> Tensor:
    if key.endswith("resample_filter"):
        return filter_4x4()
    if key.endswith("affine.bias"):
        return 1 + 0.1 * r
    return 0.1 * r if key.endswith(("bias", "noise_strength", "w_avg")) else r


def _biggan(key: str, r: Tensor) -> Tensor:
    leaf = key.rsplit(".", 1)[-1]
    if leaf in ("stored_var", "sv0"):
        return 1 + 0.1 * r.abs()
    if leaf in ("stored_mean", "bias") or key.endswith("gain.weight"):
        return 0.1 * r
    if key == "output_layer.0.gain":
        return 1 + 0.1 * r
    if leaf == "gamma":
        return 0.5 + 0.1 * r
    if r.ndim < 2 or key == "shared.weight" or ".u" in key:
        return r
    return r / math.sqrt(math.prod(r.shape[1:]))
