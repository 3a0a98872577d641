"""One cell of a grid: a problem, a seed, a method and a batch of images, computed and kept as a file.

All that a row depends on is here and in what this module imports; `ilo.study.grid` arranges cells and reads them.
"""

import hashlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ilo import metrics
from ilo.arithmetic import repeatable
from ilo.generators.base import Generator
from ilo.operators import LinearOperator, measure
from ilo.provenance import provenance
from ilo.solver.result import Result
from ilo.study.code import code_of
from ilo.study.fingerprint import fingerprint
from ilo.study.problems import Problem


@dataclass(frozen=True)
class Answer:
    """What a method found.

    images: (B, C, H, W) in [−1, 1].
    columns: more columns of their rows, a value for all or one per image (such as `evaluations`, or a `seconds` per
        image that it knows better than the clock around it).
    interval: (low, high), each as the images: the column `covered` is the fraction of the truth's values between.
    """

    images: Tensor
    columns: Mapping[str, Any] = field(default_factory=dict)
    interval: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Tried:
    """All that a method could have answered with. The row is of the best, image by image, by the truth, which methods
    never see: the row of an oracle.

    settings: what was tried, each in words. renders: their images (B, C, H, W), in the same order.
    """

    settings: Sequence[Mapping[str, Any]]
    renders: Iterable[Tensor]


Found = Tensor | Answer | Result | Tried


class Method(Protocol):
    """The one signature of what a grid runs: this package's methods, and yours.

    Args:
        A, y: the operator, and what it measured of a batch of images, (B, *A.shape_out) with noise.
        G: the grid's generator, or None; a method may ignore it, as it may the others.
        rng: the grid's seed.
        noise: standard deviation of the noise, in the units of the measurements.

    Returns:
        Images (B, C, H, W) in [−1, 1], an `Answer`, or an `ilo.Result`. Or several of these, and `Tried`, by name: a
        run that answers for several methods (ILO's first round is CSGM). Then the names count, not the grid's label.
    """

    def __call__(
        self, A: LinearOperator, y: Tensor, *, G: Generator | None, rng: int, noise: float
    ) -> Found | Mapping[str, Found]: ...


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
    """A finished cell. body: JSON values. images: of each answer, (B, C, H, W), levels 0 … 255; None: not kept."""

    body: dict[str, Any]
    images: dict[str, np.ndarray] | None


_ONE_AT_A_TIME = threading.Lock()  # threads of a worker would share the cores, and the switches of `repeatable`
_last_operator: dict[tuple, LinearOperator] = {}


def compute(cell: Cell, truth: Tensor, G: Generator | None) -> Record:
    """Measure the images, run the method, and score what it found. Runs on the generator's device, else on the CPU."""
    if code_of(*cell.modules) != cell.code:
        raise RuntimeError(
            "the code or the libraries here are not those of the process that asked (ilo, the methods' modules, torch, "
            "…): bring every worker to the same versions"
        )
    device = torch.device("cpu") if G is None else G.device
    with _ONE_AT_A_TIME, repeatable():
        A = _operator(cell, tuple(truth.shape[1:]), device)
        seeds = [image_seed(cell.seed, name) for name in cell.names]
        y = measure(A, truth.to(device), noise=cell.problem.noise, rng=seeds)
        _synchronise(device)
        began = time.perf_counter()
        found = cell.method(A, y, G=G, rng=cell.seed, noise=cell.problem.noise)
        _synchronise(device)
        seconds = (time.perf_counter() - began) / len(truth)
        found = found if isinstance(found, Mapping) else {"": found}  # "": the label in the grid
        if not found:
            raise ValueError("the method answered with no images")
        tried = {name: _by_the_truth(a, truth) for name, a in found.items() if isinstance(a, Tried)}
        answers = {name: tried[name][0] if name in tried else _answer(a) for name, a in found.items()}
    images = {name: _checked(answer.images, truth) for name, answer in answers.items()}
    rows = [
        row
        for name, answer in answers.items()
        for row in _rows(cell, name, images[name], truth, {"seconds": seconds, **_columns(answer, truth)})
    ]
    body = {
        "rows": rows,
        "tried": {name: settings for name, (_, settings) in tried.items()},
        "methods": list(answers),
        "cell": str(cell),
        "made": provenance(device),
    }
    return Record(body, {name: _in_8_bits(x) for name, x in images.items()} if cell.keep_images else None)


