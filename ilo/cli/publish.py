"""``ilo publish``: a run becomes the committed figures."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Copy what a run drew to figures/, the committed reference, for a maintainer to look at and commit. Refused, with exit
code 2, unless every file's record names a clean commit that is in the history: commit, run `ilo reproduce`, publish,
commit the figures, and never rewrite that history.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", type=Path, help="what the run drew (default: runs/figures)")


def run(options: argparse.Namespace) -> int:
    from ilo import publish

    written = publish.publish(options.folder)
    print(f"{len(written)} files written to {written[0].parent}")
    return 0
