"""Films: later frames are cheap, start where the one before ended, stay near it, and flicker little."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise

import av
import pandas as pd
import pytest
import torch
from PIL import Image

import ilo
from ilo import films
from ilo.cli import film as film_command
from ilo.cli import results
from ilo.cli.main import main
from ilo.films import flicker, is_film, read_film, recover_frames, write_film
from ilo.images import astronaut_face, astronaut_film
from ilo.operators import Downsample, RandomInpainting, measure
from ilo.solver.whitened import PriorRound, feature_prior

ROUNDS = [ilo.Round(0, 30, 0.1), ilo.Round(1, 15, 0.05, radius=1000.0), ilo.Round(2, 15, 0.03, radius=1000.0)]


def panned(frames: int = 5, step: int = 1) -> torch.Tensor:
    """The astronaut, moved to the right by `step` pixels a frame: (T, 3, 64, 64)."""
    return torch.cat([torch.roll(astronaut_face(64), step * t, 3) for t in range(frames)])


@pytest.fixture(scope="module")
def problem(dcgan):
    x = panned()
    A = RandomInpainting(dcgan.image_shape, keep=0.3, rng=0)
    return A, measure(A, x, noise=0.02, rng=0), x


@pytest.fixture(scope="module")
def film(dcgan, problem):
    A, y, _ = problem
    return recover_frames(dcgan, A, y, rounds=ROUNDS, restarts=2, progress=False)


def test_every_frame_is_there_and_the_first_is_recovers_own(dcgan, problem, film):
    A, y, x = problem
    assert film.images.shape == x.shape
    assert len(film.status) == len(film.seconds) == len(film.objective) == len(x)
    start = ilo.linear_start(dcgan, A, y[:1], restarts=2)
    alone = ilo.recover(dcgan, A, y[:1], rounds=ROUNDS, start=start, restarts=2, progress=False)
    assert torch.equal(film.images[:1], alone.images)
    assert torch.equal(film.images[-1:], film.last.images)


def test_a_later_frame_starts_where_the_one_before_ended_and_stays_in_its_ball(dcgan, problem, film, monkeypatch):
    A, y, _ = problem
    begun = []
    recover = films.recover

    def spied(*arguments, **options):
        result = recover(*arguments, **options)
        begun.append((options.get("start"), result))
        return result

    monkeypatch.setattr(films, "recover", spied)
    later = ilo.Round(2, 4, 0.03, radius=50.0)
    again = recover_frames(dcgan, A, y, rounds=ROUNDS, restarts=2, later=later, progress=False)
    assert torch.equal(again.images[0], film.images[0])
    for (_, before), (start, after) in pairwise(begun):
        assert torch.equal(start["features"], before.state["features"])
        moved = (after.state["features"] - before.state["features"]).abs().sum()
        assert 0 < moved <= 50 * (1 + 1e-4)


def test_later_frames_take_a_fifth_of_the_last_rounds_steps(dcgan, film):
    assert film.last.history["step"].max() == 3
    assert film.first.history["step"].max() == 30
    assert max(film.seconds[1:]) < film.seconds[0]


def test_a_film_is_recovered_better_than_its_first_frame_stands_still(problem, film):
    _, _, x = problem
    still = (film.images[:1] - x[-1]).square().mean()
    assert (film.images[-1] - x[-1]).square().mean() < 0.8 * still


def test_a_still_film_of_clean_measurements_only_gets_better(dcgan):
    A = Downsample(dcgan.image_shape, factor=4)
    y = A(astronaut_face(64)).expand(4, -1, -1, -1)
    film = recover_frames(dcgan, A, y, rounds=ROUNDS, progress=False)
    assert (film.objective.diff() <= 0).all(), "the state that a frame starts from competes with what it finds"


def test_the_default_is_the_papers_from_the_linear_start(dcgan, problem, monkeypatch):
    A, y, _ = problem
    few = [ilo.Round(layer, 3, radius=None if layer == 0 else 1000.0) for layer in range(3)]
    monkeypatch.setattr(films, "paper_rounds", lambda G: few)
    film = recover_frames(dcgan, A, y[:2], restarts=2, progress=False)
    start = ilo.linear_start(dcgan, A, y[:1], restarts=2)
    alone = ilo.recover(dcgan, A, y[:1], rounds=few, start=start, restarts=2, progress=False)
    assert torch.equal(film.images[:1], alone.images)
    assert film.last.history["step"].max() == 1


def test_what_does_not_fit_is_refused(dcgan, problem):
    A, y, _ = problem
    with pytest.raises(ValueError, match="layer 2, where the first frame ends"):
        recover_frames(dcgan, A, y, rounds=ROUNDS, later=ilo.Round(1, 5))
    with pytest.raises(ValueError, match=r"need an ilo\.Round"):
        recover_frames(dcgan, A, y, rounds=[PriorRound(prior=feature_prior(dcgan, 1), steps=5)])
    with pytest.raises(ValueError, match="NaN"):
        recover_frames(dcgan, A, torch.full_like(y, torch.nan))
    with pytest.raises(ValueError, match="restarts"):
        recover_frames(dcgan, A, y, restarts=0)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_what_ends_it_among_the_frames_brings_those_before(dcgan, problem, film, monkeypatch, error):
    A, y, _ = problem
    ends_at(monkeypatch, 3, error)
    with pytest.raises(type(error)) as ended:
        recover_frames(dcgan, A, y, rounds=ROUNDS, restarts=2, progress=False)
    found = ended.value.film
    assert torch.equal(found.images, film.images[:3])
    assert torch.equal(found.last.images, film.images[2:3])
    assert torch.equal(found.first.images, film.images[:1])
    assert len(found.seconds) == len(found.status) == len(found.objective) == 3
    ends_at(monkeypatch, 0, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as ended:
        recover_frames(dcgan, A, y, rounds=ROUNDS, restarts=2, progress=False)
    assert not hasattr(ended.value, "film")


def ends_at(monkeypatch, frame: int, error: BaseException):
    """Let the search of that frame, counted from 0, raise the error."""
    frames = iter(range(frame))

    def ended(*arguments, **options):
        if next(frames, None) is None:
            raise error
        return ilo.recover(*arguments, **options)

    monkeypatch.setattr(films, "recover", ended)


def test_flicker_is_the_ratio_of_changes():
    x = panned(4)
    assert flicker(x, x) == pytest.approx(1)
    assert flicker(x / 2, x) == pytest.approx(0.5)
    assert flicker(x[:1].expand(4, -1, -1, -1), x) == 0
    noisy = (x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    assert flicker(noisy, x) > 1.5
    for wrong in (x[:1], x[:1].expand(4, -1, -1, -1)):
        with pytest.raises(ValueError, match=r"2 frames|stands still"):
            flicker(wrong, wrong)
    with pytest.raises(ValueError, match="alike"):
        flicker(x[:3], x)


def write_video(path, frames: torch.Tensor, rate: int = 12):
    """As a camera would: MPEG-4, its colours at half the size."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = frames.shape[-2:]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for levels in ((frames + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy():
            for packet in stream.encode(av.VideoFrame.from_ndarray(levels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "mp4"])
