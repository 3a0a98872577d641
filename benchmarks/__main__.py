"""Run the benchmarks named on the command line, or those of speed. Options go to the one that is named: celeba's."""

import importlib
import itertools
import sys

SPEED = ("solver", "stylegan2")  # what runs when nothing is named
BENCHMARKS = (*SPEED, "celeba", "baselines", "auto")

if __name__ == "__main__":
    names = list(itertools.takewhile(lambda word: not word.startswith("-"), sys.argv[1:]))
    options = sys.argv[1 + len(names) :]
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark {unknown}: choose from {', '.join(BENCHMARKS)}")
    if options and names != ["celeba"]:
        sys.exit(f"usage: python -m benchmarks [{' | '.join(BENCHMARKS)}]; only celeba takes options (celeba --help)")
    for name in names or SPEED:
        main = importlib.import_module(f"benchmarks.{name}").main
        main(options) if options else main()
