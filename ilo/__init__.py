"""ilo: Intermediate Layer Optimization for inverse problems with deep generative models (ICML 2021)."""

from ilo import baselines, generators, operators
from ilo.auto.plan import Auto
from ilo.recovery import recover
from ilo.solver.extended_range import AlternatingRound, JointRound
from ilo.solver.objectives import (
    ClassScore,
    DeadZone,
    GeoCross,
    Objective,
    Perceptual,
    SquaredError,
    SquaredNorm,
)
from ilo.solver.optimisers import adam, sample_adam
from ilo.solver.projections import project_l1_ball, project_l2_ball, project_sphere
from ilo.solver.result import AutoResult, Result, RoundsResult, load_result
from ilo.solver.rounds import Round, SearchRound, constant, keep_norm, ramp
from ilo.solver.schedules import csgm_rounds, default_rounds, release_rounds
from ilo.solver.whitened import FeaturePrior, PriorRound, feature_prior

__all__ = [
    "AlternatingRound",
    "Auto",
    "AutoResult",
    "ClassScore",
    "DeadZone",
    "FeaturePrior",
    "GeoCross",
    "JointRound",
    "Objective",
    "Perceptual",
    "PriorRound",
    "Result",
    "Round",
    "RoundsResult",
    "SearchRound",
    "SquaredError",
    "SquaredNorm",
    "adam",
    "baselines",
    "constant",
    "csgm_rounds",
    "default_rounds",
    "feature_prior",
    "generators",
    "keep_norm",
    "load_result",
    "operators",
    "project_l1_ball",
    "project_l2_ball",
    "project_sphere",
    "ramp",
    "recover",
    "release_rounds",
    "sample_adam",
]
