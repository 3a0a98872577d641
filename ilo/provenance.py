"""Where a number came from: revision, versions, device."""

import platform
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parent.parent


def checkout() -> Path | None:
    """Return the folder of the repository's checkout: above this package, else the working directory or above it.

    It holds notebooks/ and a pyproject.toml of the project ilo. None in a plain install outside any checkout.
    """
    here, cwd = Path(__file__).resolve(), Path.cwd()
    for folder in (*here.parents, cwd, *cwd.parents):
        project = folder / "pyproject.toml"
        if not ((folder / "notebooks").is_dir() and project.is_file()):
            continue
        if re.search(r'^name = "ilo"$', project.read_text(encoding="utf-8"), re.MULTILINE):
            return folder
    return None


@cache
def revision() -> str:
    """The git revision of the checkout that `ilo` runs from, with "-dirty" if files differ; "unknown" outside one."""
    if not (REPOSITORY / ".git").exists():  # installed inside some other project's checkout, say
        return "unknown"
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()


def provenance(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, str]:
    """Revision of the code, versions of what decides the numbers, and the device they were computed on."""
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
        "dtype": str(dtype).removeprefix("torch."),
    }
