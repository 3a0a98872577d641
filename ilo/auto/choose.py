"""Which candidate, and how large a deviation: chosen for each problem by measurements that are held out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from ilo.auto import holes
from ilo.auto.plan import Auto
from ilo.auto.smooth import Conditioner
from ilo.auto.walk import Candidate
from ilo.operators import Camera, LinearOperator

SCALES = (0.0, 0.1, 0.3, 1.0)  # of the deviation's variance, in units of the generator's own
DEFAULT_SCALE = 0.3
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # standard deviations tried where the noise is not given
NO_NOISE = 1e-3  # the smallest standard deviation that is told from none


@dataclass(frozen=True)
class Split:
    """The measurements to search by and those to judge by: rows of the operator, and (B, kept), (B, held).

    together: (held,), integers, equal for what errs alike: entries of a unit of measurement, or of a block.
    blocks: what is held out are blocks beside holes.
    """

    A: LinearOperator | Camera
    y: Tensor
    A_held: LinearOperator | Camera
    y_held: Tensor
    together: Tensor
    blocks: bool = False

    def scattered(self, fraction: float) -> "Split":
        """The measurements to search by, split once more: units drawn at random."""
        return _split(self.A, self.y, *self.A.split(fraction, 0))


@dataclass(frozen=True)
class Setting:
    """A choice for each problem: candidate (B,) and scale (B,), indices."""

    candidate: Tensor
    scale: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Pick from (candidates, scales, B, …) what each problem chose: (B, …)."""
        return values[self.candidate, self.scale, torch.arange(len(self.candidate), device=values.device)]


@dataclass(frozen=True)
class Judgement:
    """What every setting predicts of the measurements held out, and its squared errors.

    errors, predictions: (candidates, scales, B, held).
    """

    errors: Tensor
    predictions: Tensor

    def best(self) -> Setting:
        """The setting of least mean error."""
        means = self.errors.mean(-1)  # (candidates, scales, B)
        return Setting(*torch.unravel_index(means.flatten(0, 1).argmin(0), means.shape[:2]))


def hold_out(A: Callable[[Tensor], Tensor], y: Tensor, settings: Auto) -> Split | None:
    """Hold a part of the measurements out; None where that cannot be done: no operator or camera, or too few.

    What is held out looks like what is missing: units drawn at random, or where there are holes blocks beside them
    (`ilo.auto.holes`). Always the same part: a problem must not depend on the seed of another one in its batch.
    """
    if not isinstance(A, (LinearOperator, Camera)):
        return None
    block = holes.blocks_of(A, settings.held_out) if isinstance(A, LinearOperator) else None
    flat = y.flatten(1)
    if block is not None:
        kept, held = (block == 0).nonzero().flatten(), block.nonzero().flatten()
        return replace(_split(A, flat, kept, held), together=block[held], blocks=True)
    try:
        kept, held = A.split(settings.held_out, 0)
    except ValueError:
        return None
    return _split(A, flat, kept, held)


def _split(A: LinearOperator | Camera, y: Tensor, kept: Tensor, held: Tensor) -> Split:
    return Split(A.rows(kept), y[:, kept], A.rows(held), y[:, held], A.units()[held])


def scale_ratios(noise: float | None) -> list[float]:
    """Scales to try of the deviation's variance, over the noise's variance."""
    if noise is not None:
        return [scale / max(noise, NO_NOISE) ** 2 for scale in SCALES]
    return [0.0, *(DEFAULT_SCALE / n**2 for n in reversed(NOISES))]


@torch.no_grad()
def judge(candidates: Sequence[Candidate], ratios: Sequence[float], condition: Conditioner, split: Split) -> Judgement:
    """Predict what was held out by every candidate with a deviation of every scale."""
    scales, problems = len(ratios), len(split.y)
    ratio = torch.tensor(ratios).to(split.y).repeat_interleave(problems)  # (scales · B,)
    y = split.y.repeat(scales, *[1] * (split.y.ndim - 1))
    predictions = []
    for candidate in candidates:
        mean = candidate.images.mean(0)  # (B, C, H, W)
        images = condition(y, mean.repeat(scales, 1, 1, 1), ratio)
        predictions.append(split.A_held(images.clamp(-1, 1)).flatten(1).unflatten(0, (scales, problems)))
    predictions = torch.stack(predictions)
    return Judgement((predictions - split.y_held).square(), predictions)


