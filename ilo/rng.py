"""Random numbers that belong to a sample, not to a batch.

Every draw in `ilo` comes from an explicit `rng`: a seed (int) or a `torch.Generator`. Each sample of a batch gets
a generator of its own, seeded from (seed, position), so sample i draws the same numbers whatever the batch
size. Draws are made on the CPU in float64 and then cast, so every device and dtype sees the same numbers.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import torch

Rng = int | torch.Generator


def seed_of(rng: Rng) -> int:
    """Return a non-negative integer seed for `rng`: an int is its own; a torch.Generator gives its next draw."""
    if isinstance(rng, torch.Generator):
        return int(torch.randint(2**62, (1,), generator=rng, device=rng.device))
    if isinstance(rng, bool) or not isinstance(rng, (int, np.integer)):
        raise TypeError(f"rng must be an int or a torch.Generator, got {type(rng).__name__}")
    if rng < 0:
        raise ValueError(f"rng must be a non-negative seed, got {rng}")
    return int(rng)


def generator(seed: int, *key: int) -> torch.Generator:
    """Return the CPU generator that belongs to `seed` and `key`; different keys give independent streams."""
    words = np.random.SeedSequence(entropy=seed, spawn_key=key).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))


def stream(rng: Rng, purpose: str, *key: int) -> torch.Generator:
    """Return the CPU generator for `purpose` and `key`; independent of every other purpose with the same seed.

    A user gives the same seed to the generator, the operator and the noise. Were they to draw from one stream, the
    noise would repeat the latent it is added to.
    """
    return generator(seed_of(rng), zlib.crc32(purpose.encode()), *key)


def normal(
    rng: Rng | Sequence[int],
    n: int,
    shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Draw `n` samples of standard normal numbers, shape (n, *shape); sample i does not depend on `n`.

    `rng` may also be a sequence of `n` seeds, one per sample: then sample i is what `normal(rng[i], 1, shape)` draws.
    """
    if isinstance(rng, Sequence):
        if len(rng) != n:
            raise ValueError(f"rng holds {len(rng)} seeds for {n} samples: give one seed per sample")
        streams = [generator(seed_of(s), 0) for s in rng]
    else:
        seed = seed_of(rng)
        streams = [generator(seed, i) for i in range(n)]
    draws = [torch.randn(*shape, generator=g, dtype=torch.float64) for g in streams]
    if not draws:
        return torch.empty(0, *shape, dtype=dtype, device=device)
    return torch.stack(draws).to(device=device, dtype=dtype)  # (n, *shape)
