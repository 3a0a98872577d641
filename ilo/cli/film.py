"""``ilo recover FILM``: every frame of an animated image or a video, from where the one before ended."""

import argparse
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ilo
from ilo import metrics, operators
from ilo.assets import fetch
from ilo.cli.cropping import look_for_face, place_of
from ilo.cli.measuring import operator_of, warn
from ilo.cli.results import folder_for, placed, rescued, write_report
from ilo.films import Film, flicker, read_film, write_film
from ilo.generators import Generator
from ilo.images import write_image

NAMES = ("frames", "recovered.gif", "comparison.gif", "film.csv", "report.json")
SHOWN = 128  # pixels a side, at least, of the frames in comparison.gif


def recover_film(options: argparse.Namespace, load: Callable[[], Generator]) -> None:
    """Measure the frames of a film by one operator, recover them, and write what was found to a folder.

    If it is ended among the frames, those found before are written, and then it ends; where that would replace an
    earlier film, they are saved elsewhere. `options` are settled, and of `check_film`; load: makes the generator, once
    the folder and the film have been looked at.
    """
    out = _folder_for(options)
    photo = read_film(options.photo, first=1)[0]
    face = look_for_face(options, photo)  # where it is in the first frame, it is taken to be in all
    G = load()
    crop = place_of(options, face, photo, G).crop
    truth, rate = read_film(options.photo, G.image_shape[-1], crop, options.frames)
    if len(truth) < 2:
        raise ValueError(f"a film has two frames or more: of {options.photo} {len(truth)} was read")
    fetch("lpips-alex")  # now rather than after the work
    A = operator_of(options, G.image_shape)
    y = operators.measure(A, truth, noise=options.noise, rng=options.seed)
    pictures = A.picture(y)
    how = {"restarts": options.restarts, "rng": options.seed, "progress": not options.quiet}
    try:
        film = ilo.recover_frames(G, A, y, rounds=ilo.paper_rounds(G), **how)
    except BaseException as error:
        if film := getattr(error, "film", None):
            warn(f"ended before its time: writing the {len(film.images)} of {len(truth)} frames that were found")
            if (out / "report.json").exists():
                warn(f"{out} keeps the earlier film. {rescued(partial(_save, film))}")
            else:
                _write(out, options, film, truth, pictures, rate)
        raise
    _write(out, options, film, truth, pictures, rate)


def check_film(options: argparse.Namespace) -> None:
    """Take --rounds paper for auto, which is of photos; ValueError for what a film cannot be recovered by."""
    if options.mask is not None or options.measured:
        raise ValueError("--mask and --measured go with photos: a film is measured by the program")
    if options.rounds not in ("auto", "paper"):
        raise ValueError(f"a film is recovered by --rounds paper, not by {options.rounds}")
    if options.rounds == "auto":
        print("a film is recovered by --rounds paper: auto is for photos", flush=True)
        options.rounds = "paper"


def _folder_for(options: argparse.Namespace) -> Path:
    """As `folder_for`; ValueError also where an earlier film's frames have something of the user's own beside them."""
    out = folder_for(options, NAMES)
    beside = [p.name for p in (out / "frames").glob("[!.]*") if not re.fullmatch(r"\d{5,}\.png", p.name)]
    if beside:
        raise ValueError(f"{out / 'frames'}, which is replaced, also holds {', '.join(beside)}: move it")
    return out


def _write(out: Path, options: argparse.Namespace, film: Film, truth: Tensor, pictures: Tensor, rate: float) -> None:
    """Write the frames that were found, of the first of `truth` and its `pictures`, as `placed`; say their scores."""
    images = film.images.cpu().clamp(-1, 1)
    with placed(out, NAMES, partial(_save, film)) as aside:
        (aside / "frames").mkdir()
        _save(film, aside / "frames")
        write_film(aside / "recovered.gif", images, rate)
        columns = (truth[: len(images)], pictures[: len(images)], images)
        write_film(aside / "comparison.gif", torch.cat([_enlarged(x.expand(-1, 3, -1, -1)) for x in columns], 3), rate)
        found = _scored(film, images, columns[0], aside / "film.csv")
        found |= {"frames": len(images), "frames_measured": len(truth), "rate": rate}
        written = write_report(aside, options, found, NAMES[:-1])
    print(f"status: {', '.join(dict.fromkeys(film.status))}; wrote to {out}: {', '.join(written)}")


def _save(film: Film, folder: Path) -> str:
    """Write the frames to a folder that is there; return words that say so."""
    for number, image in enumerate(film.images.cpu().clamp(-1, 1), 1):
        write_image(folder / f"{number:05d}.png", image)
    return f"{folder}, frame by frame"


def _scored(film: Film, images: Tensor, truth: Tensor, path: Path) -> dict[str, Any]:
    """Write the scores of every frame to `path`; say and return what they are in the mean."""
    scores = metrics.evaluate(images, truth)
    moved = flicker(images, truth) if bool(truth.diff(dim=0).any()) else None
    mean = scores.mean(numeric_only=True)
    print("PSNR {psnr:.2f} dB, SSIM {ssim:.3f}, LPIPS {lpips:.3f}, in the mean; frames: {}".format(len(images), **mean))
    if moved is not None:
        print(f"flicker {moved:.2f}: what changes from frame to frame, over what does in the truth")
    table = scores.assign(status=film.status, seconds=film.seconds)
    table.insert(0, "frame", range(1, len(images) + 1))
    table.to_csv(path, index=False)
    return {**film.first.parameters, **mean.to_dict(), "flicker": moved}


def _enlarged(frames: Tensor) -> Tensor:
    """Frames (T, C, H, W), each pixel repeated so that they are `SHOWN` pixels wide or more."""
    times = max(1, -(-SHOWN // frames.shape[-1]))
    return frames.cpu().clamp(-1, 1).repeat_interleave(times, 2).repeat_interleave(times, 3)
