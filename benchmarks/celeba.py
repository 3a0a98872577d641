"""Every method on CSGM's 64 CelebA test images, as tables of PSNR and LPIPS.

    python -m benchmarks celeba
    python -m benchmarks celeba --to runs/fresh/celeba.csv --images 8     then: ilo verify runs/fresh

All methods see the same measurements (noise 0.02), and the searches the same three starting latents. Needs
celebAtest.zip (data/README.md says where from). Rows go to the file as each level ends, one an image and method; levels
that are there already with every method and image are not run again, and one that was interrupted resumes from its
cells in runs/cells. Two at a time on two cores, a thread each, get more done than one on both: start it twice.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import ilo
from ilo import plots, study
from ilo.assets import csgm_test_images
from ilo.files import written_atomically
from ilo.provenance import checkout, revision, runs_folder
from ilo.study import methods
from ilo.study import subjects as experiment

ROWS = checkout() / "data" / "reference" / "celeba.csv"
RUNNING = runs_folder() / "celeba"
COLUMNS = ["image", "task", "level", "noise", "method", "seed", "mse", "psnr", "ssim", "lpips", "evaluations"]
PROBLEMS = [
    *(study.inpainting(keep) for keep in (0.1, 0.2, 0.05)),
    *(study.gaussian(fraction) for fraction in (0.05, 0.1)),
    *(study.circulant(fraction) for fraction in (0.1, 0.05, 0.2)),
    study.superres(4),
    study.superres(8),
    study.colourisation(),
    study.gaussian(0.2),
    *(study.denoising(noise) for noise in (0.3, 0.1)),
    *(make(fraction) for make in (study.inpainting, study.gaussian, study.circulant) for fraction in (0.01, 0.02)),
    study.superres(2),
    study.inpainting(0.5),
]


def main(arguments: Sequence[str] = ()) -> None:
    options = parse(arguments)
    G = ilo.generators.load("dcgan-digiface64")
    truth = csgm_test_images(G.image_shape[-1])[: options.images]
    names = [f"CelebA {i + 1}" for i in range(len(truth))]
    RUNNING.mkdir(parents=True, exist_ok=True)
    for problem in PROBLEMS:
        expected = {"CSGM", "ILO", *methods.methods_for(problem)} - {"searches"}
        rows = read(options.to)
        there = rows[at(rows, problem)]
        if {(method, name) for method in expected for name in names} <= {
            *zip(there["method"], there["image"], strict=True)
        }:
            continue
        claim = RUNNING / f"{problem.task} {problem.level:g} {str(options.to.resolve()).replace(os.sep, '-')}"
        try:  # another process has it
            with open(claim, "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            print(f"{problem}: claimed by process {claim.read_text()} (if it is gone, remove {claim})")
            continue
        try:
            found = methods.compare((names, truth), [problem], G=G)
            found = found.reindex(columns=COLUMNS).assign(revision=revision())
            rows = read(options.to)
            kept = rows[~at(rows, problem)]
            rows = pd.concat([kept, found], ignore_index=True) if len(kept) else found
            with written_atomically(options.to) as temporary:
                rows.round(5).to_csv(temporary, index=False)
        finally:
            claim.unlink()
    rows = read(options.to).assign(kind="CelebA")
    for metric, digits in (("psnr", 2), ("lpips", 3)):
        print(f"\n{metric}\n{experiment.summary(rows, metric, ['task', 'level']).round(digits).to_string()}")
    asked = {"CSGM", "ILO"}.union(*(methods.methods_for(problem) for problem in PROBLEMS)) - {"searches"}
    missing = [m for m in plots.METHODS if m in asked - set(rows["method"])]
    print("\nnot run:", ", ".join(missing))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks celeba", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=ROWS,
        help="CSV file of the rows, read and written (default: data/reference/celeba.csv)",
    )
    parser.add_argument("--images", type=int, default=64, help="only the first IMAGES of the 64; needs --to")
    options = parser.parse_args(arguments)
    if not 1 <= options.images <= 64:
        parser.error(f"--images is a number from 1 to 64, got {options.images}")
    if options.images < 64 and options.to.resolve() == ROWS:
        parser.error("the committed rows are of all 64 images: name another file by --to")
    return options


def at(rows: pd.DataFrame, problem: study.Problem) -> pd.Series:
    return (rows["task"] == problem.task) & (rows["level"] == problem.level)


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=[*COLUMNS, "revision"])


if __name__ == "__main__":
    main()
