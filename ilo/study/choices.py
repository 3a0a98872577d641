"""What `rounds="auto"` tried, chose and promised, held against the truth: for one recovery, not for a grid."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ilo import metrics
from ilo.solver.result import AutoResult

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
COLOURS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9")


def tries_by_truth(found: AutoResult, truth: Tensor) -> pd.DataFrame:
    """`found.tries` with a column `true_mse`: the error of the image that the setting would have led to.

    truth: (B, C, H, W) in [−1, 1], of the problems of `found`, which was not reloaded.
    """
    errors = [metrics.mse(images, truth) for images in found.renders()]  # a (B,) for each setting
    return found.tries.assign(true_mse=torch.cat(errors).numpy())


def coverage(
    found: AutoResult,
    truth: Tensor,
    names: Sequence[str],
    levels: Sequence[float] = LEVELS,
    regions: Mapping[str, Tensor] | None = None,
) -> pd.DataFrame:
    """How much of each image's truth (B, C, H, W) lies between `found.interval(level)`: image, region, interval,
    inside; and crps, the score of image and spread, which has no level.

    regions: masks (H, W) by name, such as `ilo.study.problems.face_regions`; None: the whole image, "all".
    """
    parts = []
    regions = {"all": torch.ones(truth.shape[-2:], dtype=torch.bool)} if regions is None else regions
    for region, where in regions.items():
        score = metrics.crps(found.images, found.spread, truth, where).numpy()
        for level in levels:
            inside = metrics.covered(*found.interval(level), truth, where).numpy()
            rows = {"image": list(names), "region": region, "interval": level, "inside": inside, "crps": score}
            parts.append(pd.DataFrame(rows))
    return pd.concat(parts, ignore_index=True)


def draw_tries(tried: pd.DataFrame, image_layer: int, reach: float = 1.35) -> Figure:
    """Draw true against held-out error of every setting, a panel for each task; what is far from the best is counted.

    Args:
        tried: of `tries_by_truth` for one image each, with a column `task`.
        image_layer: the number that stands for the generator's mean image: its number of layers.
        reach: settings up to this times the least true error (RMS) are drawn.
    """
    tasks = list(dict.fromkeys(tried["task"]))
    figure, axes = plt.subplots(1, len(tasks), figsize=(4.9 * len(tasks), 4.6), squeeze=False, layout="constrained")
    handles = {}
    for axis, task in zip(axes[0], tasks, strict=True):
        part = tried[tried["task"] == task]
        part = part.assign(held=part["held_out_mse"] ** 0.5, true=part["true_mse"] ** 0.5)
        near = part[part["true"] <= reach * part["true"].min()]
        for layer, group in near.groupby("layer"):
            name = "mean face" if layer == image_layer else f"layer {layer:g}"
            colour = "#555555" if layer == image_layer else COLOURS[int(layer) % len(COLOURS)]
            for bare, marker in ((True, "x"), (False, "o")):
                dots = group[(group["scale_over_noise"] == 0) == bare]
                filled = {"color": colour} if bare else {"facecolors": "none", "edgecolors": colour}
                label = name if bare else f"{name} + deviation"
                if len(dots):
                    axis.scatter(dots["held"], dots["true"], marker=marker, s=46, linewidths=1.6, label=label, **filled)
        for name, row in {"chosen": part[part["chosen"]], "oracle": part.loc[[part["true"].idxmin()]]}.items():
            ring = {"s": 260, "facecolors": "none", "edgecolors": "black", "linewidths": 1.6}
            axis.scatter(row["held"], row["true"], marker="o" if name == "chosen" else "s", label=name, **ring)
        axis.set(xlabel="error on what was held out (RMS)", ylabel="true error (RMS)")
        axis.set_title(f"{task}\n{len(near)} of {len(part)} settings; the others are further off", fontsize=11)
        axis.margins(0.12)
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    last = [name for name in handles if name in ("chosen", "oracle")]
    names = sorted(set(handles) - set(last)) + last
    figure.legend(
        [handles[n] for n in names], names, loc="outside lower center", ncols=3, frameon=False, markerscale=0.75
    )
    return figure


def draw_coverage(within: pd.DataFrame) -> Figure:
    """Draw what `coverage` found against the levels: a panel for each region, a line for each task and kind of image.

    within: rows of `coverage` with columns task and kind.
    """
    tasks, kinds, regions = (list(dict.fromkeys(within[column])) for column in ("task", "kind", "region"))
    size = (5.8 if len(regions) == 1 else 3.6 * len(regions), 4.6)
    figure, axes = plt.subplots(1, len(regions), figsize=size, sharey=True, squeeze=False, layout="constrained")
    ends = [min(within["interval"].min(), within["inside"].min()) - 0.03, 1]
    for axis, region in zip(axes[0], regions, strict=True):
        for i, (task, kind) in enumerate((task, kind) for task in tasks for kind in kinds):
            part = within[(within["task"] == task) & (within["kind"] == kind) & (within["region"] == region)]
            mean = part.groupby("interval")["inside"].mean()
            images = part["image"].nunique()
            look = {"color": COLOURS[tasks.index(task)], "linestyle": ("-", "--", ":")[kinds.index(kind) % 3]}
            label = f"{task}, {kind} ({'one image' if images == 1 else f'mean of {images}'})"
            axis.plot(mean.index, mean, marker="os^Dvp"[i % 6], label=label, **look)
        axis.plot(ends, ends, color="black", linestyle=":", linewidth=1.2, label="as promised")
        axis.set(xlabel="level of the interval", ylim=(ends[0], 1.01))
        if len(regions) > 1:
            axis.set_title(region)
    axes[0, 0].set_ylabel("pixels whose truth lies in it")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(regions) // 2 + 1, frameon=False)
    return figure


def show_maps(figure: Figure, titles: Sequence[str], maps: Tensor, label: str) -> None:
    """Put maps of values in place of columns of `ilo.plots.comparison_grid`, in one scale with a bar of colours.

    Args:
        titles: of the columns, the last of the figure. maps: (len(titles), rows, H, W), at least 0.
    """
    columns = [axis.get_title() for axis in figure.axes if axis.get_title()]
    if columns[-len(titles) :] != list(titles):
        raise ValueError(f"the last columns of the figure are {columns[-len(titles) :]}, not {list(titles)}")
    values = maps.detach().float().cpu().numpy()
    top = float(np.quantile(values, 0.99))
    axes = np.array(figure.axes).reshape(-1, len(columns))[:, -len(titles) :]  # (rows, titles)
    for i, row in enumerate(axes):
        for j, axis in enumerate(row):
            axis.images[0].remove()
            shown = axis.imshow(values[j, i], cmap="viridis", vmin=0, vmax=top, interpolation="nearest")
    figure.colorbar(shown, ax=list(axes[:, -1]), label=label, extend="max", shrink=0.9)
