"""Samples of the posterior from several solutions, and how far their spread must be stretched to cover what is true.

Samples come from the solutions by perturbing the measurements and the prior (Matheron's rule); their spread is
stretched until it covers what was held out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ilo.auto.choose import NO_NOISE
from ilo.auto.smooth import Conditioner, SmoothPrior, smooth_prior
from ilo.auto.walk import Candidate
from ilo.generators.base import Generator
from ilo.generators.drawn import drawn_images, kept
from ilo.rng import normal
from ilo.solver.copies import Copies
from ilo.solver.linear_start import SAMPLES

NINETY = 1.6449  # standard normal quantile: 90 % lie within


@dataclass(frozen=True)
class ImagePrior:
    """What the generator's images look like: their mean (1, C, H, W), and the smooth field that a deviation is."""

    mean: Tensor
    smooth: SmoothPrior
    layer: int  # the image itself, as a layer's input: the number of layers


@dataclass(frozen=True)
class Choice:
    """What was chosen, problem by problem.

    solutions: (S, B, C, H, W). ratio: (B,), scale of the deviation over the noise's variance. noise: (B,), standard
    deviation. certain: (B,), where the deviation is drawn from the generator's variance, whatever the measurements.
    """

    solutions: Tensor
    ratio: Tensor
    noise: Tensor
    certain: Tensor


def image_prior(G: Generator) -> ImagePrior:
    """Mean and smooth field of the samples that the linear estimate of a latent is made from, fewer of large images.

    Made once for a generator.
    """
    n = max(16, min(SAMPLES, 2**26 // math.prod(G.image_shape)))
    return kept(G, "image prior", n, lambda: _image_prior(G, n), lambda prior: 2 * prior.mean.numel())


@torch.no_grad()
def _image_prior(G: Generator, n: int) -> ImagePrior:
    images = torch.cat([*drawn_images(G, n, 0, "prior")]).clamp(-1, 1)
    return ImagePrior(images.mean(0, keepdim=True), smooth_prior(images), G.num_layers)


def mean_image(prior: ImagePrior, samples: Copies) -> Candidate:
    """The generator's mean image as a candidate: all solutions are it."""
    images = prior.mean.expand(samples.count, samples.problems, *prior.mean.shape[1:])
    return Candidate(prior.layer, None, 0, images)


@torch.no_grad()
def draws(
    condition: Conditioner, prior: ImagePrior, y: Tensor, choice: Choice, count: int, seeds: Sequence[int]
) -> Tensor:
    """(count, B, C, H, W): each a solution plus a smooth deviation drawn given the measurements, by Matheron's rule."""
    S, B = choice.solutions.shape[:2]
    variance = torch.where(choice.certain, 1.0, choice.ratio * choice.noise.clamp(min=NO_NOISE).square())
    scale = variance.sqrt().view(-1, 1, 1, 1)
    fields = torch.stack([prior.smooth.sample(count, seed) for seed in seeds], 1)  # (count, seeds, C, H, W)
    like = {"purpose": "perturbation", "dtype": y.dtype, "device": y.device}
    errors = torch.stack([normal(seed, count, y.shape[1:], **like) for seed in seeds], 1)
    starts = choice.solutions[torch.arange(count) % S] + scale * fields  # (count, B, C, H, W)
    perturbed = y + choice.noise.view(-1, *[1] * (y.ndim - 1)) * errors  # (count, B, ...)
    found = condition(perturbed.flatten(0, 1), starts.flatten(0, 1), choice.ratio.repeat(count))
    return found.clamp(-1, 1).unflatten(0, (count, B))


def stretch(standardised: Tensor, prior: int = 20) -> Tensor:
    """(B,): factor of the spread with which 90 % of what was held out lies within its 90 % interval.

    The 90 % quantile of the standardised errors (B, held) over that of a normal variable, drawn toward 1 as `prior`
    held-out measurements more would. NaN: a measurement that says nothing.
    """
    n = standardised.isfinite().sum(1)
    factor = standardised.nanquantile(0.9, dim=1).nan_to_num(nan=NINETY) / NINETY
    return ((n * factor.square() + prior) / (n + prior)).sqrt()


def nearest(A, y: Tensor, found: Tensor) -> Tensor:
    """(B, C, H, W): of each problem's solutions (S, B, C, H, W) the one that is nearest to its measurements."""
    misfit = torch.stack([(A(x) - y).flatten(1).square().sum(1) for x in found]).nan_to_num(nan=torch.inf)  # (S, B)
    return found[misfit.argmin(0), torch.arange(len(y), device=y.device)]
