"""Hostile checkpoints: crafted to take time and memory, with one tensor altered, damaged, of opcodes at random."""

import json
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import ilo.generators
from ilo.generators.checkpoints import tensors

from . import FOLDER, REFUSED, WORKED, Trial, altered, assemble, crafted

SECONDS, MEGABYTES = 2.0, 500.0  # that a refusal may take, beside what the process had before
DAMAGED = 2000  # files
RANDOM = 2000
# Every opcode of one byte, with what may follow it, and the names that stand for something.
PIECES = [
    *(bytes([code]) for code in b"0NFT)]}([]tlud\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94abeoqR.seQ2"),
    *(crafted.text(word) for word in ("state", "_modules", "_parameters", "synthesis.b4.const", "storage", "0", "cpu")),
    *(crafted.number(n) for n in (-1, 0, 1, 3, 2**31, 2**40, 2**70)),
    *(code + bytes([place]) for code in (b"h", b"q", b"K") for place in range(4)),
    *(assemble.name(module, name) for module, name in [*tensors.NAMES, ("torch", "float32"), ("os", "system")]),
    *(crafted.RECORD, crafted.FROM_BYTES, crafted.data(assemble.storage_bytes({"a": 1}))),
    *(crafted.storage_id(n) for n in (0, 1, -1, 2**40)),
    crafted.view(crafted.storage_id(1), [1], [1]),
]


def trials(rng: random.Random) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory() as folder:
        yield from crafted_files(Path(folder) / "crafted")
        path, formats = Path(folder) / "g", altered.formats()
        for title, name, change, make in altered.cases(formats):
            outcome = altered.outcome(formats[title], name, change, make, path)
            yield Trial(f"one tensor, {title}", f"{name} {change}", outcome)
        yield from damaged_files(rng, path, formats, DAMAGED)
        yield from random_files(rng, path, RANDOM)


def crafted_files(folder: Path) -> Iterator[Trial]:
    """Open every crafted file in a process of its own."""
    folder.mkdir()
    names = {}
    for i, (name, content) in enumerate(crafted.files()):
        names[f"{i:03}"] = name
        (folder / f"{i:03}").write_bytes(content)
    command = [sys.executable, str(FOLDER / "measure.py"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as measuring:
        for line in measuring.stdout:
            answer = json.loads(line)
            yield Trial("crafted file", names.pop(answer["name"]), verdict(answer))
    for name in names.values():
        yield Trial("crafted file", name, "it was not opened: what opens them had ended before")


def verdict(answer: Mapping) -> str:
    """What `measure.opened` answers, as an outcome."""
    if answer["raised"] != "ValueError":
        return f"{answer['raised'] or 'nothing'} was raised, after {answer['seconds']:.1f} s"
    if "weights_only" in answer["said"] or "was refused, and nothing in it was run" not in answer["said"]:
        return f"it says {answer['said']}"
    if answer["seconds"] > SECONDS or (answer.get("megabytes") or 0) > MEGABYTES:
        return f"it takes {answer['seconds']:.1f} s and {answer['megabytes']:.0f} MB"
    return REFUSED


def damaged_files(rng: random.Random, path: Path, formats: Mapping[str, altered.Format], count: int) -> Iterator[Trial]:
    """Files with bytes changed, put in, taken out or cut off; loaded or refused, never anything else."""
    whole = {}
    for title, form in formats.items():
        form.write(form.weights, path)
        if path.stat().st_size < 10**6:  # DCGAN's are nearly all numbers
            whole[title] = path.read_bytes()
    for i in range(count):
        title = rng.choice(list(whole))
        content = bytearray(whole[title])
        for _ in range(rng.choice((1, 1, 1, 2, 5, 30))):
            damage(content, rng)
        path.write_bytes(content)
        yield Trial(f"damaged, {title}", f"number {i}", opened(path))


def damage(content: bytearray, rng: random.Random) -> None:
    place, length = rng.randrange(len(content) + 1), rng.choice((1, 1, 2, 4, 8, 100))
    what = rng.randrange(5)
    if what == 0:
        content[place : place + length] = rng.randbytes(len(content[place : place + length]))
    elif what == 1:
        content[place:place] = rng.randbytes(length)
    elif what == 2:
        del content[place : place + length]
    elif what == 3 and place < len(content):
        content[place] ^= 1 << rng.randrange(8)
    elif rng.random() < 0.2:
        del content[max(1, place) :]


def random_files(rng: random.Random, path: Path, count: int) -> Iterator[Trial]:
    """Pickles of opcodes in any order, the longer ones of those that a generator's is made of."""
    for i in range(count):
        opcodes = b"".join(rng.choice(PIECES) for _ in range(rng.choice((5, 20, 100))))
        makers = {"NVIDIA": crafted.nvidia, "zipped": crafted.zipped, "older": crafted.legacy}
        title = rng.choice(list(makers))
        path.write_bytes(makers[title](opcodes))
        yield Trial(f"random opcodes, {title}", f"number {i}: {opcodes!r}", opened(path))


def opened(path: Path) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            G = ilo.generators.load(path)
            G(G.sample(1, 0))  # damaged weights may give any image
    except ValueError as error:
        return REFUSED if "weights_only" not in str(error) else f"it says {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return WORKED
