"""ilo: Intermediate Layer Optimization for inverse problems with deep generative models (ICML 2021).

`import ilo` loads nothing: a name's module is imported when the name is first used (PEP 562), so that ``ilo --help``
need not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

# What users call, and the module that each name comes from.
_HOMES = {
    "AlternatingRound": "ilo.solver.extended_range",
    "Auto": "ilo.auto.plan",
    "AutoResult": "ilo.solver.result",
    "ClassScore": "ilo.solver.objectives",
    "DeadZone": "ilo.solver.objectives",
    "FeaturePrior": "ilo.solver.whitened",
    "GeoCross": "ilo.solver.objectives",
    "JointRound": "ilo.solver.extended_range",
    "Objective": "ilo.solver.objectives",
    "Perceptual": "ilo.solver.objectives",
    "PriorRound": "ilo.solver.whitened",
    "Result": "ilo.solver.result",
    "Round": "ilo.solver.rounds",
    "RoundsResult": "ilo.solver.result",
    "SearchRound": "ilo.solver.rounds",
    "SquaredError": "ilo.solver.objectives",
    "SquaredNorm": "ilo.solver.objectives",
    "adam": "ilo.solver.optimisers",
    "constant": "ilo.solver.rounds",
    "csgm_rounds": "ilo.solver.schedules",
    "feature_prior": "ilo.solver.whitened",
    "flicker": "ilo.films",
    "keep_norm": "ilo.solver.rounds",
    "keep_norms": "ilo.solver.rounds",
    "latent_rounds": "ilo.solver.schedules",
    "lbfgs": "ilo.solver.lbfgs",
    "linear_start": "ilo.solver.linear_start",
    "load_result": "ilo.solver.result",
    "paper_rounds": "ilo.solver.schedules",
    "project_l1_ball": "ilo.solver.projections",
    "project_l2_ball": "ilo.solver.projections",
    "project_sphere": "ilo.solver.projections",
    "ramp": "ilo.solver.rounds",
    "recover": "ilo.recovery",
    "recover_frames": "ilo.films",
    "release_rounds": "ilo.solver.schedules",
    "sample_adam": "ilo.solver.optimisers",
    "whitened_rounds": "ilo.solver.schedules",
}
_ROOMS = ("baselines", "generators", "operators", "study", "theory")  # what `from ilo import *` brings too
_MODULES = (
    "arithmetic", "assets", "auto", "checks", "cli", "faces", "files", "films", "images", "index", "interop", "metrics",
    "perceptual", "plots", "profiles", "provenance", "publish", "report", "reproduce", "rng", "solver", "tolerances",
    "verify", "watched", "widget",
)  # fmt: skip

__all__ = [*_HOMES, *_ROOMS]

if TYPE_CHECKING:  # the same for editors, and for readers
    from ilo import arithmetic as arithmetic
    from ilo import assets as assets
    from ilo import auto as auto
    from ilo import baselines as baselines
    from ilo import checks as checks
    from ilo import cli as cli
    from ilo import faces as faces
    from ilo import files as files
    from ilo import films as films
    from ilo import generators as generators
    from ilo import images as images
    from ilo import index as index
    from ilo import interop as interop
    from ilo import metrics as metrics
    from ilo import operators as operators
    from ilo import perceptual as perceptual
    from ilo import plots as plots
    from ilo import profiles as profiles
    from ilo import provenance as provenance
    from ilo import publish as publish
    from ilo import report as report
    from ilo import reproduce as reproduce
    from ilo import rng as rng
    from ilo import solver as solver
    from ilo import study as study
    from ilo import theory as theory
    from ilo import tolerances as tolerances
    from ilo import verify as verify
    from ilo import watched as watched
    from ilo import widget as widget
    from ilo.auto.plan import Auto as Auto
    from ilo.films import flicker as flicker
    from ilo.films import recover_frames as recover_frames
    from ilo.recovery import recover as recover
    from ilo.solver.extended_range import AlternatingRound as AlternatingRound
    from ilo.solver.extended_range import JointRound as JointRound
    from ilo.solver.lbfgs import lbfgs as lbfgs
    from ilo.solver.linear_start import linear_start as linear_start
    from ilo.solver.objectives import ClassScore as ClassScore
    from ilo.solver.objectives import DeadZone as DeadZone
    from ilo.solver.objectives import GeoCross as GeoCross
    from ilo.solver.objectives import Objective as Objective
    from ilo.solver.objectives import Perceptual as Perceptual
    from ilo.solver.objectives import SquaredError as SquaredError
    from ilo.solver.objectives import SquaredNorm as SquaredNorm
    from ilo.solver.optimisers import adam as adam
    from ilo.solver.optimisers import sample_adam as sample_adam
    from ilo.solver.projections import project_l1_ball as project_l1_ball
    from ilo.solver.projections import project_l2_ball as project_l2_ball
    from ilo.solver.projections import project_sphere as project_sphere
    from ilo.solver.result import AutoResult as AutoResult
    from ilo.solver.result import Result as Result
    from ilo.solver.result import RoundsResult as RoundsResult
    from ilo.solver.result import load_result as load_result
    from ilo.solver.rounds import Round as Round
    from ilo.solver.rounds import SearchRound as SearchRound
    from ilo.solver.rounds import constant as constant
    from ilo.solver.rounds import keep_norm as keep_norm
    from ilo.solver.rounds import keep_norms as keep_norms
    from ilo.solver.rounds import ramp as ramp
    from ilo.solver.schedules import csgm_rounds as csgm_rounds
    from ilo.solver.schedules import latent_rounds as latent_rounds
    from ilo.solver.schedules import paper_rounds as paper_rounds
    from ilo.solver.schedules import release_rounds as release_rounds
    from ilo.solver.schedules import whitened_rounds as whitened_rounds
    from ilo.solver.whitened import FeaturePrior as FeaturePrior
    from ilo.solver.whitened import PriorRound as PriorRound
    from ilo.solver.whitened import feature_prior as feature_prior


def __getattr__(name: str) -> Any:
    """Import what `name` stands for, once: Python asks here only for what the module has not yet."""
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _ROOMS or name in _MODULES:
        value = importlib.import_module(f"ilo.{name}")
    else:
        raise AttributeError(f"module 'ilo' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
