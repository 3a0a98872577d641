"""The benchmark of Robust Unsupervised StyleGAN at 64 pixels: 20 single and 11 composed tasks, one setting each.

Source: Poirier-Ginter and Lalonde, "Robust Unsupervised StyleGAN Image Restoration" (CVPR 2023), and the levels of its
code. There images have 1024 pixels a side: factors of up-sampling, strokes, photons, dead pixels and qualities are
theirs, a stroke is 8 % of a side wide. Two things differ: composed tasks reduce by 2 and not by 8, since 8 would leave
8 of 64 pixels, and images are reduced by bicubic weights that the methods know.
"""

from collections.abc import Sequence
from functools import partial
from itertools import combinations

import torch
from torch import Tensor

from ilo.auto.plan import Auto
from ilo.baselines.robust import robust_unsupervised
from ilo.generators.base import Generator
from ilo.operators import JPEG, Camera, Downsample, Inpainting, LinearOperator, Photons, chain
from ilo.recovery import recover
from ilo.rng import Rng, stream
from ilo.study.cells import Answer, Found
from ilo.study.methods import searches
from ilo.study.problems import Problem

SIZES = ("XS", "S", "M", "L", "XL")
FACTORS = (2, 4, 8, 16, 32)
PHOTONS = ((96, 0.04), (48, 0.08), (24, 0.16), (12, 0.32), (6, 0.64))  # peak, and fraction of dead pixels
QUALITIES = (18, 15, 12, 9, 6)
STROKES = (1, 5, 9, 13, 17)
PARTS = {"U": "upsampling", "N": "denoising", "A": "deartifacting", "P": "inpainting"}  # in the order of a chain
COMPOSED = {"U": 2, "N": PHOTONS[2], "A": QUALITIES[2], "P": STROKES[2]}
WIDTH = 0.08  # of a stroke, in sides of the image


def brush_mask(height: int, width: int, strokes: int, rng: Rng = 0) -> Tensor:
    """(H, W), bool: False under `strokes` straight brush strokes between points of the image's outer thirds."""
    g = stream(rng, "strokes")
    rows, columns = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    seen = torch.ones(height, width, dtype=torch.bool)
    for _ in range(strokes):
        ends = torch.rand(2, 2, generator=g) / 3 + 2 / 3 * torch.randint(2, (2, 2), generator=g)
        (top, left), (down, right) = ends.tolist()
        along = (rows - top) * (down - top) + (columns - left) * (right - left)
        share = (along / max((down - top) ** 2 + (right - left) ** 2, 1e-9)).clamp(0, 1)
        away = (rows - top - share * (down - top)).square() + (columns - left - share * (right - left)).square()
        seen &= away.sqrt() > WIDTH / 2
    return seen


def operator(shape: Sequence[int], rng: Rng = 0, *, parts: str, levels: Sequence[object]) -> Camera | LinearOperator:
    """The chain of the parts named, "U", "N", "A" and "P" in this order, each at its level; for images (3, H, W)."""
    made, (channels, height, width) = [], shape
    for part, level in zip(parts, levels, strict=True):
        if part == "U":
            made.append(Downsample((channels, height, width), level))
            _, height, width = made[-1].shape_out
        elif part == "N":
            made.append(Photons((channels, height, width), *level))
        elif part == "A":
            made.append(JPEG((channels, height, width), level))
        else:
            made.append(Inpainting(brush_mask(height, width, level, rng), channels))
    return chain(*made)


def single_tasks(sizes: Sequence[str] = SIZES) -> list[Problem]:
    """Up-sampling, denoising, restoring JPEG and inpainting, each at the levels named, "XS" to "XL"."""
    values = {"U": FACTORS, "N": PHOTONS, "A": QUALITIES, "P": STROKES}
    problems = []
    for part, levels in values.items():
        for size, level in zip(SIZES, levels, strict=True):
            if size in sizes:
                made = partial(operator, parts=part, levels=(level,))
                problems.append(Problem(PARTS[part], level[0] if part == "N" else level, made, 0.0))
    return problems


def composed_tasks() -> list[Problem]:
    """All combinations of two, three and four of the parts at their middle level; the level is how many there are."""
    names = ["".join(parts) for n in (2, 3, 4) for parts in combinations(PARTS, n)]
    return [
        Problem(name, len(name), partial(operator, parts=name, levels=tuple(COMPOSED[p] for p in name)), 0.0)
        for name in names
    ]


def auto(A: Camera | LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float, share: float = 1.0) -> Found:
    """`rounds="auto"`, which is not told the noise: "ILO auto" and "ILO auto, sharp"."""
    found = recover(G, A, y, rounds=Auto(budget=round(share * Auto.budget)), rng=rng, progress=False)
    columns = {"evaluations": found.parameters["evaluations"]}
    return {
        "ILO auto": Answer(found.images, columns, interval=found.interval(0.9)),
        "ILO auto, sharp": Answer(found.sharp, columns),
    }


def robust(
    A: Camera | LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float, share: float = 1.0
) -> Answer:
    """`ilo.baselines.robust_unsupervised`, 3 × 150 steps; of a share of them as much longer ones."""
    steps = max(1, round(150 * share))
    found = robust_unsupervised(G, A, y, steps=steps, stride=150 / steps, rng=rng, progress=False)
    return Answer(found.images, {"evaluations": 3 * steps})


def as_measured(A: Camera | LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float) -> Tensor:
    """What was measured, shown as a picture: no recovery at all."""
    return A.picture(y)


def benchmark_methods(share: float = 1.0) -> dict:
    """The methods of the benchmark by name, each with one setting for all tasks.

    share: of all steps, in (0, 1].
    """
    return {
        "ILO auto": partial(auto, share=share),
        "Robust unsupervised": partial(robust, share=share),
        "ILO": partial(searches, restarts=1, share=share),
        "As measured": as_measured,
    }
