"""One cell of a grid: a problem, a seed, a method and a batch of images, computed and kept as a file.

All that a row depends on is here and in what this module imports; `ilo.study` arranges cells and reads them.
"""

import functools
import hashlib
import inspect
import io
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ilo import metrics
from ilo.arithmetic import repeatable
from ilo.files import written_atomically
from ilo.generators.base import Generator
from ilo.operators import LinearOperator, measure
from ilo.provenance import provenance
from ilo.solver.result import Result
from ilo.study.fingerprint import code, fingerprint
from ilo.study.problems import Problem


@dataclass(frozen=True)
class Answer:
    """What a method found: images (B, C, H, W), and more columns of their rows, a value for all or one an image
    (such as ``evaluations``, or a ``seconds`` per image that it knows better than the clock around it)."""

    images: Tensor
    columns: Mapping[str, Any] = field(default_factory=dict)


Found = Tensor | Answer | Result
Method = Callable[..., Found | Mapping[str, Found]]


@dataclass(frozen=True)
class Cell:
    """What to compute; `truth` and the generator come with it, since many cells share them.

    label: the method's name, where it answers with images alone. names: the images'. code: of the modules involved.
    """

    problem: Problem
    seed: int
    label: str
    method: Method
    names: tuple[str, ...]
    lpips: bool
    keep_images: bool
    code: str
    modules: tuple[str, ...]
    key: str

    def __str__(self) -> str:
        images = self.names[0] if len(self.names) == 1 else f"{self.names[0]} … {self.names[-1]}"
        return f"{self.label}, {self.problem}, seed {self.seed}, images {images}"


@dataclass(frozen=True)
class Record:
    """A finished cell: its file's text, and that of its images, or None."""

    text: bytes
    images: bytes | None


_ONE_AT_A_TIME = threading.Lock()  # threads of a worker would share the cores, and the switches of `repeatable`
_last_operator: dict[tuple, LinearOperator] = {}


def compute(cell: Cell, truth: Tensor, G: Generator | None) -> Record:
    """Measure the images, run the method, and score what it found. Runs on the generator's device, else on the CPU."""
    if code(*cell.modules) != cell.code:
        raise RuntimeError(
            "the code or the libraries here are not those of the process that asked (ilo, the methods' modules, torch, "
            "…): bring every worker to the same versions"
        )
    device = torch.device("cpu") if G is None else G.device
    with _ONE_AT_A_TIME, repeatable():
        A = _operator(cell, tuple(truth.shape[1:]), device)
        x = truth.to(device)
        y = measure(A, x, noise_std=cell.problem.noise, rng=[image_seed(cell.seed, name) for name in cell.names])
        noise = cell.problem.noise
        options = {"G": G, "rng": cell.seed, "noise": noise, "noise_std": noise, "progress": False}
        _synchronise(device)
        began = time.perf_counter()
        found = _call(cell.method, A, y, options)
        _synchronise(device)
        seconds = (time.perf_counter() - began) / len(truth)
    found = found if isinstance(found, Mapping) else {"": found}  # "": the label in the grid
    answers = {name: _answer(a) for name, a in found.items()}
    if not answers:
        raise ValueError("the method answered with no images")
    images = {name: _checked(answer.images, truth) for name, answer in answers.items()}
    rows = []
    for name, answer in answers.items():
        columns = {"seconds": seconds, **answer.columns}
        table = metrics.evaluate(images[name], truth, lpips=cell.lpips).to_dict("records")
        rows += [
            {"image": cell.names[i], "method": name, **scores, **{k: _plain(v, i) for k, v in columns.items()}}
            for i, scores in enumerate(table)
        ]
    pixels = _packed(images) if cell.keep_images else None
    body = {
        "rows": rows,
        "images": None if pixels is None else hashlib.sha256(pixels).hexdigest(),
        "methods": list(answers),
        "cell": str(cell),
        "made": provenance(device),
    }
    text = json.dumps(body)
    return Record(json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "body": text}).encode(), pixels)


def image_seed(seed: int, name: str) -> int:
    """The seed of an image's noise: its own, whatever other images there are."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7], "big")


def write(folder: Path, key: str, record: Record) -> None:
    """Put a finished cell on disk, each file in one step; the images first, which the other names."""
    if record.images is not None:
        with written_atomically(folder / f"{key}.npz") as temporary:
            temporary.write_bytes(record.images)
    with written_atomically(folder / f"{key}.json") as temporary:
        temporary.write_bytes(record.text)


def read(folder: Path, key: str, images: bool = False) -> dict[str, Any] | None:
    """Return a finished cell's contents, or None where there is none that is whole, or none with `images`."""
    try:
        outer = json.loads((folder / f"{key}.json").read_bytes())
        text = outer["body"]
        if hashlib.sha256(text.encode()).hexdigest() != outer["sha256"]:
            return None
        body = json.loads(text)
        if images and hashlib.sha256((folder / f"{key}.npz").read_bytes()).hexdigest() != body["images"]:
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return body


def read_images(folder: Path, key: str) -> dict[str, Tensor]:
    """The images that a cell kept: method ("" if it answered with images alone) -> (B, C, H, W) in [−1, 1], 8 bits."""
    body = read(folder, key, images=True)
    if body is None:
        raise ValueError(f"no images of the cell {key[:12]} in {folder}: run the grid with keep_images=True")
    with np.load(folder / f"{key}.npz", allow_pickle=False) as file:
        return {m: torch.from_numpy(file[str(i)]).float() / 127.5 - 1 for i, m in enumerate(body["methods"])}


def _packed(images: Mapping[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    pixels = {str(i): ((x + 1) * 127.5).round().byte().numpy() for i, x in enumerate(images.values())}
    np.savez_compressed(buffer, **pixels)
    return buffer.getvalue()


def _operator(cell: Cell, shape: tuple[int, ...], device: torch.device) -> LinearOperator:
    """The operator of the problem and the seed; the last one is kept, since many cells in a row share it."""
    key = (fingerprint(cell.problem.operator), cell.seed, shape, str(device))
    if key not in _last_operator:
        _last_operator.clear()  # before the next is made: a Gaussian matrix can be 2 GB
        _last_operator[key] = cell.problem.operator(shape, rng=cell.seed).to(device)
    return _last_operator[key]


def _call(method: Method, A: LinearOperator, y: Tensor, options: Mapping[str, Any]) -> Any:
    """Call the method with those of `options` that it takes by name and that a partial has not set."""
    parameters = inspect.signature(method).parameters
    set_already = method.keywords if isinstance(method, functools.partial) else {}
    given = {name: value for name, value in options.items() if name in parameters and name not in set_already}
    if {"A", "y"} <= parameters.keys():  # wherever they stand
        return method(**given, A=A, y=y)
    return method(A, y, **given)


def _answer(found: Any) -> Answer:
    if isinstance(found, Result):
        return Answer(found.images, {"status": found.status})
    return found if isinstance(found, Answer) else Answer(found)


def _checked(images: Tensor, truth: Tensor) -> Tensor:
    if not isinstance(images, Tensor) or images.shape != truth.shape:
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"the method must answer with images {tuple(truth.shape)}, got {got}")
    return images.detach().float().cpu().clamp(-1, 1)  # NaN stays, and the metrics refuse it


def _plain(value: Any, i: int) -> Any:
    """Entry i of a column, as JSON has it."""
    if isinstance(value, (Tensor, np.ndarray)) or (isinstance(value, Sequence) and not isinstance(value, str)):
        value = value[i] if len(value.shape if hasattr(value, "shape") else [0]) else value
    return value.item() if isinstance(value, (Tensor, np.generic)) else value


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
