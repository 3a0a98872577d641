"""What the experiments' notebooks do with a grid: run every method that can, draw some rows, tabulate means."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from ilo.generators.base import Generator
from ilo.operators import LinearOperator, measure
from ilo.study.cells import image_seed
from ilo.study.grid import run
from ilo.study.methods import COMPARED, METHODS, RESTARTS, methods_for
from ilo.study.problems import Problem
from ilo.study.store import kept_images
from ilo.study.subjects import Subjects

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def measured(problem: Problem, who: Subjects, names: Sequence[str], seed: int = 0) -> tuple[LinearOperator, Tensor]:
    """Return the operator and what it measures of the images `names`, (B, *A.shape_out): as a grid's cells do."""
    x = who.truth[[who.names.index(name) for name in names]]
    A = problem.operator(tuple(x.shape[1:]), rng=seed)
    return A, measure(A, x, noise=problem.noise, rng=[image_seed(seed, name) for name in names])


def measurements(problem: Problem, who: Subjects, name: str, seed: int = 0) -> Tensor:
    """Return the picture, (C, H, W) in [−1, 1], of what a grid's cell measured of the image `name`."""
    A, y = measured(problem, who, [name], seed)
    return A.picture(y)[0]


def pictures(
    rows: pd.DataFrame,
    who: Subjects,
    shots: Sequence[tuple[str, Problem]],
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    labels: Mapping[str, str] | None = None,
) -> "Figure":
    """Draw truth, measurements and every method's image, a row for each shot (image, problem), PSNR under each.

    Args:
        rows: of `compare` or `ilo.study.run`, with keep_images=True; those of `seed` are drawn.
        folder: where their cells are; None: where `ilo.study.run` keeps them when not told.
        labels: task -> what to call it at the left, formatted with `level`; by default the task and its level.
    """
    from ilo import plots  # matplotlib, which workers do without

    index = rows[rows["seed"] == seed].set_index(["image", "task", "level", "noise", "method"]).sort_index()
    columns = {"Truth": torch.stack([who.truth[who.names.index(name)] for name, _ in shots])}
    columns["Measured"] = torch.stack([measurements(problem, who, name, seed) for name, problem in shots])
    captions = {}
    for method in [m for m in plots.METHODS if m in set(rows["method"])]:
        found, below = [], []
        for name, problem in shots:
            key = (name, problem.task, problem.level, problem.noise, method)
            if key in index.index:
                row = index.loc[[key]].reset_index()
                found.append(kept_images(row, folder)[0])
                below.append(f"{row['psnr'][0]:.1f} dB")
            else:  # not every method can solve every problem
                found.append(torch.ones_like(who.truth[0]))
                below.append("")
        columns[method] = torch.stack(found)
        captions[method] = below
    named = [(labels or {}).get(p.task, "{task} {level:g}").format(task=p.task, level=p.level) for _, p in shots]
    return plots.comparison_grid(
        columns, rows=[f"{name}\n{task}" for (name, _), task in zip(shots, named, strict=True)], captions=captions
    )


def summary(rows: pd.DataFrame, metric: str = "psnr", by: Sequence[str] = ("kind", "task", "level")) -> pd.DataFrame:
    """Return the mean of `metric`, a row for each of `by` and a column a method, in the order of the figures."""
    from ilo import plots

    table = rows.pivot_table(index=list(by), columns="method", values=metric, sort=False)
    return table[[m for m in plots.METHODS if m in table.columns]]
