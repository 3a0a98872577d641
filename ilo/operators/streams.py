"""Random streams of the operators, each for one purpose.

A user gives the same seed to the generator, the operator and the noise. Were they to draw from one stream, the noise
would repeat the latent it is added to.
"""

import zlib

import torch

from ilo.rng import Rng, generator, seed_of


def stream(rng: Rng, purpose: str, *key: int) -> torch.Generator:
    """Return the CPU generator for `purpose` and `key`; independent of every other purpose with the same seed."""
    return generator(seed_of(rng), zlib.crc32(purpose.encode()), *key)
