"""What stands for the names in a pickle of TensorFlow networks, as NVIDIA published StyleGAN and StyleGAN2.

Such a file holds three networks, (G, D, Gs): the two as training left them, and the average of the first. A network is
its settings, its components, which are networks again, and the arrays of its variables; NVIDIA's own loader executes
the source that lies beside them. Here it is a record of the three, and an array becomes a view of its bytes.
"""

import math
from pickle import UnpicklingError
from typing import Any

import torch

from ilo.generators.checkpoints.tensors import MOST_DIMENSIONS, Storage, Unusable, View
from ilo.generators.checkpoints.unpickle import Budget, Stateful

MOST_NAMES = 20_000
LONGEST_NAME = 200
KINDS = {
    **{"f2": torch.float16, "f4": torch.float32, "f8": torch.float64},
    **{"i1": torch.int8, "i2": torch.int16, "i4": torch.int32, "i8": torch.int64, "u1": torch.uint8, "b1": torch.bool},
}


class Network(Stateful):
    """A network's settings, components by name, and variables as (name, array)."""

    __slots__ = ("components", "settings", "variables")

    def __init__(self, *_: Any):
        self.settings, self.components, self.variables = {}, {}, []

    def build(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise UnpicklingError("a network whose state is no dict")
        found = [state.get(key, empty) for key, empty in (("static_kwargs", {}), ("components", {}), ("variables", []))]
        if not all(isinstance(value, kind) for value, kind in zip(found, (dict, dict, list), strict=True)):
            raise UnpicklingError("a network whose settings, components or variables are none")
        self.settings, self.components, self.variables = found


class Dtype(Stateful):
    """numpy's word for a kind of number, such as "f4", and the order of its bytes."""

    __slots__ = ("order", "word")

    def __init__(self, word: Any = None, *_: Any):
        self.word, self.order = word, "<"

    def build(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1:
            self.order = state[1]


class Array(Stateful):
    """An array of numpy's; `found` is its view, or what it is instead of a tensor."""

    __slots__ = ("found",)

    def __init__(self, *_: Any):
        self.found: View | Unusable = Unusable("missing")

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise UnpicklingError("an array without shape, dtype and bytes")
        _, shape, dtype, by_columns, data = state
        if isinstance(data, str):  # as Python 2 wrote bytes
            data = data.encode("latin-1")
        if not isinstance(dtype, Dtype) or not isinstance(data, bytes) or not _is_shape(shape):
            raise UnpicklingError("an array without shape, dtype and bytes")
        kind = KINDS.get(dtype.word) if isinstance(dtype.word, str) else None
        if kind is None or dtype.order not in ("<", "|", "="):
            self.found = Unusable("numpy's own")
            return
        if math.prod(shape) * kind.itemsize != len(data):
            raise UnpicklingError("an array whose bytes are more or fewer than its shape has")
        strides = [math.prod(shape[:i]) if by_columns is True else math.prod(shape[i + 1 :]) for i in range(len(shape))]
        storage = Storage(kind, len(data), lambda out: out.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8)))
        self.found = View(storage, kind, tuple(shape), tuple(strides), 0)

    def number(self) -> int | float | None:
        """What it holds, if that is a single number."""
        return self.found.tensor().item() if isinstance(self.found, View) and self.found.shape == () else None


def scalar(dtype: Any, data: Any = None, *_: Any) -> Array:
    """A single number of numpy's, as a variable of shape ()."""
    found = Array()
    found.build((1, (), dtype, False, data))
    return found


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) <= MOST_DIMENSIONS
        and all(isinstance(n, int) and 0 <= n < 2**48 for n in shape)
    )


def flattened(networks: Any) -> tuple[dict[str, View | Unusable], dict[str, Any]] | None:
    """Gs of (G, D, Gs), or a network alone: its arrays by names such as "synthesis/4x4/Const/const", and its settings.

    None if this is no pickle of TensorFlow networks.
    """
    network = networks[-1] if isinstance(networks, (tuple, list)) and networks else networks
    if not isinstance(network, Network):
        return None
    names = Budget(MOST_NAMES)
    arrays: dict[str, View | Unusable] = {}
    settings: dict[str, Any] = {}
    parts = {"": network} | {
        f"{name}/": part for name, part in network.components.items() if isinstance(name, str) and len(name) < 50
    }
    for prefix, part in parts.items():
        if not isinstance(part, Network):
            raise UnpicklingError("a network with a component that is none")
        settings |= {key: value for key, value in part.settings.items() if isinstance(key, str)}
        names.spend(len(part.variables))
        for variable in part.variables:
            name, array = variable if isinstance(variable, tuple) and len(variable) == 2 else (None, None)
            if not isinstance(name, str) or len(name) > LONGEST_NAME:
                raise UnpicklingError("a variable that is no name with its array")
            arrays[prefix + name] = array.found if isinstance(array, Array) else Unusable(type(array).__name__)
    return arrays, settings


_NDARRAY = object()  # numpy.ndarray, which the pickle hands to _reconstruct
NAMES: dict[tuple[str, str], Any] = {
    ("dnnlib.tflib.network", "Network"): Network,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): Dtype,
    # numpy 2 renamed numpy.core to numpy._core
    ("numpy.core.multiarray", "_reconstruct"): Array,
    ("numpy._core.multiarray", "_reconstruct"): Array,
    ("numpy.core.multiarray", "scalar"): scalar,
    ("numpy._core.multiarray", "scalar"): scalar,
}