def default_setting(candidates: Sequence[Candidate], ratios: Sequence[float], noise: Tensor) -> Setting:
    """The default candidate, with the scale nearest to the default one."""
    wanted = DEFAULT_SCALE / noise.clamp(min=NO_NOISE).square()  # (B,)
    logs = torch.tensor([max(r, 1e-9) for r in ratios]).log().to(noise)
    scale = (logs[:, None] - wanted.log()).abs().argmin(0)
    index = next(i for i, candidate in enumerate(candidates) if candidate.default)
    return Setting(torch.full_like(scale, index), scale)


def choose(judged: Judgement, units: Tensor, noise: Tensor, default: Setting) -> Setting:
    """The least mean error, or the default where that is as good.

    As good is: the difference of the means is below twice its standard error, over what errs alike (the channels of a
    pixel, the pixels of a block), or below twice the standard deviation that the noise alone gives it,
    2·noise·‖p − q‖/n for predictions p and q of n measurements. Twice, as the least of dozens is least by luck too.

    Args:
        units: (held,), equal for what errs alike. noise: (B,), standard deviation.
    """
    best = judged.best()
    difference = default.of(judged.errors) - best.of(judged.errors)  # (B, held)
    n = difference.shape[1]
    _, where, size = units.unique(return_inverse=True, return_counts=True)
    by_unit = torch.zeros(len(noise), len(size)).to(difference).index_add_(1, where, difference) / size  # (B, units)
    count = by_unit.shape[1]
    by_chance = by_unit.std(1) / math.sqrt(count) if count > 1 else torch.full_like(noise, torch.inf)
    by_noise = 2 * noise * (default.of(judged.predictions) - best.of(judged.predictions)).norm(dim=1) / n
    better = difference.mean(1) > 2 * torch.maximum(by_chance, by_noise)
    return Setting(
        torch.where(better, best.candidate, default.candidate), torch.where(better, best.scale, default.scale)
    )


def estimated_noise(
    judged: Judgement, candidates: Sequence[Candidate], ratios: Sequence[float], condition: Conditioner, y: Tensor
) -> Tensor:
    """(B,): the most likely noise, given the best ratio of scale to noise: see `Conditioner.noise`."""
    best = judged.best()
    images = gather(candidates, best.candidate).mean(0)
    return condition.noise(y, images, torch.tensor(ratios).to(y)[best.scale])


def gather(candidates: Sequence[Candidate], which: Tensor) -> Tensor:
    """(S, B, C, H, W): the solutions that each problem chose."""
    return torch.stack([candidates[c].images[:, b] for b, c in enumerate(which.tolist())], 1)


def table(candidates: Sequence[Candidate], ratios: Sequence[float], judged: Judgement, chosen: Setting) -> pd.DataFrame:
    """One row per setting and problem, as `AutoResult.tries` explains them."""
    means = judged.errors.mean(-1).double().cpu()  # (candidates, scales, B)
    picked = torch.zeros_like(means, dtype=torch.bool)
    picked[chosen.candidate.cpu(), chosen.scale.cpu(), torch.arange(means.shape[2])] = True
    rows = [
        {
            "problem": problem,
            "layer": candidate.layer,
            "radius": candidate.radius,
            "step": candidate.step,
            "scale_over_noise": ratio,
            "held_out_mse": means[c, r, problem].item(),
            "chosen": picked[c, r, problem].item(),
        }
        for c, candidate in enumerate(candidates)
        for r, ratio in enumerate(ratios)
        for problem in range(means.shape[2])
    ]
    return pd.DataFrame(rows).astype({"radius": float})


def empty_table() -> pd.DataFrame:
    """The table of a search that held nothing out, so that nothing was judged."""
    columns = ["problem", "layer", "radius", "step", "scale_over_noise", "held_out_mse", "chosen"]
    return pd.DataFrame(columns=columns, dtype=float)
