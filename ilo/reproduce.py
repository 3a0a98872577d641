"""Run the experiments' notebooks in batch, by papermill, and publish what they draw.

A notebook names its parameters in one cell (``name: T = literal  # help`` a line). A profile file gives each its
values for a quick run and for a full one. The runner refuses a parameter that the notebook does not declare, runs
notebooks side by side, and moves a notebook's figures to their place only when every cell of it succeeded, so that a
failed run leaves the last good figures alone.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import papermill
import yaml

from ilo.files import written_atomically
from ilo.provenance import REPOSITORY, provenance
from ilo.study.cluster import VARIABLE, cores, local_cluster

NOTEBOOKS = REPOSITORY / "notebooks"
PROFILES = NOTEBOOKS / "profiles.yaml"
GRACE = 10  # seconds that an interrupted notebook has to end by itself


class ReproduceError(ValueError):
    """The request cannot be run: an unknown notebook, profile or parameter."""


@dataclass(frozen=True)
class Job:
    """One notebook and the parameters it will run with; name is its path below notebooks/, without ending."""

    name: str
    path: Path
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How one notebook ended. error is None when every cell succeeded."""

    job: Job
    seconds: float
    notebook: Path
    figures: tuple[Path, ...]
    error: str | None


def plan(
    profile: str = "quick",
    *,
    only: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    profiles: Path = PROFILES,
    notebooks: Path = NOTEBOOKS,
) -> list[Job]:
    """Return the notebooks to run, in the profile's order, with their parameters.

    Args:
        profile: a profile of the file: "quick" (two CPU cores, minutes) or "full" (hours).
        only: run the notebooks whose name contains one of these.
        overrides: parameters set in every notebook that declares them; one that none declares is an error.

    Raises:
        ReproduceError: unknown profile, a name in `only` that matches nothing, a parameter no notebook declares.
    """
    if not profiles.exists():
        raise ReproduceError(f"no profile file at {profiles}: `ilo reproduce` needs a checkout of the repository")
    table = yaml.safe_load(profiles.read_text())
    if profile not in table:
        raise ReproduceError(f"no profile {profile!r}: {profiles.name} has {', '.join(table)}")
    chosen = table[profile]
    for word in only:
        if not any(word in name for name in chosen):
            raise ReproduceError(f"no notebook matches {word!r}; there are: {', '.join(chosen)}")
    jobs, used = [], set()
    for name, given in chosen.items():
        if only and not any(word in name for word in only):
            continue
        path = notebooks / f"{name}.ipynb"
        declared = declared_parameters(path)
        given = dict(given or {})
        unknown = sorted(set(given) - set(declared))
        if unknown:
            raise ReproduceError(
                f"{profiles.name} gives {name} the parameters {unknown}, but it declares {sorted(declared)}"
            )
        extra = {key: value for key, value in (overrides or {}).items() if key in declared}
        used |= set(extra)
        jobs.append(Job(name, path, {**declared, **given, **extra}))
    unused = sorted(set(overrides or {}) - used)
    if unused:
        raise ReproduceError(f"no chosen notebook declares {unused}")
    return jobs


def declared_parameters(path: Path) -> dict[str, Any]:
    """Read a notebook's parameters and their defaults."""
    if not path.exists():
        raise ReproduceError(f"no notebook at {path}")
    found = papermill.inspect_notebook(str(path))
    return {name: ast.literal_eval(entry["default"]) for name, entry in found.items()}


