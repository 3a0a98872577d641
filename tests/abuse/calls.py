"""Bad calls: every argument of the public API in turn takes values of the wrong kind; all others are right.

A call behaves that raises TypeError, ValueError, OSError or ImportError with a message that names the argument. The
table is also a test (tests/test_calls.py). `python -m tests.abuse.calls` runs it alone, with random mixes besides.
"""

import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import ilo
from ilo import baselines, generators, images, metrics, operators, study, theory
from ilo.generators import Generator
from ilo.rng import normal, stream
from ilo.solver.summary import COLUMNS
from ilo.solver.whitened import PriorRound

from . import REFUSED, WORKED, Trial
from .alone import alone

NAN, INF = float("nan"), float("inf")
SHAPE = (3, 12, 12)
REFUSALS = (TypeError, ValueError, OSError, ImportError)


class Odd:
    """An object that is of no use."""


# Values that are wrong for an argument of a kind.
KINDS: dict[str, Callable[[], list[Any]]] = {
    "count": lambda: [0, -1, 1.5, "3", True, None, NAN, [1], np.array([1, 2]), Odd()],
    "index": lambda: [-1, 1.5, "3", True, None, NAN, [1], Odd()],
    "positive": lambda: [0, -1, NAN, INF, -INF, "1", None, [1.0], torch.ones(2), True, 1j, Odd()],
    "noise": lambda: [-1, NAN, INF, "1", None, [1.0], torch.ones(2), 1j, Odd()],
    "number": lambda: [NAN, INF, "1", None, [1.0], torch.ones(2), 1j, Odd()],
    "probability": lambda: [0, 1, -0.5, 1.5, NAN, INF, "1", None, [0.5], 1j, Odd()],
    "fraction": lambda: [0, -0.5, 1.5, NAN, INF, "1", None, [0.5], 1j, Odd()],
    "radius": lambda: [-1, NAN, "1", [1.0], torch.tensor([-1.0, 1.0]), torch.tensor([NAN, 1.0]), 1j, Odd()],
    "layer": lambda: [-1, 99, 1.5, "1", True, NAN, [1], Odd()],
    "images": lambda: [
        None,
        "face.png",
        [1.0],
        np.zeros((1, *SHAPE)),
        torch.zeros(SHAPE),
        torch.zeros(2, *SHAPE, dtype=torch.uint8),
        torch.full((2, *SHAPE), NAN),
        torch.full((2, *SHAPE), 200.0),
        torch.zeros(0, *SHAPE),
        Odd(),
    ],
    "measurements": lambda: [
        None,
        "y.png",
        [1.0],
        np.zeros((1, *SHAPE)),
        torch.tensor(1.0),
        torch.zeros(2, *SHAPE, dtype=torch.int64),
        torch.full((2, *SHAPE), NAN),
        torch.zeros(2, 5),
        torch.zeros(0, *SHAPE),
        torch.zeros(2, *SHAPE, dtype=torch.cfloat),
        Odd(),
    ],
    "shape": lambda: [
        None,
        5,
        "abc",
        (12, 12),
        (3, 0, 12),
        (3, -1, 12),
        (3, 12.5, 12),
        (3, True, 12),
        (3, NAN, 2),
        [],
        Odd(),
    ],
    "rng": lambda: [-1, 1.5, "1", True, NAN, Odd(), {}],
    "generator": lambda: [None, 3, "dcgan", nn.Linear(2, 2), Odd()],
    "operator": lambda: [None, 3, "inpaint", Odd()],
    "callable": lambda: [None, 3, "f", Odd()],
    "choice": lambda: [None, 3, "nonsense", "", True, ["bicubic"], Odd()],
    "tensor": lambda: [
        None,
        3,
        "x",
        [1.0],
        np.zeros((2, 5)),
        torch.zeros(2, 5, dtype=torch.int64),
        torch.tensor(1.0),
        Odd(),
    ],
    "state": lambda: [
        3,
        "x",
        [],
        {},
        {"features": 3},
        {"nothing": torch.zeros(2, 4)},
        {"features": torch.zeros(2, 5)},
        Odd(),
    ],
    "quantity": lambda: [NAN, INF, -1.0, "one", None, Odd()],
    "path": lambda: ["no/such/file", 3, None, Odd()],
    "mapping": lambda: [None, 3, "x", {}, Odd()],
    "index tensor": lambda: [
        None,
        3,
        "x",
        [],
        [0.5],
        [-1],
        [10**6],
        [1, 1],
        torch.zeros(2, 2, dtype=torch.int64),
        [True],
        Odd(),
    ],
    "mask": lambda: [None, 3, "x", torch.zeros(12, 12), torch.full((12, 12), 7), torch.ones(3, 12, 12), [], Odd()],
    "kernel": lambda: ["x", torch.zeros(3, 3), torch.ones(2, 2), torch.full((3, 3), NAN), torch.ones(3), 3, Odd()],
}
# What a message may call an argument, besides its own name.
ALIASES = {
    "A": ("operator", "A ", "Downsample"),
    "y": ("measurement", "y "),
    "G": ("generator", "G "),
    "x": ("image", "tensor", "points", "x "),
    "truth": ("image", "truth"),
    "keep": ("fraction", "keep"),
    "start": ("layer", "start"),
    "stop": ("layer", "stop"),
    "index": ("row", "index", "ind"),
    "path": ("file", "image", "suffix", "result", "checkpoint", "path"),
    "name": ("photo", "generator", "region", "task", "name", "choose"),
    "folder": ("folder",),
    "mask": ("mask",),
    "m": ("m ", "m=", "measurements"),
    "points": ("points", "state"),
    "state": ("state", "tensor"),
    "i": ("layer",),
    "n": ("n ",),
    "shape": ("shape", "C, H and W"),
    "latent_shape": ("latent_shape",),
    "task": ("task",),
    "level": (),
    "rounds": ("rounds", "round"),
    "images": ("image",),
    "prior": ("prior",),
    "weight": ("weight",),
    "kernel": ("kernel",),
    "problems": ("problem",),
    "methods": ("method",),
    "setting": ("setting",),
}


