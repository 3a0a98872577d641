"""A generator of 8×8 digits, small enough that everything about it can be measured, trained in seconds.

The decoder of a variational autoencoder (Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014) on the 1,797
digits that scikit-learn ships (Optical Recognition of Handwritten Digits, UCI; Alpaydin and Kaynak 1998). Layers:

    layer   input       output
    0       (B, 8)      (B, 128)         linear, ReLU
    1       (B, 128)    (B, 128)         linear, ReLU
    2       (B, 128)    (B, 1, 8, 8)     linear, tanh

Needs scikit-learn: ``pip install 'ilo[experiments]'``.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from ilo.generators.base import Generator
from ilo.rng import Rng, generator, seed_of

PIXELS = 64
NOISE_STD = 0.25  # of the decoder's Gaussian likelihood, on pixels in [−1, 1]: weighs the data against the prior
BATCH = 128
RATE = 3e-3


def load_digits() -> Tensor:
    """Return scikit-learn's digits as images (1797, 1, 8, 8) in [−1, 1], float32 (0 … 16 mapped linearly).

    Raises ImportError, saying what to install, without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits as bundled
    except ImportError:
        raise ImportError("the digits come with scikit-learn: pip install 'ilo[experiments]'") from None
    return torch.from_numpy(bundled().images).float().unsqueeze(1) / 8 - 1


def train_digits(*, latent: int = 8, width: int = 128, epochs: int = 100, rng: Rng = 0) -> Generator:
    """Train the decoder on all digits and return it as a frozen generator; z ~ N(0, I_latent).

    The same call gives the same weights on one machine, whatever its number of threads; on another machine, weights
    that differ by rounding and by what optimisation makes of it. Takes about 5 s.

    Args:
        latent: k, dimension of the latent, at least 1.
        width: p, width of both hidden layers, at least 1.
        epochs: passes over the digits, at least 1.
        rng: seed or torch.Generator: initial weights, order of the digits, the encoder's noise.
    """
    if min(latent, width, epochs) < 1:
        raise ValueError(f"latent, width and epochs must be at least 1, got {latent}, {width}, {epochs}")
    digits = load_digits()
    stream = generator(seed_of(rng))
    encoder = _initialised(nn.Sequential(nn.Flatten(), *_perceptron(PIXELS, 2 * width, 2 * latent)), stream)
    decoder = _initialised(
        nn.Sequential(*_perceptron(latent, width, width, PIXELS), nn.Tanh(), nn.Unflatten(1, (1, 8, 8))), stream
    )
    steps_per_epoch = math.ceil(len(digits) / BATCH)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * steps_per_epoch)
    with _one_thread():
        for _ in range(epochs):
            for batch in torch.randperm(len(digits), generator=stream).split(BATCH):
                loss = _negative_elbo(encoder, decoder, digits[batch], stream)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
    return Generator.from_sequential(decoder, cuts=(2, 4), latent_shape=(latent,), name="digits")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from threads, and the order of a sum must not depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _perceptron(*widths: int) -> list[nn.Module]:
    """Linear layers of these widths, ReLU between them and none at the end."""
    modules: list[nn.Module] = []
    for a, b in pairwise(widths):
        modules += [nn.utils.skip_init(nn.Linear, a, b), nn.ReLU()]
    return modules[:-1]


def _initialised(model: nn.Sequential, stream: torch.Generator) -> nn.Sequential:
    """Initialise as He et al. do, from `stream` alone: torch's own way draws from the global generator."""
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=stream)
            nn.init.zeros_(module.bias)
    return model


def _negative_elbo(encoder: nn.Module, decoder: nn.Module, x: Tensor, stream: torch.Generator) -> Tensor:
    """Mean over the batch of ‖x − decoder(z)‖²/2σ² + KL(q(z|x), N(0, I)), with z drawn from q."""
    mean, log_variance = encoder(x).chunk(2, dim=1)  # (B, k) both
    z = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=stream)
    misfit = (decoder(z) - x).square().sum() / (2 * NOISE_STD**2)
    divergence = (log_variance.exp() + mean.square() - 1 - log_variance).sum() / 2
    return (misfit + divergence) / len(x)
