"""Measurement operators: how images become measurements, y = A(x) + noise."""

from ilo.operators.base import Composition, LinearOperator, Rows, spectral_norm
from ilo.operators.checks import dot_test, matrix
from ilo.operators.measurement import measure
from ilo.operators.pixels import Entries, Grayscale, Identity, Inpainting, RandomInpainting
from ilo.operators.sensing import GaussianSensing, PartialCirculant, PartialFourier
from ilo.operators.separable import Blur, Downsample, Separable, gaussian_kernel, motion_kernel

__all__ = [
    "Blur",
    "Composition",
    "Downsample",
    "Entries",
    "GaussianSensing",
    "Grayscale",
    "Identity",
    "Inpainting",
    "LinearOperator",
    "PartialCirculant",
    "PartialFourier",
    "RandomInpainting",
    "Rows",
    "Separable",
    "dot_test",
    "gaussian_kernel",
    "matrix",
    "measure",
    "motion_kernel",
    "spectral_norm",
]
