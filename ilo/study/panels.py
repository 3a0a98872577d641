"""Figures that several experiments draw of a grid's rows: curves by task and level, and differences by problem."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from ilo import plots
from ilo.operators.tasks import TASKS
from ilo.study.record import title

SENSING = ("Gaussian", "circulant")
MEANINGS = {task.title: task.meaning for task in TASKS.values()}


def by_level(
    rows: pd.DataFrame, metric: str, label: str, *, by: str = "kind", log: bool = False, methods: Sequence[str] = ()
) -> Figure:
    """Draw means of `metric`: a column for each task that has several levels, a row for each value of `by`.

    Tasks of one level stand in a last column side by side; a lone one is left to the tables. A row has one range of
    values. Bars are one standard error over the images; where there is one image the row says so, and there are none.

    Args:
        rows: of `ilo.study.run`, with the column `by`. label: of the values, with their unit; "": `by` says it.
        log: a logarithmic axis of the values. methods: of the rows, those to draw; none named: all.

    Raises:
        ValueError: no rows of these methods, or a method without a place in `ilo.plots.METHODS`.
    """
    rows = rows[rows["method"].isin(methods)] if methods else rows
    if rows.empty:
        raise ValueError(f"no rows to draw{f' of {methods}' if methods else ''}")
    levels = rows.groupby("task", sort=False)["level"].nunique()
    several, single = list(levels.index[levels > 1]), list(levels.index[levels == 1])
    single = single if len(single) > 1 or not several else []
    kinds, columns = list(dict.fromkeys(rows[by])), len(several) + bool(single)
    size = (3.3 * columns + 0.6, 3.0 * len(kinds) + 0.9)
    figure, axes = plt.subplots(len(kinds), columns, figsize=size, squeeze=False, sharey="row", layout="constrained")
    for i, kind in enumerate(kinds):
        part = rows[rows[by] == kind]
        for axis, task in zip(axes[i], several, strict=False):
            of = part[part["task"] == task]
            plots.curves(of, metric, axis=axis, labels=(_meaning(task, of["level"]), ""), legend=False)
        if single:
            _side_by_side(axes[i, -1], part[part["task"].isin(single)], metric)
        images = part.groupby(["task", "level", "method"])["image"].nunique().max()
        said = "one image" if images == 1 else f"{images} images, ± 1 standard error"
        named = ": ".join(word for word in (str(kind), label) if word)
        axes[i, 0].set_ylabel(f"{named}\n{said}", fontsize=10.5)
        if log:
            _log_axis(axes[i, 0])
    for axis, name in zip(axes[0], [*several, "one level each"], strict=False):
        axis.set_title(name)
    _legend(figure, [m for m in plots.METHODS if m in set(rows["method"])])
    return figure


def by_problem(table: pd.DataFrame, label: str, methods: Sequence[str], zero: str) -> Figure:
    """Draw differences, a line for each problem from the top down, a marker for each method with a bar of its `sem`.

    Args:
        table: columns task, level, method, mean, sem; problems in the order in which they first come.
        label: of the differences, with their unit. zero: what the vertical line at 0 stands for.
        methods: those to draw, each in `ilo.plots.METHODS`; the first lies on top.
    """
    problems = list(table[["task", "level"]].drop_duplicates().itertuples(index=False, name=None))
    figure, axis = plt.subplots(figsize=(7.4, 0.3 * len(problems) + 1.6), layout="constrained")
    axis.axvline(0, color="black", linewidth=1.2)
    for height, method in enumerate(reversed(methods)):
        colour, marker = plots.METHODS[method]
        for row in table[table["method"] == method].itertuples():
            place = problems.index((row.task, row.level))
            look = {"color": colour, "marker": marker, "markersize": 7, "capsize": 2.5, "zorder": 3 + height}
            axis.errorbar(row.mean, place, xerr=None if pd.isna(row.sem) else row.sem, **look)
    axis.set_yticks(range(len(problems)), [title(*problem) for problem in problems])
    axis.set_ylim(len(problems) - 0.4, -0.6)
    axis.set_xlabel(f"{label}; bars: 1 standard error, paired\n(0: {zero})")
    _legend(figure, [m for m in methods if (table["method"] == m).any()], columns=3)
    return figure


def _side_by_side(axis: Axes, rows: pd.DataFrame, metric: str) -> None:
    """Problems of one level each: points beside one another, a little apart by method."""
    tasks = list(dict.fromkeys(rows["task"]))
    methods = [m for m in plots.METHODS if m in set(rows["method"])]
    for k, method in enumerate(methods):
        colour, marker = plots.METHODS[method]
        means = rows[rows["method"] == method].groupby("task")[metric].agg(["mean", "sem"]).reindex(tasks)
        apart = 0.6 * (k / max(1, len(methods) - 1) - 0.5)
        places = [i + apart for i in range(len(tasks))]
        bars = means["sem"] if means["sem"].notna().any() else None
        axis.errorbar(places, means["mean"], bars, color=colour, marker=marker, markersize=7, linestyle="", capsize=2.5)
    levels = rows.groupby("task")["level"].first()
    words = [title(task, levels[task]) for task in tasks]
    axis.set_xticks(range(len(tasks)), words, rotation=35, ha="right", rotation_mode="anchor", fontsize=10)
    axis.set_xlim(-0.6, len(tasks) - 0.4)
    axis.xaxis.grid(False)


def _meaning(task: str, levels: pd.Series) -> str:
    return "number of measurements" if task in SENSING and levels.max() > 1 else MEANINGS.get(task, "level")


def _log_axis(axis: Axes) -> None:
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, methods: Sequence[str], columns: int = 0) -> None:
    handles = []
    for method in methods:
        colour, marker = plots.METHODS[method]
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=10 if marker == "*" else 7, label=method))
    count = columns or min(len(handles), max(1, int(figure.get_figwidth() / 1.9)))
    figure.legend(handles=handles, loc="outside lower center", ncols=count, frameon=False)
