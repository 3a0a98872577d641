"""What sensors do to light: over-exposure and gamma, photon noise with dead pixels, speckle, intensities alone.

Images are in [−1, 1], black to white; t = (x + 1)/2 is the light in [0, 1].
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ilo.checks import check_count, check_number, check_positive, check_shape
from ilo.operators.camera import Camera, Weighted, sample_seeds
from ilo.rng import Rng, stream

DARKEST = 1e-3  # light below this counts as this: logarithms and powers stay finite, and so do their derivatives


def light(x: Tensor) -> Tensor:
    """Images in [−1, 1] as light in [DARKEST, ∞)."""
    return ((x + 1) / 2).clamp(min=DARKEST)


class Exposure(Camera):
    """Over-exposure and gamma: y = 2·min(gain·t, 1)^gamma − 1, in [−1, 1], of the image's shape.

    Args:
        shape: (C, H, W).
        gain: of the light, above 0; what is beyond white after it is cut, and measures nothing but that.
        gamma: exponent, above 0: 1/2.2 brightens the shadows, as displays expect; 1 is linear.
    """

    def __init__(self, shape: Sequence[int], gain: float = 1.0, gamma: float = 1.0):
        shape = check_shape(shape)
        super().__init__(shape, shape)
        self.gain, self.gamma = check_positive(gain, "gain"), check_positive(gamma, "gamma")

    def _forward(self, x: Tensor) -> Tensor:
        return 2 * (self.gain * light(x)).clamp(max=1) ** self.gamma - 1

    def extra_repr(self) -> str:
        return f"{self.shape_in}, gain={self.gain:g}, gamma={self.gamma:g}"


class Photons(Camera):
    """Photon counts: N ~ Poisson(peak·t), y = 2·min(N/peak, 1) − 1 in [−1, 1]; and dead pixels, which count 0.

    Its own noise is drawn by `draw`. What `whitened` gives is Anscombe's (1948) root of the counts, √(N + 3/8), whose
    standard deviation is about 1/2 from one photon on, in units where it runs from −1 to 1; weighted by the probability
    that a pixel without any photon is dark and not dead.

    Args:
        shape: (C, H, W).
        peak: photons that white brings on average, above 0.
        dead: fraction of the pixels, all channels together, that count nothing, in [0, 1).
    """

    def __init__(self, shape: Sequence[int], peak: float, dead: float = 0.0):
        shape = check_shape(shape)
        super().__init__(shape, shape)
        self.peak, self.dead = check_positive(peak, "peak"), check_number(dead, "dead", 0)
        if not self.dead < 1:
            raise ValueError(f"dead, the fraction of the pixels that count nothing, must be below 1, got {dead}")

    entrywise = True

    def draw(self, x: Tensor, rng: Rng | Sequence[int] = 0) -> Tensor:
        counts = []
        for seed, of in zip(sample_seeds(rng, len(x)), self.peak * ((x + 1) / 2).clamp(min=0), strict=True):
            g = stream(seed, "exposure", 2)
            alive = torch.rand(1, *of.shape[1:], generator=g, dtype=torch.float64) >= self.dead
            counts.append(torch.poisson(of.cpu().double(), generator=g) * alive)
        return 2 * (torch.stack(counts).to(x) / self.peak).clamp(max=1) - 1

    def whitened(self, y: Tensor) -> tuple[Camera, Tensor, float]:
        roots = Roots(self)
        counts = self.peak * ((y + 1) / 2).clamp(min=0)
        seen = roots.scaled((counts + 3 / 8).sqrt())
        if self.dead == 0:
            return roots, seen, roots.deviation
        weights = self._alive(counts).sqrt().expand_as(seen)
        return Weighted(roots, seen, weights), weights * seen, roots.deviation

    def _alive(self, counts: Tensor) -> Tensor:
        """(B, 1, H, W): how likely a pixel is alive: 1 with any photon, else by the light around it."""
        lit = (counts.sum(1, keepdim=True) > 0).to(counts)
        around = [F.avg_pool2d(t, 5, stride=1, padding=2) for t in (counts.sum(1, keepdim=True) * lit, lit)]
        dark = torch.exp(-around[0] / around[1].clamp(min=1e-6))  # no photon where that many are expected
        return torch.where(lit > 0, 1.0, (1 - self.dead) * dark / (self.dead + (1 - self.dead) * dark))

    def _forward(self, x: Tensor) -> Tensor:
        t = light(x)
        mean = below(t, (t / self.peak).sqrt(), 1.0)
        return 2 * (1 - self.dead) * mean - 1

    def extra_repr(self) -> str:
        return f"{self.shape_in}, peak={self.peak:g}, dead={self.dead:g}"


class Roots(Camera):
    """The mean of √(N + 3/8) of a living pixel of `Photons`, scaled so that N = 0 is −1 and N = peak is 1."""

    def __init__(self, photons: Photons):
        super().__init__(photons.shape_in, photons.shape_out)
        self._peak = photons.peak
        self._low, high = math.sqrt(3 / 8), math.sqrt(photons.peak + 3 / 8)
        self._scale = 2 / (high - self._low)
        self.deviation = self._scale / 2

    def scaled(self, roots: Tensor) -> Tensor:
        return self._scale * (roots - self._low) - 1

    def _forward(self, x: Tensor) -> Tensor:
        photons = self._peak * light(x)
        # The mean root of λ photons on average is √(λ + 1/8) for many, √(3/8) for none; between them this, to 0.01.
        few = (math.sqrt(3 / 8) - math.sqrt(1 / 8)) * torch.exp(-3 * photons / (1 + 0.45 * photons))
        mean = self.scaled((photons + 1 / 8).sqrt() + few)
        return below(mean, torch.full_like(mean, self.deviation), 1.0)


class Speckle(Camera):
    """Multiplicative noise: y = 2·t·exp(sigma·n) − 1, n ~ N(0, 1): radar, ultrasound, laser light.

    `whitened` gives logarithms of the light, where the noise is N(0, sigma²).

    Args:
        shape: (C, H, W). sigma: above 0.
    """

    def __init__(self, shape: Sequence[int], sigma: float):
        shape = check_shape(shape)
        super().__init__(shape, shape)
        self.sigma = check_positive(sigma, "sigma")

    entrywise = True

    def draw(self, x: Tensor, rng: Rng | Sequence[int] = 0) -> Tensor:
        streams = [stream(seed, "exposure", 2) for seed in sample_seeds(rng, len(x))]
        noise = torch.stack([torch.randn(x.shape[1:], generator=g, dtype=torch.float64) for g in streams]).to(x)
        return 2 * light(x) * torch.exp(self.sigma * noise) - 1

    def whitened(self, y: Tensor) -> tuple[Camera, Tensor, float]:
        return Logarithms(self.shape_in), light(y).log(), self.sigma

    def _forward(self, x: Tensor) -> Tensor:
        return 2 * light(x) - 1

    def extra_repr(self) -> str:
        return f"{self.shape_in}, sigma={self.sigma:g}"


class Logarithms(Camera):
    """The natural logarithm of the light, of the image's shape."""

    def __init__(self, shape: Sequence[int]):
        super().__init__(check_shape(shape), check_shape(shape))

    def _forward(self, x: Tensor) -> Tensor:
        return light(x).log()


