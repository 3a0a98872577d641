"""Whether measurements look like those of the generator's own images, or of something that it does not make.

The generator's samples, measured alike, say what is usual. Half of them give the principal directions of what is
measured; the rest, and the photo, are looked at in these coordinates:

    left over   how much of the measurements lies outside the leading directions,
    stretch     how far they go within these, in standard deviations.

Strange is what leaves over more than others do, or more than others do that are stretched as far: the first tells
photos with more detail, the second dull ones (a cat in the dusk leaves no more over than a face in full contrast does).
What is returned is a rank among samples that were held out of the directions, so its rate of false alarms is known by
construction (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005, chapter 2). It costs no
gradients: the samples are those that auto's other priors are made of, and have been rendered.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ilo.arithmetic import repeatable
from ilo.generators.base import Generator
from ilo.generators.drawn import drawn_images
from ilo.rng import normal
from ilo.solver.linear_start import SAMPLES

DIRECTIONS = 64
FEWEST_MEASUREMENTS, FEWEST_SAMPLES = 16, 128
MOST_NUMBERS = 2**27  # of samples · measurements


@torch.no_grad()
def familiarity(G: Generator, A: Callable[[Tensor], Tensor], y: Tensor, noise: Tensor) -> Tensor:
    """(B,): the share of the generator's own images, measured by `A`, that look as strange as `y`, or stranger.

    Of the generator's images themselves a share p of them has at most p. NaN where there is too little to judge by:
    fewer than 16 measurements, images so large that fewer than 128 samples of them are drawn, or a NaN of the noise.

    Args:
        y: measurements (B, ...). noise: (B,), the noise's standard deviation; the samples are given as much.
    """
    m = y[0].numel()
    n = min(SAMPLES, 2**26 // math.prod(G.image_shape), MOST_NUMBERS // m)
    if m < FEWEST_MEASUREMENTS or n < FEWEST_SAMPLES or noise.isnan().all():
        return torch.full_like(noise, torch.nan)
    with repeatable():
        measured = torch.cat([A(images.clamp(-1, 1)).flatten(1) for images in drawn_images(G, n, 0, "prior")])
        usual = Directions.of(measured[: n // 2], min(DIRECTIONS, m // 4, n // 8))
        others, own = usual.look(measured[n // 2 :]), usual.look(y.flatten(1))
    white = normal(0, 1, (len(others.left), others.along.shape[1] + 2), purpose="familiar").to(y)[0]
    return torch.stack(
        [s if s.isnan() else _rank(usual, others.noisy(s, white), own.row(b), s) for b, s in enumerate(noise)]
    )


@dataclass(frozen=True)
class Looks:
    """Measurements (N, m) in some coordinates: along (N, K), the leading ones; left (N,), squared norm of the rest.

    numbers: m − K, the number of coordinates in the rest.
    """

    along: Tensor
    left: Tensor
    numbers: int

    def row(self, i: int) -> "Looks":
        return Looks(self.along[i : i + 1], self.left[i : i + 1], self.numbers)

    def noisy(self, noise: Tensor, white: Tensor) -> "Looks":
        """The same with white noise on the measurements, of white (N, K + 2): it is white in these coordinates too."""
        along, beside, rest = white[:, :-2], white[:, -2], white[:, -1]
        # ‖r + noise·e‖² for e ~ N(0, I): e along r, and a χ² of what is left of e, by Wilson and Hilferty (1931)
        nu = self.numbers - 1
        chi = nu * (1 - 2 / (9 * nu) + rest * math.sqrt(2 / (9 * nu))).clamp(min=0) ** 3
        left = (self.left.sqrt() + noise * beside).square() + noise.square() * chi
        return Looks(self.along + noise * along, left, self.numbers)


@dataclass(frozen=True)
class Directions:
    """The leading principal directions of rows (n, m): weights (n, K) that combine the centred rows to unit vectors.

    deviations: (K,), standard deviations along them.
    """

    mean: Tensor
    rows: Tensor
    weights: Tensor
    deviations: Tensor

    @staticmethod
    def of(rows: Tensor, count: int) -> "Directions":
        mean = rows.mean(0)
        centred = rows - mean
        squares, vectors = torch.linalg.eigh((centred @ centred.T).double())
        lengths = squares[-count:].clamp(min=1e-12 * squares[-1].clamp(min=1e-12)).sqrt()
        weights = (vectors[:, -count:] / lengths).to(rows)
        return Directions(mean, centred, weights, (lengths / math.sqrt(len(rows) - 1)).to(rows))

    def look(self, y: Tensor) -> Looks:
        """Measurements (N, m) in these coordinates."""
        centred = y - self.mean
        along = centred @ self.rows.T @ self.weights
        total = centred.square().sum(1)
        left = (total - along.square().sum(1)).clamp(min=1e-6 * total.clamp(min=1e-12))  # of rounding
        return Looks(along, left, y.shape[1] - along.shape[1])


def _rank(usual: Directions, others: Looks, own: Looks, noise: Tensor) -> Tensor:
    """(): the share of `others` that are as strange as `own`, or stranger; `own` counts as one of them."""
    variances = usual.deviations.square() + noise.square()
    left, stretch = (torch.cat([f(others), f(own)]).double() for f in (
        lambda looks: looks.left.log(),
        lambda looks: (looks.along.square() / variances).mean(1).clamp(min=1e-12).log(),
    ))  # fmt: skip
    line = torch.stack([stretch, torch.ones_like(stretch)], 1)
    slope = torch.linalg.lstsq(line[:-1], left[:-1, None]).solution[:, 0]
    strange = torch.maximum(_standard(left), _standard(left - line @ slope))
    return ((1 + (strange[:-1] >= strange[-1]).sum()) / len(strange)).to(noise)


def _standard(values: Tensor) -> Tensor:
    """Less the mean of all but the last, over their standard deviation."""
    return (values - values[:-1].mean()) / values[:-1].std().clamp(min=1e-12)
