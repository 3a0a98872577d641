"""Command lines that ask for what cannot be, and random ones: a sentence and an exit code, and nothing left behind.

All run in this process, with a search that is over at once: what is tried is the command, not the solver.
"""

import contextlib
import io
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from PIL import Image

import ilo
from ilo.cli import recover
from ilo.cli.main import main
from ilo.images import astronaut_face, write_image
from ilo.solver.result import AutoResult, RoundsResult
from ilo.solver.summary import COLUMNS

from . import REFUSED, WORKED, Trial
from .alone import alone

ARGUMENTS = r"ilo( \w+)?: .+ \(see ilo( \w+)? --help\)"  # what the parser says of them, on one line
SECONDS = 5.0  # of a processor, that a refusal may take, the generator's reading included
# Of `ilo recover PHOTO`: each must be refused before the search.
WRONG = [
    *(["--noise", v] for v in ("-1", "nan", "inf", "-inf", "x", "")),
    *(["--keep", v] for v in ("0", "-1", "1.5", "nan", "inf", "x")),
    *(["--task", "compress", "--fraction", v] for v in ("0", "-1", "2", "nan", "inf")),
    *(["--task", "circulant", "--fraction", v] for v in ("0", "1.1", "nan")),
    *(["--task", "superres", "--factor", v] for v in ("0", "-4", "1.5", "nan", "x")),
    *(["--task", "deblur", "--blur", v] for v in ("0", "-1", "nan", "inf", "2000", "1e300")),
    *(["--task", "denoise", "--noise", v] for v in ("-0.1", "nan")),
    *(["--samples", v] for v in ("0", "1", "-1", "1000000000", "1.5", "nan")),
    *(["--budget", v] for v in ("0", "1", "-1", "3", "x")),
    *(["--rounds", "csgm", "--restarts", v] for v in ("0", "-1", "1000000000", "1.5")),
    *(["--seed", v] for v in ("-1", "1.5", "x")),
    *(["--noise-known", v] for v in ("-1", "nan", "inf", "x")),
    *(["--device", v] for v in ("xpu", "hpu", "meta", "nonsense", "cuda:99", "", "cpu:x")),
    *(["--crop", v] for v in ("1,2,3", "0,0,0,0", "5,5,2,2", "-1,0,5,5", "0,0,900,900", "a,b,c,d", "", "0,0,1e3,1e3")),
    *(["--generator", v] for v in ("stylegan9", ".", "{text}", "{photo}", "{empty}", "", "{folder}/none.pkl")),
    *(["--mask", v] for v in ("{text}", "{black}", "{small}", "{folder}", "{folder}/none.png")),
    *(["--out", v] for v in ("{photo}", "{photo}/below", "{text}", "{taken}")),
    ["--task", "teleport"],
    ["--rounds", "sometimes"],
    ["--kernel", "box"],
    ["--task", "superres", "--kernel", "cubic"],
    ["--measured"],
    ["--task", "superres", "--measured"],
    ["--task", "denoise", "--measured", "--noise", "0.1"],
    ["--mask", "{white}", "--keep", "0.2"],
    ["--task", "superres", "--keep", "0.2"],
    ["--mask", "{white}", "--noise", "1"],
    ["--task", "denoise", "--mask", "{white}"],
    ["--rounds", "csgm", "--budget", "50"],
    ["--task", "compress", "--blur", "1"],
    ["--rounds", "fixed", "--samples", "4"],
    ["--task", "compress", "--measured"],
    ["--task", "colourise", "--factor", "2"],
    ["--no-such-flag"],
    ["second.png"],
]
OTHERS = [
    [],
    ["nonsense"],
    ["recover"],
    ["recover", "{folder}/none.png"],
    ["recover", "{text}"],
    ["recover", "{folder}"],
    ["recover", "{empty}"],
    ["recover", "{cut}"],
    ["recover", ""],
    ["recover", "/dev/null"],
    ["convert"],
    ["convert", "{text}"],
    ["convert", "{text}", "{folder}/x.safetensors"],
    ["convert", "{folder}", "x"],
    ["convert", "{empty}", "{folder}/x.safetensors"],
    ["convert", "{folder}/none.pkl", "{folder}/x.safetensors"],
    ["convert", "{text}", "{folder}"],
    ["convert", "{text}", "/dev/null"],
    ["verify", "{text}"],
    ["verify", "{folder}/none"],
    ["verify", "{tables}"],
    ["verify", "{tables}", "--reference", "{tables}"],
    ["publish", "{text}"],
    ["publish", "{folder}/none"],
    ["reproduce", "--profile", "huge"],
    ["reproduce", "--only", "nonsense"],
    ["reproduce", "--jobs", "0"],
    ["reproduce", "--jobs", "x"],
    ["reproduce", "--device", "meta"],
    ["reproduce", "--device", "nonsense"],
    ["reproduce", "--generator", "stylegan9"],
    ["reproduce", "--images", "{tables}"],
    ["reproduce", "--images", "{text}"],
    ["reproduce", "--dask", "tcp://127.0.0.1:1"],
    ["reproduce", "--dask", "nonsense"],
    ["reproduce", "--dask", "tcp://x:y"],
    ["fetch", "something"],
]
# What a random line is put together of.
PIECES = {
    "--task": ["inpaint", "superres", "denoise", "compress", "circulant", "colourise", "deblur"],
    "--keep": ["0.1", "0.5", "0", "nan", "1"],
    "--noise": ["0", "0.1", "-1", "nan", "1e9"],
    "--seed": ["0", "7", "-3"],
    "--factor": ["1", "2", "4", "64", "1000", "0"],
    "--blur": ["0.5", "2", "99", "101"],
    "--fraction": ["0.01", "1", "2"],
    "--kernel": ["box", "bicubic"],
    "--rounds": ["auto", "csgm"],
    "--samples": ["2", "4", "1001"],
    "--budget": ["16", "600"],
    "--restarts": ["1", "3", "0"],
    "--crop": ["0,0,32,32", "10,20,30,60", "0,0,65,64"],
    "--mask": ["{white}", "{black}"],
    "--noise-known": ["0", "0.1", "-1"],
    "--measured": [None],
    "--half": [None],
    "--checkpointing": [None],
}


