"""``ilo doctor``: whether all that ``ilo`` needs is here, and the command that gets what is not."""

import argparse
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from ilo.files import cache_dir

DESCRIPTION = """\
Say which versions are installed, which device is used, where the cache is, which pre-trained parts are in it, and by
which command to get what is missing. Nothing is downloaded or written. Exit code 0: all that is needed is here; 1:
something is missing or damaged. What is optional does not count.
"""
MENDED = "→"  # before the command that mends what the line tells


@dataclass(frozen=True)
class Line:
    """What was found, and the command that mends it, if any; `optional` things may be missing."""

    what: str
    found: str
    mend: str = ""
    optional: bool = False

    @property
    def is_fault(self) -> bool:
        return bool(self.mend) and not self.optional

    def __str__(self) -> str:
        return f"  {self.what:20} {self.found}{f'  {MENDED} {self.mend}' if self.mend else ''}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(options: argparse.Namespace) -> int:
    sections = {
        "program": program, "libraries": libraries, "device": device, "pre-trained parts": parts, "optional": extras,
    }  # fmt: skip
    faults = 0
    for title, look in sections.items():
        print(title)
        for line in look():
            print(line)
            faults += line.is_fault
    print(
        f"{faults} missing or damaged: the commands after {MENDED} mend them"
        if faults
        else "all that is needed is here"
    )
    return 1 if faults else 0


def program() -> Iterator[Line]:
    from ilo.provenance import checkout, revision

    yield Line("ilo", f"{version('ilo')}, revision {revision()}")
    yield Line("Python", f"{platform.python_version()} on {platform.platform(terse=True)}")
    yield Line("notebooks", str(checkout() or "no checkout of the repository here: `ilo reproduce` needs one"))


def libraries() -> Iterator[Line]:
    """The pinned ones; another version works, as far as is known, and gives other numbers."""
    for name, pinned in _pins("").items():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Line(name, "missing", f"pip install {name}=={pinned}")
            continue
        same = found.partition("+")[0] == pinned
        yield Line(name, found if same else f"{found}; recorded numbers are from {pinned}")


def device() -> Iterator[Line]:
    """What can be installed and yet not work: torch, torchvision beside it, a GPU's driver."""
    try:
        import torch

        from ilo.perceptual import import_torchvision

        import_torchvision()
    except Exception as error:  # a broken library raises anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        pins = _pins("")
        again = " ".join(f"{name}=={pins[name]}" for name in ("torch", "torchvision"))
        yield Line("torch", f"does not load: {reason}", f"pip install --force-reinstall {again}")
        return
    yield Line("cpu", f"{torch.get_num_threads()} threads")
    for i in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(i)
        yield Line(f"cuda:{i}", f"{about.name}, {about.total_memory / 1e9:.0f} GB")
    if not torch.cuda.is_available():
        yield Line("cuda", "no GPU that torch can use: the CPU is used")


def parts() -> Iterator[Line]:
    """The cache folder and what it holds."""
    from ilo import assets

    folder = cache_dir()
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        yield Line("cache", str(folder))
    else:
        yield Line("cache", f"{folder} cannot be written", "export ILO_CACHE=FOLDER that can")
    for name, part in assets.PARTS.items():
        try:
            found = assets.condition(name)
        except assets.AssetError as error:
            yield Line(name, str(error), "ilo fetch")
            continue
        yield Line(name, f"{found}, {part.size / 1e6:.0f} MB", "" if found == "good" else "ilo fetch")
    try:
        from ilo.generators import loading
    except ImportError:
        return  # torch is missing, which is told above
    for name in loading.COMMITTED:  # the generators that come with the package
        try:
            yield Line(name, f"good, {loading.committed(name).stat().st_size / 1e6:.0f} MB")
        except assets.AssetError:
            yield Line(name, "missing, or another file", loading.weights_folder()[1])


def extras() -> Iterator[Line]:
    """The groups of pyproject.toml, and what only the quantitative notebooks look at."""
    for extra in _extras():
        absent = [name for name in _pins(extra) if not _is_installed(name)]
        if absent:
            yield Line(extra, f"missing: {', '.join(absent)}", f"pip install -e '.[{extra}]'", optional=True)
        else:
            yield Line(extra, "installed")
    try:
        from ilo.study.celeba import celeba_available

        here = celeba_available()
    except ImportError:
        return  # torch is missing, which is told above
    yield Line("CelebA test images", "here" if here else "not here: data/README.md says where they are")


def _pins(extra: str) -> dict[str, str]:
    """Name → version of the requirements of an extra, "" for those that are always needed."""
    pinned = {}
    for line in requires("ilo") or ():
        name, number, of = re.match(r"([\w.-]+)==([\w.]+)(?:.*extra == ['\"](\w+)['\"])?", line).groups()
        if (of or "") == extra:
            pinned[name] = number
    return pinned


def _extras() -> list[str]:
    named = (re.search(r"extra == ['\"](\w+)['\"]", line) for line in requires("ilo") or ())
    return list(dict.fromkeys(match.group(1) for match in named if match))


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
