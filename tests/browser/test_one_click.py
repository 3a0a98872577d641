"""A tutorial's install cell in a bare environment, as Colab is one: ILO_BARE=1 make browser, since pip brings torch
once more, minutes and up to several GB. The repository's address is replaced by this checkout's; nothing else is."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "notebooks" / "tutorials" / "09_paint_a_mask.ipynb"  # the widget's has the most to bring along
TRY = """
import ilo, torch
from pathlib import Path
assert "site-packages" in ilo.__file__, ilo.__file__
model = torch.nn.Sequential(torch.nn.Linear(4, 192), torch.nn.Tanh(), torch.nn.Unflatten(1, (3, 8, 8)))
G = ilo.generators.Generator.from_sequential(model, cuts=(), latent_shape=(4,))
widget = ilo.widget.Inpaint(G)
widget.paint([(4, 4)], brush=2)
widget.set(method="CSGM", share=0.02)
print(widget.recover().wait().images.shape)
"""


@pytest.mark.skipif("ILO_BARE" not in os.environ, reason="installs torch once more, up to several GB: set ILO_BARE=1")
def test_the_install_cell_makes_a_bare_environment_run_the_tutorial(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "ilo", source / "ilo", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    cell = nbformat.read(TUTORIAL, as_version=4).cells[1].source
    local, count = re.subn(r"git\+https://[^\"]+", source.as_uri(), cell)
    assert count == 1

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "bare"], check=True)
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    bare = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(code: str) -> str:
        done = subprocess.run([python, "-c", code], cwd=tmp_path, env=bare, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run("import importlib.util; print(importlib.util.find_spec('ilo'))") == "None\n", "it is bare"
    run(local)
    assert run(TRY) == "torch.Size([1, 3, 8, 8])\n"
    assert run(cell) == "", "a second time there is nothing to install, and nothing to say"
