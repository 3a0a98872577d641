"""The code that determines a result, as a sha256: of modules, and of all that they import and that counts.

Code counts by its syntax tree without docstrings and comments, so that editing prose changes nothing. Sources are read
when they are first asked for and remembered for the life of the process: restart it (the kernel) after an edit.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

# The rooms and modules of ilo that can change a number of a row. What they import must be among them, too, or among
# those that only carry: a file that is moved out of these rooms is missed, and said to be.
COUNTS = (
    "ilo.arithmetic", "ilo.assets", "ilo.auto", "ilo.baselines", "ilo.generators", "ilo.images", "ilo.metrics",
    "ilo.operators", "ilo.perceptual", "ilo.recovery", "ilo.rng", "ilo.solver", "ilo.study.autos", "ilo.study.cells",
    "ilo.study.classical", "ilo.study.methods", "ilo.study.problems", "ilo.study.robust", "ilo.theory",
)  # fmt: skip
CARRIES = ("ilo.checks", "ilo.files", "ilo.index", "ilo.provenance", "ilo.study.code", "ilo.study.fingerprint")
# What arranges and presents results: a reader's own module may import it, and does not change with it.
BESIDE = (
    "ilo.__main__", "ilo.cli", "ilo.faces", "ilo.films", "ilo.interop", "ilo.plots", "ilo.profiles", "ilo.publish",
    "ilo.report", "ilo.reproduce", "ilo.study.brightness", "ilo.study.celeba", "ilo.study.choices", "ilo.study.cluster",
    "ilo.study.experiment", "ilo.study.grid", "ilo.study.panels", "ilo.study.record", "ilo.study.store",
    "ilo.study.subjects", "ilo.tolerances", "ilo.verify", "ilo.watched", "ilo.widget",
)  # fmt: skip
# Import name -> distribution, of the libraries whose version may show in a result.
NUMERIC = {
    "lpips": "lpips", "numpy": "numpy", "pywt": "PyWavelets", "scipy": "scipy", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "torch": "torch", "torchvision": "torchvision",
}  # fmt: skip
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def code_of(*modules: str) -> str:
    """Return the sha256, in hex, of the code of `modules` and of all of this project that they import and that counts,
    and of the versions of the numerical libraries among the rest. The package `ilo` itself is all that counts of it.

    Raises:
        LookupError: a module of ilo is imported of which the lists above do not say whether it counts.
    """
    ours: dict[str, str] = {}
    versions = {"torch": _version(NUMERIC["torch"])}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        source = _source(name)
        if source is not None and name not in ours:
            ours[name], imported = source
            waiting += (module for module in imported if _followed(module, name))
        elif top in NUMERIC:
            versions[top] = _version(NUMERIC[top])
    return hashlib.sha256(repr((sorted(ours.items()), sorted(versions.items()))).encode()).hexdigest()


def is_code(module: str) -> bool:
    """Whether a module's code is in a file that can be found, of this project or of what is installed."""
    return _source(module) is not None or _is_installed(module)


def modules_of_ilo() -> list[str]:
    """The names of all modules of the package, but its root."""
    root = _path("ilo").parent
    parts = (path.relative_to(root.parent).with_suffix("").parts for path in root.rglob("*.py"))
    return sorted({".".join(p[:-1] if p[-1] == "__init__" else p) for p in parts} - {"ilo"})


def without_prose(tree: ast.AST) -> str:
    """The code of a syntax tree, without docstrings (comments it never has)."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _followed(module: str, importer: str) -> bool:
    """Whether the code of `module` belongs to that of `importer`."""
    if module.partition(".")[0] != "ilo" or module == "ilo" or _among(module, COUNTS):
        return True
    if _among(module, CARRIES) or (not _among(importer, COUNTS) and (module == "ilo.study" or _among(module, BESIDE))):
        return False
    raise LookupError(
        f"{importer} imports {module}, and ilo.study.code does not know whether that can change a result: name its "
        "room in COUNTS, or in BESIDE if nothing that counts imports it"
    )


def _among(module: str, rooms: Sequence[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


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
    imported = set(_imports(tree, package))
    if name == "ilo":  # its attributes are whatever has been imported of it, or is when it is asked for
        imported = {module for module in modules_of_ilo() if _among(module, COUNTS)}
    return hashlib.sha256(without_prose(tree).encode()).hexdigest(), tuple(sorted(imported))


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
