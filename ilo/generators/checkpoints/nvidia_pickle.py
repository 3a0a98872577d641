"""Read the generator of an NVIDIA pickle, of PyTorch or of TensorFlow, without running anything that it holds.

Such a file embeds Python source, which NVIDIA's own loader executes, and names functions, which plain unpickling
calls. Here a name that the file asks for is looked up in a table of stand-ins and nowhere else. A module becomes a
`_Record` of its attributes; a tensor, a view of bytes whose place is known (`ilo.generators.checkpoints.tensors`);
anything else that trained networks are known to hold (numpy scalars, settings) becomes an object without behaviour. A
file that asks for any other name is refused. TensorFlow's networks are read by `tensorflow_pickle`'s stand-ins.
"""

import io
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from ilo.generators.checkpoints import tensorflow_pickle
from ilo.generators.checkpoints.tensors import NAMES, Dict, Storage, Unusable, View
from ilo.generators.checkpoints.torch_file import LEGACY_TORCH, read_legacy
from ilo.generators.checkpoints.unpickle import Budget, unpickle

# StyleGAN2-1024 has 75 modules in 5 generations, whose names have at most 16 letters, and 2,000 attributes.
MOST_GENERATIONS = 32
MOST_NAMES = 50_000
LONGEST_NAME = 200


@dataclass(frozen=True)
class NvidiaGenerator:
    """weights: name → tensor of the file, as the network's own state_dict() names them; attributes: name → plain value
    of a module's attribute (``synthesis.b4.conv1.conv_clamp`` → 256). Of a TensorFlow network, its variables by names
    such as ``synthesis/4x4/Const/const``, and its settings (``mapping_lrmul`` → 0.01)."""

    weights: dict[str, View | Unusable]
    attributes: dict[str, Any]


def read_nvidia_pickle(file: BinaryIO) -> NvidiaGenerator:
    """Read ``G_ema``, or TensorFlow's ``Gs``, from an open pickle.

    Raises:
        pickle.UnpicklingError: the file asks for a name outside the table, is damaged, asks for more work than a
            network does, or holds no generator.
    """
    budget = Budget()

    def storage(data: Any) -> Storage:
        """In place of torch.storage._load_from_bytes, which unpickles `data` and so would run what is in there."""
        if not isinstance(data, bytes) or not data.startswith(LEGACY_TORCH):
            raise pickle.UnpicklingError("a tensor whose bytes are not in torch's storage format")
        found = read_legacy(io.BytesIO(data), len(data), budget)
        if not isinstance(found, Storage):
            raise pickle.UnpicklingError("something else where the bytes of a tensor should be")
        return found

    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        content = unpickle(file, size, {**_NAMES, ("torch.storage", "_load_from_bytes"): storage}, budget)
        if (found := tensorflow_pickle.flattened(content)) is not None:
            return NvidiaGenerator(*found)
        record = content.get("G_ema") if isinstance(content, dict) else content
        if not isinstance(record, _Record):
            raise pickle.UnpicklingError("it holds no generator (expected a dict with 'G_ema', or networks)")
        return _flattened(record)
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a malformed pickle can raise any of them
        raise pickle.UnpicklingError(f"it is damaged ({type(error).__name__}: {error})") from error


def _flattened(record: "_Record") -> NvidiaGenerator:
    weights: dict[str, View | Unusable] = {}
    attributes: dict[str, bool | int | float | str | None] = {}
    names = Budget(MOST_NAMES)
    for prefix, state in _modules(record, names):
        for group in ("_parameters", "_buffers"):
            for name, value in _named(state.get(group), names):
                if isinstance(value, (View, Unusable)):
                    weights[f"{prefix}{name}"] = value
        for name, value in _named(state, names):
            value = value.number() if isinstance(value, tensorflow_pickle.Array) else value
            if value is None or isinstance(value, (bool, int, float, str)):
                attributes[f"{prefix}{name}"] = value
    return NvidiaGenerator(weights, attributes)


def _modules(record: "_Record", names: Budget) -> Iterator[tuple[str, dict]]:
    """Each module's attributes, under the prefix of the names of what it holds."""
    waiting, met = [("", record, 0)], {id(record)}
    while waiting:
        prefix, record, generation = waiting.pop()
        yield prefix, record.state
        for name, child in _named(record.state.get("_modules"), names):
            if isinstance(child, _Record):
                if id(child) in met or generation == MOST_GENERATIONS:
                    raise pickle.UnpicklingError("its modules hold one another, or one is held twice")
                met.add(id(child))
                waiting.append((f"{prefix}{name}.", child, generation + 1))


def _named(value: Any, names: Budget) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return []
    names.spend(len(value))
    if any(isinstance(key, str) and len(key) > LONGEST_NAME for key in value):
        raise pickle.UnpicklingError(f"it holds a name of more than {LONGEST_NAME} letters")
    return [(key, item) for key, item in value.items() if isinstance(key, str)]


class _Record:
    """A module: its attributes by name."""

    __slots__ = ("state",)

    def __init__(self, meta: Any):
        if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
            raise pickle.UnpicklingError("a module without a dict of attributes")
        self.state = meta["state"]


_NAMES = {
    **NAMES,
    **tensorflow_pickle.NAMES,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Record,
    ("dnnlib.util", "EasyDict"): Dict,
}