@cache
def generator() -> Generator:
    """Three layers, images of 12×12."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(4, 20),
            nn.LeakyReLU(0.2),
            nn.Linear(20, 40),
            nn.LeakyReLU(0.2),
            nn.Linear(40, 432),
            nn.Tanh(),
            nn.Unflatten(1, SHAPE),
        )
    return Generator.from_sequential(model, cuts=(2, 4), latent_shape=(4,))


@cache
def folder() -> Path:
    place = Path(tempfile.mkdtemp(prefix="ilo-abuse-"))
    images.write_image(place / "a.png", torch.zeros(SHAPE))
    return place


def back(A, y, *, G, rng, noise):
    return A.adjoint(y).clamp(-1, 1)


def table() -> dict[str, tuple[Callable, dict[str, Any], dict[str, str]]]:
    """name -> (function, arguments that are right, argument -> kind of those that are to be wrong)."""
    G = generator()
    x = G(G.sample(2, 0)).detach()
    A = operators.Identity(SHAPE)
    y = A(x)
    sensing = operators.GaussianSensing(SHAPE, m=20)
    small = operators.Downsample(SHAPE, factor=2)
    first = [ilo.Round(0, 2)]
    setting = theory.Setting(k=4, p=20, L1=2.0, L2=2.0, r1=3.0)
    recovery = {"G": G, "A": A, "y": y, "rounds": first, "rng": 0, "restarts": 1, "progress": False}
    flat = torch.rand(2, 5)
    prior = ilo.feature_prior(G, 1, samples=8, rank=2)
    rows = {
        "Round": (
            ilo.Round,
            {"layer": 0, "steps": 2, "lr": 0.1, "radius": 1.0},
            {"layer": "index", "steps": "count", "lr": "positive", "radius": "radius"},
        ),
        "JointRound": (
            ilo.JointRound,
            {"layer": 1, "steps": 2, "radius": 1.0, "r1": 1.0, "lr_deviation": 0.1},
            {"layer": "index", "steps": "count", "radius": "radius", "r1": "positive"},
        ),
        "AlternatingRound": (
            ilo.AlternatingRound,
            {"layer": 1, "steps": 2, "radius": 1.0, "r1": 1.0, "every": 1, "range_steps": 1, "range_lr": 0.1},
            {"every": "count", "range_steps": "count", "range_lr": "positive", "r1": "positive"},
        ),
        "PriorRound": (
            PriorRound,
            {"prior": prior, "steps": 2, "lr": 0.1},
            {"prior": "mapping", "steps": "count", "lr": "positive"},
        ),
        "Auto": (
            ilo.Auto,
            {"budget": 20, "samples": 2, "held_out": 0.1, "noise": 0.1, "draws": 2},
            {"budget": "count", "samples": "count", "held_out": "probability", "draws": "count"},
        ),
        "recover": (
            ilo.recover,
            recovery,
            {
                "G": "generator",
                "A": "operator",
                "y": "measurements",
                "rounds": "mapping",
                "rng": "rng",
                "restarts": "count",
                "start": "state",
                "objective": "operator",
                "callback": "operator",
            },
        ),
        "recover auto": (
            ilo.recover,
            {**recovery, "rounds": ilo.Auto(budget=12, samples=2)},
            {"y": "measurements", "rng": "rng"},
        ),
        "paper_rounds": (ilo.paper_rounds, {"G": G, "radius": 10.0}, {"G": "generator", "radius": "radius"}),
        "csgm_rounds": (ilo.csgm_rounds, {"G": G}, {"G": "generator"}),
        "release_rounds": (ilo.release_rounds, {"G": G}, {"G": "generator"}),
        "linear_start": (
            ilo.linear_start,
            {"G": G, "A": A, "y": y, "restarts": 1, "rng": 0, "noise": 0.1},
            {
                "G": "generator",
                "A": "callable",
                "y": "measurements",
                "restarts": "count",
                "rng": "rng",
                "noise": "noise",
            },
        ),
        "feature_prior": (
            ilo.feature_prior,
            {"G": G, "layer": 1, "samples": 8, "rank": 2, "rng": 0, "batch": 4},
            {"G": "generator", "layer": "layer", "samples": "count", "rank": "count", "rng": "rng", "batch": "count"},
        ),
        "SquaredError": (ilo.SquaredError, {"A": A, "y": y}, {"A": "callable", "y": "tensor"}),
        "DeadZone": (ilo.DeadZone, {"A": A, "y": y, "width": 0.1}, {"A": "callable", "y": "tensor", "width": "noise"}),
        "SquaredNorm": (ilo.SquaredNorm, {"name": "features"}, {}),
        "ClassScore": (
            ilo.ClassScore,
            {"classifier": nn.Flatten(), "target": 0, "views": 1, "crop": 0.8, "noise": 0.1, "rng": 0},
            {"classifier": "callable", "views": "index", "crop": "fraction", "noise": "noise", "rng": "rng"},
        ),
        "AutoResult.interval": (_interval, {"level": 0.9}, {"level": "probability"}),
        "AutoResult.summary": (_summary, {"problem": 0}, {"problem": "layer"}),
        "load_result": (ilo.load_result, {"path": folder() / "a.png"}, {"path": "path"}),
        "Generator.sample": (G.sample, {"n": 2, "rng": 0}, {"n": "count", "rng": "rng"}),
        "Generator.run": (
            G.run,
            {"state": G.sample(1, 0), "start": 0, "stop": 2},
            {"state": "state", "start": "layer", "stop": "layer"},
        ),
        "Generator.split": (G.split, {"i": 1}, {"i": "layer"}),
        "from_sequential": (
            Generator.from_sequential,
            {
                "model": nn.Sequential(nn.Linear(4, 432), nn.Tanh(), nn.Unflatten(1, SHAPE)),
                "cuts": (1,),
                "latent_shape": (4,),
            },
            {"model": "generator", "cuts": "mapping", "latent_shape": "operator"},
        ),
        "generators.load": (
            generators.load,
            {"name_or_path": "dcgan-digiface64", "device": "cpu", "dtype": torch.float32},
            {"device": "choice", "dtype": "choice"},
        ),
        "peak_memory": (
            generators.peak_memory,
            {"G": G, "batch": 1, "start": 0},
            {"G": "generator", "batch": "count", "start": "layer"},
        ),
        "economical": (generators.economical, {"G": G}, {"G": "generator"}),
        "check_images": (images.check_images, {"x": x}, {"x": "images"}),
        "read_image": (
            images.read_image,
            {"path": folder() / "a.png", "size": 8, "crop": (0, 0, 4, 4)},
            {"path": "path", "crop": "shape"},
        ),
        "read_image size": (images.read_image, {"path": folder() / "a.png", "size": 8}, {"size": "count"}),
        "read_folder": (images.read_folder, {"folder": folder(), "size": 8}, {"folder": "path", "size": "count"}),
        "write_image": (images.write_image, {"path": folder() / "b.png", "image": x[0]}, {"image": "images"}),
        "sample_photo": (images.sample_photo, {"name": "moon", "size": 8}, {"name": "choice", "size": "count"}),
        "astronaut_face": (images.astronaut_face, {"size": 8}, {"size": "count"}),
        "rng.stream": (stream, {"rng": 0, "purpose": "mask"}, {"rng": "rng", "purpose": "choice"}),
        "rng.normal": (
            normal,
            {"rng": 0, "n": 2, "shape": (3,), "purpose": "mask"},
            {"rng": "rng", "n": "count", "purpose": "choice"},
        ),
        "Identity": (operators.Identity, {"shape": SHAPE}, {"shape": "shape"}),
        "Entries": (operators.Entries, {"shape": SHAPE, "index": [0, 1]}, {"shape": "shape", "index": "index tensor"}),
        "Inpainting": (
            operators.Inpainting,
            {"mask": torch.ones(12, 12), "channels": 3},
            {"mask": "mask", "channels": "count"},
        ),
        "RandomInpainting": (
            operators.RandomInpainting,
            {"shape": SHAPE, "keep": 0.5, "rng": 0},
            {"shape": "shape", "keep": "fraction", "rng": "rng"},
        ),
        "Grayscale": (operators.Grayscale, {"shape": SHAPE}, {"shape": "shape"}),
        "GaussianSensing": (
            operators.GaussianSensing,
            {"shape": SHAPE, "m": 5, "rng": 0},
            {"shape": "shape", "m": "count", "rng": "rng"},
        ),
        "PartialCirculant": (
            operators.PartialCirculant,
            {"shape": SHAPE, "m": 5, "rng": 0},
            {"shape": "shape", "m": "count", "rng": "rng"},
        ),
        "PartialFourier": (
            operators.PartialFourier,
            {"shape": SHAPE, "m": 5, "rng": 0, "center": 1},
            {"shape": "shape", "m": "count", "rng": "rng", "center": "index"},
        ),
        "Downsample": (
            operators.Downsample,
            {"shape": SHAPE, "factor": 2, "kernel": "box"},
            {"shape": "shape", "factor": "count", "kernel": "choice"},
        ),
        "Blur": (operators.Blur, {"shape": SHAPE, "sigma": 1.0}, {"shape": "shape"}),
        "Blur sigma": (lambda sigma: operators.Blur(SHAPE, sigma=sigma), {"sigma": 1.0}, {"sigma": "positive"}),
        "Blur kernel": (
            lambda kernel: operators.Blur(SHAPE, kernel=kernel),
            {"kernel": torch.ones(3, 3)},
            {"kernel": "kernel"},
        ),
        "gaussian_kernel": (operators.gaussian_kernel, {"sigma": 1.0}, {"sigma": "positive"}),
        "motion_kernel": (
            operators.motion_kernel,
            {"length": 3, "angle": 1.0},
            {"length": "positive", "angle": "number"},
        ),
        "operator forward": (sensing, {"x": x}, {"x": "tensor"}),
        "operator adjoint": (sensing.adjoint, {"y": sensing(x)}, {"y": "measurements"}),
        "operator rows": (sensing.rows, {"index": [0, 1]}, {"index": "index tensor"}),
        "operator split": (sensing.split, {"fraction": 0.5, "rng": 0}, {"fraction": "probability", "rng": "rng"}),
        "operator picture": (small.picture, {"y": small(x)}, {"y": "tensor"}),
        "spectral_norm": (
            operators.spectral_norm,
            {"A": A, "tolerance": 0.1, "max_steps": 2},
            {"A": "operator", "tolerance": "positive", "max_steps": "count"},
        ),
        "matrix": (operators.matrix, {"A": A, "batch": 256}, {"A": "operator", "batch": "count"}),
        "dot_test": (operators.dot_test, {"A": A, "rng": 0}, {"A": "operator", "rng": "rng"}),
        "measure": (
            operators.measure,
            {"A": A, "x": x, "noise": 0.1, "rng": 0},
            {"A": "callable", "x": "images", "noise": "noise", "rng": "rng"},
        ),
        "csgm": (
            baselines.csgm,
            {"G": G, "A": A, "y": y, "restarts": 1, "steps": 1, "lr": 0.1, "penalty": 0.1, "progress": False},
            {
                "G": "generator",
                "A": "operator",
                "y": "measurements",
                "restarts": "count",
                "steps": "count",
                "lr": "positive",
                "penalty": "noise",
            },
        ),
        "pulse": (
            baselines.pulse,
            {"G": G, "A": A, "y": y, "restarts": 1, "steps": 1, "lr": 0.1, "geocross": 0.0, "progress": False},
            {"G": "generator", "steps": "count", "lr": "positive", "geocross": "noise"},
        ),
        "bicubic": (baselines.bicubic, {"A": small, "y": small(x)}, {"A": "operator", "y": "measurements"}),
        "smooth_field": (
            baselines.smooth_field,
            {"G": G, "A": A, "y": y, "noise": 0.1},
            {"G": "generator", "A": "operator", "y": "measurements", "noise": "noise"},
        ),
        "column_scale": (baselines.column_scale, {"A": A}, {"A": "operator"}),
        "default_weight": (
            baselines.default_weight,
            {"method": "lasso_dct", "A": A, "noise": 0.1},
            {"method": "choice", "A": "operator", "noise": "noise"},
        ),
        "deep_decoder": (
            baselines.deep_decoder,
            {"A": A, "y": y, "width": 2, "levels": 1, "steps": 1, "lr": 0.1, "rng": 0, "shape": SHAPE},
            {
                "A": "callable",
                "y": "measurements",
                "width": "count",
                "levels": "count",
                "steps": "count",
                "lr": "positive",
                "rng": "rng",
                "shape": "shape",
            },
        ),
        "variation": (baselines.variation, {"x": x}, {"x": "tensor"}),
        "weights_of": (
            baselines.weights_of,
            {"shape": SHAPE, "width": 2, "levels": 1},
            {"shape": "shape", "width": "count", "levels": "count"},
        ),
        "wavelet_transform": (
            baselines.wavelet_transform,
            {"height": 8, "width": 8, "wavelet": "haar"},
            {"height": "count", "width": "count", "wavelet": "choice"},
        ),
        "cosine_transform": (
            baselines.cosine_transform,
            {"height": 8, "width": 8},
            {"height": "count", "width": "count"},
        ),
        "lipschitz_upper_bound": (
            theory.lipschitz_upper_bound,
            {"G": G, "start": 0, "stop": 1},
            {"G": "generator", "start": "layer", "stop": "layer"},
        ),
        "lipschitz_lower_bound": (
            theory.lipschitz_lower_bound,
            {"G": G, "start": 0, "stop": 1, "n": 1, "iterations": 1, "rng": 0},
            {
                "G": "generator",
                "start": "layer",
                "stop": "layer",
                "n": "count",
                "iterations": "count",
                "rng": "rng",
                "points": "state",
            },
        ),
        "sample_extended_range": (
            theory.sample_extended_range,
            {"G": G, "layer": 1, "n": 2, "r1": 1.0, "radius": 1.0, "rng": 0},
            {"G": "generator", "layer": "layer", "n": "count", "r1": "positive", "radius": "noise", "rng": "rng"},
        ),
        "srec_constant": (
            theory.srec_constant,
            {"A": A, "points": x, "delta": 0.1},
            {"A": "callable", "points": "tensor", "delta": "noise"},
        ),
        "srec_ratios": (theory.srec_ratios, {"A": A, "points": x}, {"A": "callable", "points": "tensor"}),
        "transition_point": (
            theory.transition_point,
            {"m": [1, 2, 3, 4], "success": [False, False, True, True]},
            {"m": "callable", "success": "callable"},
        ),
        "Setting": (
            theory.Setting,
            {"k": 4, "p": 20, "L1": 2.0, "L2": 2.0, "r1": 3.0},
            dict.fromkeys(("k", "p", "L1", "L2", "r1"), "quantity"),
        ),
        "sample_complexity": (
            theory.sample_complexity,
            {"setting": setting, "K": 2.0, "delta": 0.1, "gamma": 0.5, "constant": 1.0},
            {"setting": "callable", **dict.fromkeys(("K", "delta", "gamma", "constant"), "quantity")},
        ),
        "error_bound": (
            theory.error_bound,
            {"representation_error": 0.1, "p": 20, "K": 2.0, "delta": 0.1, "gamma": 0.5},
            dict.fromkeys(("representation_error", "p", "K", "delta", "gamma"), "quantity"),
        ),
        "best_K": (
            theory.best_K,
            {"setting": setting, "m": 100, "delta": 0.1, "gamma": 0.5},
            {"setting": "callable", **dict.fromkeys(("m", "delta", "gamma"), "quantity")},
        ),
        "csgm_sample_complexity": (
            theory.csgm_sample_complexity,
            {"k": 4, "L": 2.0, "r": 3.0, "delta": 0.1},
            dict.fromkeys(("k", "L", "r", "delta", "constant"), "quantity"),
        ),
        "extended_radius": (
            theory.extended_radius,
            {"K": 2.0, "delta": 0.1, "L2": 2.0},
            dict.fromkeys(("K", "delta", "L2"), "quantity"),
        ),
        "failure_probability": (
            theory.failure_probability,
            {"m": 10, "gamma": 0.5},
            dict.fromkeys(("m", "gamma", "constant"), "quantity"),
        ),
        "log_covering_number_l1_ball": (
            theory.log_covering_number_l1_ball,
            {"p": 20, "radius": 2.0, "eps": 0.1},
            dict.fromkeys(("p", "radius", "eps"), "quantity"),
        ),
        "unconstrained_sample_complexity": (
            theory.unconstrained_sample_complexity,
            {"p": 20, "L2": 2.0, "r": 3.0, "delta": 0.1},
            dict.fromkeys(("p", "L2", "r", "delta", "constant"), "quantity"),
        ),
        "study.circulant": (study.circulant, {"m": 10, "noise": 0.1}, {"noise": "noise"}),
        "study.colourisation": (study.colourisation, {"noise": 0.1}, {"noise": "noise"}),
        "latent_rounds": (ilo.latent_rounds, {"G": G}, {"G": "generator"}),
        "study.problem": (study.problem, {"task": "inpaint", "level": 0.1, "noise": 0.1}, {"task": "choice"}),
        "study.inpainting": (study.inpainting, {"keep": 0.5, "noise": 0.1}, {"keep": "fraction", "noise": "noise"}),
        "study.region": (study.region, {"name": "eyes", "noise": 0.1}, {"name": "choice", "noise": "noise"}),
        "study.gaussian": (study.gaussian, {"fraction": 0.1, "noise": 0.1}, {"fraction": "fraction", "noise": "noise"}),
        "study.superres": (
            study.superres,
            {"factor": 2, "kernel": "box", "noise": 0.1},
            {"factor": "count", "kernel": "choice", "noise": "noise"},
        ),
        "study.denoising": (study.denoising, {"noise": 0.1}, {"noise": "noise"}),
        "study.deblurring": (study.deblurring, {"width": 2.0, "noise": 0.1}, {"width": "positive", "noise": "noise"}),
        "study.run": (
            study.run,
            {
                "images": {"a": x[0]},
                "problems": [study.inpainting(0.5)],
                "methods": {"b": back},
                "G": None,
                "folder": folder() / "cells",
                "progress": False,
                "lpips": False,
                "seeds": [0],
                "batch": 1,
            },
            {
                "images": "mapping",
                "problems": "mapping",
                "methods": "mapping",
                "G": "index",
                "batch": "count",
                "seeds": "operator",
            },
        ),
        "near_range_faces": (
            study.near_range_faces,
            {"G": G, "n": 1, "rng": 0, "layer": 1, "entries": 2, "radius": 1.0},
            {"G": "generator", "n": "count", "rng": "rng", "layer": "layer", "entries": "count", "radius": "noise"},
        ),
    }
    for name in ("project_l1_ball", "project_l2_ball", "project_sphere"):
        rows[name] = (
            getattr(ilo, name),
            {"x": flat, "radius": 1.0},
            {"x": "tensor", "radius": "radius", "center": "tensor"},
        )
    for name in ("lasso_dct", "lasso_wavelet", "total_variation"):
        right = {"A": A, "y": y, "noise": 0.1, "steps": 1}
        wrong = {"A": "operator", "y": "measurements", "noise": "noise", "steps": "count", "weight": "noise"}
        rows[name] = (getattr(baselines, name), right, wrong)
    for name in ("mse", "psnr", "ssim", "evaluate"):
        right = {"images": x, "truth": x.flip(0)} | ({"lpips": False} if name == "evaluate" else {})
        rows[f"metrics.{name}"] = (getattr(metrics, name), right, {"images": "images", "truth": "images"})
    return rows


# Values that an argument takes, though its kind's list has them among the wrong ones.
FINE = {
    ("read_image", "crop", "None"),
    ("read_image size", "size", "None"),
    ("rng.normal", "n", "0"),
    ("write_image", "image", "Tensor(3, 12, 12) torch.float32 [0.0]"),
    ("lasso_dct", "weight", "Tensor(2,) torch.float32 [1.0]"),
    ("lasso_wavelet", "weight", "Tensor(2,) torch.float32 [1.0]"),
    ("total_variation", "weight", "Tensor(2,) torch.float32 [1.0]"),
    ("recover", "objective", "None"),
    ("recover", "callback", "None"),
    ("recover", "start", "None"),
    ("linear_start", "noise", "None"),
    ("project_l1_ball", "center", "None"),
    ("project_l2_ball", "center", "None"),
    ("project_sphere", "center", "None"),
    ("lasso_dct", "weight", "None"),
    ("lasso_wavelet", "weight", "None"),
    ("total_variation", "weight", "None"),
    ("study.run", "G", "None"),
    ("generators.load", "device", "None"),
    ("generators.load", "dtype", "None"),
    ("lasso_dct", "weight", "[1.0]"),
    ("deep_decoder", "shape", "None"),
    ("lasso_wavelet", "weight", "[1.0]"),
    ("total_variation", "weight", "[1.0]"),
    ("srec_constant", "points", "None"),
}


def _interval(level):
    return ilo.AutoResult.interval(_Spread(), level)


def _summary(problem):
    return ilo.AutoResult.summary(_Spread(), problem)


class _Spread:
    images = torch.zeros(1, *SHAPE)
    spread = torch.zeros(1, *SHAPE)
    status = ("converged",)
    evidence = pd.DataFrame({name: [0.0] for name in COLUMNS})


def outcome(function: Callable, right: dict[str, Any], argument: str, value: Any) -> str | None:
    """What is wrong with how a call answers to a wrong argument; None: nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(**{**right, argument: value})
    except REFUSALS as error:
        words = (argument, *ALIASES.get(argument, ()))
        if any(word.lower() in str(error).lower() for word in words):
            return None
        return f"{type(error).__name__} does not name {argument}: {str(error)[:150]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:150]}"
    return "accepted in silence"


