"""What the experiments' notebooks do with a grid: run every method that can, draw some rows, say who leads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from ilo.auto.plan import Auto
from ilo.generators.base import Generator
from ilo.operators import LinearOperator, measure
from ilo.recovery import recover
from ilo.solver.result import AutoResult
from ilo.study.cells import image_seed
from ilo.study.grid import run
from ilo.study.methods import COMPARED, METHODS, RESTARTS, methods_for
from ilo.study.problems import Problem
from ilo.study.store import kept_images
from ilo.study.subjects import Subjects

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BETTER = {"psnr": 1, "ssim": 1, "lpips": -1, "mse": -1}  # the sign of what is better


def compare(
    images: Mapping[str, Tensor] | tuple[Sequence[str], Tensor],
    problems: Sequence[Problem],
    *,
    G: Generator,
    names: Sequence[str] = COMPARED,
    leave_out: Sequence[str] = (),
    restarts: int = RESTARTS,
    share: float = 1.0,
    **options,
) -> pd.DataFrame:
    """Recover every image under every problem by every method that can: `ilo.study.run` on `methods_for`.

    Args:
        images, problems, G: as in `ilo.study.run`, and so are `options` (seeds, keep_images, …).
        names: of methods, of `ilo.study.METHODS`. leave_out: some of them not.
        restarts, share: of the searches, as in `methods_for`.

    Returns:
        Rows of `ilo.study.run`.

    Raises:
        ValueError: a method to leave out that there is not.
    """
    if unknown := sorted(set(leave_out) - METHODS.keys()):
        raise ValueError(f"no method {unknown}: there are {', '.join(METHODS)}")
    names = [name for name in names if name not in leave_out]
    groups: dict[tuple[str, ...], list[Problem]] = {}
    chosen = {}
    for problem in problems:
        methods = methods_for(problem, names, restarts=restarts, share=share)
        groups.setdefault(tuple(methods), []).append(problem)
        chosen[tuple(methods)] = methods
    return pd.concat(
        [run(images, group, chosen[names], G=G, **options) for names, group in groups.items()], ignore_index=True
    )


def measured(
    problem: Problem, who: Subjects, names: Sequence[str], seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[LinearOperator, Tensor]:
    """Return the operator and what it measures of the images `names`, (B, *A.shape_out): as a grid's cells do."""
    x = who.truth[[who.names.index(name) for name in names]].to(device)
    A = problem.operator(tuple(x.shape[1:]), rng=seed).to(device)
    return A, measure(A, x, noise=problem.noise, rng=[image_seed(seed, name) for name in names])


def measurements(problem: Problem, who: Subjects, name: str, seed: int = 0) -> Tensor:
    """Return the picture, (C, H, W) in [−1, 1], of what a grid's cell measured of the image `name`."""
    A, y = measured(problem, who, [name], seed)
    return A.picture(y)[0]


def automatic_result(problem: Problem, who: Subjects, *, G: Generator, seed: int = 0, share: float = 1.0) -> AutoResult:
    """Run the search behind a grid's rows of "ILO auto" once more, for what its cell does not keep: spread, samples.

    share: as in `compare`. The images are those of the cell where it held all of `who` and nothing else.
    """
    A, y = measured(problem, who, who.names, seed, device=G.device)
    rounds = Auto(budget=round(share * Auto.budget), noise=problem.noise)
    return recover(G, A, y, rounds=rounds, rng=seed, progress=False)


def pictures(
    rows: pd.DataFrame,
    who: Subjects,
    shots: Sequence[tuple[str, Problem]],
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    labels: Mapping[str, str] | None = None,
    methods: Sequence[str] | None = None,
    more: Mapping[str, Tensor] | None = None,
) -> "Figure":
    """Draw truth, measurements and the methods' images, a row for each shot (image, problem), with PSNR and LPIPS.

    Args:
        rows: of `compare` or `ilo.study.run`, with keep_images=True; those of `seed` are drawn.
        folder: where their cells are; None: where `ilo.study.run` keeps them when not told.
        labels: task -> what to call it at the left, formatted with `level`; by default the task and its level. The
            image's name stands above it where there are several.
        methods: whose columns to draw, in this order; None: all that the rows have, in the order of all figures.
        more: title -> further columns at the right, images or maps as in `ilo.plots.comparison_grid`.
    """
    from ilo import plots  # matplotlib, which workers do without

    index = rows[rows["seed"] == seed].set_index(["image", "task", "level", "noise", "method"]).sort_index()
    columns = {"Truth": torch.stack([who.truth[who.names.index(name)] for name, _ in shots])}
    columns["Measured"] = torch.stack([measurements(problem, who, name, seed) for name, problem in shots])
    captions = {}
    for method in [m for m in plots.METHODS if m in set(rows["method"])] if methods is None else methods:
        found, below = [], []
        for name, problem in shots:
            key = (name, problem.task, problem.level, problem.noise, method)
            if key in index.index:
                row = index.loc[[key]].reset_index()
                found.append(kept_images(row, folder)[0])
                below.append(caption(row.iloc[0]))
            else:  # not every method can solve every problem
                found.append(torch.ones_like(who.truth[0]))
                below.append("")
        columns[method] = torch.stack(found)
        captions[method] = below
    named = [(labels or {}).get(p.task, "{task} {level:g}").format(task=p.task, level=p.level) for _, p in shots]
    if len({name for name, _ in shots}) > 1:
        named = [f"{name}\n{task}" for (name, _), task in zip(shots, named, strict=True)]
    return plots.comparison_grid(columns | dict(more or {}), rows=named, captions=captions, scale=1.25)


def caption(row: Mapping[str, Any]) -> str:
    """What stands under a row's image in `pictures`: its PSNR, and its LPIPS where that was measured."""
    return f"{row['psnr']:.1f} dB" + (f"\nLPIPS {row['lpips']:.2f}" if "lpips" in row else "")


def leaders(rows: pd.DataFrame, metric: str = "psnr", by: Sequence[str] = ("kind", "task", "level")) -> pd.DataFrame:
    """Say which method is the best by its mean, and which comes next: a row for each of `by`.

    Columns: first, second (methods), value (the first's mean), lead (how far the second is behind, at least 0). The
    oracle, which chooses by the truth, does not compete.

    metric: psnr or ssim, of which more is better; lpips or mse, of which less is.
    """
    if metric not in BETTER:
        raise ValueError(f"no order is known of {metric!r}: the metrics are {', '.join(BETTER)}")
    table = BETTER[metric] * summary(rows[rows["method"] != "oracle"], metric, by)
    if table.shape[1] < 2:
        raise ValueError(f"a leader needs another method to be ahead of, got {', '.join(table.columns)} alone")
    ranked = [of.sort_values(ascending=False, kind="stable") for _, of in table.iterrows()]
    columns = {
        "first": [of.index[0] for of in ranked],
        "value": [BETTER[metric] * of.iloc[0] for of in ranked],
        "second": [of.index[1] for of in ranked],
        "lead": [of.iloc[0] - of.iloc[1] for of in ranked],
    }
    return pd.DataFrame(columns, index=table.index)


def summary(rows: pd.DataFrame, metric: str = "psnr", by: Sequence[str] = ("kind", "task", "level")) -> pd.DataFrame:
    """Return the mean of `metric`, a row for each of `by` and a column a method, in the order of the figures."""
    from ilo import plots

    table = rows.pivot_table(index=list(by), columns="method", values=metric, sort=False)
    return table[[m for m in plots.METHODS if m in table.columns]]
