"""Where a number came from (revision, versions, device), and where the notebooks' checkout lies."""

import importlib.util
import platform
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from ilo.files import cache_dir

if TYPE_CHECKING:
    import torch


def checkout() -> Path | None:
    """The repository's checkout, which holds notebooks/, figures/ and data/: None where there is none.

    That is the folder that the package itself lies in (an editable install, or a checkout on the path); else the
    nearest of the working directory and those above it that is one.
    """
    own = package_folder()
    return next((folder for folder in (own, *_upward(Path.cwd())) if _is_checkout(folder)), None)


def package_folder() -> Path:
    """The folder that holds the package `ilo`: a checkout, or where packages are installed."""
    return Path(importlib.util.find_spec("ilo").origin).resolve().parent.parent


def runs_folder() -> Path:
    """Where runs and what they draw are written: runs/ of the checkout, else of the working directory."""
    return (checkout() or Path.cwd()) / "runs"


def cells_folder() -> Path:
    """Where `ilo.study` keeps finished cells: runs/cells of the checkout, else in the user's cache (or ILO_CACHE)."""
    return cache_dir() / "cells" if checkout() is None else runs_folder() / "cells"


def _upward(folder: Path) -> tuple[Path, ...]:
    folder = folder.resolve()
    return (folder, *folder.parents)


def _is_checkout(folder: Path) -> bool:
    project = folder / "pyproject.toml"
    if not ((folder / "notebooks").is_dir() and project.is_file()):
        return False
    return re.search(r'^name\s*=\s*"ilo"\s*$', project.read_text(encoding="utf-8"), re.MULTILINE) is not None


@cache
def revision() -> str:
    """The git revision of the checkout that the code itself lies in, with "-dirty" if a tracked file differs.

    Twelve digits of it, after a g, as git describes a commit, where they would be taken for a number: one commit in 140
    begins like 0e7865043716, at which pandas' reader crashes.

    "unknown" for a package that is installed elsewhere, even if the working directory is a checkout.
    """
    folder = package_folder()
    if not (_is_checkout(folder) and (folder / ".git").exists()):  # installed inside some other project's, say
        return "unknown"
    try:
        name = git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*", folder=folder)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"g{name}" if re.match(r"\d+(e\d+)?(-|$)", name) else name


def is_recorded(name: str, folder: Path) -> bool:
    """Whether a revision, as `revision` gives it, is a clean commit of the history of the checkout `folder`."""
    name = name.removeprefix("g")
    if re.fullmatch("[0-9a-f]{7,40}", name) is None:  # "…-dirty", "unknown", "not recorded"
        return False
    try:
        git("merge-base", "--is-ancestor", name, "HEAD", folder=folder)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def git(*arguments: str, folder: Path) -> str:
    """What a git command prints in `folder`, without the last line's end.

    Raises:
        OSError: there is no git.
        subprocess.SubprocessError: it failed, or took longer than 10 seconds.
    """
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=10, check=True
    )
    return done.stdout.strip()


def provenance(device: "torch.device | str" = "cpu", dtype: "torch.dtype | None" = None) -> dict[str, str]:
    """Revision of the code, versions of what decides the numbers, and the device they were computed on.

    dtype: torch.float32 where none is given.
    """
    import torch  # here, so that `ilo verify`, which asks for folders alone, need not wait for it

    device = torch.device(device)
    try:
        own = version("ilo")
    except PackageNotFoundError:
        own = "not installed"
    return {
        "revision": revision(),
        "ilo": own,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": str(torch.get_num_threads()),
        "dtype": str(dtype or torch.float32).removeprefix("torch."),
    }


REPOSITORY = package_folder()  # until `ilo.verify` and `ilo.reproduce` ask `checkout`
