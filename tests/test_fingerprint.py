"""What changes a fingerprint, and what does not."""

import enum
import importlib
import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ilo
from ilo.study import code
from ilo.study.fingerprint import fingerprint


class Colour(enum.Enum):
    RED = 1


@dataclass(frozen=True)
class Setting:
    steps: int
    step: Callable = torch.tanh


class Plain:
    def __init__(self, value):
        self.value = value


DIFFERENT = [
    None, True, 1, 1.0, 2, "1", b"1", 0.1, float("nan"), (1,), [1], {1}, {1: 1}, {1: 2}, {2: 1}, [[1], 2], [1, [2]],
    [1, 2], Colour.RED, Path("a"), Path("b"), torch.float32, torch.float64, torch.device("cpu"), torch.ones(2),
    torch.ones(3), torch.ones(2, 1), torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.bfloat16),
    torch.zeros(2), torch.tensor(1.0), np.ones(2), np.ones(2, np.float32), np.float32(1), np.array(["a", None], object),
    Setting(1), Setting(2), Setting(1, torch.sigmoid), Plain(1), Plain(2), Plain, Setting, min, max, torch.cos,
    ilo.adam, partial(max, 1), partial(max, 2), partial(max, key=1), lambda x: x, lambda x: x + 1, nn.Linear(2, 2),
    nn.ReLU(),
    nn.LeakyReLU(0.1), nn.LeakyReLU(0.2), nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Sequential(nn.Tanh(), nn.ReLU()),
    torch.Generator().manual_seed(1), torch.Generator().manual_seed(2), "text".upper, "other".upper, np, json,
]  # fmt: skip


def test_different_things_have_different_fingerprints_and_the_same_thing_one():
    prints = [fingerprint(value) for value in DIFFERENT]
    same = [(a, b) for i, a in enumerate(DIFFERENT) for j, b in enumerate(DIFFERENT[:i]) if prints[i] == prints[j]]
    assert same == []
    assert prints == [fingerprint(value) for value in DIFFERENT]
    assert fingerprint({1: 2, 3: 4}) == fingerprint({3: 4, 1: 2})
    assert fingerprint(partial(max, 1)) == fingerprint(partial(max, 1))
    assert fingerprint(torch.arange(6).view(2, 3).T) == fingerprint(torch.tensor([[0, 3], [1, 4], [2, 5]]))
    assert fingerprint(Setting(1)) == fingerprint(Setting(1))


@pytest.mark.slow
def test_another_process_finds_the_same():
    program = (
        "import sys, torch, ilo\nfrom functools import partial\nfrom ilo import study\n"
        "from ilo.study.fingerprint import fingerprint\n"
        "torch.manual_seed(0)\n"
        "problem = study.gaussian(0.1).operator\n"
        "print(fingerprint((problem, torch.nn.Linear(2, 2), {'a', 'b', 'c'}, ilo.Round(1, 5, 0.1))))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        for seed in "12"
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 64


@pytest.mark.parametrize(
    "value", [threading.Lock(), (i for i in range(3)), [io.StringIO()]], ids=["lock", "generator", "stream"]
)
def test_what_cannot_be_told_is_refused(value):
    if isinstance(value, list):
        value = [sys.stdout.buffer if hasattr(sys.stdout, "buffer") else threading.Lock()]
    with pytest.raises(TypeError, match="cannot be told"):
        fingerprint(value)


def test_a_network_is_its_weights_settings_and_order():
    torch.manual_seed(0)
    one = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = fingerprint(one)
    assert fingerprint(one.eval()) == before, "a generator is always in evaluation mode"
    one[1].running_mean[0] += 1e-6
    assert fingerprint(one) != before
    wide = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
    wide.load_state_dict(one.state_dict())
    assert fingerprint(wide) != fingerprint(one)


HELPER = "import torch\nSCALE = 2\n\ndef scale(x):\n    return SCALE * x\n"
METHOD = '''"""Prose."""
from ilo_test_helper import scale


def method(A, y):
    """More prose."""
    # a comment
    return scale(A.adjoint(y))
'''
EDITS = {
    "prose": ("method", METHOD.replace("Prose", "Other prose").replace("a comment", "another"), True),
    "no prose": ("method", METHOD.replace('    """More prose."""\n', "").replace("    # a comment\n", "\n\n"), True),
    "layout": ("method", METHOD.replace("(A.adjoint(y))", "(\n        A.adjoint(y)\n    )"), True),
    "code": ("method", METHOD.replace("adjoint(y)", "adjoint(-y)"), False),
    "code of an import": ("helper", HELPER.replace("* x", "* x + 1"), False),
    "a constant of an import": ("helper", HELPER.replace("= 2", "= 3"), False),
    "prose of an import": ("helper", '"""Now told."""\n' + HELPER, True),
}


@pytest.mark.parametrize("edit", EDITS)
def test_prose_may_change_and_code_may_not(tmp_path, monkeypatch, edit):
    def after(files):
        for name in ("method", "helper"):
            (tmp_path / f"ilo_test_{name}.py").write_text(files[name])
            sys.modules.pop(f"ilo_test_{name}", None)
        importlib.invalidate_caches()
        for cached in (code._source, code._path, code._is_installed):
            cached.cache_clear()
        return fingerprint(importlib.import_module("ilo_test_method").method)

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    files = {"method": METHOD, "helper": HELPER}
    before = after(files)
    name, text, same = EDITS[edit]
    assert text not in files.values()
    assert (after(files | {name: text}) == before) == same
    for cached in (code._source, code._path, code._is_installed):
        cached.cache_clear()


def notebook(source: str) -> dict:
    """Define functions as a notebook does: in __main__, of no file."""
    scope = {"__name__": "__main__", "torch": torch, "ilo": ilo}
    exec(compile(source, "<cell>", "exec"), scope)
    return scope


def test_a_notebooks_function_is_its_code_and_the_globals_it_reads():
    base = (
        "STEPS = 3\nOTHER = 1\ndef inner(x):\n    return x * STEPS\n"
        "def method(A, y, k=1):\n    return torch.tanh(inner(A.adjoint(y)))\n"
    )
    before = fingerprint(notebook(base)["method"])
    assert fingerprint(notebook("\n\n" + base)["method"]) == before
    assert fingerprint(notebook(base.replace("OTHER = 1", "OTHER = 2"))["method"]) == before
    for old, new in (("STEPS = 3", "STEPS = 4"), ("x * STEPS", "x + STEPS"), ("tanh", "sin"), ("k=1", "k=2")):
        assert fingerprint(notebook(base.replace(old, new))["method"]) != before, new
    unclear = notebook("import threading\nLOCK = threading.Lock()\ndef method(A, y):\n    return LOCK\n")["method"]
    with pytest.raises(TypeError, match="method reads the global LOCK"):
        fingerprint(unclear)


def test_functions_that_call_themselves_and_each_other_end():
    scope = notebook("def a(n):\n    return b(n)\ndef b(n):\n    return a(n - 1) if n else b(n)\n")
    assert fingerprint(scope["a"]) != fingerprint(scope["b"])


def test_classes_of_a_notebook():
    base = "class Net(torch.nn.Module):\n    def forward(self, x):\n        return x * 2\n"
    before = fingerprint(notebook(base)["Net"]())
    assert fingerprint(notebook(base)["Net"]()) == before
    assert fingerprint(notebook(base.replace("* 2", "* 3"))["Net"]()) != before


def test_what_a_closure_holds_counts():
    def make(n):
        return lambda x: x * n

    assert fingerprint(make(1)) != fingerprint(make(2))
    assert fingerprint(make(1)) == fingerprint(make(1))
