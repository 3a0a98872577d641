"""``ilo recover``: one photo, measured by the program or given as measurements, recovered and written to a folder."""

import argparse
import math
import sys
from functools import partial
from pathlib import Path

import torch

import ilo
from ilo.assets import fetch
from ilo.auto.plan import Auto
from ilo.cli.cropping import crop_of, look_for_face, place_of
from ilo.cli.film import check_film, recover_film
from ilo.cli.folder import recover_folder
from ilo.cli.measuring import Measured, look_at, measured, settle
from ilo.cli.measuring import add_arguments as add_measurements
from ilo.cli.results import folder_for, write_results
from ilo.films import is_film
from ilo.generators import Generator
from ilo.generators.loading import DEFAULT, check_computes
from ilo.operators.tasks import TASKS, Task

FIXED = {
    "paper": ilo.paper_rounds,
    "whitened": ilo.whitened_rounds,
    "release": ilo.release_rounds,
    "csgm": ilo.latent_rounds,
}
DESCRIPTION = """\
Recover a photo from measurements of it.

By default the photo is measured by the program, so that the result can be compared with it. ilo recover face.png, and
one of:
{tasks}

Measurements that are given, with no truth to compare with:
  ilo recover holes.png --mask mask.png              white: seen
  ilo recover small.png --task superres --measured   the low-resolution image
  ilo recover noisy.png --task denoise --measured    also grey, blurred

Written to the folder (PHOTO-recovered, or --out): recovered.png; comparison.png, all images side by side;
result.safetensors, which ilo.load_result reads; report.json, options, settings and scores. And unless --rounds says
otherwise: sharp.png, which looks more like a photo and is further from the truth; spread.png, the error to expect of
each pixel, from black (none) to white (a quarter of the range from black to white, or more); tries.csv, the settings
that were tried, with the error of each on the measurements held out. What was chosen and why, and how far to trust it,
is printed, and is in report.json.

The default generator makes 64×64 faces: the photo is cropped to its central square (or --crop) and resized to
64×64, and the face should fill it as in a passport photo. In a photo of any other size and framing, --crop face finds
it, and what is recovered by inpainting or super-resolution is put back into the photo: pasted.png (with any --crop).
A folder of photos is recovered photo by photo, each into a folder of its own below PHOTOS-recovered (or --out), with a
table of all, photos.csv; what was interrupted goes on where it was.

A film, an animated image or a video (.mp4, .webm, …: pip install 'ilo[film]'), is recovered frame by frame, each from
where the one before ended, by --rounds paper: frames/, recovered.gif, comparison.gif, film.csv, report.json. If it is
interrupted, the frames found so far are written.

Another generator, such as a StyleGAN2 checkpoint, brings its own size: --generator network.pkl (NVIDIA's .pkl,
rosinality's .pt, BigGAN-PyTorch's .pth, safetensors).
"""


def _example(name: str, task: Task) -> str:
    level = f" --{task.option} {task.default:g}" if task.option else ""
    said = f"{task.title}: {task.meaning}" if task.meaning else task.title
    return f"  {f'--task {name}{level}':34}{said}"


DESCRIPTION = DESCRIPTION.format(tasks="\n".join(_example(*item) for item in TASKS.items()))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photo",
        type=Path,
        help="image file: the truth, or with --mask/--measured the measurements; or a folder of such",
    )
    parser.add_argument("--task", metavar="TASK", choices=[*TASKS], default="inpaint", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=None, help="folder for the results (default: PHOTO-recovered)")
    problem = parser.add_argument_group("the measurements")
    add_measurements(problem)
    problem.add_argument("--mask", type=Path, help="inpaint: image of what is seen (white) and missing (black)")
    problem.add_argument("--measured", action="store_true", help="the photo is the measurements, not the truth")
    problem.add_argument(
        "--crop",
        type=crop_of,
        help="LEFT,TOP,RIGHT,BOTTOM in pixels, of which the central square is taken; face: the face in the photo, "
        "framed as the generator's are; face:2: the second largest (default: the central square)",
    )
    problem.add_argument("--frames", type=int, metavar="N", help="of a film: the first N (default: all)")
    _add_solver(parser.add_argument_group("the solver"))


