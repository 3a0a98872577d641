"""What `ilo recover` leaves: the files of one recovery, of one photo, with all options; or nothing."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import ilo
from ilo.cli import recover, results
from ilo.cli.main import main
from ilo.images import astronaut_face, write_image
from ilo.solver.result import AutoResult, RoundsResult
from ilo.solver.summary import COLUMNS

ALWAYS = {"recovered.png", "comparison.png", "result.safetensors", "report.json"}
OF_AUTO = {"sharp.png", "spread.png", "tries.csv"}


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    write_image(path, astronaut_face(64))
    return path


@pytest.fixture
def instant(monkeypatch):
    """Recoveries that are over at once."""
    x = torch.zeros(1, 3, 64, 64)
    both = {"images": x, "objective": torch.ones(1), "history": pd.DataFrame({"step": [0]}), "status": ["improving"]}
    parameters = {"noise": [0.05], "rounds": ["Round()"], "generator": "stem"}

    def found(options, G, seen):
        if options.rounds == "auto":
            own = {"sharp": x, "samples": x[None], "spread": x, "tries": pd.DataFrame({"layer": [0]})}
            own["evidence"] = pd.DataFrame({name: [0.0] for name in COLUMNS})
            return AutoResult(**both, **own, parameters=parameters)
        return RoundsResult(**both, state={"features": x}, layer=0, rounds=(), parameters=parameters)

    monkeypatch.setattr(recover, "_recover", found)


def run(photo, *arguments):
    return main(["recover", str(photo), *arguments, "--quiet"])


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_an_earlier_recovery_leaves_nothing_beside_the_new(instant, photo, tmp_path):
    out = tmp_path / "photo-recovered"
    assert run(photo) == 0
    assert names(out) == ALWAYS | OF_AUTO
    (out / "notes.txt").write_text("mine")
    assert run(photo, "--rounds", "csgm") == 0
    assert names(out) == ALWAYS | {"notes.txt"}


def test_what_to_believe_is_said_and_reported(instant, photo, tmp_path, capsys, monkeypatch):
    assert run(photo) == 0
    said = capsys.readouterr().out
    report = json.loads((tmp_path / "photo-recovered" / "report.json").read_text(encoding="utf-8"))
    assert report["in_words"][0].startswith("Chosen: ")
    assert all(line in said for line in report["in_words"])
    assert report["summary"]["noise"] == 0.0
    found = recover._recover

    def unknown(options, G, seen):
        result = found(options, G, seen)
        result.evidence.loc[0, "noise"] = float("nan")
        return result

    monkeypatch.setattr(recover, "_recover", unknown)
    assert run(photo) == 0
    text = (tmp_path / "photo-recovered" / "report.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["summary"]["noise"] is None


def test_another_photo_does_not_take_the_folder_in_silence(instant, photo, tmp_path, capsys):
    assert run(photo) == 0
    before = (tmp_path / "photo-recovered" / "report.json").read_bytes()
    twin = tmp_path / "photo.jpg"
    Image.open(photo).save(twin)
    assert run(twin) == 2
    assert "holds what was recovered of" in capsys.readouterr().err
    assert (tmp_path / "photo-recovered" / "report.json").read_bytes() == before
    assert run(twin, "--out", str(tmp_path / "photo-recovered")) == 0
    assert "which is replaced" in capsys.readouterr().err


def test_files_of_the_users_own_are_not_overwritten(instant, photo, tmp_path, capsys):
    out = tmp_path / "album"
    out.mkdir()
    (out / "sharp.png").write_bytes(b"mine")
    assert run(photo, "--out", str(out)) == 2
    assert "holds sharp.png" in capsys.readouterr().err
    assert names(out) == {"sharp.png"}


def test_the_report_has_every_option_as_it_was_given(instant, photo, tmp_path):
    given = ["--task", "denoise", "--noise", "0.3", "--noise-known", "0.05", "--out", str(tmp_path / "o")]
    assert run(photo, *given) == 0
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert (report["noise"], report["rounds"], report["generator"]) == ([0.05], ["Round()"], "stem")
    told = report["options"]
    assert (told["noise"], told["noise_known"], told["rounds"]) == (0.3, 0.05, "auto")
    assert told["generator"] == "decoder-portraits64"


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_on_a_full_disk_the_result_goes_where_there_is_room(instant, photo, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(results.tempfile, "gettempdir", lambda: str(tmp_path / "room"))
    (tmp_path / "room").mkdir()
    monkeypatch.setattr(results, "write_image", full)
    assert run(photo) == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "photo-recovered").exists()
    (saved,) = (tmp_path / "room").rglob("*.safetensors")
    assert str(saved) in error
    assert ilo.load_result(saved).images.shape == (1, 3, 64, 64)


def test_on_a_full_disk_the_earlier_recovery_stays(instant, photo, tmp_path, capsys, monkeypatch):
    assert run(photo) == 0
    out = tmp_path / "photo-recovered"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr("ilo.files.os.fsync", full)
    assert run(photo) == 2
    assert "no room for the result elsewhere" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_holes_and_small_photos_are_spoken_of(instant, photo, tmp_path, capsys):
    pixels = np.full((20, 20, 4), 255, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "opaque.png")
    assert run(tmp_path / "opaque.png") == 0
    said = capsys.readouterr().err
    assert "20×20 pixels, and will be enlarged" in said
    assert "transparent" not in said
    pixels[5:9, 5:9, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "holes.png")
    assert run(tmp_path / "holes.png") == 0
    assert "say so by --mask" in capsys.readouterr().err
    assert run(photo) == 0
    assert "ilo:" not in capsys.readouterr().err


def test_images_are_read_before_the_generator_is_loaded(photo, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ilo.generators, "load", lambda *a, **k: pytest.fail("the generator was loaded"))
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:500])
    for arguments in ([broken], [photo, "--mask", str(broken)], [photo, "--crop", "0,0,900,9"]):
        assert run(*arguments) == 2
    for count in ("0", "1000000000"):
        assert run(photo, "--samples", count) == 2
        assert "--samples must be a number from 1 to 1000" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the signals are POSIX's")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_what_is_ended_leaves_no_folder(photo, tmp_path, how):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "ilo", "recover", str(photo), "--out", str(out), "--rounds", "csgm"]
    log = tmp_path / "log"
    with open(log, "wb") as told:
        process = subprocess.Popen(
            command,
            stderr=told,
            env={**os.environ, "TQDM_DISABLE": ""},
            preexec_fn=partial(signal.signal, how, signal.SIG_DFL),  # a shell's background jobs ignore SIGINT
        )
        deadline = time.monotonic() + 300  # a busy machine is slow
        while b"recover:" not in log.read_bytes() and time.monotonic() < deadline:  # the bar: the search began
            time.sleep(0.05)
        process.send_signal(how)
        assert process.wait(60) == 130
    assert "ilo: interrupted" in log.read_text()
    assert not out.exists()


def test_an_old_terminal_shows_what_it_can(photo):
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "ascii",
    }
    command = [sys.executable, "-m", "ilo", "recover", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert rb"64\xd764 faces" in done.stdout
