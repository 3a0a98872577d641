"""What several test modules share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from ilo import generators

# Images that may not be passed on, where they lie beside the checkout; the package itself does not look there.
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "assets"
if BESIDE.is_dir():
    os.environ.setdefault("ILO_IMAGES", str(BESIDE))

settings.register_profile("ilo", deadline=None)  # a busy machine is slow, not wrong
settings.load_profile("ilo")


@pytest.fixture(scope="session")
def dcgan() -> generators.Generator:
    """The generator of rendered faces, on the CPU in float32. Nobody changes it."""
    return generators.load("dcgan-digiface64")


@pytest.fixture(scope="session")
def default_generator() -> generators.Generator:
    """What `ilo.generators.load()` gives. Nobody changes it."""
    return generators.load()
