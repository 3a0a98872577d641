"""Run the experiments' notebooks in batch, by papermill, into runs/.

A notebook names its parameters in one cell (``name: T = literal  # help`` a line). A profile file gives each its
values for a quick run and for a full one. The runner refuses a parameter that the notebook does not declare and runs
notebooks side by side. Every run has a folder of its own below runs/. A notebook's figures are copied to runs/figures,
and the executed notebook to runs/notebooks, only when every cell of it succeeded, so that a failed run leaves the last
good ones alone. The committed figures/ are `ilo.publish.publish`'s to write.
"""

import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import papermill
import yaml

from ilo.files import copied_atomically, written_atomically
from ilo.provenance import checkout, provenance, runs_folder
from ilo.publish import collect
from ilo.study.cluster import VARIABLE, cores, local_cluster

PROFILES = "profiles.yaml"  # beside the notebooks
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


@dataclass(frozen=True)
class Run:
    """What became of the jobs, in their order; folder: the run's own, below runs/; seconds: of wall time."""

    folder: Path
    outcomes: tuple[Outcome, ...]
    seconds: float


def plan(
    profile: str = "quick",
    *,
    only: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    notebooks: Path | None = None,
) -> list[Job]:
    """Return the notebooks to run, in the profile's order, with their parameters.

    Args:
        profile: a profile of the file: "quick" (two CPU cores, minutes) or "full" (hours).
        only: run the notebooks whose name contains one of these.
        overrides: parameters set in every notebook that declares them; one that none declares is an error.
        notebooks: the folder of the notebooks and of profiles.yaml; None: that of the checkout.

    Raises:
        ReproduceError: no checkout, unknown profile, a name in `only` that matches nothing, a parameter that no
            notebook declares.
    """
    notebooks = _notebooks() if notebooks is None else notebooks
    chosen = _profile(notebooks / PROFILES, profile)
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
                f"{PROFILES} gives {name} the parameters {unknown}, but it declares {sorted(declared)}"
            )
        extra = {key: value for key, value in (overrides or {}).items() if key in declared}
        used |= set(extra)
        jobs.append(Job(name, path, {**declared, **given, **extra}))
    unused = sorted(set(overrides or {}) - used)
    if unused:
        raise ReproduceError(f"no chosen notebook declares {unused}")
    return jobs


def _notebooks() -> Path:
    home = checkout()
    if home is None:
        raise ReproduceError("no notebooks here: `ilo reproduce` needs a checkout of the repository; run it in one")
    return home / "notebooks"


def _profile(path: Path, profile: str) -> dict[str, dict[str, Any] | None]:
    """A profile's notebooks and what it gives each."""
    if not path.exists():
        raise ReproduceError(f"no profile file at {path}: `ilo reproduce` needs a checkout of the repository")
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReproduceError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(table, dict) or profile not in table:
        raise ReproduceError(f"no profile {profile!r}: {path} has {', '.join(map(str, table or ()))}")
    chosen = table[profile]
    if not (isinstance(chosen, dict) and all(given is None or isinstance(given, dict) for given in chosen.values())):
        raise ReproduceError(f"{path}: profile {profile!r} is no table of notebooks and what each is given")
    return chosen


def declared_parameters(path: Path) -> dict[str, Any]:
    """Read a notebook's parameters and their defaults."""
    if not path.exists():
        raise ReproduceError(f"no notebook at {path}")
    found = papermill.inspect_notebook(str(path))
    return {name: ast.literal_eval(entry["default"]) for name, entry in found.items()}


