"""Compare the numbers of a fresh run with the committed ones, and say what moved.

The reference is data/reference/: celeba.csv, and under quick/ the numbers behind the figures of the quick profile.

Rows of one image drift between processors, as optimisation amplifies rounding; means over images and seeds hold. So
what is compared is the mean of each metric over the rows of a task, level and method (and whatever else tells a file's
groups apart), of the images, seeds and evaluations that both have, and then the mean over all rows of a method.
`TOLERANCES` are for means of 16 rows or more; the mean of n < 16 may move 4/√n times as far, a single row 1.2 dB. With
AVX2 in place of AVX-512 instructions single rows of experiments 01, 03, 06 and 07 (quick) moved by up to 0.51 dB, other
than those above the `CEILING`, and no mean by more than it may.
"""

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ilo.files import written_atomically
from ilo.provenance import REPOSITORY

REFERENCE = REPOSITORY / "data" / "reference"
FIGURES = REPOSITORY / "figures"
QUICK = "quick"  # the folder of the reference that `update` writes

FORMULA = (0.0, 1e-6)
# How far a mean may move: (absolute, relative to the reference); the larger of the two counts.
TOLERANCES = {
    "psnr": (0.3, 0.0),  # dB
    "ssim": (0.02, 0.0),
    "lpips": (0.02, 0.0),
    "mse": (0.0, 0.1),
    # theory_bound and theory_measurements: formulas
    **dict.fromkeys(("γ = 0.25", "γ = 0.5", "γ = 0.9", "ILO", "CSGM", "unconstrained"), FORMULA),
    # theory_lipschitz: of networks, one of them trained there
    **dict.fromkeys(("certified", "found", "L1 certified", "L1 found", "L2 certified", "L2 found"), (0.0, 0.01)),
}
MANY = 16  # rows, from which on the tolerances hold as they are
# What is better counts as this good: where a search gets to an image of the generator's own, rounding decides whether
# it ends at 30 dB or at 50.
CEILING = {"psnr": ("upper", 30.0), "mse": ("lower", 0.004)}  # mse of 30 dB
# Columns that tell groups apart, where a file has them.
GROUPS = (
    "kind", "task", "level", "noise", "m", "layer", "radius", "steps", "class", "K", "L2", "generator", "cut", "run",
    "method",
)  # fmt: skip
# Columns that tell the rows of a group apart. A search of other length is another row: a full run's is not compared
# with a quick one's.
MEMBERS = ("image", "seed", "draw", "evaluations")
SHOWN = 20  # sentences about one file


@dataclass(frozen=True)
class Comparison:
    """What became of one file. compared: number of means; moved: one sentence a mean that left its tolerance;
    missing: methods that are no longer there, where others of the same task and level are; apart: number of groups that
    both have, but with no row in common; identical: the two files are the same bytes; reason: why nothing could be
    compared, else empty."""

    name: str
    compared: int = 0
    moved: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    apart: int = 0
    identical: bool = False
    reason: str = ""

    @property
    def ok(self) -> bool:
        return not (self.moved or self.missing)


def verify(fresh: str | Path = FIGURES, reference: str | Path = REFERENCE) -> list[Comparison]:
    """Compare every CSV file of `fresh` with the one of the same name in `reference` or in its folder quick/.

    Files, tasks, levels, images and seeds that only one side has are left out: a run may cover less than the reference.
    But a method that the reference has at a level of the fresh run, and the fresh run has not, is missing.

    Raises:
        ValueError: there is nothing that could be compared, with the reasons.
    """
    fresh, reference = Path(fresh), Path(reference)
    for folder in (fresh, reference):
        if not folder.is_dir():
            raise ValueError(f"no folder {folder}: run `ilo reproduce` first, or name the folder of a run's CSV files")
    committed = {path.name: path for path in (*reference.glob("*.csv"), *(reference / QUICK).glob("*.csv"))}
    comparisons = []
    for path in sorted(fresh.glob("*.csv")):
        if path.name not in committed:
            comparisons.append(Comparison(path.name, reason="no reference"))
            continue
        other = committed[path.name]
        try:
            comparison = compare(path.name, pd.read_csv(path), pd.read_csv(other))
        except ValueError as error:
            comparison = Comparison(path.name, reason=str(error))
        comparisons.append(replace(comparison, identical=path.read_bytes() == other.read_bytes()))
    if not any(comparison.compared for comparison in comparisons):
        reasons = "; ".join(c.reason for c in comparisons if c.reason != "no reference")
        raise ValueError(
            f"nothing to compare in {fresh}: {reasons or f'no CSV file has the name of one in {reference}'}"
        )
    return comparisons


def update(fresh: str | Path = FIGURES, reference: str | Path = REFERENCE) -> list[Path]:
    """Make the CSV files of `fresh` that can be compared the reference's quick/, in place of what is there.

    Left out are files that hold no metric, and those that are a copy of the reference (a figure of it was drawn). The
    provenance beside a file (.json) goes with it.

    Returns:
        The CSV files written.

    Raises:
        ValueError: no file of `fresh` can be compared; the reference is as it was.
    """
    fresh, reference = Path(fresh), Path(reference)
    copies = {path.read_bytes() for path in reference.glob("*.csv")}
    chosen = []
    for path in sorted(fresh.glob("*.csv")):
        table = pd.read_csv(path)
        metrics, groups, _ = _columns(table, table)
        if metrics and groups and path.read_bytes() not in copies:
            chosen.append(path)
    if not chosen:
        raise ValueError(f"no CSV file in {fresh} holds metrics: run `ilo reproduce` first, or name the run's folder")
    folder = reference / QUICK
    folder.mkdir(parents=True, exist_ok=True)
    kept = set()
    for path in chosen:
        for source in (path, path.with_suffix(".json")):
            if source.exists():
                with written_atomically(folder / source.name) as temporary:
                    shutil.copyfile(source, temporary)
                kept.add(source.name)
    for old in (*folder.glob("*.csv"), *folder.glob("*.json")):
        if old.name not in kept:
            old.unlink()
    return [folder / path.name for path in chosen]


