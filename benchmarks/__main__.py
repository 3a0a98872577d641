"""Time the solver, or do what is named: python -m benchmarks [solver | auto | stylegan2 | record | tune | …]."""

import importlib
import sys

SPEED = ("solver", "auto", "stylegan2")  # what runs when nothing is named
BENCHMARKS = (*SPEED, "record", "tune", "first_stage", "brightness", "readme", "interop", "spread", "prior")

if __name__ == "__main__":
    name, *arguments = sys.argv[1:] or [None]
    if name is not None and name not in BENCHMARKS:
        sys.exit(f"no benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")
    if arguments and name in (*SPEED, "interop"):
        sys.exit(f"{name} takes no arguments")
    for each in [name] if name else SPEED:
        main = importlib.import_module(f"benchmarks.{each}").main
        main(arguments) if arguments else main()
