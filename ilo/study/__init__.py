"""Grids of experiments: images × problems × methods × seeds become rows, kept as they are made."""

from ilo.study.brightness import brightness_of, slopes
from ilo.study.celeba import celeba_available, csgm_test_images
from ilo.study.cells import Answer, Method, Tried
from ilo.study.experiment import automatic_result, caption, compare, leaders, measured, measurements, pictures, summary
from ilo.study.grid import KEYS, Grid, StudyError, run
from ilo.study.methods import METHODS, methods_for, shortened
from ilo.study.problems import (
    ONE_A_TASK,
    PROBLEMS,
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
from ilo.study.store import kept_images, tried_settings
from ilo.study.subjects import Subjects, choose_subjects, near_range_faces

__all__ = [
    "KEYS",
    "METHODS",
    "ONE_A_TASK",
    "PROBLEMS",
    "REGIONS",
    "Answer",
    "Grid",
    "Method",
    "Problem",
    "StudyError",
    "Subjects",
    "Tried",
    "automatic_result",
    "brightness_of",
    "caption",
    "celeba_available",
    "choose_subjects",
    "circulant",
    "colourisation",
    "compare",
    "csgm_test_images",
    "deblurring",
    "denoising",
    "gaussian",
    "inpainting",
    "kept_images",
    "leaders",
    "measured",
    "measurements",
    "methods_for",
    "near_range_faces",
    "pictures",
    "problem",
    "region",
    "run",
    "shortened",
    "slopes",
    "summary",
    "superres",
    "tried_settings",
]
