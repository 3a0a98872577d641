"""Figures: one look for all of them, and each saved with the numbers that drew it."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ilo.files import written_atomically

# One colour, marker and place per method in every figure; `ilo.study.methods` says what each is. Okabe and Ito's
# palette for those that stand side by side, told apart by colour-blind readers. "oracle" chooses by the truth among
# what "ILO auto" tried.
METHODS = {
    "ILO auto": ("#000000", "*"),
    "ILO auto, sharp": ("#332288", "p"),
    "oracle": ("#C4C4C4", "x"),
    "ILO": ("#D55E00", "o"),
    "ILO (whitened)": ("#9A2CF2", "h"),
    "ILO (no ball)": ("#F4A582", "<"),
    "ILO (Algorithm 1)": ("#A6611A", "$A$"),
    "ILO (joint)": ("#DFA26B", "$J$"),
    "ILO (release)": ("#734D00", ">"),
    "CSGM": ("#0072B2", "s"),
    "CSGM (published)": ("#7FB5D8", "8"),
    "CSGM (Adam)": ("#003F66", "1"),  # of rows recorded before the strong search: Adam with the ramp, 3 × 300 steps
    "release steps": ("#B8860B", "2"),  # of the same: the release's rounds, four times as long, squared error alone
    "PULSE": ("#56B4E9", "D"),
    "Robust unsupervised": ("#8B1A3A", "3"),
    "Smooth field": ("#84C642", "H"),
    "LASSO (DCT)": ("#009E73", "^"),
    "LASSO (wavelet)": ("#117733", "v"),
    "TV": ("#CC79A7", "P"),
    "Deep decoder": ("#E69F00", "X"),
    "Deep decoder (mean of 4)": ("#F0C869", "."),
    "Bicubic": ("#555555", "d"),
    "As measured": ("#8C8C8C", "4"),
}
PALETTE = [
    colour for name, (colour, _) in METHODS.items() if "auto" not in name and "(" not in name and name != "oracle"
]
EMPHASISED = ("ILO auto", "ILO")


def use_style() -> None:
    """Set the look of every figure: white, light grid, type that is still read at half size."""
    sns.set_theme(context="notebook", style="whitegrid", palette=PALETTE)
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 160,
            "savefig.bbox": "tight",
            "axes.titlesize": 12,
            "axes.labelsize": 12,
            "legend.fontsize": 10.5,
            "pdf.fonttype": 42,  # text stays text
        }
    )


def as_pixels(image: Tensor) -> np.ndarray:
    """(C, H, W) in [−1, 1] -> (H, W, 3) in [0, 1], clipped; one channel becomes grey."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"expected an image (1 or 3, H, W), got {tuple(image.shape)}")
    pixels = ((image.detach().float().cpu().clamp(-1, 1) + 1) / 2).expand(3, -1, -1)
    return pixels.permute(1, 2, 0).numpy()


