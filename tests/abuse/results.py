"""Saved results with bits flipped, bytes lost, tensors taken away or altered: refused by name, or what was saved."""

import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

import ilo
from ilo.solver.result import Result

from . import REFUSED, WORKED, Trial
from .alone import alone
from .calls import SHAPE, generator

DAMAGED = 600


def trials(rng: random.Random) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory() as folder:
        for kind, result in _results().items():
            path = result.save(Path(folder) / f"{kind}.safetensors")
            whole = path.read_bytes()
            yield Trial(f"results, {kind}, as saved", kind, _outcome(path, result))
            for number in range(DAMAGED // 2):
                path.write_bytes(_damaged(whole, rng))
                yield Trial(f"results, {kind}, damaged", str(number), _outcome(path, result))
            path.write_bytes(whole)
            for name, outcome in _altered(path, result):
                yield Trial(f"results, {kind}, of the older format, altered", name, outcome)


def _results() -> dict[str, Result]:
    G = generator()
    A = ilo.operators.RandomInpainting(SHAPE, keep=0.5)
    y = A(G(G.sample(2, 0)))
    rounds = ilo.recover(G, A, y, rounds=[ilo.Round(0, 2), ilo.Round(1, 2)], progress=False)
    return {"rounds": rounds, "auto": ilo.recover(G, A, y, rounds=ilo.Auto(budget=20, samples=2), progress=False)}


def _damaged(whole: bytes, rng: random.Random) -> bytes:
    data, where = bytearray(whole), rng.randrange(len(whole))
    header = 8 + int.from_bytes(whole[:8], "little")
    match rng.randrange(6):
        case 0:
            data[where] ^= 1 << rng.randrange(8)
        case 1:
            data[rng.randrange(header)] ^= 1 << rng.randrange(8)
        case 2:
            del data[where:]
        case 3:
            data[where:where] = rng.randbytes(rng.randrange(1, 9))
        case 4:
            length = rng.randrange(1, 64)
            data[where : where + length] = rng.randbytes(length)
        case 5:
            other = rng.randrange(len(data))
            data[where], data[other] = data[other], data[where]
    return bytes(data)


def _altered(path: Path, result: Result) -> Iterator[tuple[str, str]]:
    """Each tensor and each word taken away or made another, without a checksum."""
    with safe_open(path, framework="pt") as file:
        words, tensors = file.metadata(), {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    words = {**words, "format": "ilo-result-1"}
    del words["sha256"]
    save_file(tensors, path, words)
    yield "nothing", _outcome(path, result)
    needed = [name for name in tensors if not name.startswith("state.")]
    for name in needed:
        x = tensors[name]
        others = {"missing": None, "one row more": torch.cat([x, x[:1]]), "an axis more": x[None].clone()}
        if name in ("images", "objective"):
            others |= {"NaN": torch.full_like(x, torch.nan), "whole numbers": x.long()}
        if name.startswith(("history.", "tries.")):
            del others["missing"]  # a table of fewer columns is a table
        for how, other in others.items():
            kept = {key: value for key, value in tensors.items() if key != name}
            save_file(kept if other is None else {**kept, name: other}, path, words)
            yield f"{name}: {how}", _outcome(path, None)
    for word in words:
        for value in (None, "", "{", "[]", "1"):
            if (word, value) == ("layer", "1") or (word == "layer" and "sharp" in tensors):
                continue
            kept = {key: text for key, text in words.items() if key != word}
            save_file(tensors, path, kept if value is None else {**kept, word: value})
            yield f"{word}: {value}", _outcome(path, None)


def _outcome(path: Path, saved: Result | None) -> str:
    """saved: what the file may load as; None: nothing."""
    try:
        loaded = ilo.load_result(path)
    except ValueError as error:
        if str(path) not in str(error) and path.name not in str(error):
            return f"the message does not name the file: {error}"
        return REFUSED
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if saved is None:
        return "accepted in silence"
    same = (
        torch.equal(loaded.images, saved.images)
        and torch.equal(loaded.objective, saved.objective)
        and loaded.status == saved.status
        and loaded.history.equals(saved.history)
        and json.dumps(loaded.parameters) == json.dumps(saved.parameters)
    )
    return WORKED if same else "opened with other contents"


if __name__ == "__main__":
    sys.exit(alone(trials))