def test_a_film_is_read_frame_by_frame(tmp_path, kind):
    x, path = astronaut_film(96, 5), tmp_path / f"film.{kind}"
    if kind == "mp4":
        write_video(path, x)
    elif kind == "gif":
        write_film(path, x, rate=10)
    else:
        levels = ((x + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        first, *others = map(Image.fromarray, levels)
        lossless = {"lossless": True} if kind == "webp" else {}
        first.save(path, save_all=True, append_images=others, duration=100, **lossless)
    assert is_film(path)
    frames, rate = read_film(path)
    assert rate == pytest.approx(12 if kind == "mp4" else 10)
    assert frames.shape == x.shape
    errors = (frames - x).abs().mean((1, 2, 3))
    assert errors.max() < (0.005 if kind in ("webp", "png") else 0.04)  # the true frames are 0.07 apart
    cut, _ = read_film(path, size=32, crop=(16, 16, 80, 80), first=2)
    assert cut.shape == (2, 3, 32, 32)


def test_what_is_no_film_is_said(tmp_path, monkeypatch):
    photo, broken = tmp_path / "photo.png", tmp_path / "broken.mp4"
    ilo.images.write_image(photo, astronaut_face(64)[0])
    broken.write_bytes(b"no video" * 100)
    assert not is_film(photo)
    assert not is_film(tmp_path / "absent.png")
    assert is_film(broken)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        assert not is_film(photo), "too large to open"
    with pytest.raises(ValueError, match="not a video that can be read"):
        read_film(broken)
    with pytest.raises(FileNotFoundError, match="no such film"):
        read_film(tmp_path / "absent.mp4")
    whole = tmp_path / "whole.mp4"
    write_video(whole, astronaut_film(64, 20))
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match="read"):
        read_film(broken)
    with pytest.raises(ValueError, match="first"):
        read_film(whole, first=0)


def test_without_pyav_a_video_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "film.mp4"
    write_video(path, astronaut_film(64, 2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ilo\[film\]'"):
        read_film(path)


def test_the_command_line_recovers_a_film(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ilo, "paper_rounds", lambda G: ROUNDS)
    path = tmp_path / "film.gif"
    write_film(path, astronaut_film(96, 5))
    assert main(["recover", str(path), "--frames", "3", "--restarts", "1", "--keep", "0.3", "--quiet"]) == 0
    said = capsys.readouterr()
    assert "auto is for photos" in said.out
    assert "flicker" in said.out
    assert said.err == ""
    out = tmp_path / "film-recovered"
    written = {"comparison.gif", "film.csv", "frames", "recovered.gif", "report.json"}
    assert {p.name for p in out.iterdir()} == written
    table, report = pd.read_csv(out / "film.csv"), json.loads((out / "report.json").read_text())
    assert list(table["frame"]) == [1, 2, 3]
    assert report["psnr"] == pytest.approx(table["psnr"].mean())
    frames = torch.cat([ilo.images.read_image(p) for p in sorted((out / "frames").iterdir())])
    assert frames.shape == (3, 3, 64, 64)
    truth = read_film(path, 64, first=3)[0]
    assert ilo.metrics.psnr(frames, truth).mean() == pytest.approx(report["psnr"], abs=0.05)
    assert report["flicker"] == pytest.approx(flicker(frames, truth), rel=0.02)
    assert read_film(out / "comparison.gif")[0].shape == (3, 3, 128, 384)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rounds", "csgm"], "recovered by --rounds paper"),
        (["--measured"], "go with photos"),
        (["--frames", "1"], "two frames or more"),
        (["--frames", "0"], "first must be"),
    ],
)
def test_what_a_film_cannot_be_recovered_by_is_said(tmp_path, capsys, options, said):
    write_film(tmp_path / "film.gif", astronaut_film(64, 3))
    assert main(["recover", str(tmp_path / "film.gif"), *options]) == 2
    assert said in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]


