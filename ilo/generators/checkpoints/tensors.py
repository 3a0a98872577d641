"""Tensors of a file that is being read: where their bytes lie, and what of that is a tensor; no byte is read before the
whole is known to fit.

`NAMES` has what stands for the names that torch's pickles of tensors ask for.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from ilo.generators.checkpoints.unpickle import KEYS, Inert

MOST_DIMENSIONS = 16
# Weights may take so many times the file's bytes (half precision becomes float32, an archive may be compressed) …
MOST_GROWTH = 8
SLACK = 2**20  # … and this many bytes more


class Storage:
    """`nbytes` bytes of a file, for numbers of `dtype`; `read` fills a tensor of them (uint8), which is kept."""

    def __init__(self, dtype: torch.dtype, nbytes: int, read: Callable[[Tensor], None] | None = None):
        self.dtype, self.nbytes, self.read = dtype, nbytes, read
        self._bytes: Tensor | None = None

    def content(self) -> Tensor:
        """The bytes (nbytes,), uint8, at an address as torch's own: others let a CPU round sums in another order."""
        if self._bytes is None:
            if self.read is None:
                raise UnpicklingError("a tensor whose bytes are missing from the file")
            out = torch.empty(self.nbytes, dtype=torch.uint8)
            self.read(out)
            self._bytes = out
        return self._bytes


@dataclass(frozen=True, eq=False)
class View:
    """A tensor of the file. shape, strides and offset count numbers of `dtype`, and lie in the storage."""

    storage: Storage
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    def tensor(self) -> Tensor:
        whole = self.storage.nbytes // self.dtype.itemsize * self.dtype.itemsize
        return self.storage.content()[:whole].view(self.dtype).as_strided(self.shape, self.strides, self.offset)


@dataclass(frozen=True)
class Unusable:
    """A tensor of a kind that no generator is made of; `kind` is its name: "sparse", "quantised", …"""

    kind: str


def check_room(views: Iterable[View], size: int) -> None:
    """ValueError if these tensors take far more memory than a file of `size` bytes can hold numbers."""
    views = list(views)
    numbers = sum(max(4, view.dtype.itemsize) * math.prod(view.shape) for view in views)
    bytes_ = sum({id(view.storage): view.storage.nbytes for view in views}.values())
    if numbers + bytes_ > MOST_GROWTH * size + SLACK:
        raise ValueError(
            f"its tensors take {(numbers + bytes_) / 2**20:,.0f} MiB, and the file has {size / 2**20:.3g}: they repeat "
            "numbers, or are compressed, as no generator's are"
        )


def _view(storage: Any, offset: Any, size: Any, stride: Any, *_: Any, dtype: torch.dtype | None = None) -> View:
    """In place of torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    if not isinstance(storage, Storage):
        raise UnpicklingError("a tensor without its bytes")
    dtype = storage.dtype if dtype is None else dtype
    if not _counts(size) or not _counts(stride) or not _counts((offset,)) or len(size) != len(stride):
        raise UnpicklingError("a tensor whose shape or place is none")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and (last + 1) * dtype.itemsize > storage.nbytes:
        raise UnpicklingError("a tensor that reaches beyond its bytes")
    return View(storage, dtype, tuple(size), tuple(stride), offset)


def _view_v3(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any) -> View:
    """In place of torch._utils._rebuild_tensor_v3, whose storage has no dtype."""
    if not isinstance(dtype, torch.dtype):
        raise UnpicklingError("a tensor without a dtype")
    return _view(storage, offset, size, stride, dtype=dtype)


def _counts(numbers: Any) -> bool:
    return (
        isinstance(numbers, Sequence)
        and len(numbers) <= MOST_DIMENSIONS
        and all(isinstance(n, int) and 0 <= n < 2**48 for n in numbers)
    )


def _first(data: Any, *_: Any) -> Any:
    """In place of torch._utils._rebuild_parameter, which marks a tensor as one that is trained."""
    return data


def _typed(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """In place of torch._tensor._rebuild_from_type_v2: a tensor with attributes, which are left out."""
    if not any(function is known for known in _TENSORS.values()):
        raise UnpicklingError("a tensor of an unknown class")
    return function(*arguments)


class Dict(dict):
    """In place of what is a dict with attributes: its items alone."""

    __slots__ = ()

    def __init__(self, items: Any = ()):
        super().__init__()
        for key, value in items.items() if isinstance(items, dict) else items:
            if not isinstance(key, KEYS):
                raise UnpicklingError(f"it holds a dict with a key of type {type(key).__name__}")
            self[key] = value


def _unusable(kind: str) -> Callable[..., Unusable]:
    def make(*_: Any) -> Unusable:
        return Unusable(kind)

    return make


# A type of storage is its dtype.
_STORAGES = {
    ("torch", f"{name}Storage"): dtype
    for name, dtype in {
        **{"Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16},
        **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
        **{"Bool": torch.bool, "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64},
        **{"QInt8": torch.qint8, "QUInt8": torch.quint8, "QInt32": torch.qint32},
        **{"QUInt4x2": torch.quint4x2, "QUInt2x4": torch.quint2x4, "Untyped": torch.uint8},
    }.items()
}
_TENSORS = {
    "_rebuild_tensor": _view,
    "_rebuild_tensor_v2": _view,
    "_rebuild_tensor_v3": _view_v3,
    "_rebuild_parameter": _first,
    "_rebuild_parameter_with_state": _first,
    "_rebuild_sparse_tensor": _unusable("sparse"),
    "_rebuild_qtensor": _unusable("quantised"),
    "_rebuild_nested_tensor": _unusable("nested"),
    "_rebuild_njt": _unusable("nested"),
    "_rebuild_meta_tensor_no_storage": _unusable("meta"),
    "_rebuild_wrapper_subclass": _unusable("wrapped"),
    "_rebuild_device_tensor_from_numpy": _unusable("device's own"),
    "_rebuild_device_tensor_from_cpu_tensor": _unusable("device's own"),
}
_SCHEMES = ("affine", "symmetric", "affine_float_qparams")  # of quantisation
_INERT = {
    "torch": ("Tensor", "device", *(f"per_{unit}_{kind}" for unit in ("tensor", "channel") for kind in _SCHEMES)),
    "torch.nn.parameter": ("Parameter", "Buffer"),
    "torch.serialization": ("_get_layout",),
    "torch.nested._internal.nested_tensor": ("NestedTensor",),
    "torch._dynamo.decorators": ("_DimRange",),
    "builtins": ("set", "frozenset", "complex", "bytearray"),
    "__builtin__": ("set", "frozenset", "complex", "bytearray"),
    "_codecs": ("encode",),
    "argparse": ("Namespace",),  # rosinality's training keeps its arguments
}
NAMES: dict[tuple[str, str], Any] = {
    **_STORAGES,
    ("torch.storage", "UntypedStorage"): torch.uint8,
    **{("torch._utils", name): value for name, value in _TENSORS.items()},
    ("torch._tensor", "_rebuild_from_type_v2"): _typed,
    ("torch.nested._internal.nested_tensor", "_rebuild_njt"): _TENSORS["_rebuild_njt"],
    ("torch", "Size"): tuple,
    **{(module, name): Inert for module, names in _INERT.items() for name in names},
    ("collections", "OrderedDict"): Dict,
    ("collections", "Counter"): Dict,
}
