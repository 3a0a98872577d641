"""Measurement operators: how images become measurements, y = A(x) + noise."""

from ilo.operators.base import Composition, LinearOperator, Rows, spectral_norm
from ilo.operators.blind import UnknownBlur
from ilo.operators.camera import Camera, Chain, Function, chain
from ilo.operators.checks import dot_test, matrix
from ilo.operators.jpeg import JPEG
from ilo.operators.measurement import measure
from ilo.operators.pixels import Entries, Grayscale, Identity, Inpainting, RandomInpainting
from ilo.operators.sensing import GaussianSensing, PartialCirculant, PartialFourier
from ilo.operators.sensors import Exposure, FourierMagnitudes, Photons, Speckle
from ilo.operators.separable import Blur, Downsample, Separable, gaussian_kernel, motion_kernel

__all__ = [
    "JPEG",
    "Blur",
    "Camera",
    "Chain",
    "Composition",
    "Downsample",
    "Entries",
    "Exposure",
    "FourierMagnitudes",
    "Function",
    "GaussianSensing",
    "Grayscale",
    "Identity",
    "Inpainting",
    "LinearOperator",
    "PartialCirculant",
    "PartialFourier",
    "Photons",
    "RandomInpainting",
    "Rows",
    "Separable",
    "Speckle",
    "UnknownBlur",
    "chain",
    "dot_test",
    "gaussian_kernel",
    "matrix",
    "measure",
    "motion_kernel",
    "spectral_norm",
]
