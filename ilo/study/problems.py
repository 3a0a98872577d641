"""Inverse problems by name: what is measured, at which level, under which noise. The rows of a grid (`ilo.study`).

A task is a function, and a line of `TASKS` with the levels at which reference rows are recorded.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from ilo import operators
from ilo.operators import LinearOperator

# Missing regions on a face that fills the image as in a passport photo: (top, bottom, left, right), of 64.
REGIONS = {"eyes": (20, 34, 10, 54), "mouth": (42, 56, 18, 46), "half": (0, 64, 32, 64)}


@dataclass(frozen=True)
class Problem:
    """y = A(x) + noise.

    task: its name in rows and figures.
    level: what the task varies: the fraction or number of measurements, the factor, the width, the noise.
    operator: called as operator(shape, rng=seed) -> LinearOperator, shape (C, H, W). A function of a module, or a
        partial of one, so that other processes can call it.
    noise: standard deviation, in the units of the measurements.
    """

    task: str
    level: float
    operator: Callable[..., LinearOperator]
    noise: float = 0.02

    def __post_init__(self):
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise ValueError(f"{self.task}: noise must be a finite number of at least 0, got {self.noise}")

    def __str__(self) -> str:
        return f"{self.task} at {self.level:g}, noise {self.noise:g}"


def inpainting(keep: float, noise: float = 0.02) -> Problem:
    """Random pixels; level: the fraction seen."""
    return Problem("inpainting", keep, partial(operators.RandomInpainting, keep=keep), noise)


def region(name: str, noise: float = 0.02) -> Problem:
    """All pixels but a region of the face: "eyes", "mouth" or "half"; level: the fraction seen."""
    if name not in REGIONS:
        raise ValueError(f"no region {name!r}: choose from {', '.join(REGIONS)}")
    top, bottom, left, right = REGIONS[name]
    return Problem(f"{name} missing", 1 - (bottom - top) * (right - left) / 64**2, partial(_region, name), noise)


def gaussian(fraction: float | None = None, *, m: int | None = None, noise: float = 0.02) -> Problem:
    """Gaussian measurements, a `fraction` of C·H·W or `m` of them; level: the one that is given."""
    return _sensing("Gaussian", operators.GaussianSensing, fraction, m, noise)


def circulant(fraction: float | None = None, *, m: int | None = None, noise: float = 0.02) -> Problem:
    """Partial circulant measurements, as `gaussian`."""
    return _sensing("circulant", operators.PartialCirculant, fraction, m, noise)


def superres(factor: int, kernel: str = "bicubic", noise: float = 0.02) -> Problem:
    """Super-resolution; level: the factor."""
    return Problem(
        "super-resolution", factor, partial(_fixed, operators.Downsample, factor=factor, kernel=kernel), noise
    )


def denoising(noise: float) -> Problem:
    """All pixels under noise; level: its standard deviation."""
    return Problem("denoising", noise, partial(_fixed, operators.Identity), noise)


def colourisation(noise: float = 0.02) -> Problem:
    """Luma alone; level: 0, there is nothing to vary."""
    return Problem("colourisation", 0.0, partial(_fixed, operators.Grayscale), noise)


def deblurring(width: float, noise: float = 0.02) -> Problem:
    """A Gaussian blur; level: its standard deviation in pixels."""
    return Problem("deblurring", width, partial(_fixed, operators.Blur, sigma=width), noise)


def _sensing(task: str, make: Callable, fraction: float | None, m: int | None, noise: float) -> Problem:
    if (fraction is None) == (m is None):
        raise ValueError(f"{task}: give a fraction or m, one of them")
    if fraction is not None and not 0 < fraction <= 1:
        raise ValueError(f"{task}: the fraction must lie in (0, 1], got {fraction}: a number of measurements is m=…")
    return Problem(task, fraction if m is None else m, partial(_sense, make, fraction, m), noise)


def _sense(make: Callable, fraction: float | None, m: int | None, shape, rng) -> LinearOperator:
    return make(shape, m=m if fraction is None else max(1, round(fraction * math.prod(shape))), rng=rng)


def _fixed(make: Callable, shape, rng, **options) -> LinearOperator:
    """An operator without randomness."""
    return make(shape, **options)


def _region(name: str, shape, rng) -> LinearOperator:
    channels, height, width = shape
    top, bottom, left, right = REGIONS[name]
    mask = torch.ones(height, width, dtype=torch.bool)
    mask[
        round(top * height / 64) : round(bottom * height / 64), round(left * width / 64) : round(right * width / 64)
    ] = 0
    return operators.Inpainting(mask, channels)


# The problems of the reference rows, by task; the first of each is the one where one of a task will do.
TASKS: dict[str, list[Problem]] = {
    "inpainting": [inpainting(keep) for keep in (0.1, 0.01, 0.02, 0.05, 0.2, 0.5)],
    "Gaussian": [gaussian(fraction) for fraction in (0.1, 0.01, 0.02, 0.05, 0.2)],
    "circulant": [circulant(fraction) for fraction in (0.1, 0.01, 0.02, 0.05, 0.2)],
    "super-resolution": [superres(factor) for factor in (4, 2, 8)],
    "denoising": [denoising(noise) for noise in (0.3, 0.1)],
    "deblurring": [deblurring(2.0)],
    "colourisation": [colourisation()],
}
PROBLEMS = [problem for of_task in TASKS.values() for problem in sorted(of_task, key=lambda p: p.level)]
ONE_A_TASK = [of_task[0] for of_task in TASKS.values()]
