"""How far a run's numbers move from one arithmetic to another: what figures/tolerances.csv is made from.

    python -m benchmarks spread RUN RUN [RUN …]

Each RUN is a folder of a run's CSV files (runs/figures, copied away before the next run). The first was made with the
processor's own arithmetic, another under ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 `ilo reproduce`, or with
another number of threads; all of the same revision. Prints, for each line of the table of tolerances, the mean that
moved furthest, as a mean of 16 rows would, beside what the line allows: a line allows half as much again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ilo.provenance import checkout
from ilo.tolerances import TOLERANCES, read_tolerances
from ilo.verify import movements


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks spread", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    first, *others = parser.parse_args(arguments).runs
    if not others:
        parser.error("a run is compared with others: name two or more")
    tolerances = read_tolerances(checkout() / "figures" / TOLERANCES)
    tables = []
    for other in others:
        for path in sorted(other.glob("*.csv")):
            if (then := first / path.name).is_file():
                try:
                    table = movements(path.name, pd.read_csv(path), pd.read_csv(then), tolerances)
                except ValueError as error:
                    print(f"left out: {error}", file=sys.stderr)
                    continue
                tables.append(table.assign(file=path.name, run=str(other)))
    if not tables:
        sys.exit("the runs have no file in common of which a quantity has a tolerance")
    moved = pd.concat(tables, ignore_index=True)
    for tolerance, of in moved.groupby("tolerance", sort=False):
        allowed = of["then"].abs().mul(tolerance.relative).clip(lower=tolerance.absolute)
        worst = of.loc[(of["moved"] / allowed).fillna(0.0).idxmax()]  # 0/0: where nothing may move, and nothing did
        print(
            f"{tolerance.file}, {tolerance.quantity}: {len(of)} means, of which half moved by less than "
            f"{of['moved'].median():.2g}, 19 of 20 by less than {of['moved'].quantile(0.95):.2g}; furthest "
            f"{worst['moved']:.3g} of {allowed[worst.name]:.3g} allowed: {worst['file']}, {worst['group']}, "
            f"{worst['rows']} rows, {worst['then']:.4g} → {worst['now']:.4g} in {worst['run']}"
        )
