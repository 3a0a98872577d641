"""Whose code counts, and that it follows the files wherever they are moved."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ilo
from ilo.study import code as module
from ilo.study.code import BESIDE, CARRIES, COUNTS, code_of, modules_of_ilo

PACKAGE = Path(ilo.__file__).parent


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, to move files in."""
    shutil.copytree(PACKAGE, tmp_path / "ilo", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def code_in(folder: Path, *modules: str) -> str:
    """The code of `modules` as the copy finds it, without importing it; what it raises, as text."""
    program = (
        "import runpy, sys\n"
        "code_of = runpy.run_path(sys.argv[1])['code_of']\n"
        "try:\n    print(code_of(*sys.argv[2:]))\nexcept LookupError as error:\n    print(error)\n"
    )
    place = str(folder / "ilo" / "study" / "code.py")
    # -P or not: the working directory must not be searched before the copy
    options = {"env": {"PYTHONPATH": str(folder)}, "cwd": folder, "capture_output": True, "text": True}
    ended = subprocess.run([sys.executable, "-c", program, place, *modules], **options)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def move(folder: Path, old: str, new: str) -> Path:
    """Move a module, and name it anew wherever it is imported; return its file."""
    target = folder / Path(*new.split(".")).with_suffix(".py")
    target.parent.mkdir(exist_ok=True)
    (target.parent / "__init__.py").touch()
    (folder / Path(*old.split(".")).with_suffix(".py")).rename(target)
    for path in (folder / "ilo").rglob("*.py"):
        text = path.read_text()
        if old in text:
            path.write_text(text.replace(old, new))
    return target


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "\nEDITED = True\n")


def test_a_copy_has_the_code_of_what_it_is_a_copy_of(copy):
    assert code_in(copy, "ilo.recovery") == code_of("ilo.recovery")


@pytest.mark.parametrize("room", ["ilo.operators", "ilo.solver.deeper", "ilo.study.cells"])
def test_a_file_that_is_moved_among_rooms_that_count_still_counts(copy, room):
    if room == "ilo.study.cells":  # a module that becomes a room
        (copy / "ilo" / "study" / "cells").mkdir()
        (copy / "ilo" / "study" / "cells.py").rename(copy / "ilo" / "study" / "cells" / "__init__.py")
    moved = move(copy, "ilo.solver.projections", f"{room}.projections")
    before = code_in(copy, "ilo.recovery")
    assert len(before) == 64
    edit(moved)
    assert code_in(copy, "ilo.recovery") != before


@pytest.mark.parametrize("room", ["ilo.new_room", "ilo.cli", "ilo"])
def test_a_file_that_is_moved_out_of_them_is_missed(copy, room):
    move(copy, "ilo.solver.projections", f"{room}.projections")
    said = code_in(copy, "ilo.recovery")
    assert f"imports {room}.projections" in said
    assert "COUNTS" in said


@pytest.mark.slow
def test_the_package_itself_is_all_that_counts_however_it_is_imported(copy):
    """A notebook's function that reads the global `ilo`, whose __init__ may import nothing until it is asked."""
    (copy / "ilo" / "__init__.py").write_text("def __getattr__(name):\n    ...\n")
    before = code_in(copy, "ilo")
    for name in ("metrics", "solver/projections", "operators/sensing", "auto/smooth", "study/methods"):
        path = copy / "ilo" / f"{name}.py"
        text = path.read_text()
        edit(path)
        assert code_in(copy, "ilo") != before, name
        path.write_text(text)
    for name in ("plots", "cli/main", "study/grid", "provenance"):
        edit(copy / "ilo" / f"{name}.py")
    assert code_in(copy, "ilo") == before


def test_every_module_is_known_to_count_or_not():
    unknown = [
        name
        for name in modules_of_ilo()
        if name != "ilo.study" and sum(module._among(name, rooms) for rooms in (COUNTS, CARRIES, BESIDE)) != 1
    ]
    assert unknown == []
    assert {"ilo.study", "ilo.study.cells", "ilo.solver.rounds", "ilo.recovery", "ilo.solver"} <= {*modules_of_ilo()}


def test_what_counts_imports_nothing_that_does_not():
    for name in modules_of_ilo():
        code_of(name)  # LookupError


@pytest.mark.slow
def test_code_follows_imports_to_what_matters_and_no_further(monkeypatch):
    before = code_of("ilo.recovery")

    def edited(name):
        real = module._source.__wrapped__
        monkeypatch.setattr(module, "_source", lambda n: ("edited", real(n)[1]) if n == name else real(n))
        found = code_of("ilo.recovery")
        monkeypatch.undo()
        return found

    for name in ("ilo.recovery", "ilo.solver.projections", "ilo.operators.sensing", "ilo.rng", "ilo.solver.rounds"):
        assert edited(name) != before, name
    for name in (
        "ilo.provenance",
        "ilo.files",
        "ilo.plots",
        "ilo.cli.main",
        "ilo.cli.recover",
        "ilo.theory.bounds",
        "ilo.generators.stylegan.build",
    ):
        assert edited(name) == before, name


def test_a_baseline_is_not_computed_again_for_an_edit_of_the_solver(copy):
    """Hours of reference rows hang on it."""
    before = code_in(copy, "ilo.study.cells", "ilo.study.classical")
    for name in ("recovery", "solver/rounds", "auto/search", "study/methods"):
        edit(copy / "ilo" / f"{name}.py")
    assert code_in(copy, "ilo.study.cells", "ilo.study.classical") == before
    edit(copy / "ilo" / "baselines" / "tv.py")
    assert code_in(copy, "ilo.study.cells", "ilo.study.classical") != before
