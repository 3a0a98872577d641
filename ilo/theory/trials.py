"""Recoveries of known points of the extended range, by the thousand: what the theorem is measured by.

How many measurements an l1 ball costs depends on where in it the truth lies. A deviation of a few coordinates, or a
typical point of the ball, is cheap. The theorem's K²·log p pays for the dearest: K² equal coordinates that sum up to
the radius r_2 = K·δ/L_2. Their l2 norm is δ/L_2 whatever K, the resolution at which Maurey's lemma covers the ball,
and there are more of them the larger K is. These are the targets here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.optimize
import torch
from torch import Tensor

from ilo.checks import check_positive, shown
from ilo.generators.base import Generator
from ilo.recovery import recover
from ilo.rng import Rng, seed_of, stream
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
        g = stream(seed, "deviation", i)
        where = torch.randperm(dim, generator=g)[:nonzeros]
        vector[where] = (1 - 2 * torch.randint(2, (nonzeros,), generator=g)).double() / nonzeros
    return vectors


def own_matrices(image_shape: Sequence[int], m: int | Sequence[int], problems: int, rng: Rng) -> Operator:
    """Return an operator with an N(0, 1/m) matrix of its own for each problem of a batch: (B, C, H, W) -> (B, max m).

    It holds problems · max m · C·H·W numbers in float32: for small images. Matrix i is the same for any number of them.

    Args:
        m: measurements of each problem; one number for all, or one a problem: those with fewer measure zeros besides,
            whatever the image.

    Raises:
        ValueError: not one m a problem.
    """
    counts = [m] * problems if isinstance(m, int) else list(m)
    if len(counts) != problems:
        raise ValueError(f"m holds {len(counts)} numbers for {problems} problems: give one for all, or one a problem")
    n, seed = math.prod(image_shape), seed_of(rng)
    matrices = torch.zeros(problems, max(counts), n)
    for i, (matrix, rows) in enumerate(zip(matrices, counts, strict=True)):
        matrix[:rows] = torch.randn(rows, n, generator=stream(seed, "operator", i)) / math.sqrt(rows)
    return lambda images: torch.einsum("bmn,bn->bm", matrices.to(images), images.flatten(1))


@dataclass(frozen=True)
class Targets:
    """Known points of the extended range, `trials` for each K: x = G_2(G_1(z) + v), v at the radius r_2 = K·δ/L_2.

    z is uniform in B_2^k(r_1) and v has ⌈K²⌉ equal coordinates (see the module's text) with ‖v‖₁ = r_2: x lies in the
    extended range, so the theorem's representation error is zero. K: values from 1 to √p. delta, L2, r1: as in
    `ilo.theory.sample_complexity`. trials: trial i has the same z for every K.
    """

    K: Sequence[float]
    delta: float
    L2: float
    r1: float
    trials: int

    @property
    def radius(self) -> Tensor:
        """r_2 of each target, K by K: (len(K)·trials,)."""
        return torch.tensor([extended_radius(k, self.delta, self.L2) for k in self.K]).repeat_interleave(self.trials)

    @torch.no_grad()
    def draw(self, G: Generator, layer: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the images x and G_2(G_1(z)), (len(K)·trials, C, H, W) both."""
        seed = seed_of(rng)
        in_range = sample_extended_range(G, layer, 0.0, self.trials, self.r1, seed)
        [(name, features)] = in_range.items()
        p = features[0].numel()
        nonzeros = [min(math.ceil(k**2 * (1 - 1e-9)), p) for k in self.K]
        shapes = torch.cat([flat_deviations(self.trials, p, n, seed) for n in nonzeros])  # (problems, p)
        deviation = (self.radius[:, None] * shapes).to(features).view(-1, *features.shape[1:])
        plain = G(in_range, layer).repeat(len(self.K), 1, 1, 1)
        x = G({name: features.repeat(len(self.K), *[1] * (features.ndim - 1)) + deviation}, layer)
        return x, plain


def recovery_trials(
    G: Generator,
    layer: int,
    A: Operator,
    targets: Targets,
    *,
    rng: Rng,
    restarts: int = 4,
    search: Callable[[Tensor], SearchRound] | None = None,
) -> pd.DataFrame:
    """Recover known points of the extended range from their noiseless measurements, all as one batch.

    They are searched by CSGM (150 steps, with restarts), and from there by a round over the extended range.

    Args:
        G, layer: the generator and its cut; G_1 is layers 0, …, layer − 1. States of one tensor.
        A: operator for a batch of len(K)·trials images, such as `own_matrices` of that many problems.
        targets: what to recover.
        rng: seed or torch.Generator, of the targets and of the starting latents.
        restarts: starting latents of CSGM.
        search: radius (problems,) -> the round after CSGM. None: 400 steps of `ilo.JointRound`, at 0.05 for the latent
            and 0.1 for the deviation.

    Returns a DataFrame with one row per trial, K by K; l2 norms of images x or of measurements:
        K, trial;
        error: ‖x − x̃‖;
        csgm_error: the same before the last round;
        residual: ‖A(x̃) − A(x)‖. Near zero, the search has done what the theorem supposes of it, and what error is left
            is for want of measurements;
        deviation: ‖x − G_2(G_1(z))‖, the cost of ignoring v.
    """
    seed = seed_of(rng)
    x, plain = targets.draw(G, layer, seed)
    with torch.no_grad():
        y = A(x)
    csgm = Round(0, 150, constraint=lambda z, start: project_l2_ball(z, targets.r1))
    if search is None:
        last = JointRound(layer, 400, lr=0.05, radius=targets.radius, r1=targets.r1, lr_deviation=0.1)
    else:
        last = search(targets.radius)
    result = recover(G, A, y, rounds=[csgm, last], restarts=restarts, rng=seed, progress=False)
    norms = {
        "error": result.images - x,
        "csgm_error": result.rounds[0].images - x,
        "residual": A(result.images) - y,
        "deviation": plain - x,
    }
    columns = {key: value.flatten(1).norm(dim=1).double().cpu().numpy() for key, value in norms.items()}
    K, trial = np.repeat(targets.K, targets.trials), np.tile(np.arange(targets.trials), len(targets.K))
    return pd.DataFrame({"K": K, "trial": trial, **columns})


def transition_point(m: Sequence[float], success: Sequence[bool]) -> float:
    """Return the number of measurements at which trials succeed half the time.

    It is exp(c) of the logistic curve 1/(1 + exp(−s·(log m − c))) of greatest likelihood, with a weak prior that keeps
    s near 10 when the data say no more than "steep". NaN unless both outcomes occur.

    Args:
        m: number of measurements of each trial, positive.
        success: whether it succeeded.
    """
    for name, values in {"m": m, "success": success}.items():
        if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray, pd.Series)):
            raise TypeError(f"{name} must be a sequence, one value a trial, got {shown(values)}")
    if len(m) != len(success) or len(m) == 0:
        raise ValueError(f"m and success must hold one value a trial, got {len(m)} and {len(success)}")
    log_m = np.log([check_positive(value, "each of m") for value in m])
    success = np.asarray(success, dtype=bool)
    if success.all() or not success.any():
        return math.nan

    def loss(parameters: np.ndarray) -> float:
        center, log_steepness = parameters
        logits = np.exp(log_steepness) * (log_m - center)
        return np.logaddexp(0, np.where(success, -logits, logits)).sum() + (log_steepness - math.log(10)) ** 2 / 2

    start = [np.average(log_m), math.log(10)]
    return float(np.exp(scipy.optimize.minimize(loss, start, method="Nelder-Mead").x[0]))
