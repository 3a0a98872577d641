"""Run the unit tests and the notebooks under several arithmetics, since optimisation amplifies rounding.

    python tests/robust.py [ARITHMETIC …] [--quick] [--jobs N] [--tests PATH …] [--notebooks PATH …]

Prints a table at the end; exit code 1 if anything failed under any of them. On a processor whose own instructions are
those of another of them, what was run under one is not run again under the other, and the table says so.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

# What each sets in the environment; all but "threads" compute on one thread a process.
ARITHMETICS: dict[str, dict[str, str]] = {
    "own": {},  # the widest instructions that this processor has
    "threads": {"OMP_NUM_THREADS": "2"},  # sums are split in two
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "sse41": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
NBVAL = (
    "--dist",
    "loadfile",
    "--nbval",
    "--nbval-sanitize-with",
    "tests/nbval.cfg",
    "--nbval-cell-timeout",
    "3600",
    "-p",
    "no:warnings",
)
# What --quick takes of the notebooks: the others are the experiments that search, which `make reproduce` runs.
QUICK = ["notebooks/tutorials", "notebooks/theory", "notebooks/experiments/13_record.ipynb"]
COUNTS = re.compile(r"\d+ (?:failed|passed|skipped|deselected|errors?|xfailed|xpassed)|no tests ran")


@dataclass(frozen=True)
class Outcome:
    """One call of pytest. counts: what its last line says."""

    arithmetic: str
    what: str
    ok: bool
    counts: str
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arithmetics", nargs="*", metavar="ARITHMETIC", help=f"of {', '.join(ARITHMETICS)}; all")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default: %(default)s)")
    parser.add_argument("--tests", nargs="*", default=["tests"], help="unit tests (none: leave them out)")
    parser.add_argument("--notebooks", nargs="*", default=["notebooks"], help="notebooks (none: leave them out)")
    parser.add_argument(
        "--quick", action="store_true", help="without the tests marked slow, and QUICK of the notebooks"
    )
    options = parser.parse_args(arguments)
    if options.quick and options.notebooks == parser.get_default("notebooks"):
        options.notebooks = QUICK
    if unknown := set(options.arithmetics) - set(ARITHMETICS):
        parser.error(f"no arithmetic {', '.join(sorted(unknown))}: choose from {', '.join(ARITHMETICS)}")
    outcomes, names = [], options.arithmetics or list(ARITHMETICS)
    same = the_same(names)
    for name in names:
        if name in same:
            before = [o for o in outcomes if o.arithmetic == same[name]]
            outcomes += [replace(o, arithmetic=name, counts=f"{same[name]} is the same here") for o in before]
            continue
        environment = {"OMP_NUM_THREADS": "1", **ARITHMETICS[name]}
        jobs = max(1, options.jobs // int(environment["OMP_NUM_THREADS"]))
        side_by_side = ["-n", str(jobs)] if jobs > 1 else []
        calls = {
            "tests": (options.tests, ["-m", "not slow"] if options.quick else [], {}),
            "notebooks": (options.notebooks, NBVAL, {"TQDM_DISABLE": "1"}),  # progress bars are output
        }
        for what, (paths, flags, more) in calls.items():
            if paths:
                print(f"\n== {what}, arithmetic {name}: {said(ARITHMETICS[name])}", flush=True)
                outcomes.append(run(name, what, [*side_by_side, *flags, *paths], environment | more))
    print("\n" + table(outcomes))
    if options.quick:
        print("left out: tests marked slow, and the experiments that search. `make test ALL=1` runs all.")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def the_same(names: Sequence[str]) -> dict[str, str]:
    """Of each that computes on this processor as one before it in `names` does: that one."""
    if len(names) == 1:
        return {}
    first, same = {}, {}
    for name in names:
        how = (instructions(ARITHMETICS[name]), ARITHMETICS[name].get("OMP_NUM_THREADS"))
        if first.setdefault(how, name) != name:
            same[name] = first[how]
    return same


def instructions(environment: Mapping[str, str]) -> str:
    """What torch computes with under `environment`: "AVX512", "AVX2", "DEFAULT", …"""
    ask = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    asked = subprocess.run(
        [sys.executable, "-c", ask], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return asked.stdout.strip()


def run(arithmetic: str, what: str, flags: Sequence[str], environment: Mapping[str, str]) -> Outcome:
    """Call pytest with `flags`, passing on what it prints."""
    began = time.perf_counter()
    last = ""
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "--color=no", *flags],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as child:
        for line in child.stdout:
            print(line, end="", flush=True)
            last = line if COUNTS.search(line) else last
    return Outcome(
        arithmetic, what, child.returncode == 0, ", ".join(COUNTS.findall(last)), time.perf_counter() - began
    )


def table(outcomes: Sequence[Outcome]) -> str:
    rows = [("arithmetic", "what", "", "counts", "minutes")]
    rows += [
        (o.arithmetic, o.what, "ok" if o.ok else "FAILED", o.counts or "nothing ran", f"{o.seconds / 60:.1f}")
        for o in outcomes
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def said(environment: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in environment.items()) or "the processor's own"


if __name__ == "__main__":
    sys.exit(main())
