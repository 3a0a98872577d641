"""Whether a state dict fits an architecture.

An architecture is a table, name → shape, of the tensors that it needs; a size that it leaves open is a word, the same
wherever the same size is meant: {"fc0.weight": ("hidden", "z"), "fc0.bias": ("hidden",), "gain": ()}. A multiple of one
is a pair: (2, "hidden").
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

Size = int | str | tuple[int, str]
Table = dict[str, tuple[Size, ...]]

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
MOST_PIXELS = 4096  # along a side; what a generator takes to build and to run grows with its square


def fit(weights: Mapping[str, Any], table: Table, what: str, most: Mapping[str, int] | None = None) -> dict[str, int]:
    """Find the sizes that a table leaves open, and check every tensor that it names.

    A size is what most tensors say of it, so that the one that disagrees is the one that is named.

    Args:
        weights: name → tensor, or whatever has `shape` and `dtype`; names that the table lacks are not looked at.
        what: how a message begins: "this looks like StyleGAN2".
        most: the largest values of some sizes.

    Returns:
        Word → size.

    Raises:
        ValueError: a tensor is missing, is not dense or not floating-point, or has another shape; the first is named.
            A tensor of shape () may have the shape (1,).
    """
    for name in table:
        if name not in weights:
            raise ValueError(f"{what}, but {name} is missing from it")
        if kind := _no_dense_floats(weights[name]):
            raise ValueError(f"{what}, but {name} is {kind}, where floating-point numbers are expected")
    shapes = {name: tuple(weights[name].shape) for name in table}
    votes: dict[str, Counter[int]] = {}
    for name, row in table.items():
        for entry, size in zip(row, shapes[name], strict=False) if len(row) == len(shapes[name]) else ():
            times, word = _parts(entry)
            if size % times == 0:
                votes.setdefault(word, Counter())[size // times] += 1
    sizes = {word: counter.most_common(1)[0][0] for word, counter in votes.items() if isinstance(word, str)}
    for name, row in table.items():
        wanted = tuple(_wanted(entry, sizes) for entry in row)
        if shapes[name] != wanted and (row or shapes[name] != (1,)):
            witness = _witness(name, table, shapes, sizes)
            raise ValueError(f"{what}, but {name} has the shape {shapes[name]}, expected {wanted}{witness}")
        if 0 in wanted:
            raise ValueError(f"{what}, but {name} holds nothing: its shape is {wanted}")
        for word, size in zip(row, wanted, strict=True):
            if size > (most or {}).get(word, size):
                raise ValueError(f"{what}, but {name} has the shape {wanted}, where at most {most[word]} are read")
    return sizes


def _parts(entry: Size) -> tuple[int, int | str]:
    """An entry of a table as a multiple of a word, or of a number."""
    return entry if isinstance(entry, tuple) else (1, entry)


def _wanted(entry: Size, sizes: Mapping[str, int]) -> int | str:
    """The size that an entry of a table stands for, or, where no tensor tells it, its word."""
    times, word = _parts(entry)
    size = sizes.get(word, word)
    return times * size if isinstance(size, int) else f"{times}·{size}" if times > 1 else size


def numbered(names: Iterable[str], before: str) -> set[int]:
    """The numbers n of names that begin with before + "n.", at most six digits each."""
    found = (re.match(rf"{re.escape(before)}(\d{{1,6}})\.", name) for name in names)
    return {int(match[1]) for match in found if match}


def same_dtype(weights: Mapping[str, Tensor], names: Iterable[str], what: str) -> None:
    """ValueError if these tensors have several dtypes; named is one of those that most others do not have."""
    dtypes = {name: weights[name].dtype for name in names}
    common = Counter(dtypes.values()).most_common(1)[0][0]
    for name, dtype in dtypes.items():
        if dtype != common:
            raise ValueError(f"{what}, but {name} is of {dtype}, and others of {common}: one dtype is expected")


def positive(settings: Mapping[str, Any], name: str, default: float | None = None) -> float | None:
    """The number `settings[name]`, or `default` if there is none; ValueError if it is no positive, finite number."""
    try:
        value = default if settings.get(name) is None else float(settings[name])
    except (ValueError, OverflowError):
        value = math.nan
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ValueError(f"its setting {name} is no positive number")
    return value


def _no_dense_floats(value: Any) -> str | None:
    """What a value is that is no tensor of plain floating-point numbers."""
    if not hasattr(value, "dtype"):
        return f"a {value.kind} tensor" if hasattr(value, "kind") else f"a {type(value).__name__}"
    if getattr(value, "is_nested", False):
        return "a nested tensor"
    if (layout := getattr(value, "layout", torch.strided)) != torch.strided:
        return f"a tensor of layout {layout}"
    return None if value.dtype in FLOATS else f"of {value.dtype}"


def _witness(name: str, table: Table, shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]) -> str:
    """Another tensor that has the sizes which `name` lacks, in words."""
    row, shape = table[name], shapes[name]
    pairs = zip(row, shape, strict=False)
    lacking = [entry for entry, n in pairs if _wanted(entry, sizes) != n] if len(row) == len(shape) else row
    words = {word for _, word in map(_parts, lacking) if isinstance(word, str)}
    for other, tensors in shapes.items():
        if other != name and len(tensors) == len(table[other]):
            pairs = zip(table[other], tensors, strict=True)
            if any(_parts(entry)[1] in words and _wanted(entry, sizes) == n for entry, n in pairs):
                return f" (as {other} has {tensors})"
    return ""
