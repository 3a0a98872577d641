"""Samples of the posterior from several solutions, and how far their spread must be stretched to cover what is true.

Samples come from the solutions by perturbing the measurements and the prior (Matheron's rule); what the prior leaves
open is stretched until it covers what was held out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ilo.auto.choose import NO_NOISE
from ilo.auto.smooth import Conditioner, SmoothPrior, smooth_prior
from ilo.auto.walk import Candidate
from ilo.generators.base import Generator
from ilo.generators.drawn import drawn_images, kept
from ilo.rng import normal
from ilo.solver.linear_start import SAMPLES

NINETY = 1.6449  # standard normal quantile: 90 % lie within
MOST = 2**22  # numbers of images conditioned at once


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


def mean_image(prior: ImagePrior, like: Candidate) -> Candidate:
    """The generator's mean image as a candidate: all solutions are it, as many as `like` has."""
    return Candidate(prior.layer, None, 0, prior.mean.expand_as(like.images))


@dataclass(frozen=True)
class Posterior:
    """Samples given the measurements, and the variances that their differences are made of.

    samples: (count, B, C, H, W) in [−1, 1]. prior: (B, C, H, W), the variance of what the prior leaves open: the
    solutions' and the smooth field's. noise: the variance of what the measurements' noise does, likewise.
    """

    samples: Tensor
    prior: Tensor
    noise: Tensor

    def spread(self, stretch: Tensor) -> Tensor:
        """(B, C, H, W): standard deviation, its prior part stretched by a factor for each problem (B,).

        The noise's part is left alone: it is known. Where a pixel was measured it is all that there is, and what was
        held out says nothing about it.
        """
        return (stretch.view(-1, 1, 1, 1).square() * self.prior + self.noise).sqrt()


@torch.no_grad()
def draws(
    condition: Conditioner,
    prior: ImagePrior,
    y: Tensor,
    choice: Choice,
    count: int,
    seeds: Sequence[int],
    view: Callable[[Tensor], Tensor] | None = None,
) -> Posterior:
    """Each sample is a solution plus a smooth deviation drawn given the measurements, by Matheron's rule.

    That rule is linear: a sample is a solution's conditional mean, plus a field f that has lost what the measurements
    tell of it, f − D(A f), plus what noise e of the measurements makes, D(e), D the conditional deviation. So the parts
    are drawn apart.

    Of S solutions the variance counts (S + 1)/(S − 1) times its value about their mean: the truth is to them another
    solution, and off their mean by their own variance, S/(S − 1) of that value, and by the mean's, which is 1/S of it.

    A camera that is not linear is linearised at the mean of those conditional means.

    view: an operator: the variances are those of what it makes of the images, flat, (B, M).
    """
    S, B = choice.solutions.shape[:2]
    variance = torch.where(choice.certain, 1.0, choice.ratio * choice.noise.clamp(min=NO_NOISE).square())
    scale = variance.sqrt().view(-1, 1, 1, 1)
    fields = torch.stack([prior.smooth.sample(count, seed) for seed in seeds], 1)  # (count, seeds, C, H, W)
    like = {"purpose": "perturbation", "dtype": y.dtype, "device": y.device}
    errors = torch.stack([normal(seed, count, y.shape[1:], **like) for seed in seeds], 1)
    found = condition(y.repeat(S, *[1] * (y.ndim - 1)), choice.solutions.flatten(0, 1), choice.ratio.repeat(S))
    found = found.unflatten(0, (S, B))
    view = view or (lambda images: images)
    base = found.mean(0)
    seen = view(base)
    samples, open_part, noise_part = [], [], []
    at_once = max(1, MOST // (2 * base.numel()))
    for begin in range(0, count, at_once):
        field = scale * fields[begin : begin + at_once]  # (k, B or 1, C, H, W)
        k = len(field)
        field = field.expand(k, B, *base.shape[1:]).flatten(0, 1)
        error = choice.noise.view(-1, *[1] * (y.ndim - 1)) * errors[begin : begin + k]
        error = error.expand(k, *y.shape).flatten(0, 1)
        linear = condition.about(base.repeat(2 * k, 1, 1, 1))
        starts = torch.cat([field, torch.zeros_like(field)])
        both = linear(torch.cat([torch.zeros_like(error), error]), starts, choice.ratio.repeat(2 * k))
        field, error = both.unflatten(0, (2, k, B))
        which = torch.arange(begin, begin + k, device=y.device) % S
        samples.append((found[which] + field + error).clamp(-1, 1))
        for part, moved in ((open_part, field), (noise_part, error)):
            there = view((base + moved).flatten(0, 1)).unflatten(0, (k, B))
            part.append((there - seen).square().sum(0))
    apart = torch.stack([view(x) for x in found]).var(0, correction=0) * ((S + 1) / (S - 1))
    open_part, noise_part = (torch.stack(part).sum(0) / count for part in (open_part, noise_part))
    return Posterior(torch.cat(samples), apart + open_part, noise_part)


def stretch(errors: Tensor, prior: Tensor, noise: Tensor, count: int = 20) -> Tensor:
    """(B,): factor of the prior's part of the spread with which 90 % of what was held out lies in its 90 % interval.

    An error lies there if it is at most z·√(t²·prior + noise), z the normal quantile: from some t² on, which may be
    negative. t² is the 90 % quantile of those, drawn toward 1 as `count` measurements more would, and at least 0. A
    measurement counts for (prior/(prior + noise))²: one that is all noise says nothing about the prior.

    Args:
        errors: of what was held out, (B, held); NaN: a measurement that says nothing. prior, noise: its variances,
            (B, held); noise with the measurements' own.
    """
    prior = prior.clamp(min=1e-12)
    squares = (errors.square() / NINETY**2 - noise) / prior
    n = (prior / (prior + noise)).square().masked_fill(errors.isnan(), 0).sum(1)
    quantile = squares.nanquantile(0.9, dim=1).nan_to_num(nan=1)
    return ((n * quantile + count) / (n + count)).clamp(min=0).sqrt()


def nearest(A, y: Tensor, found: Tensor) -> Tensor:
    """(B, C, H, W): of each problem's solutions (S, B, C, H, W) the one that is nearest to its measurements."""
    misfit = torch.stack([(A(x) - y).flatten(1).square().sum(1) for x in found]).nan_to_num(nan=torch.inf)  # (S, B)
    return found[misfit.argmin(0), torch.arange(len(y), device=y.device)]
