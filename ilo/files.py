"""Files that are whole or not there, and the folder for what can be had again."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

_UMASK = os.umask(0)  # there is no way to read it but to set it, which threads must not do
os.umask(_UMASK)


def cache_dir() -> Path:
    """The folder for what can be downloaded or computed again: ILO_CACHE, or the user's cache folder."""
    return Path(os.environ.get("ILO_CACHE") or platformdirs.user_cache_dir("ilo")).expanduser()


@contextmanager
def written_atomically(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on leaving without an error it takes the place of `path`, in one step.

    A killed process leaves `path` as it was. Folders on the way are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_UMASK)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def copied_atomically(source: str | Path, target: str | Path) -> Path:
    """Copy a file's contents in one step, as `written_atomically`; return `target`."""
    with written_atomically(target) as temporary:
        shutil.copyfile(source, temporary)
    return Path(target)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Wait until no other process or thread is inside for the same `path`, a file that is made and stays.

    The system lets go of it when a process ends, however it ends.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file lets the next one in
