"""Films: later frames are cheap, start where the one before ended, stay near it, and flicker little."""

import json
import sys
from itertools import pairwise

import av
import pandas as pd
import pytest
import torch
from PIL import Image

import ilo
from ilo import films
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


def test_what_is_no_film_is_said(tmp_path):
    photo, broken = tmp_path / "photo.png", tmp_path / "broken.mp4"
    ilo.images.write_image(photo, astronaut_face(64)[0])
    broken.write_bytes(b"no video" * 100)
    assert not is_film(photo)
    assert not is_film(tmp_path / "absent.png")
    assert is_film(broken)
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
