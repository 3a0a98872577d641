"""The checkout: found from the package's place or the working directory, and not made up."""

import shutil
from pathlib import Path

import pytest

from ilo import provenance
from ilo.provenance import checkout

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The package as pip installs it: no checkout above it, nor above the working directory."""
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "site-packages" / "ilo" / "deeper" / "provenance.py"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_checkout_is_found_from_the_package_wherever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checkout() == ROOT


def test_a_plain_install_has_none_but_that_of_the_working_directory(elsewhere, monkeypatch):
    assert checkout() is None
    (elsewhere / "notebooks" / "experiments").mkdir(parents=True)
    (elsewhere / "pyproject.toml").write_text('[project]\nname = "another"\n')
    assert checkout() is None, "another project's"
    shutil.copy(ROOT / "pyproject.toml", elsewhere)
    monkeypatch.chdir(elsewhere / "notebooks" / "experiments")
    assert checkout() == elsewhere
