"""Read a pickle that holds numpy arrays in dicts and lists, without letting it run anything.

Unpickling calls whatever the file names. Here it can name three things (what every numpy version writes for an
array) and gets stand-ins that only note what they are given; the arrays are then built from their raw bytes. numpy's
own constructors are not called: fed with a crafted dtype, they can be made to read arbitrary memory.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

# numpy 2 renamed numpy.core to numpy._core; files hold either.
_NDARRAY, _DTYPE = ("numpy", "ndarray"), ("numpy", "dtype")
_RECONSTRUCT = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}


class _DType:
    """Stands for a numpy.dtype of plain numbers."""

    __slots__ = ("dtype",)

    def __init__(self, code: str, *flags: bool):
        if not isinstance(code, str) or code[:1] not in tuple("?biufc"):
            raise pickle.UnpicklingError(f"arrays of dtype {code!r} are refused: only numbers are read")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        _, order, *_ = state
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"unknown byte order {order!r}")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for a numpy.ndarray until its bytes have come."""

    __slots__ = ("array",)

    def __init__(self, *_: Any):
        self.array: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array without plain numbers in it")
        flat = np.frombuffer(data, dtype.dtype).astype(dtype.dtype.newbyteorder("="))
        self.array = flat.reshape(shape, order="F" if fortran else "C")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _RECONSTRUCT or (module, name) == _NDARRAY:
            return _Array
        if (module, name) == _DTYPE:
            return _DType
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")


def load_arrays(path: str | Path) -> Any:
    """Return the dicts, lists, tuples, strings and numbers of the pickle at `path`, its arrays as numpy arrays.

    Raises:
        pickle.UnpicklingError: the file holds anything else, or is no pickle.
    """
    with open(path, "rb") as file:
        try:
            return _revealed(_ArrayUnpickler(file).load())
        except Exception as error:  # a malformed pickle can raise any of them
            raise pickle.UnpicklingError(f"{path} was refused, nothing in it was run: {error}") from error


def _revealed(value: Any) -> Any:
    """`value` with every stand-in replaced by its array."""
    if isinstance(value, _Array) and value.array is not None:
        return value.array
    if isinstance(value, dict):
        return {_revealed(k): _revealed(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_revealed(v) for v in value)
    if value is None or isinstance(value, (str, bytes, int, float)):  # bool is an int
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")
