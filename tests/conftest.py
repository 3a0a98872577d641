"""What several test modules share."""

import pytest
from hypothesis import settings

from ilo import generators

settings.register_profile("ilo", deadline=None)  # a busy machine is slow, not wrong
settings.load_profile("ilo")


@pytest.fixture(scope="session")
def dcgan() -> generators.Generator:
    """The pre-trained face generator, on the CPU in float32. Nobody changes it."""
    return generators.load("dcgan-digiface64")
