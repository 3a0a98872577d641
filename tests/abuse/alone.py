"""One module's trials by themselves: `python -m tests.abuse.MODULE [SEED]`."""

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator

from . import REFUSED, WORKED, Trial


def alone(trials: Callable[[random.Random], Iterator[Trial]]) -> int:
    """Run them, print what ended wrong and how many there were of each kind; return the exit code."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    counts: dict[str, Counter[str]] = {}
    for trial in trials(random.Random(seed)):
        end = trial.outcome if trial.outcome in (REFUSED, WORKED) else "wrong"
        counts.setdefault(trial.kind, Counter())[end] += 1
        if end == "wrong":
            print(f"WRONG {trial.kind}: {trial.name}: {trial.outcome}", flush=True)
    for kind, count in counts.items():
        print(f"{kind}: {count.total()} trials, {', '.join(f'{n} {end}' for end, n in count.items())}, seed {seed}")
    return int(any(count["wrong"] for count in counts.values()))
