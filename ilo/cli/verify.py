"""``ilo verify``: whether a run's numbers are the committed ones."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Compare the CSV files of a run with those of the same name in figures/: the mean of each quantity by task, level and
method, over the images, seeds and evaluations that both have, within the tolerances of figures/tolerances.csv. Exit
code 0: nothing moved; 1: something moved or is missing, and it is said what; 2: there was nothing to compare.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", type=Path, help="the run's CSV files (default: runs/figures)")
    parser.add_argument("--reference", type=Path, help="what to compare with (default: figures/)")


def run(options: argparse.Namespace) -> int:
    from ilo import verify

    comparisons = verify.verify(options.folder, options.reference)
    print(verify.report(comparisons))
    return 0 if all(comparison.ok for comparison in comparisons) else 1
