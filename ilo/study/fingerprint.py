"""What determines a result, as a sha256: values, tensors, networks, and functions by their code (`ilo.study.code`)."""

import ast
import dataclasses
import dis
import enum
import functools
import hashlib
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ilo.study.code import code_of, is_code, without_prose

PLAIN = (
    bool, int, float, complex, str, bytes, types.NoneType, types.EllipsisType, range, slice, PurePath, np.generic,
    enum.Enum, torch.dtype, torch.device, torch.Size,
)  # fmt: skip


def fingerprint(value: Any) -> str:
    """Return the sha256, in hex, of a value: equal for equal values, in any process.

    Takes numbers, text, containers, tensors, arrays, dataclasses, networks (weights, settings and code), functions and
    classes (code, of everything of this project that their module imports, and the globals that a notebook's function
    reads), partials and other objects by their attributes.

    Raises:
        TypeError: a value of which that cannot be told, such as an open file.
    """
    digest = hashlib.sha256()
    for part in _parts(value, set()):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _parts(value: Any, seen: set[int]) -> Iterator[bytes]:
    """Yield the bytes that tell `value` from others. `seen`: ids of functions and objects on the way, to end loops."""
    kind = type(value)
    if isinstance(value, PLAIN):
        yield f"{kind.__name__} {value!r}".encode()
    elif isinstance(value, Tensor):
        yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield f"array {value.dtype} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}".encode()
        for item in sorted((fingerprint(k), k) for k in value):
            yield item[0].encode()
            yield from _parts(value[item[1]], seen)
    elif isinstance(value, (list, tuple)):
        yield f"{kind.__name__} {len(value)}".encode()
        for item in value:
            yield from _parts(item, seen)
    elif isinstance(value, (set, frozenset)):
        yield f"set {sorted(map(fingerprint, value))}".encode()
    elif id(value) in seen:
        yield b"again"
    else:
        yield from _compound(value, seen | {id(value)})


def _compound(value: Any, seen: set[int]) -> Iterator[bytes]:
    kind = type(value)
    if isinstance(value, types.ModuleType):
        yield code_of(value.__name__).encode()
    elif isinstance(value, functools.partial):
        yield from _parts(("partial", value.func, value.args, value.keywords), seen)
    elif inspect.isclass(value) or isinstance(value, types.FunctionType):
        yield from _definition(value, seen)
    elif inspect.ismethod(value):
        yield from _parts(("method", value.__func__, value.__self__), seen)
    elif inspect.isroutine(value):  # of C, or a descriptor
        owner = getattr(value, "__self__", None)
        owner = None if isinstance(owner, (types.ModuleType, type)) else owner
        inner = getattr(value, "__func__", getattr(value, "__wrapped__", None))
        yield f"{getattr(value, '__module__', None)} {getattr(value, '__qualname__', kind)}".encode()
        yield from _parts((owner, inner), seen)
    elif isinstance(value, torch.Generator):
        yield from _parts(value.get_state(), seen)
    elif isinstance(value, nn.Module):
        yield from _parts((dict(value.named_parameters()), dict(value.named_buffers())), seen)
        for name, module in value.named_modules():
            plain = {k: v for k, v in vars(module).items() if k != "training" and isinstance(v, (*PLAIN, tuple, dict))}
            plain = {k: v for k, v in plain.items() if k not in _MODULE_INNARDS}
            yield from _parts((name, type(module), plain), seen)
    elif dataclasses.is_dataclass(value):
        yield from _parts((kind, {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}), seen)
    elif isinstance(value, property):
        yield from _parts(("property", value.fget, value.fset), seen)
    else:
        try:
            state = value.__reduce_ex__(2)  # what a copy is made of
        except TypeError:
            raise TypeError(
                f"what a {kind.__module__}.{kind.__qualname__} holds cannot be told, so a result that depends on it "
                "cannot be kept: give plain values, tensors, dataclasses or functions"
            ) from None
        state = state if isinstance(state, str) else (*state[1:3], *(list(items or ()) for items in state[3:5]))
        yield from _parts((kind, state), seen)


_MODULE_INNARDS = frozenset(vars(nn.Module())) - {"training"}


def _definition(value: Any, seen: set[int]) -> Iterator[bytes]:
    """A function or class: by its module's code where that is a file of ours, else by its own."""
    name = f"{value.__module__}:{value.__qualname__}"
    if is_code(value.__module__):
        yield f"{name} {code_of(value.__module__)}".encode()
        if isinstance(value, type) or "<" not in value.__qualname__:
            return
    if isinstance(value, type):  # of a notebook
        own = {k: v for k, v in vars(value).items() if not k.startswith("__") or inspect.isfunction(v)}
        own = {
            k: v for k, v in own.items() if not isinstance(v, (types.GetSetDescriptorType, types.MemberDescriptorType))
        }
        yield from _parts((value.__qualname__, value.__bases__, own), seen)
        return
    yield from _parts((_body(value), value.__defaults__, value.__kwdefaults__), seen)
    yield from _parts([cell.cell_contents for cell in value.__closure__ or ()], seen)
    for read in sorted(_globals_read(value.__code__) & value.__globals__.keys()):
        try:
            yield from _parts((read, value.__globals__[read]), seen)
        except TypeError as error:
            raise TypeError(f"{value.__qualname__} reads the global {read}: {error}") from None


def _body(function: types.FunctionType) -> str:
    """The function's text without docstring and comments; its bytecode where there is no text of its own."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        tree = None
    if tree is None or function.__name__ == "<lambda>":
        return repr(_bytecode(function.__code__))
    return without_prose(tree)


def _bytecode(own: types.CodeType) -> tuple:
    constants = [_bytecode(c) if isinstance(c, types.CodeType) else c for c in own.co_consts]
    return own.co_code, own.co_names, own.co_varnames, constants


def _globals_read(own: types.CodeType) -> set[str]:
    read = {i.argval for i in dis.get_instructions(own) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return read.union(*(_globals_read(c) for c in own.co_consts if isinstance(c, types.CodeType)))
