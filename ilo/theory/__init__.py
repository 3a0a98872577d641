"""The theorem behind Intermediate Layer Optimization, as functions: what it asks for and what it promises.

G = G_2 ∘ G_1 with G_1: R^k → R^p L_1-Lipschitz and G_2: R^p → R^n L_2-Lipschitz; A in R^{m×n} has i.i.d. N(0, 1/m)
entries; K ≤ √p is free to choose and r_2 = Kδ/L_2. The *extended range* is G_1(B_2^k(r_1)) ⊕ B_1^p(r_2): what G_1 makes
of a ball of latents, plus an l1 ball. z̄ is the point of it whose image is nearest to the truth x, z̃ the point of it
whose measurements are nearest to y = Ax. If

    m = 1/(1−γ)² · Ω( k·log(L_1 L_2 r_1 / δ) + K²·log p )

then with probability at least 1 − exp(−Ω((1−γ)² m))

    ‖x − G_2(z̃)‖ ≤ (1 + 4/γ)·‖x − G_2(z̄)‖ + δ · log(4K)/γ · (√p/K) · log(√p/K).

Source: Daras, Dean, Jalal, Dimakis, "Intermediate Layer Optimization for Inverse Problems using Deep Generative
Models" (ICML 2021), in the form of the authors' slides.

- `bounds`: the theorem's formulas, and those of the methods it is to be compared with.
- `lipschitz`: L_1 and L_2 of a real generator, from above (certified) and from below (found).
- `srec`: points of the extended range, and how nearly a matrix keeps their distances (S-REC).
- `trials`: recoveries of such points, to set the formulas beside.
"""

from ilo.theory.bounds import (
    Setting,
    best_K,
    csgm_sample_complexity,
    error_bound,
    extended_radius,
    failure_probability,
    log_covering_number_l1_ball,
    sample_complexity,
    unconstrained_sample_complexity,
)
from ilo.theory.lipschitz import lipschitz_lower_bound, lipschitz_upper_bound
from ilo.theory.srec import sample_extended_range, srec_constant, srec_ratios
from ilo.theory.trials import Targets, own_matrices, recovery_trials, transition_point

__all__ = [
    "Setting",
    "Targets",
    "best_K",
    "csgm_sample_complexity",
    "error_bound",
    "extended_radius",
    "failure_probability",
    "lipschitz_lower_bound",
    "lipschitz_upper_bound",
    "log_covering_number_l1_ball",
    "own_matrices",
    "recovery_trials",
    "sample_complexity",
    "sample_extended_range",
    "srec_constant",
    "srec_ratios",
    "transition_point",
    "unconstrained_sample_complexity",
]