def compare(name: str, fresh: pd.DataFrame, reference: pd.DataFrame) -> Comparison:
    """Compare the means of two tables of rows.

    Raises:
        ValueError: they have no metric, no group or no row in common.
    """
    metrics, groups, keys = _columns(fresh, reference)
    if not (metrics and groups):
        raise ValueError(f"{name}: no metric ({', '.join(TOLERANCES)}) or no group ({', '.join(GROUPS)}) in common")
    fresh, reference = (_alike(_levelled(table, metrics), keys) for table in (fresh, reference))
    one_row_each = (_means(table, keys, metrics).drop(columns="rows").reset_index() for table in (fresh, reference))
    both = pd.merge(*one_row_each, on=keys, suffixes=("_now", "_then"))
    if both.empty:
        raise ValueError(f"{name}: the two have no rows of the same {', '.join(keys)}")
    compared, moved = 0, []
    for by in [groups, ["method"]] if "method" in groups and len(groups) > 1 else [groups]:
        means = _means(both, by, [f"{metric}_{when}" for metric in metrics for when in ("now", "then")])
        compared += len(means) * len(metrics)
        for metric in metrics:
            absolute, relative = TOLERANCES[metric]
            columns = (means[name] for name in (f"{metric}_now", f"{metric}_then", "rows"))
            for key, now, then, rows in zip(means.index, *columns, strict=True):
                allowed = max(absolute, relative * abs(then)) * max(1.0, math.sqrt(MANY / rows))
                # a NaN is near nothing but a NaN, an infinity nothing but itself
                if not np.isclose(now, then, rtol=0, atol=allowed, equal_nan=True):
                    change = f"{then:.4g} → {now:.4g} ({now - then:+.3g}, allowed ±{allowed:.2g})"
                    whole = "" if by == groups else "all rows of "
                    moved.append(f"{whole}{_words(by, key)}: {metric} {change}")
    shared = fresh[groups].drop_duplicates().merge(reference[groups].drop_duplicates())
    apart = len(shared) - len(both[groups].drop_duplicates())
    missing = ()
    if "method" in groups and len(groups) > 1:
        where = groups[:-1]  # the method is the last
        expected = reference.merge(fresh[where].drop_duplicates(), on=where)[groups].drop_duplicates()
        lacking = expected.merge(fresh[groups].drop_duplicates(), how="left", indicator=True)
        lacking = lacking[lacking["_merge"] == "left_only"][groups]
        missing = tuple(_words(groups, tuple(key)) for key in lacking.itertuples(index=False))
    return Comparison(name, compared, tuple(moved), missing, apart)


def _columns(fresh: pd.DataFrame, reference: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """Metrics, groups and keys (groups and members) that both tables have."""
    metrics, groups, members = (
        [c for c in names if c in fresh and c in reference] for names in (TOLERANCES, GROUPS, MEMBERS)
    )
    return metrics, groups, groups + members


def _means(table: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    """Means of the columns, NaN where a value is, and `rows`: the number of rows of each group."""
    grouped = table.groupby(by if len(by) > 1 else by[0])
    return grouped[columns].agg(lambda column: column.mean(skipna=False)).assign(rows=grouped.size())


def _levelled(table: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    return table.assign(**{m: table[m].clip(**dict([CEILING[m]])) for m in metrics if m in CEILING})


def _alike(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Keys as text, so that 1 and 1.0, or "1" and 1, are one key; 0.30000000000000004 is 0.3."""

    def text(value: object) -> str:
        try:
            return f"{float(value):.9g}"
        except (TypeError, ValueError):
            return str(value)

    return table.assign(**{key: table[key].map(text) for key in keys})


def report(comparisons: list[Comparison]) -> str:
    """Say what was compared, what moved and what is missing, and what looks as if nothing had been run."""
    lines = []
    judged = [c for c in comparisons if c.compared]
    for c in judged:
        same = "; identical file: is this a fresh run?" if c.identical else ""
        lines.append(f"{c.name}: {c.compared} means compared, {len(c.moved)} moved, {len(c.missing)} missing{same}")
        said = [f"  moved    {text}" for text in c.moved] + [f"  missing  {text}" for text in c.missing]
        lines += said[:SHOWN] + ([f"  … and {len(said) - SHOWN} more"] if len(said) > SHOWN else [])
        if c.apart:
            lines.append(f"  {c.apart} groups not compared: of other images, seeds or numbers of evaluations")
    lines += [f"not compared: {c.reason}" for c in comparisons if c.reason not in ("", "no reference")]
    if unknown := [c.name for c in comparisons if c.reason == "no reference"]:
        lines.append(f"not compared, since the reference has none of the name: {', '.join(unknown)}")
    moved, missing = (sum(len(getattr(c, what)) for c in judged) for what in ("moved", "missing"))
    lines.append(
        f"{len(judged)} files, {sum(c.compared for c in judged)} means compared: {moved} moved, {missing} missing"
    )
    if all(c.identical for c in judged):
        lines.append("every file is identical to its reference, so this says nothing unless you have just run it")
    return "\n".join(lines)


def _words(groups: list[str], key: object) -> str:
    values = key if isinstance(key, tuple) else (key,)
    return ", ".join(f"{name} {value}" for name, value in zip(groups, values, strict=True))