class FourierMagnitudes(Camera):
    """Phase retrieval: the magnitudes of every channel's Fourier transform, the phases lost.

    y = |FFT(t, zero-padded to oversample times each side)|, orthonormal, of the half of the frequencies that real
    images have, (C, oversample·H, oversample·W // 2 + 1). An image upside down and mirrored measures the same.

    Args:
        shape: (C, H, W).
        oversample: at least 1; from 2 on the image is determined up to that turn and shifts that stay in the frame.
    """

    def __init__(self, shape: Sequence[int], oversample: int = 2):
        channels, height, width = check_shape(shape)
        self.sides = tuple(check_count(oversample, "oversample") * n for n in (height, width))
        super().__init__((channels, height, width), (channels, self.sides[0], self.sides[1] // 2 + 1))

    def units(self) -> Tensor:
        """A unit is a frequency with its opposite, which measures the same, in all channels."""
        height, width = self.sides
        v, u = torch.meshgrid(torch.arange(height), torch.arange(width // 2 + 1), indexing="ij")
        own, other = v * width + u, (-v % height) * width + (-u % width)
        return torch.minimum(own, other).flatten().repeat(self.shape_in[0])

    def _forward(self, x: Tensor) -> Tensor:
        spectrum = torch.view_as_real(torch.fft.rfft2((x + 1) / 2, s=self.sides, norm="ortho"))
        return (spectrum.square().sum(-1) + 1e-12).sqrt()  # the root's derivative is infinite at 0


def below(mean: Tensor, deviation: Tensor, most: float) -> Tensor:
    """E[min(Z, most)] of Z ~ N(mean, deviation²): what a value that is cut at `most` is on average."""
    a = (most - mean) / deviation
    share = torch.special.ndtr(a)
    density = torch.exp(-a.square() / 2) / math.sqrt(2 * math.pi)
    return most + (mean - most) * share - deviation * density
