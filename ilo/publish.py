"""From a run to the public places: runs/figures, what the last runs drew; figures/, what the repository shows.

Both are written file by file in one step each, under a lock, so that two runs at once leave each notebook's figures
of one run whole.
"""

import json
from pathlib import Path

from ilo.files import copied_atomically, locked, written_atomically
from ilo.provenance import checkout, is_recorded, runs_folder

PRIVATE = ("results.json", "parameters.yaml")  # of a notebook's output, beside its figures
LOCK = ".publishing"  # in runs/: whoever copies holds it
MANIFEST = "drawn.json"  # in runs/: notebook -> the files of runs/figures that it drew


def collect(notebook: str, output: Path, runs: Path) -> list[Path]:
    """Copy what a notebook drew, the files of `output`, to runs/figures; return the copies.

    What the same notebook drew in an earlier run and no longer draws is removed. Dotfiles are nobody's figures.
    """
    figures = runs / "figures"
    found = sorted(p for p in output.iterdir() if p.is_file() and p.name not in PRIVATE and not p.name.startswith("."))
    with locked(runs / LOCK):
        manifest = drawn(runs)
        copies = [copied_atomically(path, figures / path.name) for path in found]
        elsewhere = {name for other, names in manifest.items() if other != notebook for name in names}
        for old in set(manifest.get(notebook, ())) - {path.name for path in found} - elsewhere:
            (figures / old).unlink(missing_ok=True)
        manifest[notebook] = [path.name for path in found]
        with written_atomically(runs / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return copies


def publish(fresh: str | Path | None = None, figures: str | Path | None = None) -> list[Path]:
    """Make the figures of a run the committed ones: for maintainers, before a commit. Return the files written.

    Every file needs a record (.json, of `plots.save_figure`) that names a revision which is a clean commit in the
    history of the checkout, so that whoever reads a number can go back to the code that made it.

    Args:
        fresh: what a run drew; None: runs/figures of the checkout.
        figures: where to write; None: figures/ of the checkout.

    Raises:
        ValueError: no checkout, nothing to publish, or files of another revision; nothing is written.
    """
    home = checkout()
    if home is None:
        raise ValueError("there are no committed figures outside a checkout of the repository")
    fresh = runs_folder() / "figures" if fresh is None else Path(fresh)
    figures = home / "figures" if figures is None else Path(figures)
    found = sorted(p for p in fresh.glob("*") if p.is_file() and not p.name.startswith("."))
    if not found:
        raise ValueError(f"nothing in {fresh}: run `ilo reproduce` first")
    revisions = {path: _revision(path) for path in found}
    clean = {name for name in set(revisions.values()) if is_recorded(name, home)}
    if refused := {path.stem: name for path, name in revisions.items() if name not in clean}:
        named = ", ".join(f"{stem} ({name})" for stem, name in sorted(refused.items()))
        raise ValueError(
            "only a run of a clean commit that is in the history is published, so that its revision can be found "
            f"again: commit, run `ilo reproduce`, then publish. Not of such a commit: {named}"
        )
    with locked(fresh.parent / LOCK):
        return [copied_atomically(path, figures / path.name) for path in found]


def _revision(path: Path) -> str:
    """The revision that the record beside a figure names."""
    try:
        return str(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["revision"])
    except FileNotFoundError:
        return "no record"
    except (ValueError, KeyError, TypeError):
        return "a record without a revision"


def drawn(runs: Path) -> dict[str, list[str]]:
    """notebook -> the files of `runs`/figures that its last good run drew."""
    try:
        return json.loads((runs / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