def reproduce(
    jobs: Sequence[Job],
    *,
    runs: Path | None = None,
    workers: int = 1,
    dask: str | None = None,
    report: Callable[[str], None] = print,
) -> Run:
    """Run `jobs`, `workers` at a time, in a new folder of `runs`; copy what they draw to runs/figures.

    A notebook that fails leaves its partial copy in the run's folder for a look, publishes nothing, and stops no other.
    An interrupt (Ctrl-C) ends the notebooks that run and starts no other.

    Args:
        runs: None: that of the checkout, or of the working directory.
        dask: address of a Dask scheduler on whose workers the notebooks' grids are computed, or "local": workers are
            started on this machine. None: each notebook computes its own.
    """
    if workers < 1:
        raise ReproduceError(f"the number of jobs must be at least 1, got {workers}")
    began = time.perf_counter()
    folder = new_folder(runs_folder() if runs is None else runs)
    width = max((len(job.name) for job in jobs), default=0)
    threads = max(1, cores() // max(1, min(workers, len(jobs))))
    children: set[subprocess.Popen] = set()

    with local_cluster() if dask == "local" else nullcontext(dask) as address, ThreadPoolExecutor(workers) as pool:
        environment = _kernel_environment(threads) | ({VARIABLE: address} if address else {})
        places = {"folder": folder, "environment": environment, "children": children}
        started = [pool.submit(run_notebook, job, **places) for job in jobs]
        try:
            for done, future in enumerate(as_completed(started), 1):
                outcome = future.result()
                word = "ok" if outcome.error is None else "FAILED"
                report(f"[{done}/{len(jobs)}] {outcome.job.name:{width}}  {word:6}  {outcome.seconds:6.1f} s")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # no other starts while those that run are ended
            _end(children)
            raise
    run = Run(folder, tuple(future.result() for future in started), time.perf_counter() - began)
    _write_report(run)
    return run


def new_folder(runs: Path) -> Path:
    """Make a folder in `runs` that no other run has, named by the time."""
    runs.mkdir(parents=True, exist_ok=True)
    name = f"{datetime.now():%Y-%m-%d-%H%M%S}"
    for number in count(1):
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("numbers do not end")


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


def run_notebook(job: Job, *, folder: Path, environment: Mapping[str, str], children: set[subprocess.Popen]) -> Outcome:
    """Execute one notebook in a process of its own; copy it and its figures to `folder`'s parent if it succeeded.

    `environment` is added to this process's; the process is in `children` while it runs.
    """
    executed = folder / f"{job.name}.ipynb"
    output = folder / f"{job.name}-output"
    output.mkdir(parents=True)
    given = output / "parameters.yaml"
    parameters = {name: str(output) if name == "output" else value for name, value in job.parameters.items()}
    given.write_text(yaml.safe_dump(parameters), encoding="utf-8")
    # However the runner dies, papermill ends with its input, and a kernel when it sees that its parent, papermill, has.
    watched = [sys.executable, "-m", "ilo.watched", "papermill"]
    command = [*watched, str(job.path), str(executed), "--parameters_file", str(given)]
    began = time.perf_counter()
    reading, writing = os.pipe()
    with subprocess.Popen(
        [*command, "--cwd", str(folder), "--no-progress-bar"],
        env=os.environ | environment,
        stdin=reading,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as papermill_process:
        os.close(reading)
        children.add(papermill_process)
        stderr = papermill_process.communicate()[1]
        os.close(writing)
    children.discard(papermill_process)
    seconds = time.perf_counter() - began
    error = None if papermill_process.returncode == 0 else _cause(executed, stderr)
    record = {"notebook": job.name, "parameters": job.parameters, "seconds": round(seconds, 1), **_versions()}
    _write_json(output / "results.json", {**record, "error": error})
    if error is not None:
        return Outcome(job, seconds, executed, (), error)
    figures = collect(job.name, output, folder.parent)
    copied_atomically(executed, folder.parent / "notebooks" / f"{job.name}.ipynb")
    return Outcome(job, seconds, executed, tuple(figures), None)


def _versions() -> dict[str, str]:
    return {name: value for name, value in provenance().items() if name not in ("device", "dtype", "threads")}


def _write_report(run: Run) -> None:
    """The run as report.json in its folder: its wall time, and how each notebook ended."""
    notebooks = [
        {"notebook": o.job.name, "seconds": round(o.seconds, 1), "error": o.error, "files": [p.name for p in o.figures]}
        for o in run.outcomes
    ]
    _write_json(run.folder / "report.json", {"seconds": round(run.seconds, 1), **_versions(), "notebooks": notebooks})


def _write_json(path: Path, value: Any) -> None:
    with written_atomically(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")


def _kernel_environment(threads: int) -> dict[str, str]:
    """What a kernel inherits: no progress bars (they are output), its share of the cores, our Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(threads), "PATH": path}


def _cause(executed: Path, stderr: str) -> str:
    """What went wrong: the error of the cell that failed, or papermill's last line when no cell ran."""
    if executed.exists():
        for cell in json.loads(executed.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if output["output_type"] == "error":
                    return f"{output['ename']}: {output['evalue']}"
    return (stderr.strip().splitlines() or ["papermill failed without a word"])[-1]


def summary(run: Run) -> str:
    """Say what ran, how long the whole took, what failed and why, and where everything is."""
    failed = [o for o in run.outcomes if o.error is not None]
    good = len(run.outcomes) - len(failed)
    drawn = sum(len(o.figures) for o in run.outcomes)
    lines = [f"{good} notebooks ok, {len(failed)} failed, {drawn} files drawn, {run.seconds:.0f} s: {run.folder}"]
    for outcome in failed:
        lines += ["", f"{outcome.job.name}: {outcome.error}", f"  its partial copy: {outcome.notebook}"]
    return "\n".join(lines)
