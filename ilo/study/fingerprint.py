"""What determines a result, as a sha256: values, tensors, networks, and the code of functions with all they import.

Code counts by its syntax tree without docstrings and comments, so that editing prose changes nothing. Sources are read
when they are first asked for and remembered for the life of the process: restart it (the kernel) after an edit.
"""

import ast
import dataclasses
import dis
import enum
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import sys
import sysconfig
import textwrap
import types
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Modules that present or arrange results and determine none.
BESIDE = (
    "ilo.cli", "ilo.files", "ilo.plots", "ilo.provenance", "ilo.reproduce", "ilo.study", "ilo.theory", "ilo.verify",
)  # fmt: skip
WITHIN = ("ilo.study.cells", "ilo.study.problems", "ilo.study.methods")  # but these do
# Import name -> distribution, of the libraries whose version may show in a result.
NUMERIC = {
    "lpips": "lpips", "numpy": "numpy", "pywt": "PyWavelets", "scipy": "scipy", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "torch": "torch", "torchvision": "torchvision",
}  # fmt: skip
PLAIN = (
    bool, int, float, complex, str, bytes, types.NoneType, types.EllipsisType, range, slice, PurePath, np.generic,
    enum.Enum, torch.dtype, torch.device, torch.Size,
)  # fmt: skip
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


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
        yield code(value.__name__).encode()
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
    if _source(value.__module__) is not None or _is_installed(value.__module__):
        yield f"{name} {code(value.__module__)}".encode()
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
    return _unparsed(tree)


def _bytecode(own: types.CodeType) -> tuple:
    constants = [_bytecode(c) if isinstance(c, types.CodeType) else c for c in own.co_consts]
    return own.co_code, own.co_names, own.co_varnames, constants


def _globals_read(own: types.CodeType) -> set[str]:
    read = {i.argval for i in dis.get_instructions(own) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return read.union(*(_globals_read(c) for c in own.co_consts if isinstance(c, types.CodeType)))


def code(*modules: str) -> str:
    """Return the sha256 of the code of `modules` and of all of this project that they import, and of the versions of
    the numerical libraries among the rest."""
    ours: dict[str, str] = {}
    versions: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        source = _source(name)
        if source is not None and name not in ours:
            ours[name], imported = source
            waiting += (m for m in imported if m in WITHIN or not m.startswith(BESIDE))
        elif top in NUMERIC:
            versions[top] = _version(NUMERIC[top])
    versions.setdefault("torch", _version("torch"))
    return hashlib.sha256(repr((sorted(ours.items()), sorted(versions.items()))).encode()).hexdigest()


@functools.cache
def _version(distribution: str) -> str:
    return importlib.metadata.version(distribution).partition("+")[0]  # the same release, built for CPU or GPU


@functools.cache
def _source(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The hash of a module's code and what it imports; None for what is no Python file of this project."""
    path = _path(name)
    if path is None or path.suffix != ".py" or _is_installed(name):
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imported = tuple(sorted(_imports(tree, package)))
    return hashlib.sha256(_unparsed(tree).encode()).hexdigest(), imported


@functools.cache
def _path(name: str) -> Path | None:
    """The file of a module, found without importing it or its package; None where there is none."""
    top, *below = name.split(".")
    if top == "__main__" or top in sys.stdlib_module_names:
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    origin = spec.origin if spec is not None else getattr(sys.modules.get(top), "__file__", None)
    path = Path(origin) if origin and Path(origin).is_file() else None
    for part in below:
        if path is None or path.name != "__init__.py":
            return None
        choices = (path.parent / part / "__init__.py", path.parent / f"{part}.py")
        path = next((choice for choice in choices if choice.is_file()), None)
    return path


@functools.cache
def _is_installed(name: str) -> bool:
    """Whether a module belongs to Python or to an installed package; `ilo` counts as ours wherever it lies."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    path = _path(top)
    return top != "ilo" and path is not None and ("site-packages" in path.parts or str(path).startswith(_INSTALLED))


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Modules that the code imports, anywhere in it: of `from a import b`, a.b where that is a module, else a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(filter(None, [*package.split(".")[: len(package.split(".")) - node.level + 1], base]))
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield base if _is_installed(base) or _path(inner) is None else inner


def _unparsed(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
