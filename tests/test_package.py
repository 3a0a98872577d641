"""`import ilo`: light, and everything is there when it is asked for."""

import ast
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ilo

PACKAGE = Path(ilo.__file__).parent
HEAVY = ("torch", "pandas", "pandas.plotting", "matplotlib", "sklearn", "IPython", "jupyter", "scipy", "skimage")


def loaded(code: str) -> set[str]:
    """The modules that are loaded in a fresh process that has run `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_import_loads_nothing_heavy():
    assert loaded("import ilo").isdisjoint(HEAVY)


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help_and_version_load_nothing_heavy(words):
    code = f"from ilo.cli.main import main\ntry: main({words})\nexcept SystemExit as end: assert end.code == 0\n"
    assert loaded(code).isdisjoint(HEAVY)


@pytest.mark.skipif(sys.platform == "win32", reason="the processor time of children is POSIX's to tell")
@pytest.mark.parametrize("module", ["ilo", "ilo.cli"])
def test_help_takes_under_a_third_of_a_second(module):
    import resource

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    times = []
    for _ in range(3):
        before = spent()
        subprocess.run([sys.executable, "-m", module, "--help"], stdout=subprocess.DEVNULL, check=True)
        times.append(spent() - before)
    assert min(times) < 0.3, "seconds of processor time"


def test_every_public_name_is_reached_by_attribute():
    for name in dir(ilo):
        getattr(ilo, name)
    assert ilo.recover.__module__.startswith("ilo.")
    assert ilo.study.inpainting(0.1).level == 0.1
    assert set(ilo.__all__) <= set(dir(ilo))


def test_every_module_is_reached_by_attribute():
    inside = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    unreached = inside - {"__init__", "__main__", *ilo._ROOMS, *ilo._MODULES}
    homes = {home.removeprefix("ilo.") for home in ilo._HOMES.values()}
    assert unreached <= homes, "these are named neither in ilo._ROOMS nor in ilo._MODULES, nor a public name's home"
    assert {*ilo._ROOMS, *ilo._MODULES} <= inside


def test_a_build_takes_every_package_and_the_weights():
    """pyproject.toml names them, since the weights lie elsewhere."""
    text = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    named = re.findall(r'"([\w.]+)"', text.split("packages = [")[1].split("]")[0])
    there = [".".join(p.parent.relative_to(PACKAGE.parent).parts) for p in PACKAGE.rglob("__init__.py")]
    assert sorted(named) == sorted([*there, "ilo.weights"])
    assert 'package-dir = { "ilo.weights" = "data/weights" }' in text


def test_star_brings_the_public_names():
    names: dict = {}
    exec("from ilo import *", names)
    assert set(ilo.__all__) <= set(names)
    assert names["recover"] is ilo.recover


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'ilo' has no attribute 'nosuch'"):
        ilo.nosuch  # noqa: B018
    assert not hasattr(ilo, "nosuch")
    with pytest.raises(ImportError):
        exec("from ilo import nosuch")


def test_functions_are_pickled_by_their_homes():
    for name in ("recover", "Round", "project_l1_ball"):
        value = getattr(ilo, name)
        assert pickle.loads(pickle.dumps(value)) is value


def test_what_editors_read_is_what_python_imports():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    read = {alias.asname: node.module for node in block.body for alias in node.names}
    assert read == {**ilo._HOMES, **dict.fromkeys([*ilo._ROOMS, *ilo._MODULES], "ilo")}
