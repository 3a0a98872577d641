"""Run the benchmarks named on the command line, or those of speed."""

import importlib
import sys

SPEED = ("solver", "stylegan2")  # what runs when nothing is named
BENCHMARKS = (*SPEED, "celeba", "baselines")

if __name__ == "__main__":
    names = sys.argv[1:] or SPEED
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark {unknown}: choose from {', '.join(BENCHMARKS)}")
    for name in names:
        importlib.import_module(f"benchmarks.{name}").main()
