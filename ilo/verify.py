"""Compare the numbers of a run with the committed ones, and say what moved.

The reference is figures/: the rows behind every committed figure, and tolerances.csv, how far each quantity's mean may
move and where that is known from.

Rows of one image drift between processors, as optimisation amplifies rounding; means over images and seeds hold. So
what is compared is the mean of each quantity over the rows of a task, level and method (and whatever else tells a
file's groups apart), of the images, seeds and evaluations that both have, and then the mean over all rows of a method.
Tolerances are for means of 16 rows or more; the mean of n < 16 may move 4/√n times as far.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd

from ilo.provenance import checkout, runs_folder
from ilo.tolerances import MANY, TOLERANCES, Tolerance, read_table, read_tolerances

# Columns that tell groups apart, where a file has them.
GROUPS = (
    "kind", "task", "level", "noise", "m", "layer", "radius", "steps", "class", "K", "L2", "generator", "cut", "run",
    "metric", "method",
)  # fmt: skip
# Columns that tell the rows of a group apart. A search of other length is another row: a full run's is not compared
# with a quick one's.
MEMBERS = ("image", "seed", "draw", "evaluations")
NO_TOLERANCE = f"{TOLERANCES} names none of its quantities"
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


def verify(fresh: str | Path | None = None, reference: str | Path | None = None) -> list[Comparison]:
    """Compare every CSV file of `fresh` with the one of the same name in `reference`.

    Files, tasks, levels, images and seeds that only one side has are left out: a run may cover less than the reference.
    But a method that the reference has at a level of the fresh run, and the fresh run has not, is missing.

    Args:
        fresh: the run's CSV files; None: runs/figures of the checkout or working directory.
        reference: what to compare with; None: the checkout's figures/. Its tolerances.csv counts, else the checkout's.

    Raises:
        ValueError: there is nothing that could be compared, with the reasons.
    """
    home = checkout()
    fresh = runs_folder() / "figures" if fresh is None else Path(fresh)
    if reference is None and home is None:
        raise ValueError("no committed figures here: run this in a checkout of the repository, or name a --reference")
    reference = home / "figures" if reference is None else Path(reference)
    for folder in (fresh, reference):
        if not folder.is_dir():
            raise ValueError(f"no folder {folder}: run `ilo reproduce` first, or name the folder of a run's CSV files")
    tolerances = _tolerances_for(reference, home)
    committed = {path.name: path for path in reference.glob("*.csv") if path.name != TOLERANCES}
    comparisons = []
    for path in sorted(fresh.glob("*.csv")):
        if path.name == TOLERANCES:
            continue
        if path.name not in committed:
            comparisons.append(Comparison(path.name, reason="no reference"))
            continue
        other = committed[path.name]
        try:
            comparison = compare(path.name, read_table(path), read_table(other), tolerances)
        except ValueError as error:
            comparison = Comparison(path.name, reason=str(error))
        comparisons.append(replace(comparison, identical=path.read_bytes() == other.read_bytes()))
    if not any(comparison.compared for comparison in comparisons):
        reasons = "; ".join(c.reason for c in comparisons if c.reason != "no reference")
        raise ValueError(
            f"nothing to compare in {fresh}: {reasons or f'no CSV file has the name of one in {reference}'}"
        )
    return comparisons


def _tolerances_for(reference: Path, home: Path | None) -> list[Tolerance]:
    places = [reference / TOLERANCES, *([] if home is None else [home / "figures" / TOLERANCES])]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ValueError(f"no {places[0]}: it says how far the mean of each quantity may move")
    return read_tolerances(found)


def compare(name: str, fresh: pd.DataFrame, reference: pd.DataFrame, tolerances: Sequence[Tolerance]) -> Comparison:
    """Compare the means of two tables of rows.

    Raises:
        ValueError: they have no quantity, no group or no row in common.
    """
    pair = _pair(name, fresh, reference, tolerances)
    compared, moved = 0, []
    for by, means in pair.means():
        compared += len(means) * len(pair.fitting)
        whole = "" if by == pair.groups else "all rows of "
        moved += [whole + sentence for tolerance in pair.fitting.values() for sentence in _moved(means, by, tolerance)]
    shared = pair.fresh[pair.groups].drop_duplicates().merge(pair.reference[pair.groups].drop_duplicates())
    apart = len(shared) - len(pair.both[pair.groups].drop_duplicates())
    return Comparison(name, compared, tuple(moved), tuple(_missing(pair.fresh, pair.reference, pair.groups)), apart)


def movements(name: str, fresh: pd.DataFrame, reference: pd.DataFrame, tolerances: Sequence[Tolerance]) -> pd.DataFrame:
    """How far each mean that `compare` looks at has moved: what a table of tolerances is made from.

    Columns: tolerance (the `Tolerance` that fits), quantity, group (in words), rows (how many the mean is of), then,
    now (as the tolerance bounds them), and moved: |now − then|, as a mean of `MANY` rows or more would move: times
    √(rows/16) where there are fewer.

    Raises:
        ValueError: as `compare`.
    """
    pair = _pair(name, fresh, reference, tolerances)
    found = []
    for by, means in pair.means():
        for quantity, tolerance in pair.fitting.items():
            table = means.rename(columns={f"{quantity}_then": "then", f"{quantity}_now": "now"})[
                ["rows", "then", "now"]
            ]
            as_many = (table["rows"] / MANY).clip(upper=1) ** 0.5
            moved = (table["now"] - table["then"]).abs() * as_many
            words = [_words(by, key) for key in table.index]
            table = table.assign(tolerance=[tolerance] * len(table), quantity=quantity, group=words, moved=moved)
            found.append(table.reset_index(drop=True))
    return pd.concat(found, ignore_index=True)[["tolerance", "quantity", "group", "rows", "then", "now", "moved"]]


@dataclass(frozen=True)
class _Pair:
    """Two tables with keys alike. fitting: quantity -> its tolerance; groups: columns that tell groups apart; both: the
    rows that the two have in common, with each quantity as ``_now`` and ``_then``."""

    fresh: pd.DataFrame
    reference: pd.DataFrame
    fitting: dict[str, Tolerance]
    groups: list[str]
    both: pd.DataFrame

    def means(self) -> Iterator[tuple[list[str], pd.DataFrame]]:
        """What rows are gathered by, and the means: group by group, then method by method."""
        columns = [f"{quantity}_{when}" for quantity in self.fitting for when in ("now", "then")]
        for by in [self.groups, ["method"]] if "method" in self.groups and len(self.groups) > 1 else [self.groups]:
            yield by, _means(self.both, by, columns)


def _pair(name: str, fresh: pd.DataFrame, reference: pd.DataFrame, tolerances: Sequence[Tolerance]) -> _Pair:
    groups, members = ([c for c in names if c in fresh and c in reference] for names in (GROUPS, MEMBERS))
    fitting: dict[str, Tolerance] = {}
    for tolerance in tolerances:
        if fnmatch(name, tolerance.file) and tolerance.quantity in fresh and tolerance.quantity in reference:
            fitting.setdefault(tolerance.quantity, tolerance)
    if not fitting:
        raise ValueError(f"{name}: {NO_TOLERANCE}")
    if not groups:
        raise ValueError(f"{name}: no column in common that tells groups apart ({', '.join(GROUPS)})")
    keys = groups + members
    fresh, reference = (_alike(_bounded(table, fitting), keys) for table in (fresh, reference))
    one_row_each = (_means(table, keys, [*fitting]).drop(columns="rows").reset_index() for table in (fresh, reference))
    both = pd.merge(*one_row_each, on=keys, suffixes=("_now", "_then"))
    if both.empty:
        raise ValueError(f"{name}: the two have no rows of the same {', '.join(keys)}")
    return _Pair(fresh, reference, fitting, groups, both)


def _moved(means: pd.DataFrame, by: list[str], tolerance: Tolerance) -> Iterator[str]:
    """One sentence for each mean that left its tolerance."""
    quantity = tolerance.quantity
    columns = (means[name] for name in (f"{quantity}_now", f"{quantity}_then", "rows"))
    for key, now, then, rows in zip(means.index, *columns, strict=True):
        allowed = tolerance.allowed(then, rows)
        # a NaN is near nothing but a NaN, an infinity nothing but itself
        if not np.isclose(now, then, rtol=0, atol=allowed, equal_nan=True):
            change = f"{then:.4g} → {now:.4g} ({now - then:+.3g}, allowed ±{allowed:.2g})"
            yield f"{_words(by, key)}: {quantity} {change}"


def _missing(fresh: pd.DataFrame, reference: pd.DataFrame, groups: list[str]) -> list[str]:
    """The methods that the reference has at a level of the fresh run, and the fresh run has not."""
    if "method" not in groups or len(groups) == 1:
        return []
    where = groups[:-1]  # the method is the last
    expected = reference.merge(fresh[where].drop_duplicates(), on=where)[groups].drop_duplicates()
    lacking = expected.merge(fresh[groups].drop_duplicates(), how="left", indicator=True)
    lacking = lacking[lacking["_merge"] == "left_only"][groups]
    return [_words(groups, tuple(key)) for key in lacking.itertuples(index=False)]


def _means(table: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    """Means of the columns, NaN where a value is, and `rows`: the number of rows of each group."""
    grouped = table.groupby(by if len(by) > 1 else by[0])
    return grouped[columns].agg(lambda column: column.mean(skipna=False)).assign(rows=grouped.size())


def _bounded(table: pd.DataFrame, fitting: dict[str, Tolerance]) -> pd.DataFrame:
    return table.assign(**{name: table[name].clip(bound.lower, bound.upper) for name, bound in fitting.items()})


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
    free = [c.name for c in comparisons if c.reason.endswith(NO_TOLERANCE)]
    others = [c.reason for c in comparisons if c.name not in free and c.reason not in ("", "no reference")]
    lines += [f"not compared: {reason}" for reason in others]
    if free:
        lines.append(f"not compared, since {TOLERANCES} names none of their quantities: {', '.join(free)}")
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
