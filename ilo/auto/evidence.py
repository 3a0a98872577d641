"""What speaks for a result, in numbers: a row for each problem, which `AutoResult.summary` puts into words."""

import math
from collections.abc import Sequence

import pandas as pd
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ilo.auto.choose import Judgement, Setting, Split
from ilo.auto.walk import Candidate
from ilo.operators import LinearOperator
from ilo.rng import normal
from ilo.solver.summary import COLUMNS


def of_choice(candidates: Sequence[Candidate], judged: Judgement, chosen: Setting, default: Setting) -> dict[str, list]:
    """What was chosen, and the mean squared error on what was held out, of it and of what it is to be compared with.

    The last candidate is the generator's mean image, and the first scale that of no deviation.
    """
    means = judged.errors.mean(-1)  # (candidates, scales, B)
    picked = [candidates[c] for c in chosen.candidate.tolist()]
    bare = Setting(chosen.candidate, torch.zeros_like(chosen.scale))
    numbers = {
        "layer": [candidate.layer for candidate in picked],
        "radius": [math.nan if candidate.radius is None else candidate.radius for candidate in picked],
        "step": [candidate.step for candidate in picked],
        "held_out": [judged.errors.shape[-1]] * len(picked),
        "held_out_mse": chosen.of(means).tolist(),
        "default_mse": default.of(means).tolist(),
        "generator_mse": bare.of(means).tolist(),
        "mean_image_mse": means[-1, 0].tolist(),
        "field_alone_mse": means[-1].min(0).values.tolist(),
    }
    default_too = (chosen.candidate == default.candidate) & (chosen.scale == default.scale)
    return numbers | {
        "mean_image": [candidate is candidates[-1] for candidate in picked],
        "default": default_too.tolist(),
    }


def unjudged(problems: int) -> dict[str, list]:
    """The same columns where nothing was held out, so that the default setting stands."""
    numbers = (
        "layer", "radius", "step", "held_out", "held_out_mse", "default_mse", "generator_mse", "mean_image_mse",
        "field_alone_mse",
    )  # fmt: skip
    unknown = {name: [math.nan] * problems for name in numbers}
    return unknown | {"mean_image": [False] * problems, "default": [True] * problems}


def of_parts(images: Tensor, found: Tensor, mean: Tensor | None, inside: Tensor | None) -> dict[str, list]:
    """What images (B, C, H, W) are made of, as shares of what sets them apart from the generator's mean image.

    latent_share: what the search of the latent found. deeper_share: what the search of deeper layers added to it.
    field_share: what the smooth deviation added. A part d of x − mean has the share ⟨d, x − mean⟩ / ‖x − mean‖², so
    that they add to 1.

    Args:
        found: (B, C, H, W), what was chosen, without the smooth deviation.
        mean: (1, C, H, W). inside: (B, C, H, W), solutions of layer 0. None: not known, and then nor are the shares.
    """
    shares = torch.full((3, len(images)), torch.nan)
    if mean is not None and inside is not None:
        apart = images - mean
        parts = torch.stack([inside - mean, found - inside, images - found])
        shares = (parts * apart).flatten(2).sum(2) / apart.flatten(1).square().sum(1).clamp(min=1e-12)
    names = ("latent_share", "deeper_share", "field_share")
    return dict(zip(names, shares.tolist(), strict=True))


def of_places(A, split: Split | None, problems: int) -> dict[str, list]:
    """Where nothing is measured: shares of the image's pixels, and the farthest from a measurement, in pixels.

    unseen: no measurement depends on the pixel. unjudged: nor was anything held out that was as far from all that was
    kept. NaN where `A` is no linear operator.
    """
    if not isinstance(A, LinearOperator):
        return dict.fromkeys(("unseen", "unjudged", "farthest"), [math.nan] * problems)
    seen = _seen(A)
    distance = _distance(seen)
    judged = 0.0
    if split is not None:
        held, kept = _seen(split.A_held), _seen(split.A)
        judged = _distance(kept)[held].max().item() if held.any() else 0.0
    shares = {
        "unseen": (~seen).double().mean().item(),
        "unjudged": (distance > judged).double().mean().item(),
        "farthest": distance.max().item(),
    }
    return {name: [value] * problems for name, value in shares.items()}


def table(**columns: list) -> pd.DataFrame:
    """A row for each problem, in the order of the fields of `Summary`, numbers as floats."""
    frame = pd.DataFrame({name: columns[name] for name in COLUMNS})
    return frame.astype({name: float for name in frame if frame[name].dtype != bool})


def _seen(A: LinearOperator) -> Tensor:
    """(H, W): whether any measurement depends on the pixel. Of a random Aᵀw each pixel that is seen has some."""
    w = normal(0, 1, A.shape_out, purpose="probe", dtype=A.dtype, device=A.device)
    back = A.adjoint(w)[0].abs().amax(0).cpu()
    return back > 1e-6 * back.max()


def _distance(seen: Tensor) -> Tensor:
    """(H, W): how far each pixel is from the nearest that is seen; the image's diagonal if none is."""
    if not seen.any():
        return torch.full(seen.shape, math.hypot(*seen.shape), dtype=torch.float64)
    return torch.from_numpy(distance_transform_edt(~seen.numpy()))
