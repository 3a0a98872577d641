"""Compare the rows of a fresh run with the committed ones, and say what moved.

Rows of one image drift between processors, as optimisation amplifies rounding; means over images and seeds hold. So
what is compared is the mean of each metric over the rows of a task, level and method (and whatever else tells the
groups of a file apart), of the images and seeds that both have, within `TOLERANCES`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ilo.provenance import REPOSITORY

REFERENCE = REPOSITORY / "data" / "reference"
FIGURES = REPOSITORY / "figures"

# How far a group's mean may move: (absolute, relative to the reference); the larger of the two counts.
TOLERANCES = {
    "psnr": (0.3, 0.0),  # dB
    "ssim": (0.02, 0.0),
    "lpips": (0.02, 0.0),
    "mse": (0.0, 0.1),
}
# Columns that tell groups apart, where a file has them.
GROUPS = ("kind", "task", "level", "noise", "m", "layer", "radius", "steps", "class", "method")
MEMBERS = ("image", "seed", "draw")  # columns that tell the rows of a group apart


@dataclass(frozen=True)
class Comparison:
    """What became of one file. compared: number of means; moved: one sentence a mean that left its tolerance;
    missing: methods that are no longer there, where others of the same task and level are."""

    name: str
    compared: int
    moved: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not (self.moved or self.missing)


def verify(fresh: str | Path = FIGURES, reference: str | Path = REFERENCE) -> list[Comparison]:
    """Compare every CSV file of `fresh` with the one of the same name in `reference`.

    Files, tasks, levels, images and seeds that only one side has are left out: a quick run covers less than a full one.
    But a method that the reference has at a level of the fresh run, and the fresh run has not, is missing.

    Raises:
        ValueError: no file of the two folders has the same name, or one has nothing that can be compared.
    """
    fresh, reference = Path(fresh), Path(reference)
    for folder in (fresh, reference):
        if not folder.is_dir():
            raise ValueError(f"no folder {folder}: run `ilo reproduce` first, or name the folder of a run's CSV files")
    names = sorted({p.name for p in fresh.glob("*.csv")} & {p.name for p in reference.glob("*.csv")})
    if not names:
        raise ValueError(f"nothing to compare: no CSV file in {fresh} has the name of one in {reference}")
    return [compare(name, pd.read_csv(fresh / name), pd.read_csv(reference / name)) for name in names]


def compare(name: str, fresh: pd.DataFrame, reference: pd.DataFrame) -> Comparison:
    """Compare the means of two tables of rows."""
    metrics = [m for m in TOLERANCES if m in fresh and m in reference]
    groups = [c for c in GROUPS if c in fresh and c in reference]
    keys = [*groups, *(c for c in MEMBERS if c in fresh and c in reference)]
    if not (metrics and groups):
        raise ValueError(f"{name}: no metric ({', '.join(TOLERANCES)}) or no group ({', '.join(GROUPS)}) in common")
    fresh, reference = _alike(fresh, keys), _alike(reference, keys)
    one_row_each = (
        table.groupby(keys, as_index=False)[metrics].agg(lambda column: column.mean(skipna=False))
        for table in (fresh, reference)
    )
    both = pd.merge(*one_row_each, on=keys, suffixes=("_now", "_then"))
    if both.empty:
        raise ValueError(f"{name}: the two have no rows of the same {', '.join(keys)}")
    measured = both.columns.difference(keys)
    means = both.groupby(groups)[list(measured)].agg(lambda column: column.mean(skipna=False))
    moved = []
    for metric in metrics:
        for key, now, then in zip(means.index, means[f"{metric}_now"], means[f"{metric}_then"], strict=True):
            absolute, relative = TOLERANCES[metric]
            allowed = max(absolute, relative * abs(then))
            # a NaN is near nothing but a NaN, an infinity nothing but itself
            if not np.isclose(now, then, rtol=0, atol=allowed, equal_nan=True):
                change = f"{then:.4g} → {now:.4g} ({now - then:+.3g}, allowed ±{allowed:.2g})"
                moved.append(f"{_words(groups, key)}: {metric} {change}")
    missing = ()
    if "method" in groups and len(groups) > 1:
        where = groups[:-1]  # the method is the last
        expected = reference.merge(fresh[where].drop_duplicates(), on=where)[groups].drop_duplicates()
        lacking = expected.merge(fresh[groups].drop_duplicates(), how="left", indicator=True)
        lacking = lacking[lacking["_merge"] == "left_only"][groups]
        missing = tuple(_words(groups, tuple(key)) for key in lacking.itertuples(index=False))
    return Comparison(name, len(means) * len(metrics), tuple(moved), missing)


def _alike(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Keys as text, so that 1 and 1.0, or "1" and 1, are one key; 0.30000000000000004 is 0.3."""

    def text(value: object) -> str:
        try:
            return f"{float(value):.9g}"
        except (TypeError, ValueError):
            return str(value)

    return table.assign(**{key: table[key].map(text) for key in keys})


def report(comparisons: list[Comparison]) -> str:
    """Say what was compared, what moved and what is missing."""
    lines = []
    for c in comparisons:
        lines.append(f"{c.name}: {c.compared} means compared, {len(c.moved)} moved, {len(c.missing)} missing")
        lines += [f"  moved    {text}" for text in c.moved]
        lines += [f"  missing  {text}" for text in c.missing]
    return "\n".join(lines)


def _words(groups: list[str], key: object) -> str:
    values = key if isinstance(key, tuple) else (key,)
    return ", ".join(f"{name} {value}" for name, value in zip(groups, values, strict=True))
