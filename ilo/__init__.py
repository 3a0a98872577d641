"""ilo: Intermediate Layer Optimization for inverse problems with deep generative models (ICML 2021)."""

from ilo import baselines, generators, operators
from ilo.automatic import Auto
from ilo.extended_range import AlternatingRound, JointRound
from ilo.objectives import (
    ClassScore,
    DeadZone,
    GeoCross,
    Objective,
    Perceptual,
    SquaredError,
    SquaredNorm,
)
from ilo.optimisers import adam, sample_adam
from ilo.priors import FeaturePrior, PriorRound, feature_prior
from ilo.projections import project_l1_ball, project_l2_ball, project_sphere
from ilo.recover import recover
from ilo.result import Result, load_result
from ilo.rounds import Round, constant, keep_norm, ramp
from ilo.schedules import csgm_rounds, default_rounds, release_rounds

__all__ = [
    "AlternatingRound",
    "Auto",
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