def _add_solver(solver) -> None:
    solver.add_argument(
        "--rounds",
        choices=("auto", *FIXED),
        default="auto",
        help="auto: layer, radius and stopping point are chosen by measurements that are held out, the image is the "
        "mean of several solutions, sharp.png is one solution, and spread.png shows where they differ; paper: ILO as "
        "published, ilo.paper_rounds; whitened: ilo.whitened_rounds; release: the authors' code by default, without a "
        "ball; csgm: the latent alone (default: auto)",
    )
    solver.add_argument("--budget", type=int, help=f"auto: gradient evaluations, at most (default: {Auto.budget})")
    solver.add_argument("--samples", type=int, help=f"auto: solutions side by side (default: {Auto.samples})")
    solver.add_argument(
        "--noise-known",
        type=float,
        metavar="STD",
        help="auto: the noise of the measurements (default: that of --noise where the program adds it, else estimated)",
    )
    solver.add_argument("--generator", default=DEFAULT, help="name or file (default: %(default)s)")
    solver.add_argument("--restarts", type=int, help="all but auto: starting latents tried (default: 4)")
    solver.add_argument("--seed", type=int, default=0, help="(default: 0)")
    solver.add_argument("--device", default=None, help="cpu, cuda, … (default: cuda if there is one)")
    solver.add_argument("--half", action="store_true", help="compute in bfloat16: less memory, images differ by 1 %%")
    solver.add_argument(
        "--checkpointing", action="store_true", help="keep less, compute more: same result, less memory"
    )
    solver.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Recover the photo, or those of a folder; return the exit code. Errors are `ilo.cli.main.main`'s to report."""
    settle(options)
    if film := is_film(options.photo):
        check_film(options)
    elif options.frames is not None:
        raise ValueError(f"--frames is of a film, and {options.photo} is none")
    _settle_solver(options)
    if options.photo.is_dir():
        G = _generator(options)
        return recover_folder(options, lambda of_one: _recover_one(of_one, G))
    if film:
        recover_film(options, partial(_generator, options))
        return 0
    _recover_one(options)
    return 0


def _recover_one(options: argparse.Namespace, G: Generator | None = None) -> None:
    """Recover one photo and write the results. G: loaded here if it is not given, once the photo has been looked at."""
    out = folder_for(options)
    photo = look_at(options)
    face = look_for_face(options, photo)
    G = _generator(options) if G is None else G
    place = place_of(options, face, photo, G)
    seen = measured(options, G.image_shape, place.crop)
    if seen.truth is not None:
        fetch("lpips-alex")  # now rather than after the work
    copies = options.samples if options.rounds == "auto" else options.restarts
    if report := ilo.generators.memory_report(G, copies):
        print(f"memory: {report} (flags: --half, --checkpointing, --samples or --restarts)", flush=True)
    result = _recover(options, G, seen)
    written = write_results(out, options, result, seen, place)
    print(f"status: {result.status[0]}; wrote to {out}: {', '.join(written)}")


def _settle_solver(options: argparse.Namespace) -> None:
    """Fill in the solver's defaults; ValueError for a flag that the chosen rounds would not look at."""
    of_auto = {"budget": Auto.budget, "samples": Auto.samples, "noise_known": None}
    if options.rounds == "auto":
        if options.restarts is not None:
            print("ilo: --restarts is not used by --rounds auto, which has --samples", file=sys.stderr)
    elif given := [f"--{name.replace('_', '-')}" for name in of_auto if getattr(options, name) is not None]:
        raise ValueError(f"{' and '.join(given)} cannot go with --rounds {options.rounds}, only with auto")
    if options.noise_known is not None and not 0 <= options.noise_known < math.inf:
        raise ValueError(f"--noise-known is a standard deviation of at least 0, got {options.noise_known}")
    for name, most in {"samples": 1000, "restarts": 1000}.items():  # side by side: more fit no memory
        if (given := getattr(options, name)) is not None and not 1 <= given <= most:
            raise ValueError(f"--{name} must be a number from 1 to {most}, got {given}")
    for name, default in {**of_auto, "restarts": 4}.items():
        if getattr(options, name) is None:
            setattr(options, name, default)
    if options.rounds == "auto" and options.budget < options.samples:
        raise ValueError(f"budget must be an evaluation a sample, {options.samples}, or more; got {options.budget}")


def _generator(options: argparse.Namespace) -> Generator:
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device is None else options.device
    check_computes(device)
    G = ilo.generators.load(options.generator, device=device)
    if options.checkpointing or options.half:
        G = ilo.generators.economical(G, checkpointing=options.checkpointing, half=options.half)
    return G


def _recover(options: argparse.Namespace, G: Generator, seen: Measured) -> "ilo.Result":
    common = {"rng": options.seed, "progress": not options.quiet}
    if options.rounds == "auto":
        known = seen.noise if options.noise_known is None else options.noise_known
        rounds = ilo.Auto(budget=options.budget, samples=options.samples, noise=known)
        return ilo.recover(G, seen.A, seen.y, rounds=rounds, **common)
    common["restarts"] = options.restarts
    if options.rounds == "release":
        return ilo.baselines.release(G, seen.A, seen.y, **common)
    rounds = FIXED[options.rounds](G)
    if options.rounds in ("paper", "csgm"):
        noise = seen.noise or 0.0
        common["start"] = ilo.linear_start(G, seen.A, seen.y, restarts=options.restarts, rng=options.seed, noise=noise)
    return ilo.recover(G, seen.A, seen.y, rounds=rounds, **common)