def trials(rng: random.Random) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory() as folder:
        names = _files(Path(folder))
        with mock.patch.object(recover, "_recover", _too_late):
            for flags in WRONG:
                line = ["recover", names["photo"], "--quiet", *(flag.format(**names) for flag in flags)]
                yield Trial("command lines, wrong", " ".join(flags), _refused(line, Path(folder)))
        for line in OTHERS:
            line_ = [word.format(**names) for word in line]
            yield Trial("command lines, wrong", " ".join(line) or "nothing", _refused(line_, Path(folder)))
        with mock.patch.object(recover, "_recover", _at_once):
            for _ in range(120):
                line = ["recover", names["photo"], "--quiet", "--out", f"{folder}/out-{rng.randrange(3)}"]
                for flag in rng.sample(sorted(PIECES), rng.randrange(1, 6)):
                    value = rng.choice(PIECES[flag])
                    line += [flag] if value is None else [flag, value.format(**names)]
                code, said = _run(line)
                known = code in (0, 2) and "Traceback" not in said and (code == 0 or _is_sentence(said))
                outcome = (WORKED if code == 0 else REFUSED) if known else f"exit code {code}: {said[-200:]}"
                yield Trial("command lines, random", " ".join(line[5:]), outcome)


def _files(folder: Path) -> dict[str, str]:
    names = {"folder": str(folder)}
    for name in ("photo", "white", "black", "small", "cut", "text", "empty"):
        names[name] = str(folder / f"{name}.png")
    write_image(names["photo"], astronaut_face(64))
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(names["white"])
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(names["black"])
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(names["small"])
    Path(names["cut"]).write_bytes(Path(names["photo"]).read_bytes()[:700])
    Path(names["text"]).write_text("no image")
    Path(names["empty"]).touch()
    for name in ("tables", "taken"):
        names[name] = str(folder / name)
        Path(names[name]).mkdir()
    (folder / "tables" / "tolerances.csv").write_bytes(b"\x00\x01\xff")
    (folder / "tables" / "inpainting_visual.csv").write_bytes(b"\xff\xfe\x00")
    (folder / "taken" / "recovered.png").write_text("the user's own")
    return names


def _refused(line: Sequence[str], folder: Path) -> str:
    before, began = _snapshot(folder), time.process_time()
    code, said = _run(line)
    took = time.process_time() - began
    if code not in (1, 2):
        return f"exit code {code}: {said[-200:]}"
    if not _is_sentence(said):
        return f"no sentence: {said[-300:]}"
    if _snapshot(folder) != before:
        return f"left behind: {sorted(_snapshot(folder) - before)}"
    return REFUSED if took < SECONDS else f"took {took:.0f} s"


def _run(line: Sequence[str]) -> tuple[int | str, str]:
    """The exit code, or what was raised; and what was said on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: int | str = main(list(line))
        except SystemExit as stop:
            code = stop.code
        except Exception as error:
            code = f"{type(error).__name__}: {error}"
    return code, err.getvalue()


def _is_sentence(said: str) -> bool:
    last = said.strip().splitlines()[-1:] or [""]
    own = any(line.startswith("ilo: ") for line in said.splitlines()) or re.fullmatch(ARGUMENTS, last[0])
    return bool(own) and "Traceback" not in said and "weights_only=False" not in said


def _snapshot(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _too_late(options, G, seen):
    if options.rounds == "auto":  # whether the samples are too many for the budget is the search's to say
        return ilo.recover(G, seen.A, seen.y, rounds=ilo.Auto(options.budget, options.samples), progress=False)
    restarts = min(options.restarts, 2)
    raise AssertionError(f"the search began, with {restarts} restarts")


def _at_once(options, G, seen):
    x = torch.zeros(1, *G.image_shape)
    both = {"images": x, "objective": torch.ones(1), "history": pd.DataFrame({"step": [0]}), "status": ["improving"]}
    if options.rounds == "auto":
        own = {"sharp": x, "samples": x[None], "spread": x, "tries": pd.DataFrame({"layer": [0]})}
        own["evidence"] = pd.DataFrame({name: [0.0] for name in COLUMNS})
        return AutoResult(**both, **own, parameters={})
    return RoundsResult(**both, state={"features": x}, layer=0, rounds=(), parameters={})


if __name__ == "__main__":
    sys.exit(alone(trials))
