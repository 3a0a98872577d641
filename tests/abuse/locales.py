"""Terminals and systems of other letters: what the program says is shown as far as it can be, and written as UTF-8."""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ilo.cli.main import COMMANDS
from ilo.images import astronaut_face, write_image

from . import FOLDER, REFUSED, WORKED, Trial
from .alone import alone

OLD = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
SURROUNDINGS = {
    "C": {"LC_ALL": "C", **OLD},
    "POSIX, ascii": {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii", **OLD},
    "cp1252": {"PYTHONIOENCODING": "cp1252", **OLD},
    "no such locale": {"LC_ALL": "xx_XX.UTF-8", **OLD},
    "no settings": {"LANG": "", "LC_ALL": "", **OLD},
}
FAILING = """
import sys, torch
from ilo import study
def fails(A, y, *, G, rng, noise):
    raise ValueError("\\u2016A\\u00b7x \\u2212 y\\u2016 \\udcff")
try:
    images, options = {"\\u00e9": torch.zeros(3, 12, 12)}, {"G": None, "lpips": False, "progress": False}
    study.run(images, [study.inpainting(0.5)], {"\\u2212": fails}, folder=sys.argv[1], **options)
except study.StudyError as error:
    sys.exit(0 if len(error.rows) == 0 else 3)
sys.exit(4)
"""


def trials(rng: random.Random) -> Iterator[Trial]:
    for name, settings in SURROUNDINGS.items():
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LC_")} | settings
        environment["PYTHONPATH"] = str(FOLDER.parents[1])
        for command in rng.sample(sorted(COMMANDS), 2):
            yield Trial("locales, help", f"{name}: {command}", _run(["-m", "ilo", command, "--help"], environment, 0))
        with tempfile.TemporaryDirectory() as folder:
            photo = Path(folder) / "bébé −.png"
            write_image(photo, astronaut_face(64))
            line = ["-m", "ilo", "recover", str(photo), "--quiet", "--mask", str(Path(folder) / "não.png")]
            yield Trial("locales, a photo's name", name, _run(line, environment, 2))
            line = ["-c", FAILING, str(Path(folder) / "cells")]
            yield Trial("locales, a cell that fails", name, _run(line, environment, 0))


def _run(line: list[str], environment: dict[str, str], code: int) -> str:
    done = subprocess.run([sys.executable, *line], env=environment, capture_output=True, timeout=120)
    said = done.stderr.decode("utf-8", errors="replace")
    if done.returncode != code or "Traceback" in said:
        return f"exit code {done.returncode}: {said[-300:]}"
    return WORKED if code == 0 else REFUSED


if __name__ == "__main__":
    sys.exit(alone(trials))
