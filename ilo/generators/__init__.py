"""Layered generators: `load` one by name or file, or make one of your own with `Generator.from_sequential`."""

from ilo.generators.base import FeatureLayer, Generator, State
from ilo.generators.biggan_layers import biggan
from ilo.generators.checkpoints.read import convert, open_checkpoint
from ilo.generators.dcgan_layers import dcgan
from ilo.generators.decoder_layers import decoder
from ilo.generators.loading import load
from ilo.generators.memory import economical, memory_report, peak_memory
from ilo.generators.stylegan.build import stylegan2
from ilo.generators.stylegan.first import stylegan1
from ilo.generators.stylegan.random import random_stylegan2, random_stylegan3
from ilo.generators.stylegan.third import stylegan3

__all__ = [
    "FeatureLayer",
    "Generator",
    "State",
    "biggan",
    "convert",
    "dcgan",
    "decoder",
    "economical",
    "load",
    "memory_report",
    "open_checkpoint",
    "peak_memory",
    "random_stylegan2",
    "random_stylegan3",
    "stylegan1",
    "stylegan2",
    "stylegan3",
]
