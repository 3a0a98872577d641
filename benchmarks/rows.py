"""Rows in a CSV file, which several processes of one machine may add to."""

import fcntl
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from ilo.files import written_atomically

DIGITS = 5  # of every number in the file


def put(path: Path, new: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Add `new` to the file, in place of its rows that have the same values in the columns `by`; return all of them.

    Numbers are rounded to `DIGITS`; a column that is empty is left out.
    """
    by, new = [*by], new.round(DIGITS)
    with _alone(path):
        rows = new
        if path.exists():
            old = pd.read_csv(path)
            found = old[by].merge(new[by].drop_duplicates(), on=by, how="left", indicator=True)["_merge"]
            old = old[(found == "left_only").to_numpy()]
            rows = pd.concat([old, new], ignore_index=True) if len(old) else new
        rows = rows.dropna(axis=1, how="all")
        with written_atomically(path) as temporary:
            rows.to_csv(temporary, index=False)
    return rows


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process is inside for this file. The lock lies elsewhere: no checkout is to show it."""
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    with open(Path(tempfile.gettempdir()) / f"ilo-{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
