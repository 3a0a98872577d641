"""Which notebooks run, and with which parameters: what a profile file says, checked against the notebooks.

A notebook names its parameters in one cell (``name: T = literal  # help`` a line). A profile gives each its values for
a quick run and for a full one, and refuses a parameter that the notebook does not declare. One notebook may run several
times, each time under a name of its own: the key ``folder/notebook:run`` is the job ``folder/notebook-run``.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ilo.provenance import checkout

PROFILES = "profiles.yaml"  # beside the notebooks
KEY = re.compile(r"([^:]+)(?::([\w-]+))?")  # of a profile: notebook, run


class ReproduceError(ValueError):
    """The request cannot be run: an unknown notebook, profile or parameter."""


@dataclass(frozen=True)
class Job:
    """One run of a notebook and its parameters.

    name: the notebook's path below notebooks/, without ending, and "-run" if the profile gives the run a name. What it
    writes is called by it. path: of the notebook.
    """

    name: str
    path: Path
    parameters: dict[str, Any]


def plan(
    profile: str = "quick",
    *,
    only: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    notebooks: Path | None = None,
) -> list[Job]:
    """Return the runs of notebooks, in the profile's order, with their parameters.

    Args:
        profile: a profile of the file: "quick" (two CPU cores, minutes) or "full" (hours).
        only: those whose name contains one of these.
        overrides: parameters set in every notebook that declares them; one that none declares is an error.
        notebooks: the folder of the notebooks and of profiles.yaml; None: that of the checkout.

    Raises:
        ReproduceError: no checkout, unknown profile, a key that names no run, two runs of one name, a name in `only`
            that matches nothing, a parameter that no notebook declares.
    """
    notebooks = _notebooks() if notebooks is None else notebooks
    chosen = _profile(notebooks / PROFILES, profile)
    for word in only:
        if not any(word in name for name in chosen):
            raise ReproduceError(f"no notebook matches {word!r}; there are: {', '.join(chosen)}")
    jobs, used = [], set()
    for name, (notebook, given) in chosen.items():
        if only and not any(word in name for word in only):
            continue
        path = notebooks / f"{notebook}.ipynb"
        declared = declared_parameters(path)
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


def _profile(path: Path, profile: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """A profile's runs: the name of each -> its notebook, and what the profile gives it."""
    if not path.exists():
        raise ReproduceError(f"no profile file at {path}: `ilo reproduce` needs a checkout of the repository")
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReproduceError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(table, dict) or profile not in table:
        raise ReproduceError(f"no profile {profile!r}: {path} has {', '.join(map(str, table or ()))}")
    if not isinstance(table[profile], dict):
        raise ReproduceError(f"{path}: profile {profile!r} is no table of notebooks and what each is given")
    runs: dict[str, tuple[str, dict[str, Any]]] = {}
    for key, given in table[profile].items():
        name, notebook = _names(key)
        if name in runs:
            raise ReproduceError(f"{path.name}, {profile}: two runs are called {name}; each needs a name of its own")
        if not isinstance(given or {}, dict):
            raise ReproduceError(f"{path.name}, {profile}: {key} needs parameters, `name: value` each, got {given!r}")
        runs[name] = (notebook, dict(given or {}))
    return runs


def _names(key: Any) -> tuple[str, str]:
    """The run's name and its notebook's, of a key "folder/notebook" or "folder/notebook:run"."""
    found = KEY.fullmatch(str(key))
    if found is None:
        raise ReproduceError(
            f"{PROFILES}: {key!r} is no key: expected folder/notebook, or folder/notebook:run for one of several runs "
            "of it, the run's name of letters, digits, - and _"
        )
    notebook, run = found.groups()
    return (notebook if run is None else f"{notebook}-{run}"), notebook


def declared_parameters(path: Path) -> dict[str, Any]:
    """Read a notebook's parameters and their defaults."""
    if not path.exists():
        raise ReproduceError(f"no notebook at {path}")
    import papermill  # seconds, which a wrong name of a profile need not wait for

    found = papermill.inspect_notebook(str(path))
    return {name: ast.literal_eval(entry["default"]) for name, entry in found.items()}
