"""Random numbers that belong to a sample and to a purpose, not to a batch.

Every draw in `ilo` comes from an explicit `rng`: a seed (int) or a `torch.Generator`. A user gives the same seed to the
generator, the operator, the noise and the search. Were they to draw from one stream, the noise would repeat the latent
that it is added to, and a search would start at its truth: so each draws for a purpose, a stream of its own (`stream`).
Each sample of a batch has a stream of its own too, by its position, so that sample i draws the same numbers whatever
the batch size. Draws are made on the CPU in float64 and then cast, so every device and dtype sees the same numbers.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import torch

from ilo.checks import check_count

Rng = int | torch.Generator

PURPOSES = {
    "sample": "what a user draws by G.sample",
    "truth": "images of the generator that are to be recovered",
    "mask": "which pixels are seen",
    "operator": "matrices of an operator",
    "filter": "of a circulant operator",
    "signs": "of its pixels",
    "rows": "which of its measurements are kept",
    "frequencies": "which are measured",
    "noise": "of measurements",
    "exposure": "photons, dead pixels and speckle of a camera",
    "strokes": "of a brush that hides pixels",
    "start": "starting latents of a search",
    "network": "starting weights of an untrained network",
    "held out": "which measurements judge",
    "prior": "samples of the generator that priors and the linear estimate of a latent are made from",
    "sketch": "the random projection of a principal component analysis",
    "field": "smooth deviations of posterior samples",
    "perturbation": "of the measurements, for posterior samples",
    "familiar": "noise on samples that measurements are compared with",
    "views": "crops, flips and noise before a classifier",
    "probe": "points and vectors that a constant, a trace or an adjoint is estimated by",
    "direction": "that a power iteration begins in",
    "ball": "points of a ball of latents",
    "deviation": "from the range, of truths near it",
    "weights": "of random networks, and of networks in training",
    "order": "of training examples",
}


def stream(rng: Rng, purpose: str, *key: int) -> torch.Generator:
    """Return the CPU generator for `purpose` (of `PURPOSES`) and `key`, independent of every other with the same seed.

    Raises:
        TypeError, ValueError: no seed, or no such purpose.
    """
    if not isinstance(purpose, str) or purpose not in PURPOSES:
        raise ValueError(f"no purpose {purpose!r}: a random stream is for one of {', '.join(PURPOSES)}")
    entropy = np.random.SeedSequence(entropy=seed_of(rng), spawn_key=(zlib.crc32(purpose.encode()), *key))
    words = entropy.generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))


def normal(
    rng: Rng | Sequence[int],
    n: int,
    shape: Sequence[int],
    *,
    purpose: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Draw `n` samples of standard normal numbers for a purpose, (n, *shape); sample i does not depend on `n`.

    `rng` may also be a sequence of `n` seeds, one per sample: then sample i is what `normal(rng[i], 1, shape)` draws.
    """
    n = check_count(n, "n", least=0)
    if isinstance(rng, Sequence) and not isinstance(rng, str):
        if len(rng) != n:
            raise ValueError(f"rng holds {len(rng)} seeds for {n} samples: give one seed per sample")
        streams = [stream(seed, purpose, 0) for seed in rng]
    else:
        seed = seed_of(rng)
        streams = [stream(seed, purpose, i) for i in range(n)]
    draws = [torch.randn(*shape, generator=g, dtype=torch.float64) for g in streams]
    if not draws:
        return torch.empty(0, *shape, dtype=dtype, device=device)
    return torch.stack(draws).to(device=device, dtype=dtype)  # (n, *shape)


def seed_of(rng: Rng) -> int:
    """Return a non-negative integer seed for `rng`: an int is its own; a torch.Generator gives its next draw."""
    if isinstance(rng, torch.Generator):
        return int(torch.randint(2**62, (1,), generator=rng, device=rng.device))
    if isinstance(rng, bool) or not isinstance(rng, (int, np.integer)):
        raise TypeError(f"rng must be an int or a torch.Generator, got {type(rng).__name__}")
    if rng < 0:
        raise ValueError(f"rng must be a non-negative seed, got {rng}")
    return int(rng)
