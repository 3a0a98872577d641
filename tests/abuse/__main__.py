"""Run the trials of every kind, or of those named, and print how many there were and how they ended.

    python -m tests.abuse [files …] [--seed N]

Each is a module of this package with a function trials(rng: random.Random) -> iterator of Trial. Exit status 1 if any
trial ended wrong.
"""

import argparse
import importlib
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence

from . import REFUSED, WORKED

MODULES = ("files", "calls", "command_lines", "results", "kills", "disks", "locales")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.abuse", description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(MODULES)} (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random (default: %(default)s)")
    options = parser.parse_args(words)
    if unknown := set(options.modules) - set(MODULES):
        parser.error(f"no module {', '.join(sorted(unknown))}: choose from {', '.join(MODULES)}")
    counts: dict[str, Counter[str]] = {}
    for name in options.modules or MODULES:
        module, began = importlib.import_module(f".{name}", __package__), time.perf_counter()
        for trial in module.trials(random.Random(options.seed)):
            end = trial.outcome if trial.outcome in (REFUSED, WORKED) else "wrong"
            counts.setdefault(trial.kind, Counter())[end] += 1
            if end == "wrong":
                print(f"WRONG {trial.kind}: {trial.name}: {trial.outcome}", flush=True)
        print(f"{name}: {time.perf_counter() - began:.0f} s, seed {options.seed}", flush=True)
    width = max(map(len, counts), default=0)
    print(f"{'':{width}}  trials  refused  worked  wrong")
    for kind, count in counts.items():
        print(f"{kind:{width}}  {count.total():6}  {count[REFUSED]:7}  {count[WORKED]:6}  {count['wrong']:5}")
    return int(any(count["wrong"] for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
