"""Full disks: an OSError's sentence, the old file as it was, and nothing half-written.

A small file system takes a system's rights to mount. In its place: a limit on the size of files (RLIMIT_FSIZE, in a
forked child, so that the writing libraries meet the system's own refusal) at several sizes; fsync and os.replace that
answer "no space left"; and /dev/full.
"""

import contextlib
import errno
import os
import random
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import torch

import ilo
from ilo import generators, plots, study
from ilo.files import copied_atomically, written_atomically
from ilo.images import write_image

from . import REFUSED, Trial
from .alone import alone
from .calls import SHAPE, back, generator


def trials(rng: random.Random) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory() as place:
        for name, write in _writers(Path(place)).items():
            for limit in (0, 1, 100, rng.randrange(2, 400)):
                yield Trial("disks, files limited", f"{name}, {limit} bytes", _limited(write, Path(place), limit))
            for function in ("ilo.files.os.fsync", "ilo.files.os.replace"):
                with mock.patch(function, _full):
                    yield Trial("disks, no space left", f"{name}, {function}", _attempt(write, Path(place)))
        if Path("/dev/full").exists():
            yield Trial("disks, /dev/full", "write_image", _attempt(_to_dev_full, Path(place)))


def _full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _to_dev_full(folder: Path) -> None:
    (folder / "link.png").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as elsewhere:
        link = Path(elsewhere) / "link.png"
        link.symlink_to("/dev/full")
        write_image(link, torch.zeros(SHAPE))


def _writers(place: Path) -> dict[str, Callable[[Path], None]]:
    """What writes files into a folder."""
    G = generator()
    A = ilo.operators.Identity(SHAPE)
    x = G(G.sample(2, 0))
    result = ilo.recover(G, A, A(x), rounds=[ilo.Round(0, 2)], progress=False)
    checkpoint = place / "source.safetensors"
    weights = generators.random_stylegan2(32, channel_base=256, channel_max=8, z_dim=8, w_dim=8, mapping_layers=1)
    from safetensors.torch import save_file

    save_file(weights, checkpoint)
    big = place / "big.bin"
    big.write_bytes(bytes(5000))

    def text(folder: Path) -> None:
        with written_atomically(folder / "text.txt") as temporary:
            temporary.write_text("x" * 5000)

    def grid(folder: Path) -> None:
        options = {"G": None, "folder": folder, "progress": False, "lpips": False, "keep_images": True}
        study.run({"a": x[0]}, [study.inpainting(0.5)], {"back": back}, **options)

    def figure(folder: Path) -> None:
        import matplotlib

        matplotlib.use("Agg")
        drawn = plots.comparison_grid({"one": x})
        try:
            with written_atomically(folder / "figure.png") as temporary:
                drawn.savefig(temporary)
        finally:
            plots.plt.close(drawn)

    return {
        "Result.save": lambda folder: result.save(folder / "result.safetensors") and None,
        "write_image": lambda folder: write_image(folder / "image.png", x[0]),
        "convert": lambda folder: generators.convert(checkpoint, folder / "g.safetensors") and None,
        "text": text,
        "copy": lambda folder: copied_atomically(big, folder / "copy.bin") and None,
        "grid": grid,
        "figure": figure,
    }


def _attempt(write: Callable[[Path], None], place: Path) -> str:
    """Write into a folder that has the older file already; the writing is to fail."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        before = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        try:
            write(Path(folder))
        except OSError as error:
            if not str(error):
                return "an OSError without words"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        else:
            return "nothing was refused"
        after = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        return REFUSED if after == before else f"left behind: {sorted(set(after) - set(before))}"


def _limited(write: Callable[[Path], None], place: Path, limit: int) -> str:
    """As `_attempt`, in a child whose files cannot be larger; what it says comes by a pipe, which has no limit."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                said = _attempt(write, place)
            except BaseException:
                said = traceback.format_exc()
            os.write(writing, said.encode()[-4000:])
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said or "the child died without a word"


if __name__ == "__main__":
    sys.exit(alone(trials))
