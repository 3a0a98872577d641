"""How far the mean of each quantity may move between runs, as figures/tolerances.csv says."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

TOLERANCES = "tolerances.csv"
MANY = 16  # rows, from which on the tolerances hold as they are


@dataclass(frozen=True)
class Tolerance:
    """How far the mean of `quantity` may move in files whose name fits the pattern `file`.

    absolute, relative (to the reference): the larger of the two counts. lower, upper: what lies beyond counts as this
    value, infinite where there is no such bound. source: where the tolerance is known from.
    """

    file: str
    quantity: str
    absolute: float
    relative: float
    lower: float
    upper: float
    source: str

    def allowed(self, then: float, rows: int) -> float:
        """How far a mean of `rows` rows may move from `then`."""
        return max(self.absolute, self.relative * abs(then)) * max(1.0, math.sqrt(MANY / rows))


def read_table(path: str | Path) -> pd.DataFrame:
    """A table; ValueError that names the file where it is none."""
    try:
        return pd.read_csv(path)
    except ValueError as error:  # pandas' own errors too
        raise ValueError(f"{path} is no CSV table: {' '.join(str(error).split())}") from error


def read_tolerances(path: str | Path) -> list[Tolerance]:
    """Read the table of tolerances: a row for each file pattern and quantity, of which the first that fits counts.

    Raises:
        ValueError: a column that is missing, or a value that is no number of at least 0.
    """
    table = read_table(path)
    names = list(Tolerance.__dataclass_fields__)
    if lacking := [name for name in names if name not in table]:
        raise ValueError(f"{path} must have the columns {', '.join(names)}: it lacks {', '.join(lacking)}")
    try:
        numbers = table[["absolute", "relative"]].astype(float)
        table = table.assign(lower=table["lower"].fillna(-math.inf), upper=table["upper"].fillna(math.inf))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not (np.isfinite(numbers) & (numbers >= 0)).all(axis=None):
        raise ValueError(f"{path}: absolute and relative are finite numbers of at least 0")
    return [Tolerance(**row) for row in table[names].to_dict("records")]
