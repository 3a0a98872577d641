"""Files that are whole or not there, and the folder for what can be had again."""

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from safetensors import SafetensorError

_UMASK = os.umask(0)  # there is no way to read it but to set it, which threads must not do
os.umask(_UMASK)

ABANDONED_AFTER = 24 * 3600  # seconds after which a temporary file is taken for a killed process's


def cache_dir() -> Path:
    """The folder for what can be downloaded or computed again: ILO_CACHE, or the user's cache folder."""
    return Path(os.environ.get("ILO_CACHE") or platformdirs.user_cache_dir("ilo")).expanduser()


@contextmanager
def written_atomically(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on leaving without an error it takes the place of `path`, in one step.

    A killed process leaves `path` as it was. Folders on the way are made. A symbolic link stays, and the file that it
    points to is replaced.

    Raises:
        OSError: the disk is full, the folder cannot be written, …; or `path` is there and is no file (a folder, a
            device), which is left alone.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device, a pipe or the like"
        raise OSError(f"{path} is {kind}, not a file to write: name another")
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
    except SafetensorError as error:
        raise _refused_by_the_system(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def _refused_by_the_system(error: SafetensorError, path: Path) -> Exception:
    """The OSError that safetensors hides in words such as "I/O error: No space left on device (os error 28)"."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1])), str(path)) if found else error


def sweep(folder: Path, stem: str) -> None:
    """Remove what killed processes left half-written in `folder` more than a day ago; nothing else.

    stem: a regular expression, which the names that `written_atomically` was to write match, without their suffixes.
    """
    form = re.compile(rf"\.(?:{stem})-[a-z0-9_]{{8}}(?:\.[A-Za-z0-9]+)?")
    for path in folder.glob(".*"):
        if form.fullmatch(path.name) is None or path.is_symlink() or not path.is_file():
            continue
        with suppress(OSError):  # another process swept first, or it is another user's
            if time.time() - path.stat().st_mtime > ABANDONED_AFTER:
                path.unlink()


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
