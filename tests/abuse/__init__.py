"""Trials by which somebody tries to break the program: `python -m tests.abuse`, or `make abuse`."""

import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent
if str(FOLDER.parent) not in sys.path:  # what tests/ has beside this package
    sys.path.insert(0, str(FOLDER.parent))

REFUSED, WORKED = "refused", "worked"


class Trial(NamedTuple):
    """kind: a row of the table. outcome: REFUSED, WORKED, or in words what was wrong."""

    kind: str
    name: str
    outcome: str
