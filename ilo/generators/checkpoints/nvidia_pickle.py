"""Read the generator of an NVIDIA StyleGAN2-ADA pickle without running anything that the pickle holds.

Such a file embeds Python source, which NVIDIA's own loader executes, and names functions, which plain unpickling
calls. Here a name that the file asks for is looked up in a table of stand-ins and nowhere else. A module becomes a
`_Record` of its attributes; a tensor is rebuilt from its bytes by the functions below; anything else that trained
networks are known to hold (numpy scalars, settings) becomes an object without behaviour. A file that asks for any
other name is refused.
"""

import io
import math
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

# How torch.save(…, _use_new_zipfile_serialization=False) begins: the number that marks the format, pickled.
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


@dataclass(frozen=True)
class NvidiaGenerator:
    """weights: name → tensor, as the network's own state_dict() names them; attributes: name → plain value of a
    module's attribute (``synthesis.b4.conv1.conv_clamp`` → 256)."""

    weights: dict[str, Tensor]
    attributes: dict[str, bool | int | float | str]


def read_nvidia_pickle(file: BinaryIO) -> NvidiaGenerator:
    """Read ``G_ema`` from an open pickle.

    Raises:
        pickle.UnpicklingError: the file asks for a name outside the table, is damaged, or holds no generator.
    """
    try:
        content = _Unpickler(file).load()
        record = content.get("G_ema") if isinstance(content, dict) else content
        if not isinstance(record, _Record):
            raise pickle.UnpicklingError("it holds no generator (expected a dict with 'G_ema')")
        return _flattened(record)
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a malformed pickle can raise any of them
        raise pickle.UnpicklingError(f"it is damaged ({type(error).__name__}: {error})") from error


def _flattened(record: "_Record") -> NvidiaGenerator:
    weights: dict[str, Tensor] = {}
    attributes: dict[str, bool | int | float | str] = {}
    for prefix, state in _modules(record):
        for group in ("_parameters", "_buffers"):
            for name, value in _named(state.get(group)):
                if isinstance(value, _Tensor):
                    weights[f"{prefix}{name}"] = value.tensor
        for name, value in _named(state):
            if isinstance(value, (bool, int, float, str)):
                attributes[f"{prefix}{name}"] = value
    return NvidiaGenerator(weights, attributes)


def _modules(record: "_Record", prefix: str = "") -> Iterator[tuple[str, dict]]:
    """Each module's attributes, under the prefix of the names of what it holds."""
    yield prefix, record.state
    for name, child in _named(record.state.get("_modules")):
        if isinstance(child, _Record):
            yield from _modules(child, f"{prefix}{name}.")


def _named(value: Any) -> list[tuple[str, Any]]:
    return [(k, v) for k, v in value.items() if isinstance(k, str)] if isinstance(value, dict) else []


class _StandIn:
    """What a pickle may make. It can give one a state, which is ignored, and cannot set its attributes."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _Inert(_StandIn):
    """Takes any arguments and keeps none."""

    __slots__ = ()

    def __init__(self, *_: Any):
        pass


class _InertDict(_StandIn, dict):
    """A dict; what an OrderedDict or EasyDict holds comes as items."""

    __slots__ = ()


class _Record(_StandIn):
    """A module: its attributes by name."""

    __slots__ = ("state",)

    def __init__(self, meta: Any):
        if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
            raise pickle.UnpicklingError("a module without a dict of attributes")
        self.state = meta["state"]


class _Tensor(_StandIn):
    """A tensor, which unlike torch's own has no __setstate__ that a pickle could call."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


def _storage(data: Any) -> _Tensor:
    """In place of torch.storage._load_from_bytes, which unpickles `data` and so would run what is in there."""
    if not isinstance(data, bytes) or not data.startswith(LEGACY_TORCH):
        raise pickle.UnpicklingError("a tensor whose bytes are not in torch's storage format")
    storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError(f"a {type(storage).__name__} where the bytes of a tensor should be")
    # TypedStorage warns of its own end; its bytes and dtype outlive it.
    return _Tensor(torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage))


def _view(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    """In place of torch._utils._rebuild_tensor_v2; as_strided checks that the view lies in its storage."""
    if not isinstance(storage, _Tensor) or math.prod(size) > storage.tensor.numel():
        raise pickle.UnpicklingError("a tensor without its bytes")
    return _Tensor(storage.tensor.as_strided(size, stride, offset))


def _parameter(data: Any, *_: Any) -> Any:
    """In place of torch._utils._rebuild_parameter."""
    return data


_STAND_INS = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Record,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): _InertDict,
    ("dnnlib.util", "EasyDict"): _InertDict,
    ("builtins", "set"): _Inert,
    # numpy 2 renamed numpy.core to numpy._core
    ("numpy.core.multiarray", "scalar"): _Inert,
    ("numpy._core.multiarray", "scalar"): _Inert,
    ("numpy", "dtype"): _Inert,
}


class _Unpickler(pickle._Unpickler):
    """The one written in Python: the one in C allocates as much memory as a crafted memo index asks for."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("dnnlib.tflib"):
            raise pickle.UnpicklingError(
                "it is a pickle of TensorFlow networks: turn it into a PyTorch one with legacy.py of NVIDIA's "
                "stylegan2-ada-pytorch first"
            )
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")
        return stand_in
