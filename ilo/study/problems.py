"""Inverse problems by name: what is measured, at which level, under which noise. The rows of a grid (`ilo.study`).

The tasks are those of `ilo.operators.tasks`; `LEVELS` says at which of their levels reference rows are recorded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ilo import operators
from ilo.checks import check_callable, check_choice, check_count, check_fraction, check_number, check_positive
from ilo.operators import LinearOperator
from ilo.operators.tasks import TASKS

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
        check_number(self.noise, f"{self.task}: noise", 0)
        check_number(self.level, f"{self.task}: level")
        check_callable(self.operator, f"{self.task}: operator")

    def __str__(self) -> str:
        return f"{self.task} at {self.level:g}, noise {self.noise:g}"


def problem(task: str, level: float | None = None, noise: float | None = None, **options: Any) -> Problem:
    """A task of `ilo.operators.tasks.TASKS` by its name there: "inpaint", "superres", ….

    level, noise: the task's own where none is given; in denoising they are one. options: further ones of the task.
    """
    check_choice(task, [*TASKS], "task")
    chosen = TASKS[task]
    level = chosen.default if level is None else level
    noise = level if chosen.level == "noise" else chosen.noise if noise is None else noise
    return Problem(chosen.title, level, chosen.operator(level, **options), noise)


def inpainting(keep: float, noise: float = 0.02) -> Problem:
    """Random pixels; level: the fraction seen."""
    return problem("inpaint", check_fraction(keep, "keep"), _noise(noise))


def region(name: str, noise: float = 0.02) -> Problem:
    """All pixels but a region of the face: "eyes", "mouth" or "half"; level: the fraction seen."""
    check_choice(name, [*REGIONS], "name")
    top, bottom, left, right = REGIONS[name]
    return Problem(f"{name} missing", 1 - (bottom - top) * (right - left) / 64**2, partial(_region, name), noise)


def gaussian(fraction: float | None = None, *, m: int | None = None, noise: float = 0.02) -> Problem:
    """Gaussian measurements, a `fraction` of C·H·W or `m` of them; level: the one that is given."""
    return _sensing("compress", operators.GaussianSensing, fraction, m, noise)


def circulant(fraction: float | None = None, *, m: int | None = None, noise: float = 0.02) -> Problem:
    """Partial circulant measurements, as `gaussian`."""
    return _sensing("circulant", operators.PartialCirculant, fraction, m, noise)


def superres(factor: int, kernel: str = "bicubic", noise: float = 0.02) -> Problem:
    """Super-resolution; level: the factor."""
    check_choice(kernel, TASKS["superres"].options["kernel"], "kernel")
    return problem("superres", check_count(factor, "factor"), _noise(noise), kernel=kernel)


def denoising(noise: float) -> Problem:
    """All pixels under noise; level: its standard deviation."""
    return problem("denoise", _noise(noise))


def colourisation(noise: float = 0.02) -> Problem:
    """Luma alone; level: 0, there is nothing to vary."""
    return problem("colourise", noise=_noise(noise))


def deblurring(width: float, noise: float = 0.02) -> Problem:
    """A Gaussian blur; level: its standard deviation in pixels."""
    return problem("deblur", check_positive(width, "width"), _noise(noise))


def _noise(noise: float) -> float:
    return check_number(noise, "noise", 0)


def _sensing(task: str, make: Callable, fraction: float | None, m: int | None, noise: float) -> Problem:
    title = TASKS[task].title
    if (fraction is None) == (m is None):
        raise ValueError(f"{title}: give a fraction or m, one of them")
    noise = _noise(noise)
    if m is not None:
        m = check_count(m, "m")
        return Problem(title, m, partial(make, m=m), noise)
    check_fraction(fraction, f"{title}: the fraction (a number of measurements is m=…)")
    return problem(task, fraction, noise)


def face_regions(height: int, width: int) -> dict[str, Tensor]:
    """Masks (H, W), bool: the "eyes" and the "mouth" of a face framed as for `REGIONS`, and the "rest"."""
    masks = {name: _inside(name, height, width) for name in ("eyes", "mouth")}
    return {**masks, "rest": ~(masks["eyes"] | masks["mouth"])}


def _inside(name: str, height: int, width: int) -> Tensor:
    top, bottom, left, right = REGIONS[name]
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[
        round(top * height / 64) : round(bottom * height / 64), round(left * width / 64) : round(right * width / 64)
    ] = True
    return mask


def _region(name: str, shape, rng) -> LinearOperator:
    channels, height, width = shape
    return operators.Inpainting(~_inside(name, height, width), channels)


# The levels at which reference rows are recorded, by task; the first of each is the one where one of a task will do.
LEVELS: dict[str, tuple[float, ...]] = {
    "inpaint": (0.1, 0.01, 0.02, 0.05, 0.2, 0.5),
    "compress": (0.1, 0.01, 0.02, 0.05, 0.2),
    "circulant": (0.1, 0.01, 0.02, 0.05, 0.2),
    "superres": (4, 2, 8),
    "denoise": (0.3, 0.1),
    "deblur": (2.0,),
    "colourise": (0.0,),
}
_BY_TASK = {task: {level: problem(task, level) for level in sorted(levels)} for task, levels in LEVELS.items()}
_REGIONS = [region(name) for name in REGIONS]
PROBLEMS = [*(each for levels in _BY_TASK.values() for each in levels.values()), *_REGIONS]
ONE_A_TASK = [*(_BY_TASK[task][levels[0]] for task, levels in LEVELS.items()), *_REGIONS]
