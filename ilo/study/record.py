"""The recorded rows of data/reference: read, put in order, and compared image by image."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ilo.provenance import checkout
from ilo.study.problems import PROBLEMS

PROBLEM = ["task", "level"]
# CSGM's CelebA images that judge: on the first 32 the default of `rounds="auto"` and the fixed schedules were chosen.
JUDGES = tuple(f"CelebA {i}" for i in range(33, 65))
BETTER = {"psnr": 1, "lpips": -1}  # the sign of what is better


def reference_folder() -> Path:
    """data/reference of the checkout. ValueError where there is no checkout."""
    root = checkout()
    if root is None:
        raise ValueError("the recorded rows lie in data/reference of the repository's checkout: name their folder")
    return root / "data" / "reference"


def recorded(folder: str | Path = "", images: Sequence[str] = JUDGES) -> pd.DataFrame:
    """Rows of celeba.csv and auto.csv, by problem in the order of `PROBLEMS`, levels as numbers, with a column `file`.

    Where both have a method's row of an image, celeba.csv counts.

    Args:
        folder: where the two files lie; "": data/reference of the checkout.
        images: of which to take rows; the default: those on which nothing was chosen.

    Raises:
        OSError: a file that is not there.
        ValueError: none of the rows is of these images.
    """
    folder = Path(folder) if str(folder) else reference_folder()
    names = ("celeba.csv", "auto.csv")
    rows = pd.concat([pd.read_csv(folder / name).assign(file=name) for name in names], ignore_index=True)
    rows = rows[rows["image"].isin(images)].drop_duplicates([*PROBLEM, "noise", "method", "image"])
    if rows.empty:
        raise ValueError(f"no rows in {folder} of the images {images[0]} … {images[-1]}")
    return rows.assign(level=rows["level"].astype(float)).sort_values(
        PROBLEM, key=lambda column: column.map(_place) if column.name == "task" else column, kind="stable"
    )


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of methods that have, of a problem, every image that any method has: so that means are of the same."""
    of_problem = rows.groupby(PROBLEM)["image"].transform("nunique")
    of_method = rows.groupby([*PROBLEM, "method"])["image"].transform("nunique")
    return rows[of_method == of_problem]


def first_of(rows: pd.DataFrame, methods: Sequence[str]) -> str:
    """The first of the methods that the rows have. ValueError where they have none."""
    found = next((method for method in methods if (rows["method"] == method).any()), None)
    if found is None:
        raise ValueError(f"no rows of {' or '.join(methods)}: there are {', '.join(sorted(set(rows['method'])))}")
    return found


def relative_to(rows: pd.DataFrame, method: str) -> pd.DataFrame:
    """The rows with psnr and lpips less those of `method` on the same image; where it has none, not the row."""
    own = rows.loc[rows["method"] == method, [*PROBLEM, "image", *BETTER]]
    both = rows.merge(own, on=[*PROBLEM, "image"], suffixes=("", " of it"))
    differences = {metric: both[metric] - both[f"{metric} of it"] for metric in BETTER}
    return both.assign(**differences).drop(columns=[f"{metric} of it" for metric in BETTER])


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard error of psnr and lpips: a row for each problem, method and metric, in the rows' order."""
    long = rows.melt([*PROBLEM, "method", "image"], [*BETTER], "metric")
    table = long.groupby([*PROBLEM, "method", "metric"], sort=False)["value"].agg(["mean", "sem", "count"])
    return table.rename(columns={"count": "images"}).reset_index()


def against(rows: pd.DataFrame, method: str, metric: str) -> pd.DataFrame:
    """How `method` stands to each other one at each problem: mean, sem (paired, by image) and verdict.

    mean is positive where `method` is better, whatever the metric; the verdict is "ahead" or "behind" where that is
    more than twice its standard error, else "level". Columns task, level, method (the other one), mean, sem, verdict.
    """
    table = means(relative_to(rows, method))
    table = table[(table["metric"] == metric) & (table["method"] != method)].dropna(subset="mean")
    # of the others less `method`: turned around where more is better
    table["mean"] *= -BETTER[metric]
    clear = table["mean"].abs() > 2 * table["sem"]
    table["verdict"] = table["mean"].gt(0).map({True: "ahead", False: "behind"}).where(clear, "level")
    return table.drop(columns="metric")


def tally(verdicts: pd.DataFrame, named: int = 6) -> pd.DataFrame:
    """Of `against`: a row for each opponent, in the figures' order, with the numbers of problems ahead, level and
    behind, and where it is behind: `named` of them, the worst first."""
    from ilo import plots  # matplotlib, which the rows do without

    counts = pd.crosstab(verdicts["method"], verdicts["verdict"])
    counts = counts.reindex([method for method in plots.METHODS if method in counts.index])
    counts = counts.reindex(columns=["ahead", "level", "behind"], fill_value=0)
    where = {}
    for method, part in verdicts[verdicts["verdict"] == "behind"].groupby("method"):
        worst = part.sort_values("mean").head(named).itertuples(index=False)
        words = [f"{title(row.task, row.level)} ({row.mean:+.2g})" for row in worst]
        where[method] = ", ".join(words + ([f"{len(part) - named} more"] if len(part) > named else []))
    return counts.assign(**{"behind at": [where.get(method, "") for method in counts.index]})


def title(task: str, level: float) -> str:
    """A problem in words: its level is left out where it says nothing."""
    return task if level == 0 or task.endswith("missing") else f"{task} {level:g}"


def _place(task: str) -> int:
    """Where a task comes: in the order of `PROBLEMS`, others after them in alphabetical order."""
    known = list(dict.fromkeys(problem.task for problem in PROBLEMS))
    return known.index(task) if task in known else len(known) + int.from_bytes(task.encode()[:4].ljust(4), "big")
