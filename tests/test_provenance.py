"""Where the checkout is, with the package in it and with the package installed elsewhere; and revisions."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ilo import provenance
from ilo.provenance import checkout, is_recorded, revision

ROOT = Path(__file__).resolve().parent.parent


def test_the_package_in_a_checkout_finds_it_wherever_it_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checkout() == ROOT
    assert provenance.runs_folder() == ROOT / "runs"
    assert provenance.cells_folder() == ROOT / "runs" / "cells"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds the package as `pip install .` would leave it, and no checkout."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "ilo", source / "ilo", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data" / "weights", source / "data" / "weights")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True)
    return target


@pytest.mark.slow
def test_an_installed_package_brings_what_we_trained(installed, tmp_path):
    code = "import ilo; G = ilo.generators.load(); print(G.name, ilo.generators.loading.weights_path(G.name))"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    name, path = done.stdout.split()
    assert name == "decoder-portraits64"
    assert Path(path).is_relative_to(installed)


SAY = """
import ilo.provenance as p
print(p.package_folder(), p.checkout(), p.runs_folder(), p.cells_folder(), p.revision(), sep="\\n")
"""


def told(installed: Path, folder: Path) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(installed), "ILO_CACHE": "/the/cache"}
    command = [sys.executable, "-P", "-c", SAY] if sys.version_info >= (3, 11) else [sys.executable, "-c", SAY]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_an_installed_package_outside_a_checkout_writes_where_the_user_is(installed, tmp_path):
    expected = [str(installed), "None", str(tmp_path / "runs"), str(Path("/the/cache/cells")), "unknown"]
    assert told(installed, tmp_path) == expected


def test_an_installed_package_finds_the_checkout_that_the_user_is_in(installed, tmp_path):
    (tmp_path / "notebooks" / "tutorials").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "ilo"\n')
    runs = tmp_path / "runs"
    expected = [str(installed), str(tmp_path), str(runs), str(runs / "cells"), "unknown"]
    assert told(installed, tmp_path / "notebooks" / "tutorials") == expected, "the code's revision, not the folder's"


def test_another_project_is_no_checkout(installed, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "ilo-of-mine"\n')
    assert told(installed, tmp_path / "notebooks")[1] == "None"


def test_only_clean_commits_of_the_history_count_as_recorded():
    head = provenance.git("rev-parse", "HEAD", folder=ROOT)
    assert is_recorded(head, ROOT)
    assert is_recorded(head[:12], ROOT)
    assert is_recorded(f"g{head[:12]}", ROOT)
    for name in (f"{head[:12]}-dirty", "unknown", "", "0" * 12, "--all"):
        assert not is_recorded(name, ROOT), name
    assert revision().removeprefix("g").removesuffix("-dirty") == head[:12]


@pytest.mark.parametrize("told", ["0e7865043716", "123456789012", "0e7865043716-dirty", "1b962d418736"])
def test_a_revision_is_never_taken_for_a_number(told, monkeypatch, tmp_path):
    """pandas' reader crashes at 0e7865043716."""
    monkeypatch.setattr(provenance, "git", lambda *_, folder: told)
    name = revision.__wrapped__()
    assert name == (told if told[1] == "b" else f"g{told}")
    path = tmp_path / "rows.csv"
    pd.DataFrame({"revision": [name]}).to_csv(path, index=False)
    assert pd.read_csv(path)["revision"].tolist() == [name]
