"""The reference: a page for every room of the package, from its docstrings.

What a room opens (its `__all__`) is described under the name by which users import it; the rest of a module under
the module's own name, on the same page. So every public object is described once.
"""

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import ilo

# What no user imports: the command line, which `ilo --help` describes, and what only starts it.
HIDDEN = ("ilo.__main__", "ilo.cli", "ilo.watched")


def modules() -> list[str]:
    """Every module that is described, a package before what is in it."""
    names = ["ilo", *(found.name for found in pkgutil.walk_packages(ilo.__path__, "ilo."))]
    return [name for name in names if not any(f"{name}.".startswith(f"{hidden}.") for hidden in HIDDEN)]


def members(module: ModuleType) -> list[str]:
    """What a module offers: its `__all__`, else the functions and classes that it defines, without underscore."""
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if not isinstance(getattr(module, name), ModuleType)]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isroutine(value))
        and value.__module__ == module.__name__
    ]


def described() -> dict[str, list[str]]:
    """module -> names that are described there: each object in the first module, of `modules`, that offers it."""
    seen: set[int] = set()
    table = {}
    for name in sorted(modules(), key=lambda name: (name.count("."), name)):
        module = importlib.import_module(name)
        table[name] = []
        for member in members(module):
            value = getattr(module, member)
            if (inspect.isclass(value) or inspect.isroutine(value)) and id(value) in seen:
                continue
            seen.add(id(value))
            table[name].append(member)
    return {name: table[name] for name in modules()}


def write_reference(folder: Path) -> None:
    """Write the pages of the reference into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    table = described()
    rooms: dict[str, list[str]] = {}
    for name in table:
        rooms.setdefault(".".join(name.split(".")[:2]), []).append(name)
    for room, names in rooms.items():
        text = "\n\n".join(_section(name, table[name], title=name == room) for name in names)
        (folder / f"{room}.rst").write_text(text + "\n", encoding="utf-8")
    lines = [f"- :py:mod:`{room}`: {_first_line(room)}" for room in rooms]
    tree = [".. toctree::", "   :hidden:", "", *(f"   {room}" for room in rooms)]
    front = ["API", "===", "", *lines, "", *tree]
    (folder / "index.rst").write_text("\n".join(front) + "\n", encoding="utf-8")


def _section(name: str, names: list[str], title: bool) -> str:
    lines = [name, ("=" if title else "-") * len(name), "", f".. automodule:: {name}", "   :no-members:", ""]
    module = importlib.import_module(name)
    for member in names:
        value = getattr(module, member)
        kind = "class" if inspect.isclass(value) else "function" if inspect.isroutine(value) else "data"
        if inspect.isclass(value) and issubclass(value, BaseException):
            kind = "exception"
        lines += [f".. auto{kind}:: {name}.{member}", ""]
    return "\n".join(lines)


def _first_line(name: str) -> str:
    """The first paragraph of a module's docstring, up to its first full stop or colon."""
    first = inspect.getdoc(importlib.import_module(name)).split("\n\n")[0]
    return " ".join(first.split())