def image_seed(seed: int, name: str) -> int:
    """The seed of an image's noise: its own, whatever other images there are."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7], "big")


def _operator(cell: Cell, shape: tuple[int, ...], device: torch.device) -> LinearOperator:
    """The operator of the problem and the seed; the last one is kept, since many cells in a row share it."""
    key = (fingerprint(cell.problem.operator), cell.seed, shape, str(device))
    if key not in _last_operator:
        _last_operator.clear()  # before the next is made: a Gaussian matrix can be 2 GB
        _last_operator[key] = cell.problem.operator(shape, rng=cell.seed).to(device)
    return _last_operator[key]


def _answer(found: Tensor | Answer | Result) -> Answer:
    if isinstance(found, Result):
        return Answer(found.images, {"status": found.status})
    return found if isinstance(found, Answer) else Answer(found)


def _by_the_truth(tried: Tried, truth: Tensor) -> tuple[Answer, list[dict[str, Any]]]:
    """The best images, and the settings with the PSNR of every image under `psnr`."""
    settings, best = [], torch.full((len(truth),), -torch.inf, dtype=torch.float64)
    chosen = torch.full_like(truth, torch.nan)
    for setting, images in zip(tried.settings, tried.renders, strict=True):
        images = _checked(images, truth)
        psnr = metrics.psnr(images, truth)
        chosen = torch.where((psnr > best).view(-1, 1, 1, 1), images, chosen)
        best = torch.maximum(psnr, best)
        settings.append({**setting, "psnr": psnr.tolist()})
    return Answer(chosen), settings


def _columns(answer: Answer, truth: Tensor) -> dict[str, Any]:
    if answer.interval is None:
        return dict(answer.columns)
    low, high = (_checked(bound, truth) for bound in answer.interval)
    return {**answer.columns, "covered": ((low <= truth) & (truth <= high)).flatten(1).float().mean(1)}


def _rows(cell: Cell, method: str, images: Tensor, truth: Tensor, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    if cell.problem.noise > 0:
        _refuse_the_truth(images, truth, cell.names)
    table = metrics.evaluate(images, truth, lpips=cell.lpips).to_dict("records")
    return [
        {"image": cell.names[i], "method": method, **scores, **{k: _plain(v, i) for k, v in columns.items()}}
        for i, scores in enumerate(table)
    ]


def _checked(images: Tensor, truth: Tensor) -> Tensor:
    if not isinstance(images, Tensor) or images.shape != truth.shape:
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"the method must answer with images {tuple(truth.shape)}, got {got}")
    return images.detach().float().cpu().clamp(-1, 1)  # NaN stays, and the metrics refuse it


def _refuse_the_truth(images: Tensor, truth: Tensor, names: Sequence[str]) -> None:
    """An image that is its truth to the last bit was not recovered from noisy measurements: it was known."""
    known = [name for name, x, t in zip(names, images, truth, strict=True) if torch.equal(x, t)]
    if known:
        raise ValueError(
            f"{', '.join(known)} came back as the very truth, an infinite PSNR: the method knew it, as when truth and "
            "starting latents are drawn from one stream (ilo.rng)"
        )


def _in_8_bits(images: Tensor) -> np.ndarray:
    return ((images + 1) * 127.5).round().byte().numpy()


def _plain(value: Any, i: int) -> Any:
    """Entry i of a column, as JSON has it."""
    if isinstance(value, (Tensor, np.ndarray)) or (isinstance(value, Sequence) and not isinstance(value, str)):
        value = value[i] if len(value.shape if hasattr(value, "shape") else [0]) else value
    return value.item() if isinstance(value, (Tensor, np.generic)) else value


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
