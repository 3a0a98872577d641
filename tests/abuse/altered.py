"""Checkpoints of every format in which one tensor has a wrong shape, dtype or kind: named and refused, or of use."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import first_writer
import golden_files
import numpy as np
import torch
from nvidia_writer import nvidia_pickle
from safetensors.torch import save_file
from tensorflow_writer import random_variables, tensorflow_pickle
from torch import Tensor

import ilo.generators
from ilo.generators.biggan_layers import biggan_table
from ilo.generators.checkpoints.names import rosinality_table
from ilo.generators.dcgan_layers import dcgan_table
from ilo.generators.fit import Table
from ilo.generators.stylegan.random import random_stylegan2, random_stylegan3

from . import REFUSED, WORKED

DTYPES = (
    *(torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.bfloat16, torch.float64),
)
# What can be written in a format, beside dense tensors of every dtype.
KINDS = ("sparse", "compressed", "quantised", "nested", "jagged", "meta", "text", "none")


@dataclass(frozen=True)
class Format:
    """weights: a complete state dict; write(weights, path) makes a file of one; kinds: of KINDS, what it can hold."""

    weights: dict[str, Tensor]
    write: Callable[[Mapping[str, Any], Path], Any]
    kinds: tuple[str, ...] = KINDS


def drawn(table: Table, **sizes: int) -> dict[str, Tensor]:
    """Tensors for an architecture's table, from their names; small, and variances positive."""
    out = {}
    for name, row in table.items():
        value = 0.1 * golden_files.draw(name, [n if isinstance(n, int) else sizes.get(n, sizes["other"]) for n in row])
        out[name] = value.abs() + 0.5 if name.endswith("var") else value
    return out


def formats() -> dict[str, Format]:
    """Every format that is read; no two sizes of an architecture are equal where they need not be."""
    style = random_stylegan2(8, channel_base=16, channel_max=3, z_dim=4, w_dim=5, mapping_layers=2, num_classes=6)
    style |= {"mapping.w_avg": golden_files.draw("mapping.w_avg", (5,))}
    style |= {f"synthesis.{name}.resample_filter": golden_files.filter_4x4() for name in ("b8", "b8.conv0")}
    names = ["to_rgbs.0.conv.weight", "style.1.weight", "style.2.weight", "latent_avg", "noises.noise_1"]
    kernel = "to_rgbs.0.upsample.kernel"
    rosinality = drawn(
        rosinality_table(dict.fromkeys([*names, kernel])), **{"4": 6, "w": 5, "z": 4, "colours": 3, "other": 7}
    )
    rosinality[kernel] = 4 * golden_files.filter_4x4()
    parts = ("bias", "u0", "sv0")
    named = [f"{layer}.{part}" for layer in ("blocks.1.0.conv1", "blocks.0.0.bn1.gain", "linear") for part in parts]
    table = biggan_table(dict.fromkeys([*named, "blocks.1.1.gamma", "output_layer.2.bias"]))
    sizes = {"0": 6, "1": 5, "2": 4, "class": 7, "chunk": 2, "condition": 9, "classes": 8, "seed": 6 * 16, "other": 3}
    big = drawn(table, **sizes)
    counters = {f"main.{i}.num_batches_tracked": torch.tensor(7) for i in (1, 4, 7, 10)}
    dense = ("text", "none")

    def older(weights: Mapping[str, Any], path: Path) -> None:
        torch.save(weights, path, _use_new_zipfile_serialization=False)

    net = first_writer.random_net((4, 8), (6, 5), z=7, w=9, depth=2)
    for layer in net.layers[2::2]:
        layer.bias = torch.zeros_like(layer.bias)  # rosinality's is elsewhere
    first = {
        "genforce": first_writer.genforce(net),
        "lernapparat": first_writer.lernapparat(net),
        "rosinality's first": first_writer.rosinality(net),
    }
    third = random_stylegan3(16, config="r", channel_base=24, channel_max=2, layers=3, z_dim=5, w_dim=7)
    third |= {"mapping.w_avg": golden_files.draw("mapping.w_avg", (7,))}
    variables = {name: torch.from_numpy(v) for name, v in first_writer.tensorflow(net).items()}

    def tensorflow(weights: Mapping[str, Any], path: Path) -> None:
        path.write_bytes(tensorflow_pickle({name: _array(value) for name, value in weights.items()}))

    return {
        "DCGAN": Format(drawn(dcgan_table(), other=1) | counters, torch.save),
        "rosinality": Format(rosinality, lambda weights, path: torch.save({"g_ema": weights}, path)),
        "rosinality, older": Format(rosinality, older),
        "NVIDIA": Format(
            style, lambda w, path: path.write_bytes(nvidia_pickle(w)), tuple(k for k in KINDS if k not in dense)
        ),
        "TensorFlow": Format(
            {name: torch.from_numpy(np.array(value)) for name, value in random_variables((4, 8), (6, 5)).items()},
            tensorflow,
            dense,
        ),
        "TensorFlow's first": Format({name: v.float() for name, v in variables.items()}, tensorflow, dense),
        **{name: Format({k: v.float() for k, v in weights.items()}, torch.save) for name, weights in first.items()},
        "NVIDIA's third": Format(
            third, lambda w, path: path.write_bytes(nvidia_pickle(w)), tuple(k for k in KINDS if k not in dense)
        ),
        "BigGAN": Format(big, torch.save),
        "safetensors": Format(style, save_file, ()),
    }


