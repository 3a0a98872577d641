"""Processes killed at random moments: what was whole stays whole, and a killed grid ends as one that was not."""

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch

import ilo
from ilo import study
from ilo.files import written_atomically
from ilo.images import read_image, write_image

from . import WORKED, Trial
from .alone import alone
from .calls import SHAPE, generator

KILLS = 12  # of each kind


def trials(rng: random.Random) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory() as place:
        for name, (write, read) in _files().items():
            path = Path(place) / name
            for number in range(KILLS):
                _killed_after(rng.uniform(0.0, 0.05), lambda write=write, path=path: _for_ever(write, path))
                yield Trial("kills, a file that is rewritten", f"{name} {number}", _whole(read, path))
        yield from _grids(rng, Path(place))


def _files() -> dict[str, tuple[Callable, Callable]]:
    """name -> (write version 0 or 1, read the version)."""
    G, A = generator(), ilo.operators.Identity(SHAPE)
    results = [ilo.recover(G, A, A(G(G.sample(1, seed))), rounds=[ilo.Round(0, 2)], progress=False) for seed in (0, 1)]
    images = [torch.zeros(SHAPE), torch.ones(SHAPE)]

    def text(path: Path, version: int) -> None:
        with written_atomically(path) as temporary:
            temporary.write_text(str(version) * 100_000)

    def read_text(path: Path) -> bool:
        return path.read_text() in ("0" * 100_000, "1" * 100_000)

    def is_result(path: Path) -> bool:
        return any(torch.equal(ilo.load_result(path).images, result.images) for result in results)

    return {
        "result.safetensors": (lambda path, version: results[version].save(path), is_result),
        "image.png": (
            lambda path, version: write_image(path, images[version]),
            lambda path: any((read_image(path) - image).abs().max() < 0.01 for image in images),
        ),
        "text.txt": (text, read_text),
    }


def _for_ever(write: Callable, path: Path) -> None:
    version = 0
    while True:
        write(path, version)
        version = 1 - version


def _whole(read: Callable, path: Path) -> str:
    if not path.exists():
        return WORKED  # killed before the first was whole
    try:
        return WORKED if read(path) else "neither version"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def slow(A, y, *, G, rng, noise):
    time.sleep(0.02)
    rounds = [ilo.Round(0, 2), ilo.Round(1, 2, radius=3.0)]
    return ilo.recover(G, A, y, rounds=rounds, rng=rng, progress=False)


def _grids(rng: random.Random, place: Path) -> Iterator[Trial]:
    G = generator()
    x = G(G.sample(4, 3))
    images = {f"image {i}": x[i] for i in range(4)}

    def run(folder: Path) -> pd.DataFrame:
        options = {"G": G, "folder": folder, "batch": 1, "lpips": False, "progress": False, "keep_images": True}
        return study.run(images, [study.inpainting(0.5), study.gaussian(0.2)], {"slow": slow}, **options)

    wanted = run(place / "whole").drop(columns="seconds")
    for number in range(KILLS):
        folder = place / f"grid {number}"
        for _ in range(rng.randrange(1, 3)):
            _killed_after(rng.uniform(0.02, 0.4), lambda folder=folder: run(folder))
        try:
            found = run(folder).drop(columns="seconds")
            study.kept_images(found, folder)
        except Exception as error:
            yield Trial("kills, a grid", str(number), f"{type(error).__name__}: {error}")
        else:
            yield Trial("kills, a grid", str(number), WORKED if found.equals(wanted) else "other rows")


def _killed_after(seconds: float, work: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


if __name__ == "__main__":
    sys.exit(alone(trials))
