"""What several test modules share."""

import pytest

from ilo import generators


@pytest.fixture(scope="session")
def dcgan() -> generators.Generator:
    """The pre-trained face generator, on the CPU in float32. Nobody changes it."""
    return generators.load("dcgan-digiface64")