def test_frames_are_not_of_a_photo(tmp_path, capsys):
    ilo.images.write_image(tmp_path / "photo.png", astronaut_face(64)[0])
    assert main(["recover", str(tmp_path / "photo.png"), "--frames", "3"]) == 2
    assert "--frames is of a film" in capsys.readouterr().err


@pytest.fixture
def quick(tmp_path, monkeypatch, dcgan):
    """The arguments of a film that is recovered in seconds; the generator is loaded once."""
    monkeypatch.setattr(ilo.generators, "load", lambda *_, **__: dcgan)
    monkeypatch.setattr(ilo, "paper_rounds", lambda G: [ilo.Round(0, 3), ilo.Round(1, 3, radius=500.0)])
    path = tmp_path / "film.gif"
    write_film(path, astronaut_film(64, 4))
    return ["recover", str(path), "--restarts", "1", "--quiet"]


def test_files_and_folders_of_the_users_own_are_left(quick, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ilo.generators, "load", lambda *a, **k: pytest.fail("the generator was loaded"))
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "mine.png").write_bytes(b"mine")
    (tmp_path / "film.csv").write_bytes(b"mine")
    monkeypatch.chdir(tmp_path)
    assert main([*quick, "--out", "."]) == 2
    assert "holds frames, film.csv, not written by an `ilo recover` of this kind" in capsys.readouterr().err
    assert (tmp_path / "frames" / "mine.png").read_bytes() == b"mine"
    assert {p.name for p in tmp_path.iterdir()} == {"film.gif", "film.csv", "frames"}


