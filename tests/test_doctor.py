"""`ilo doctor`: it tells what is missing and how to get it, downloads nothing, and its exit code says the same."""

import importlib.metadata
import os
import sys
from dataclasses import replace

import pytest

from ilo import assets, perceptual
from ilo.cli import doctor
from ilo.cli.main import main
from ilo.generators import loading


@pytest.fixture
def cached(dcgan, tmp_path, monkeypatch):
    """A cache of four parts whose files are a few bytes each. (dcgan: the real cache has been filled before.)"""
    monkeypatch.setenv("ILO_CACHE", str(tmp_path))
    for name, part in assets.PARTS.items():
        part.path.parent.mkdir(parents=True, exist_ok=True)
        part.path.write_bytes(name.encode())
        monkeypatch.setattr(assets, "_download", lambda *_: pytest.fail("a download"))
    sums = {name: assets.sha256_of(part.path) for name, part in assets.PARTS.items()}
    small = {name: replace(part, sha256=sums[name]) for name, part in assets.PARTS.items()}
    monkeypatch.setattr(assets, "PARTS", small)
    return tmp_path


def told(capsys) -> dict[str, str]:
    """What is said of each thing, by the first word of its line."""
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    return dict(lines)


def test_all_is_here(cached, capsys):
    before = sorted(cached.rglob("*"))
    assert main(["doctor"]) == 0
    said = told(capsys)
    assert said["ilo"].startswith(importlib.metadata.version("ilo"))
    assert said["torch"].startswith("2.")
    assert said["cache"] == str(cached)
    assert all(said[name].startswith("good") for name in (*assets.PARTS, *loading.COMMITTED))
    assert sorted(cached.rglob("*")) == before, "nothing is written"


def test_a_part_that_is_missing_and_one_that_is_damaged(cached, capsys):
    assets.PARTS["lpips-alex"].path.unlink()
    assets.PARTS["lpips-vgg"].path.write_bytes(b"damaged")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "missing, 10 MB  → ilo fetch" in out
    assert "corrupt, 59 MB  → ilo fetch" in out
    assert out.splitlines()[-1].startswith("2 missing or damaged")
    assert assets.PARTS["lpips-vgg"].path.read_bytes() == b"damaged"


def test_our_own_weights_that_were_changed(cached, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "weights_path", lambda name: tmp_path / name)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert out.count("missing, or another file  → git restore data/weights") == len(loading.COMMITTED)


def test_libraries_that_are_missing_count_unless_they_are_optional(cached, capsys, monkeypatch):
    absent = {"scikit-image", "dask"}
    version = importlib.metadata.version

    def found(name):
        if name in absent:
            raise importlib.metadata.PackageNotFoundError(name)
        return "9.9" if name == "tqdm" else version(name)

    monkeypatch.setattr(doctor, "version", found)
    assert main(["doctor"]) == 1
    said = told(capsys)
    assert "→ pip install scikit-image==" in said["scikit-image"]
    assert said["tqdm"].startswith("9.9; recorded numbers are from ")
    assert said["cluster"].endswith("→ pip install -e '.[cluster]'")
    absent.remove("scikit-image")
    assert main(["doctor"]) == 0


def test_a_library_that_is_installed_and_does_not_load(cached, capsys, monkeypatch):
    def broken():
        raise RuntimeError("libcudart.so.13: cannot open shared object file\nand more")

    monkeypatch.setattr(perceptual, "import_torchvision", broken)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert (
        "does not load: libcudart.so.13: cannot open shared object file  → pip install --force-reinstall torch==" in out
    )


@pytest.mark.skipif(sys.platform == "win32", reason="a folder's permissions are POSIX's")
def test_a_cache_that_cannot_be_written(cached, capsys, monkeypatch):
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != cached and access(path, mode))
    assert main(["doctor"]) == 1
    assert told(capsys)["cache"].endswith("cannot be written  → export ILO_CACHE=FOLDER that can")


def test_metadata_names_every_extra():
    assert {"notebooks", "experiments", "cluster", "deepinv", "dev"} <= set(doctor._extras())
    assert doctor._pins("cluster").keys() == {"dask", "distributed"}
    assert "torch" in doctor._pins("")
