"""``ilo recover FILM``: every frame of an animated image or a video, from where the one before ended."""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor

import ilo
from ilo import metrics, operators
from ilo.assets import fetch, sha256_of
from ilo.cli.cropping import look_for_face, place_of
from ilo.cli.measuring import operator_of
from ilo.cli.results import asked_of, folder_for
from ilo.files import written_atomically
from ilo.films import Film, flicker, read_film, write_film
from ilo.generators import Generator
from ilo.images import write_image

NAMES = ("frames", "recovered.gif", "comparison.gif", "film.csv", "report.json")
SHOWN = 128  # pixels a side, at least, of the frames in comparison.gif


def recover_film(options: argparse.Namespace, G: Generator) -> None:
    """Measure the frames of a film by one operator, recover them, and write what was found to a folder.

    `options` are settled, and of `check_film`.
    """
    out = folder_for(options)
    crop = None if isinstance(options.crop, str) else options.crop
    if isinstance(options.crop, str):  # where the face is in the first frame, it is taken to be in all
        photo = read_film(options.photo, first=1)[0]
        crop = place_of(options, look_for_face(options, photo), G, photo).crop
    truth, rate = read_film(options.photo, G.image_shape[-1], crop, options.frames)
    if len(truth) < 2:
        raise ValueError(f"a film has two frames or more: of {options.photo} {len(truth)} was read")
    fetch("lpips-alex")  # now rather than after the work
    A = operator_of(options, G.image_shape)
    y = operators.measure(A, truth, noise=options.noise, rng=options.seed)
    how = {"restarts": options.restarts, "rng": options.seed, "progress": not options.quiet}
    film = ilo.recover_frames(G, A, y, rounds=ilo.paper_rounds(G), **how)
    written = _write(out, options, film, truth, A.cpu().picture(y.cpu()), rate)
    print(f"status: {', '.join(dict.fromkeys(film.status))}; wrote to {out}: {', '.join(written)}")


def check_film(options: argparse.Namespace) -> None:
    """Take --rounds paper for auto, which is of photos; ValueError for what a film cannot be recovered by."""
    if options.mask is not None or options.measured:
        raise ValueError("--mask and --measured go with photos: a film is measured by the program")
    if options.rounds not in ("auto", "paper"):
        raise ValueError(f"a film is recovered by --rounds paper, not by {options.rounds}")
    if options.rounds == "auto":
        print("a film is recovered by --rounds paper: auto is for photos", flush=True)
        options.rounds = "paper"


def _write(
    out: Path, options: argparse.Namespace, film: Film, truth: Tensor, pictures: Tensor, rate: float
) -> list[str]:
    """Write all aside, then put it in the places of an earlier film's; say the scores; return the names."""
    images = film.images.cpu().clamp(-1, 1)
    scores = metrics.evaluate(images, truth)
    moved = flicker(images, truth) if bool(truth.diff(dim=0).any()) else None
    mean = scores.mean(numeric_only=True)
    print("{} frames, in the mean PSNR {psnr:.2f} dB, SSIM {ssim:.3f}, LPIPS {lpips:.3f}".format(len(images), **mean))
    if moved is not None:
        print(f"flicker {moved:.2f}: what changes from frame to frame, over what does in the truth")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".writing-", ignore_cleanup_errors=True) as name:
        aside = Path(name)
        (aside / "frames").mkdir()
        for number, image in enumerate(images, 1):
            write_image(aside / "frames" / f"{number:05d}.png", image)
        write_film(aside / "recovered.gif", images, rate)
        side_by_side = torch.cat([_enlarged(x.expand(-1, 3, -1, -1)) for x in (truth, pictures, images)], 3)
        write_film(aside / "comparison.gif", side_by_side, rate)
        table = scores.assign(status=film.status, seconds=film.seconds)
        table.insert(0, "frame", range(1, len(images) + 1))
        table.to_csv(aside / "film.csv", index=False)
        asked = asked_of(options)
        report = {**asked, **film.first.parameters, **mean.to_dict(), "flicker": moved, "frames": len(images)}
        report |= {"photo_sha256": sha256_of(options.photo), "rate": rate, "options": asked}
        with written_atomically(aside / "report.json") as temporary:
            temporary.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")
        shutil.rmtree(out / "frames", ignore_errors=True)
        for name in NAMES:
            os.replace(aside / name, out / name)
    return list(NAMES)


def _enlarged(frames: Tensor) -> Tensor:
    """Frames (T, C, H, W), each pixel repeated so that they are `SHOWN` pixels wide or more."""
    times = max(1, -(-SHOWN // frames.shape[-1]))
    return frames.cpu().clamp(-1, 1).repeat_interleave(times, 2).repeat_interleave(times, 3)