def test_an_earlier_film_is_replaced_and_a_photo_is_not(quick, tmp_path, capsys):
    out = tmp_path / "film-recovered"
    assert main(quick) == 0
    assert main([*quick, "--frames", "2"]) == 0
    assert [p.name for p in sorted((out / "frames").iterdir())] == ["00001.png", "00002.png"]
    assert {p.name for p in out.iterdir()} == set(film_command.NAMES)
    (out / "frames" / "mine.png").write_bytes(b"mine")
    assert main(quick) == 2
    assert "also holds mine.png" in capsys.readouterr().err
    assert (out / "frames" / "mine.png").exists()
    photo = tmp_path / "photo.png"
    ilo.images.write_image(photo, astronaut_face(64))
    few = ["--budget", "16", "--samples", "2", "--quiet"]
    assert main(["recover", str(photo), *few, "--out", str(out)]) == 2
    assert "holds report.json" in capsys.readouterr().err
    assert main(["recover", str(photo), *few]) == 0
    assert main([*quick, "--out", str(tmp_path / "photo-recovered")]) == 2
    assert "holds report.json" in capsys.readouterr().err


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("why", ["full", "no folder"])
def test_what_cannot_be_written_goes_where_it_can(quick, tmp_path, capsys, monkeypatch, why):
    monkeypatch.setattr(results.tempfile, "gettempdir", lambda: str(tmp_path / "room"))
    (tmp_path / "room").mkdir()
    out = tmp_path / "film-recovered"
    if why == "full":
        monkeypatch.setattr(film_command, "write_film", full)
    else:  # it was free when the search began
        found = ilo.recover_frames
        monkeypatch.setattr(ilo, "recover_frames", lambda *a, **k: (out.write_bytes(b"taken"), found(*a, **k))[1])
    assert main(quick) == 2
    error = capsys.readouterr().err
    assert "the results could not be written to" in error
    assert error.count("\n") == 1
    (folder,) = (tmp_path / "room").iterdir()
    assert f"What was found is in {folder}, frame by frame" in error
    assert [p.name for p in sorted(folder.iterdir())] == [f"{n:05d}.png" for n in range(1, 5)]
    assert out.is_file() if why == "no folder" else not out.exists()


def test_on_a_full_disk_the_earlier_film_stays(quick, tmp_path, capsys, monkeypatch):
    assert main(quick) == 0
    out = tmp_path / "film-recovered"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr("ilo.files.os.fsync", full)
    assert main(quick) == 2
    assert "no room for the result elsewhere" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (RuntimeError("out of memory"), 1)], ids=["interrupted", "failed"]
)
def test_the_frames_before_the_end_are_written(quick, tmp_path, capsys, monkeypatch, error, code):
    ends_at(monkeypatch, 2, error)
    assert main(quick) == code
    said = capsys.readouterr().err
    assert "writing the 2 of 4 frames that were found" in said
    assert said.splitlines()[-1] in ("ilo: interrupted", "ilo: out of memory")
    out = tmp_path / "film-recovered"
    report = json.loads((out / "report.json").read_text())
    assert (report["frames"], report["frames_measured"]) == (2, 4)
    assert len(list((out / "frames").iterdir())) == len(pd.read_csv(out / "film.csv")) == 2
    ends_at(monkeypatch, 1, type(error)("out of memory"))
    alone = tmp_path / "alone"
    assert main([*quick, "--out", str(alone)]) == code
    assert [p.name for p in (alone / "frames").iterdir()] == ["00001.png"], "one frame has no flicker, and is there"
    ends_at(monkeypatch, 0, type(error)("out of memory"))
    assert main([*quick, "--out", str(tmp_path / "none")]) == code
    assert not (tmp_path / "none").exists()


def test_a_film_that_is_ended_leaves_the_earlier_one(quick, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(results.tempfile, "gettempdir", lambda: str(tmp_path / "room"))
    (tmp_path / "room").mkdir()
    assert main(quick) == 0
    out = tmp_path / "film-recovered"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    ends_at(monkeypatch, 2, KeyboardInterrupt())
    capsys.readouterr()
    assert main(quick) == 130
    (folder,) = (tmp_path / "room").iterdir()
    assert f"keeps the earlier film. What was found is in {folder}, frame by frame" in capsys.readouterr().err
    assert [p.name for p in sorted(folder.iterdir())] == ["00001.png", "00002.png"]
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


SLOW = """
import sys, ilo
from ilo.cli.main import main
ilo.paper_rounds = lambda G: [ilo.Round(0, 3), ilo.Round(1, 500, radius=500.0)]
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the signals are POSIX's")
def test_a_film_that_is_interrupted_keeps_its_frames(tmp_path):
    write_film(tmp_path / "film.gif", astronaut_film(64, 24))
    out, log = tmp_path / "out", tmp_path / "log"
    with open(log, "wb") as told:
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, "recover", str(tmp_path / "film.gif"), "--restarts", "1", "--out", str(out)],
            stderr=told,
            env={**os.environ, "TQDM_DISABLE": ""},
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        )
        deadline = time.monotonic() + 300  # a busy machine is slow
        while b" 2/24 " not in log.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert log.read_text().endswith("ilo: interrupted\n")
    found = len(list((out / "frames").iterdir()))
    assert 2 <= found < 24
    assert f"writing the {found} of 24 frames that were found" in log.read_text()
    assert read_film(out / "recovered.gif")[0].shape == (found, 3, 64, 64)