def comparison_grid(
    columns: Mapping[str, Tensor],
    *,
    rows: Sequence[str] | None = None,
    captions: Mapping[str, Sequence[str]] | None = None,
    scale: float = 1.6,
) -> Figure:
    """Lay images out: one row per problem, one titled column per method (truth, measurements, each method).

    Args:
        columns: title -> images (B, C, H, W) in [−1, 1], or maps (B, H, W) of values of at least 0, which share one
            scale of colours with a bar beside them; the same B everywhere; sizes may differ.
        rows: one label per problem, at the left.
        captions: column -> one caption per problem, under its image (such as its PSNR).
        scale: side of an image, in inches. A title that is wider breaks between words.

    Raises:
        ValueError: columns, labels or captions of different numbers, or a map of other values.
    """
    counts = {title: len(images) for title, images in columns.items()}
    problems = next(iter(counts.values()))
    if len(set(counts.values())) != 1:
        raise ValueError(f"every column needs one image per problem, got {counts}")
    captions = dict(captions or {})
    for name, given in {"rows": rows, **captions}.items():
        if given is not None and len(given) != problems:
            raise ValueError(f"{name} needs {problems} labels, got {len(given)}")
    lines = max((text.count("\n") + 1 for given in captions.values() for text in given), default=0)
    below = 0.04 + 0.17 * lines
    beside = 0.5 * (rows is not None) + 0.7 * any(images.ndim == 3 for images in columns.values())
    figure, axes = plt.subplots(
        problems,
        len(columns),
        figsize=(scale * len(columns) + beside, (scale + below) * problems + 0.3),
        squeeze=False,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    for j, (title, images) in enumerate(columns.items()):
        if images.ndim == 3:
            _show_maps(figure, axes[:, j], dict(enumerate(images)), fraction=0.05, aspect=50)
        for i in range(problems):
            axis = axes[i, j]
            if images.ndim == 4:
                axis.imshow(as_pixels(images[i]), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            axis.set_frame_on(False)
            if title in captions:
                axis.set_xlabel(captions[title][i], fontsize=10, labelpad=2)
            if j == 0 and rows is not None:
                axis.set_ylabel(rows[i], fontsize=11)
        axes[0, j].set_title(textwrap.fill(title, round(10.5 * scale)), fontsize=12)
    return figure


def maps(columns: Mapping[str, Tensor], *, label: str, scale: float = 2.4) -> Figure:
    """Draw maps of values side by side, in one scale of colours: from 0 to the 99 % quantile of all of them.

    Args:
        columns: title -> values (H, W), finite and at least 0.
        label: of the colour bar: what the values are, with their unit.
        scale: side of a map, in inches.
    """
    figure, axes = plt.subplots(
        1, len(columns), figsize=(scale * len(columns) + 0.9, scale + 0.3), squeeze=False, layout="constrained"
    )
    _show_maps(figure, axes[0], columns, label=label, shrink=0.9)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=12)
        axis.grid(False)
        axis.set_frame_on(False)
    return figure


def _show_maps(figure: Figure, axes: Sequence[Axes], values: Mapping[Any, Tensor], **bar: Any) -> None:
    """Draw maps in one scale of colours, from 0 to the 99 % quantile of all, and the bar that tells it."""
    for title, v in values.items():
        if v.ndim != 2 or not bool((v >= 0).all() and v.isfinite().all()):
            raise ValueError(f"a map holds finite values of at least 0, (H, W); {title!r} is {tuple(v.shape)}")
    numbers = [v.detach().float().cpu().numpy() for v in values.values()]
    top = max(np.quantile(np.concatenate([v.ravel() for v in numbers]), 0.99), np.finfo(np.float32).tiny)
    for axis, v in zip(axes, numbers, strict=True):
        shown = axis.imshow(v, cmap="viridis", vmin=0, vmax=top, interpolation="nearest")
    figure.colorbar(shown, ax=list(axes), extend="max", **bar)


def curves(
    rows: pd.DataFrame,
    metric: str,
    *,
    x: str = "level",
    axis: Axes | None = None,
    log: bool = True,
    labels: tuple[str, str] | None = None,
    legend: bool = True,
) -> Axes:
    """Draw the mean of `metric` against `x`, one line per method, its bars one standard error over images and seeds.

    Args:
        rows: of `ilo.study.run`: columns method, `x` and `metric`.
        axis: to draw on; None: a new figure's.
        log: a logarithmic axis of `x`.
        labels: of the two axes, with units; by default the columns' names.
        legend: whether to name the methods.

    Raises:
        ValueError: a method that has no place in `METHODS`.
    """
    unknown = sorted(set(rows["method"]) - set(METHODS))
    if unknown:
        raise ValueError(f"no colour for {unknown}: the methods are {', '.join(METHODS)}")
    axis = plt.subplots(figsize=(5.2, 3.8), layout="constrained")[1] if axis is None else axis
    for method, (colour, marker) in METHODS.items():
        part = rows[rows["method"] == method].groupby(x)[metric].agg(["mean", "sem"])
        if len(part):
            axis.errorbar(
                part.index,
                part["mean"],
                part["sem"].fillna(0) if part["sem"].notna().any() else None,  # of one value there is none
                color=colour,
                marker=marker,
                markersize=10 if marker == "*" else 6,
                linewidth=2.4 if method in EMPHASISED else 1.6,
                capsize=3,
                label=method,
                zorder=3 if method in EMPHASISED else 2,
            )
    if log:
        axis.set_xscale("log")
        ticks = sorted(rows[x].unique())
        axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axis.minorticks_off()
    axis.set(xlabel=(labels or (x, metric))[0], ylabel=(labels or (x, metric))[1])
    if legend:
        axis.legend()
    return axis


def save_figure(
    figure: Figure, rows: pd.DataFrame, folder: str | Path, name: str, provenance: Mapping[str, Any]
) -> list[Path]:
    """Write ``name``.png and .pdf, the rows that drew them as .csv, and their provenance as .json, in `folder`.

    The folder "" writes nothing: a notebook that is only read leaves no files.
    """
    if str(folder) == "":
        return []
    folder = Path(folder)
    paths = [folder / f"{name}.{suffix}" for suffix in ("png", "pdf", "csv", "json")]
    png, pdf, csv, record = paths
    # Placed once: the layout is half of what drawing costs, and would be sought again for each file and for the page.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    with written_atomically(png) as temporary:
        figure.savefig(temporary)
    with written_atomically(pdf) as temporary:
        figure.savefig(temporary, metadata={"CreationDate": None})  # the same figure is the same file
    with written_atomically(csv) as temporary:
        rows.to_csv(temporary, index=False)
    with written_atomically(record) as temporary:
        text = json.dumps(dict(provenance), indent=1, default=str, sort_keys=True) + "\n"
        temporary.write_text(text, encoding="utf-8")
    return paths
