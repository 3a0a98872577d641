"""Where to start the search of the latent: at what a straight line says of it, given the measurements.

Latents that are drawn at random lie in valleys of their own, and most of these end above the truth. Samples of the
generator give pairs of a latent and its measurements. The best linear guess of the first from the second explains an
eighth of the latent's variance only, but that is the right valley far more often: it is small, since it averages
over all latents that would fit, and it leans to the right side.

Source: linear minimum-mean-square estimation (Kay, "Fundamentals of Statistical Signal Processing: Estimation
Theory", 1993, chapter 12), its means and covariances taken from samples as an ensemble Kalman filter takes them
(Evensen, "Sequential data assimilation with a nonlinear quasi-geostrophic model …", 1994).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ilo.arithmetic import repeatable
from ilo.checks import check_callable, check_count, check_kind, check_number
from ilo.generators.base import Generator, State
from ilo.generators.drawn import drawn_images
from ilo.rng import Rng, seed_of
from ilo.solver.copies import Copies
from ilo.solver.inputs import checked_measurements, drawn_states, problems_and_seeds

SAMPLES, FEWEST = 1024, 64
MOST_NUMBERS = 2**28
SPREAD = 0.3  # of the latents' own: how far the restarts lie about the estimate


@dataclass(frozen=True)
class LinearModel:
    """The linear minimum-mean-square estimate of a latent of p numbers from m measurements, made of N samples.

    latents: (N, p), measured: (N, m), each less its mean over the samples, which are `latent_mean` (p,) and
    `measured_mean` (m,). factor: (N, N), Cholesky factor of measured·measuredᵀ + N·ridge·I.
    """

    latents: Tensor = field(repr=False)
    measured: Tensor = field(repr=False)
    latent_mean: Tensor = field(repr=False)
    measured_mean: Tensor = field(repr=False)
    factor: Tensor = field(repr=False)

    def shares(self, y: Tensor) -> Tensor:
        """Return (B, N): so much of each sample's deviation from the mean the estimate from `y` (B, ...) is made of.

        They estimate whatever the samples have, their latents or their images.
        """
        deviation = y.flatten(1) - self.measured_mean  # (B, m)
        likeness = (self.measured @ deviation.T).double()  # (N, B)
        return torch.cholesky_solve(likeness, self.factor).to(deviation.dtype).T

    def estimate(self, y: Tensor) -> Tensor:
        """Return the estimates (B, p) of the latents that the measurements `y` (B, ...) were made of."""
        return self.latent_mean + self.shares(y) @ self.latents


@torch.no_grad()
def linear_model(
    G: Generator,
    A: Callable[[Tensor], Tensor],
    *,
    noise: float = 0.0,
    samples: int | None = None,
    rng: Rng = 0,
    batch: int | None = None,
) -> LinearModel:
    """Fit the estimate of G's variables at layer 0 from what `A` measures of its images.

        ẑ(y) = z̄ + C_zy (C_yy + ridge·I)⁻¹ (y − ȳ),   ridge = noise² + trace(C_yy)/N

    with means and covariances over N samples. N samples know the m × m covariance C_yy up to about trace(C_yy)/N in
    every direction: that much is added, which is what cross-validation chose on faces (between 1 and 4 times that).

    It serves every batch that `A` measures. It costs N runs of the generator without gradients, once for all operators
    where the images are small (`ilo.generators.drawn`), and N·m numbers of memory.

    Args:
        A: any function of images (B, C, H, W); it need not be linear or differentiable.
        noise: standard deviation of the measurements' noise; 0 where it is not known.
        samples: N, at least 2. None: 1024, or so many as keep N·m below 2²⁸ (1 GB), and at least 64.
        rng: of the samples, which are those that auto's other priors are made of.
        batch: samples at once; None: 128 of 64 × 64 pixels, fewer of larger ones.

    Raises:
        ValueError: fewer than 2 samples.
    """
    check_kind(G, Generator, "G")
    check_callable(A, "the operator A")
    noise = check_number(noise, "noise", 0)
    batch = None if batch is None else check_count(batch, "batch")
    samples = None if samples is None else check_count(samples, "samples", least=2)
    with repeatable():
        if samples is None:
            m = A(G(G.sample(1, rng, "prior"))).numel()
            samples = max(FEWEST, min(SAMPLES, MOST_NUMBERS // m))
        seed = seed_of(rng)
        drawn = G.sample(samples, seed, "prior")
        parts = [A(images).flatten(1) for images in drawn_images(G, samples, seed, "prior", batch)]
    latents, measured = _flat(G, drawn), torch.cat(parts)  # (N, p), (N, m)
    latent_mean, measured_mean = latents.mean(0), measured.mean(0)
    latents, measured = latents - latent_mean, measured - measured_mean
    likeness = (measured @ measured.T).double()  # (N, N); its trace is N times that of C_yy
    likeness.diagonal().add_(likeness.trace() / samples + samples * noise**2)
    return LinearModel(latents, measured, latent_mean, measured_mean, torch.linalg.cholesky(likeness))


@torch.no_grad()
def linear_images(G: Generator, model: LinearModel, y: Tensor, rng: Rng = 0) -> Tensor:
    """Return the linear minimum-mean-square estimates (B, C, H, W) in [−1, 1] of the images that `y` measures.

    It is what the samples' means and covariances of image and measurements say, without the generator between them.

    Args:
        model: `linear_model` of the operator that measured `y`, (B, ...).
        rng: that of the model.
    """
    shares = model.shares(y)  # (B, N)
    shares = shares + (1 - shares.sum(1, keepdim=True)) / shares.shape[1]  # of the images, not of their deviations
    found, begin = torch.zeros(len(y), *G.image_shape, dtype=y.dtype, device=y.device), 0
    for images in drawn_images(G, shares.shape[1], rng, "prior"):
        found += torch.einsum("bn,nchw->bchw", shares[:, begin : begin + len(images)], images)
        begin += len(images)
    return found.clamp(-1, 1)


def linear_start(
    G: Generator,
    A: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    restarts: int = 1,
    rng: Rng | Sequence[int] = 0,
    noise: float = 0.0,
) -> State:
    """Return states at layer 0 to start from, (restarts · B, ...): ``ilo.recover(..., start=…, restarts=restarts)``.

    The first restart is the linear estimate of the latent given the measurements, the others lie about it.

    Args:
        y: measurements (B, ...) by `A`, on the generator's device and in its dtype.
        rng: a seed, or one per problem, for what lies about the estimate.
        noise: standard deviation of the measurements' noise; 0 where it is not known.
    """
    y = checked_measurements(G, A, y)
    restarts = check_count(restarts, "restarts")
    problems, seeds = problems_and_seeds(y, rng, None)
    copies = Copies(restarts, problems)
    model = linear_model(G, A, noise=noise)
    return linear_starts(G, model, y.expand(problems, *y.shape[1:]), drawn_states(G, seeds, copies))


@torch.no_grad()
def linear_starts(G: Generator, model: LinearModel, y: Tensor, draws: State, *, spread: float = SPREAD) -> State:
    """Return the states to start from, copy by copy: the estimate itself, then draws about it.

    Args:
        model: `linear_model` of the operator that measured `y`, (B, ...).
        draws: states at layer 0, (copies · B, ...), copy by copy, as restarts draw them. Of the first copy nothing is
            used; each other starts at ẑ + spread·(draw − z̄).
        spread: 0 starts all copies from the estimate.
    """
    copies = Copies(len(next(iter(draws.values()))) // len(y), len(y))
    apart = torch.full((copies.count, 1, 1), spread, dtype=y.dtype, device=y.device)
    apart[0] = 0
    deviation = copies.split(_flat(G, draws) - model.latent_mean)  # (copies, B, p)
    return _unflat(G, (model.estimate(y) + apart * deviation).flatten(0, 1), draws)


def _flat(G: Generator, state: State) -> Tensor:
    """The generator's variables of a state side by side, (B, p)."""
    return torch.cat([state[name].flatten(1) for name in G.variables(state)], 1)


def _unflat(G: Generator, flat: Tensor, like: State) -> State:
    """The state `like` with its variables from `flat`, (B, p)."""
    names = G.variables(like)
    parts = flat.split([like[name][0].numel() for name in names], dim=1)
    return {**like, **{name: part.reshape(like[name].shape) for name, part in zip(names, parts, strict=True)}}
