"""Tasks by name: which operator measures, and what its level means. The one table of them.

`ilo recover --task`, `ilo.study.problem` and the operators' tests read it, so that an operator of its own file and one
line here is in all three (CONTRIBUTING.md).
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ilo.checks import check_fraction
from ilo.operators.base import LinearOperator
from ilo.operators.sensing import GaussianSensing, PartialCirculant
from ilo.rng import Rng


@dataclass(frozen=True)
class Task:
    """An operator with one level to vary.

    title: its name in rows and figures.
    make: "module:name" below `ilo.operators`: a class or function that is called as make(shape, level's keyword=…) and
        returns a LinearOperator, shape (C, H, W).
    level: the keyword that the level is given by; "noise" where the level is the noise's standard deviation and the
        operator has none; "" where there is nothing to vary.
    default: the level where none is given; its type is the level's.
    meaning: of the level, for help.
    flag: the option of `ilo recover` that sets the level, without its dashes; `level` where it is "".
    random: whether `make` takes `rng` too.
    noise: standard deviation of the noise where none is given, in the units of the measurements.
    options: further keywords of `make`, with their choices, the first of which is the default.
    """

    title: str
    make: str
    level: str = ""
    default: float = 0.0
    meaning: str = ""
    flag: str = ""
    random: bool = False
    noise: float = 0.02
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def option(self) -> str:
        """The option of `ilo recover` that sets the level; "" where there is nothing to vary."""
        return self.flag or self.level

    def operator(self, level: float | None = None, **options: Any) -> Callable[..., LinearOperator]:
        """Return what makes the operator, called as operator(shape, rng=seed); other processes can call it too.

        level: `default` where none is given. options: those of the task.
        """
        module, _, name = self.make.partition(":")
        make = getattr(importlib.import_module(f"ilo.operators.{module}"), name)
        varied = {} if self.level in ("", "noise") else {self.level: self.default if level is None else level}
        return partial(make, **varied, **options) if self.random else partial(_fixed, make, **varied, **options)


TASKS = {
    "inpaint": Task("inpainting", "pixels:RandomInpainting", "keep", 0.1, "fraction of the pixels seen", random=True),
    "superres": Task(
        "super-resolution", "separable:Downsample", "factor", 4, "down-sampling factor",
        options={"kernel": ("bicubic", "box")},
    ),
    "denoise": Task("denoising", "pixels:Identity", "noise", 0.2, "standard deviation of the noise"),
    "compress": Task("Gaussian", "tasks:gaussian", "fraction", 0.1, "measurements / unknowns", random=True),
    "circulant": Task("circulant", "tasks:circulant", "fraction", 0.1, "measurements / unknowns", random=True),
    "colourise": Task("colourisation", "pixels:Grayscale"),
    "deblur": Task("deblurring", "separable:Blur", "sigma", 2.0, "standard deviation in pixels", flag="blur"),
}  # fmt: skip


def gaussian(shape: Sequence[int], fraction: float, rng: Rng = 0) -> GaussianSensing:
    """`GaussianSensing` of a fraction of C·H·W measurements, at least one."""
    return GaussianSensing(shape, m=_count(shape, fraction), rng=rng)


def circulant(shape: Sequence[int], fraction: float, rng: Rng = 0) -> PartialCirculant:
    """`PartialCirculant` of a fraction of C·H·W measurements, at least one."""
    return PartialCirculant(shape, m=_count(shape, fraction), rng=rng)


def _count(shape: Sequence[int], fraction: float) -> int:
    check_fraction(fraction, "the fraction")
    return max(1, round(fraction * math.prod(shape)))


def _fixed(make: Callable[..., LinearOperator], shape: Sequence[int], rng: Rng = 0, **given: Any) -> LinearOperator:
    """An operator without randomness."""
    return make(shape, **given)
