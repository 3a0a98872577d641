"""Grids of experiments: images × problems × methods × seeds become rows, kept as they are made."""

from ilo.study.cells import Answer, Method
from ilo.study.grid import CELLS, KEYS, StudyError, kept_images, run
from ilo.study.problems import (
    REGIONS,
    Problem,
    circulant,
    colourisation,
    deblurring,
    denoising,
    gaussian,
    inpainting,
    problem,
    region,
    superres,
)

__all__ = [
    "CELLS",
    "KEYS",
    "REGIONS",
    "Answer",
    "Method",
    "Problem",
    "StudyError",
    "circulant",
    "colourisation",
    "deblurring",
    "denoising",
    "gaussian",
    "inpainting",
    "kept_images",
    "problem",
    "region",
    "run",
    "superres",
]