def reproduce(
    jobs: Sequence[Job],
    *,
    figures: Path = REPOSITORY / "figures",
    runs: Path = REPOSITORY / "runs",
    workers: int = 1,
    dask: str | None = None,
    report: Callable[[str], None] = print,
) -> list[Outcome]:
    """Run `jobs`, `workers` at a time; write runs/<name>.ipynb and results, and move figures into `figures`.

    A notebook that fails leaves its partial copy in `runs` for a look, publishes nothing, and stops no other. An
    interrupt (Ctrl-C) ends the notebooks that run and starts no other.

    Args:
        dask: address of a Dask scheduler on whose workers the notebooks' grids are computed, or "local": workers are
            started on this machine. None: each notebook computes its own.
    """
    if workers < 1:
        raise ReproduceError(f"the number of jobs must be at least 1, got {workers}")
    width = max((len(job.name) for job in jobs), default=0)
    threads = max(1, cores() // max(1, min(workers, len(jobs))))
    children: set[subprocess.Popen] = set()

    with local_cluster() if dask == "local" else nullcontext(dask) as address, ThreadPoolExecutor(workers) as pool:
        environment = _kernel_environment(threads) | ({VARIABLE: address} if address else {})
        places = {"figures": figures, "runs": runs, "environment": environment, "children": children}
        started = [pool.submit(run_notebook, job, **places) for job in jobs]
        try:
            for count, future in enumerate(as_completed(started), 1):
                outcome = future.result()
                word = "ok" if outcome.error is None else "FAILED"
                report(f"[{count}/{len(jobs)}] {outcome.job.name:{width}}  {word:6}  {outcome.seconds:6.1f} s")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # no other starts while those that run are ended
            _end(children)
            raise
    return [future.result() for future in started]


def _end(children: Iterable[subprocess.Popen]) -> None:
    """End papermill processes, of which a terminal has interrupted all by now. Their kernels end with them."""
    deadline = time.monotonic() + GRACE
    for end in (subprocess.Popen.terminate, subprocess.Popen.kill):
        for child in list(children):
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                end(child)
        deadline = time.monotonic() + GRACE


def run_notebook(
    job: Job, *, figures: Path, runs: Path, environment: Mapping[str, str], children: set[subprocess.Popen]
) -> Outcome:
    """Execute one notebook in a process of its own; publish its figures if every cell succeeded.

    `environment` is added to this process's; the process is in `children` while it runs.
    """
    executed = runs / f"{job.name}.ipynb"
    output = runs / f"{job.name}-output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    parameters = dict(job.parameters)
    if "output" in parameters:
        parameters["output"] = str(output)
    given = output / "parameters.yaml"
    given.write_text(yaml.safe_dump(parameters))
    command = [sys.executable, "-m", "papermill", str(job.path), str(executed), "--parameters_file", str(given)]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, "--cwd", str(runs), "--no-progress-bar"],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as papermill_process:
        children.add(papermill_process)
        stderr = papermill_process.communicate()[1]
    children.discard(papermill_process)
    seconds = time.perf_counter() - began
    error = None if papermill_process.returncode == 0 else _cause(executed, stderr)
    versions = {name: value for name, value in provenance().items() if name not in ("device", "dtype", "threads")}
    record = {"notebook": job.name, "parameters": job.parameters, "seconds": round(seconds, 1), **versions}
    with written_atomically(output / "results.json") as temporary:
        temporary.write_text(json.dumps({**record, "error": error}, indent=1, default=str) + "\n")
    published = () if error else tuple(_publish(output, figures))
    return Outcome(job, seconds, executed, published, error)


def _kernel_environment(threads: int) -> dict[str, str]:
    """What a kernel inherits: no progress bars (they are output), its share of the cores, our Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(threads), "PATH": path}


def _cause(executed: Path, stderr: str) -> str:
    """What went wrong: the error of the cell that failed, or papermill's last line when no cell ran."""
    if executed.exists():
        for cell in json.loads(executed.read_text())["cells"]:
            for output in cell.get("outputs", []):
                if output["output_type"] == "error":
                    return f"{output['ename']}: {output['evalue']}"
    return (stderr.strip().splitlines() or ["papermill failed without a word"])[-1]


def _publish(output: Path, figures: Path) -> Iterable[Path]:
    figures.mkdir(parents=True, exist_ok=True)
    for path in sorted(output.iterdir()):
        if path.is_file() and path.name not in ("results.json", "parameters.yaml"):
            with written_atomically(figures / path.name) as temporary:
                shutil.copyfile(path, temporary)
            yield figures / path.name


def summary(outcomes: Sequence[Outcome]) -> str:
    """Say what ran, what failed and why, and where everything is."""
    failed = [o for o in outcomes if o.error is not None]
    drawn = sum(len(o.figures) for o in outcomes)
    total = sum(o.seconds for o in outcomes)
    lines = [f"{len(outcomes) - len(failed)} notebooks ok, {len(failed)} failed, {drawn} files written, {total:.0f} s"]
    for outcome in failed:
        lines += ["", f"{outcome.job.name}: {outcome.error}", f"  its partial copy: {outcome.notebook}"]
    return "\n".join(lines)
