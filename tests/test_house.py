"""The house stays a house: imports point one way, no module or function too long, no name that hides a module; and
CONTRIBUTING's recipe for an operator is followed to the letter."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import ilo

PACKAGE = Path(ilo.__file__).resolve().parent
TESTS = Path(__file__).resolve().parent
# The rooms, a floor a line, in the order of the data's path: a room imports from lower floors alone. CONTRIBUTING.md
# draws it. "ilo" is the package's front door, which opens every room.
FLOORS = (
    ("checks",),
    ("files", "rng", "arithmetic", "index", "tolerances", "watched"),
    ("provenance", "images", "assets", "plots"),
    ("perceptual",),
    ("metrics",),
    ("operators", "generators"),
    ("solver", "faces"),
    ("auto",),
    ("recovery",),
    ("baselines", "theory", "interop", "films"),
    ("study", "widget"),
    ("publish", "verify", "profiles"),
    ("report",),
    ("reproduce",),
    ("ilo",),
    ("cli",),
    ("__main__",),
)
LONGEST_MODULE = 300  # lines
LONGEST_FUNCTION = 60  # lines without the docstring, which has shapes, ranges, errors and sources to state
MOST_ARGUMENTS = 8  # parameters of every kind, without self


def modules() -> dict[str, Path]:
    """Every module of the package by its name; a package by its own."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("ilo", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """The package's modules that one imports, in functions too; not those under TYPE_CHECKING."""
    return set(_imported(ast.parse(MODULES[name].read_text(encoding="utf-8")), name)) - {name}


def _imported(node: ast.AST, name: str) -> Iterator[str]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in MODULES)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{name}: the package imports by full names"
        if node.module in MODULES:
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (i if i in MODULES else node.module for i in inner)
    for child in ast.iter_child_nodes(node):
        yield from _imported(child, name)


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else name


GRAPH = {name: imports(name) for name in MODULES}


def test_every_room_has_a_floor():
    assert {room(name) for name in MODULES} == {name for floor in FLOORS for name in floor}


def test_imports_point_down():
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    wrong = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if room(other) != room(name) and floor[room(other)] >= floor[room(name)]
    ]
    assert wrong == []


def test_no_circle_among_modules():
    left = {name: set(others) for name, others in GRAPH.items()}
    while free := {name for name, others in left.items() if not others}:
        left = {name: others - free for name, others in left.items() if name not in free}
    assert sorted(left) == [], "these import one another, or a module that does"


def test_no_module_is_too_long():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: n for name, n in lines.items() if n > LONGEST_MODULE} == {}


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{name}:{node.name}", node


def test_no_function_is_too_long():
    lines = {name: node.end_lineno - node.lineno + 1 - _lines_of_docstring(node) for name, node in functions()}
    assert {name: n for name, n in lines.items() if n > LONGEST_FUNCTION} == {}


def _lines_of_docstring(node: ast.FunctionDef) -> int:
    first = node.body[0]
    return first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0


def test_no_function_has_too_many_arguments():
    counts = {}
    for name, node in functions():
        given = node.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg) if a]
        counts[name] = len([n for n in names if n not in ("self", "cls")])
    # The front door alone has more: G, A, y, and seven keywords that are its contract with users.
    assert {name: n for name, n in counts.items() if n > MOST_ARGUMENTS} == {"ilo.recovery:recover": 10}


@pytest.mark.parametrize("package", [name for name, path in MODULES.items() if path.name == "__init__.py"])
def test_no_public_name_hides_a_module(package):
    opened = importlib.import_module(package)
    inside = {name.removeprefix(f"{package}.") for name in MODULES if name.startswith(f"{package}.")}
    public = {*getattr(opened, "__all__", ()), *getattr(opened, "_HOMES", ())}
    hidden = [n for n in sorted(public & inside) if not isinstance(getattr(opened, n), types.ModuleType)]
    assert hidden == [], f"in {package}: a name and a module of one name, of which only one can be reached"


def test_no_module_builds_paths_on_its_own_place():
    own = [
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id == "__file__"
    ]
    assert own == [], "that breaks when a file moves and in a plain install: `ilo.provenance.checkout` is to be asked"


def test_nothing_beside_the_repository_is_looked_for():
    texts = [
        (name, node.value)
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [(name, text) for name, text in texts if text == "shared" or "shared/assets" in text] == []


# CONTRIBUTING.md's recipe: "Add an operator"

FILE = '''"""An operator that shifts the rows of an image around."""

import torch

from ilo.checks import check_shape
from ilo.operators.base import LinearOperator


class Roll(LinearOperator):
    """A x = x with its rows moved down by `shift`, the last ones to the top."""

    def __init__(self, shape, shift=1):
        super().__init__(check_shape(shape), check_shape(shape))
        self.shift = shift

    def _forward(self, x):
        return torch.roll(x, self.shift, dims=2)

    def _adjoint(self, y):
        return torch.roll(y, -self.shift, dims=2)
'''
LINE = '    "roll": Task("rolling", "roll:Roll", "shift", 3, "rows that the image is moved by"),\n'
LOOK = """
import ilo
from ilo import study
from ilo.operators.roll import Roll
problem = study.problem("roll", 5)
A = problem.operator((3, 8, 8), rng=0)
assert isinstance(A, Roll) and A.shift == 5
print(problem)
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A folder with a copy of the package, and of the tests, to which one file and one line have been added."""
    folder = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, folder / "ilo", ignore=ignored)
    shutil.copytree(PACKAGE.parent / "data" / "weights", folder / "ilo" / "weights")  # where a build puts them
    shutil.copytree(TESTS, folder / "tests", ignore=ignored)
    shutil.copy(PACKAGE.parent / "pyproject.toml", folder)
    (folder / "ilo" / "operators" / "roll.py").write_text(FILE, encoding="utf-8")
    table = folder / "ilo" / "operators" / "tasks.py"
    text = table.read_text(encoding="utf-8")
    assert text.count("TASKS = {\n") == 1
    table.write_text(text.replace("TASKS = {\n", "TASKS = {\n" + LINE), encoding="utf-8")
    return folder


def python(folder: Path, *words: str) -> str:
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_new_operator_is_in_the_operators_tests(extended):
    said = python(
        extended,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/test_operators.py",
        "-k",
        "roll or in_the_table",
    )
    passed = int(said.split(" passed")[0].split()[-1])
    assert passed >= 15, said


@pytest.mark.slow
def test_a_new_operator_is_in_the_studys_problems(extended):
    assert python(extended, "-c", LOOK) == "rolling at 5, noise 0.02\n"


@pytest.mark.slow
def test_a_new_operator_is_a_task_of_the_command_line(extended, tmp_path):
    from ilo.images import astronaut_face, write_image

    assert "--task roll --shift 3" in python(extended, "-m", "ilo", "recover", "--help")
    photo = tmp_path / "face.png"
    write_image(photo, astronaut_face(64))
    words = ["--task", "roll", "--shift", "7", "--budget", "16", "--samples", "2", "--quiet"]
    said = python(extended, "-m", "ilo", "recover", str(photo), *words, "--out", str(tmp_path / "out"))
    assert "PSNR" in said
    assert (tmp_path / "out" / "recovered.png").exists()
