"""Recoveries of known points of the extended range, by the thousand: what the theorem is measured by.

How many measurements an l1 ball costs depends on where in it the truth lies. A deviation of a few coordinates, or a
typical point of the ball, is cheap. The theorem's K²·log p pays for the dearest: K² equal coordinates that sum up to
the radius r_2 = K·δ/L_2. Their l2 norm is δ/L_2 whatever K, the resolution at which Maurey's lemma covers the ball,
and there are more of them the larger K is. These are the targets here.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import scipy.optimize
import torch
from torch import Tensor

from ilo.generators.base import Generator
from ilo.recovery import recover
from ilo.rng import Rng, generator, seed_of
from ilo.solver.extended_range import AlternatingRound, JointRound
from ilo.solver.projections import project_l2_ball
from ilo.solver.rounds import Round
from ilo.theory.bounds import extended_radius
from ilo.theory.srec import sample_extended_range

Operator = Callable[[Tensor], Tensor]
SearchRound = Round | JointRound | AlternatingRound


def flat_deviations(n: int, dim: int, nonzeros: int, rng: Rng) -> Tensor:
    """Draw `n` vectors with `nonzeros` entries ±1/nonzeros, at random places and with random signs, the others zero.

    Shape (n, dim), float64, l1 norm 1. Sample i is the same for any n.
    """
    if not 1 <= nonzeros <= dim:
        raise ValueError(f"nonzeros must lie in 1 … {dim}, got {nonzeros}")
    seed = seed_of(rng)
    vectors = torch.zeros(n, dim, dtype=torch.float64)
    for i, vector in enumerate(vectors):
        stream = generator(seed, i)
        where = torch.randperm(dim, generator=stream)[:nonzeros]
        vector[where] = (1 - 2 * torch.randint(2, (nonzeros,), generator=stream)).double() / nonzeros
    return vectors


def own_matrices(image_shape: Sequence[int], m: int, problems: int, rng: Rng) -> Operator:
    """Return an operator with an N(0, 1/m) matrix of its own for each problem of a batch: (B, C, H, W) -> (B, m).

    It holds problems · m · C·H·W numbers in float32: for small images. Matrix i is the same for any number of them.
    """
    n, seed = math.prod(image_shape), seed_of(rng)
    matrices = torch.stack(
        [torch.randn(m, n, generator=generator(seed, i)) / math.sqrt(m) for i in range(problems)]
    )  # (B, m, n)
    return lambda images: torch.einsum("bmn,bn->bm", matrices.to(images), images.flatten(1))


def recovery_trials(
    G: Generator,
    layer: int,
    A: Operator,
    *,
    K: Sequence[float],
    delta: float,
    L2: float,
    r1: float,
    trials: int,
    rng: Rng,
    restarts: int = 4,
    search: Callable[[Tensor], SearchRound] | None = None,
) -> pd.DataFrame:
    """Recover known points of the extended range from their noiseless measurements, `trials` for each K, as one batch.

    The truth of a trial is x = G_2(G_1(z) + v) with z uniform in B_2^k(r_1) and v of ⌈K²⌉ equal coordinates (see the
    module's text), ‖v‖₁ = r_2 = K·δ/L_2: it lies in the extended range, so the theorem's representation error is zero.
    It is searched by CSGM (150 steps, with restarts), and from there by a round over the extended range.

    Args:
        G, layer: the generator and its cut; G_1 is layers 0, …, layer − 1. States of one tensor.
        A: operator for a batch of len(K)·trials images, such as `own_matrices` of that many problems.
        K: values from 1 to √p.
        delta, L2, r1: as in `ilo.theory.sample_complexity`; r_2 follows from them.
        trials: number of targets for each K. Trial i has the same z for every K.
        rng: seed or torch.Generator, of the targets and of the starting latents.
        restarts: starting latents of CSGM.
        search: radius (problems,) -> the round after CSGM. None: 400 steps of `ilo.JointRound`, at 0.05 for the latent
            and 0.1 for the deviation.

    Returns a DataFrame with a row a trial, K by K; l2 norms of images x or of measurements:
        K, trial;
        error: ‖x − x̃‖;
        csgm_error: the same before the last round;
        residual: ‖A(x̃) − A(x)‖. Near zero, the search has done what the theorem supposes of it, and what error is left
            is for want of measurements;
        deviation: ‖x − G_2(G_1(z))‖, the cost of ignoring v.
    """
    seeds = [seed_of(generator(seed_of(rng), purpose)) for purpose in range(3)]
    radius = torch.tensor([extended_radius(k, delta, L2) for k in K]).repeat_interleave(trials)  # (problems,)
    in_range = sample_extended_range(G, layer, 0.0, trials, r1, seeds[0])
    [(name, features)] = in_range.items()
    nonzeros = [min(math.ceil(k**2 * (1 - 1e-9)), features[0].numel()) for k in K]
    shapes = torch.cat([flat_deviations(trials, features[0].numel(), n, seeds[1]) for n in nonzeros])
    deviation = (radius[:, None] * shapes).to(features).view(-1, *features.shape[1:])
    with torch.no_grad():
        plain = G(in_range, layer).repeat(len(K), 1, 1, 1)  # (problems, C, H, W)
        x = G({name: features.repeat(len(K), *[1] * (features.ndim - 1)) + deviation}, layer)
        y = A(x)
    csgm = Round(0, 150, constraint=lambda z, start: project_l2_ball(z, r1))
    last = JointRound(layer, 400, lr=0.05, radius=radius, r1=r1, lr_deviation=0.1) if search is None else search(radius)
    result = recover(G, A, y, rounds=[csgm, last], restarts=restarts, rng=seeds[2], progress=False)
    norms = {
        "error": result.images - x,
        "csgm_error": result.rounds[0].images - x,
        "residual": A(result.images) - y,
        "deviation": plain - x,
    }
    columns = {key: value.flatten(1).norm(dim=1).double().cpu().numpy() for key, value in norms.items()}
    return pd.DataFrame({"K": np.repeat(K, trials), "trial": np.tile(np.arange(trials), len(K)), **columns})


def transition_point(m: Sequence[float], success: Sequence[bool]) -> float:
    """Return the number of measurements at which trials succeed half the time.

    It is exp(c) of the logistic curve 1/(1 + exp(−s·(log m − c))) of greatest likelihood, with a weak prior that keeps
    s near 10 when the data say no more than "steep". NaN unless both outcomes occur.

    Args:
        m: number of measurements of each trial, positive.
        success: whether it succeeded.
    """
    log_m, success = np.log(np.asarray(m, dtype=float)), np.asarray(success, dtype=bool)
    if success.all() or not success.any():
        return math.nan

    def loss(parameters: np.ndarray) -> float:
        center, log_steepness = parameters
        logits = np.exp(log_steepness) * (log_m - center)
        return np.logaddexp(0, np.where(success, -logits, logits)).sum() + (log_steepness - math.log(10)) ** 2 / 2

    start = [np.average(log_m), math.log(10)]
    return float(np.exp(scipy.optimize.minimize(loss, start, method="Nelder-Mead").x[0]))