def _array(value: Any) -> Any:
    """A tensor as numpy's array; numpy lacks the narrow kinds of numbers, which become float32."""
    if not isinstance(value, Tensor):
        return value
    narrow = value.dtype.is_floating_point and value.dtype.itemsize < 4 and value.dtype != torch.float16
    return (value.float() if narrow else value).numpy()


def variants(value: Tensor, kinds: tuple[str, ...]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(what is done to a tensor, what makes that which then stands there)."""
    for axis in range(value.ndim):
        yield f"axis {axis} dropped", partial(value.select, axis, 0)
        yield f"axis {axis} one longer", partial(torch.cat, [value, value.narrow(axis, 0, 1)], axis)
        yield f"axis {axis} empty", partial(value.narrow, axis, 0, 0)
        if value.shape[axis] > 1:
            yield f"axis {axis} one shorter", partial(value.narrow, axis, 0, value.shape[axis] - 1)
    for axis in range(value.ndim + 1):
        yield f"axis added at {axis}", partial(value.unsqueeze, axis)
    if value.ndim > 1:
        yield "transposed", partial(value.transpose, 0, 1)
        yield "flattened", value.flatten
    for dtype in DTYPES:
        yield f"as {dtype}", partial(value.to, dtype)
    yield "infinite", partial(torch.full, value.shape, torch.inf)
    parts = list(value.float()) if value.ndim else []
    made = {
        "sparse": value.to_sparse,
        "compressed": value.to_sparse_csr,
        "quantised": partial(_quantised, value),
        "nested": partial(torch.nested.nested_tensor, parts),
        "jagged": partial(torch.nested.nested_tensor, parts, layout=torch.jagged),
        "meta": partial(value.to, "meta"),
        "text": partial(str, "text"),
        "none": lambda: None,
    }
    least = {"nested": 1, "jagged": 2, "compressed": 2}  # axes
    yield from ((kind, made[kind]) for kind in kinds if value.ndim >= least.get(kind, 0))


def cases(formats: Mapping[str, Format]) -> Iterator[tuple[str, str, str, Callable[[], Any]]]:
    """(format, name of a tensor, what is done to it, what makes that which then stands there), every one."""
    for title, form in formats.items():
        for name, value in form.weights.items():
            yield title, name, "missing", lambda: None
            for change, make in variants(value, form.kinds):
                yield title, name, change, make


def outcome(form: Format, name: str, change: str, make: Callable[[], Any], path: Path) -> str:
    """Write a file with that one change, load it, and say how it ended."""
    weights = dict(form.weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's, that some kinds of tensors are prototypes
        weights[name] = make()
        if change == "missing":
            del weights[name]
        if form.write is save_file:
            weights = {key: value.contiguous() for key, value in weights.items()}
        form.write(weights, path)
    try:
        G = ilo.generators.load(path)
    except ValueError as error:
        if "weights_only" in str(error):
            return f"advises to load without weights_only: {error}"
        return REFUSED if name in str(error) else f"another tensor is named: {error}"
    except BaseException as error:
        return f"{type(error).__name__} at load: {error}"
    try:
        images = G(G.sample(2, 0))
    except BaseException as error:
        return f"loaded, but {type(error).__name__} when it generates: {error}"
    if images.shape[1:] != G.image_shape or not images.isfinite().all():
        return "loaded, but its images are none"
    return WORKED


def _quantised(value: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, once a process, that these tensors are on their way out
        return torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8)