def told(value: Any) -> str:
    if isinstance(value, Odd):
        return "an odd object"
    text = (
        repr(value)
        if not isinstance(value, (torch.Tensor, np.ndarray))
        else f"{type(value).__name__}{tuple(value.shape)}"
    )
    return text if not isinstance(value, torch.Tensor) else f"{text} {value.dtype} {value.flatten()[:1].tolist()}"


def trials(rng: random.Random) -> Iterator[Trial]:
    """Every row of the table, then random mixes of wrong values for two arguments at once."""
    rows = table()
    for name, (function, right, _) in rows.items():
        if name in ("load_result", "generators.load"):
            continue
        try:
            function(**right)
        except Exception as error:
            yield Trial("calls, all right", name, f"{type(error).__name__}: {str(error)[:150]}")
        else:
            yield Trial("calls, all right", name, WORKED)
    for name, argument, value in bad_calls():
        function, right, _ = rows[name]
        problem = outcome(function, right, argument, value)
        yield Trial("calls, one argument wrong", f"{name}({argument}={told(value)})", problem or REFUSED)
    several = [name for name, (_, _, wrong) in rows.items() if len(wrong) > 1]
    for _ in range(400):
        name = rng.choice(several)
        function, right, wrong = rows[name]
        one, two = rng.sample(sorted(wrong), 2)
        values = {argument: rng.choice(KINDS[wrong[argument]]()) for argument in (one, two)}
        if any((name, argument, told(value)) in FINE for argument, value in values.items()):
            continue
        problem = outcome(function, {**right, one: values[one]}, two, values[two])
        if problem is not None and "does not name" in problem:
            problem = None  # it named the other
        words = ", ".join(f"{k}={told(v)}" for k, v in values.items())
        yield Trial("calls, two arguments wrong", f"{name}({words})", problem or REFUSED)


def bad_calls() -> Iterator[tuple[str, str, Any]]:
    """Yield (row of the table, argument, wrong value)."""
    for name, (_, _, wrong) in table().items():
        for argument, kind in wrong.items():
            for value in KINDS[kind]():
                if (name, argument, told(value)) not in FINE:
                    yield name, argument, value


if __name__ == "__main__":
    sys.exit(alone(trials))
