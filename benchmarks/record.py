"""Record the reference rows: every method on CSGM's CelebA test images, one row per image, problem and method.

    python -m benchmarks record
    python -m benchmarks record --to runs/fresh/celeba.csv --images 8
    ilo verify runs/fresh --reference data/reference

All methods see the same measurements (noise 0.02), and the searches the same starting latents. Without --to the
committed files of data/reference are completed: celeba.csv, of all 64 images, and auto.csv, of the last 32, as the plan
and the default of `rounds="auto"` were chosen on the first 32. A file is known by its name; one of another name gets
the rows of both. "oracle" is the setting nearest to the truth, image by image, of those that "ILO auto" tried; beside
auto.csv, auto_settings.csv has the mean PSNR of each, if chosen for all images.

Needs celebAtest.zip (data/README.md says where from). Rows go to the file as each problem ends. What is there with
every image is not run again, and a run that was interrupted resumes from its cells in runs/cells. To use several cores
or machines, name a Dask scheduler in ILO_DASK.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from torch import Tensor

import ilo
from ilo import study
from ilo.files import written_atomically
from ilo.provenance import checkout, revision
from ilo.study.methods import ANSWERS, COMPARED, METHODS, methods_for

AUTO = ("ILO auto", "ILO (release)")
FILES = {"celeba.csv": (range(64), [m for m in COMPARED if m not in AUTO]), "auto.csv": (range(32, 64), AUTO)}
ONLY_AT = {"ILO (release)": study.ONE_A_TASK}
TASKS = [problem.task for problem in study.ONE_A_TASK]
MEASURED = ["mse", "psnr", "ssim", "lpips", "covered", "evaluations"]
SETTING = ["layer", "radius", "step", "scale"]


def main(arguments: Sequence[str] = ()) -> None:
    options = parse(arguments)
    G = ilo.generators.load("dcgan-digiface64")
    truth = study.csgm_test_images(G.image_shape[-1])
    for path, images, methods in parts(options):
        names = [f"CelebA {i + 1}" for i in images]
        for problem in options.problems:
            record(path, problem, methods, (names, truth[list(images)]), G)
        if path.exists():
            show(path)


def parts(options: argparse.Namespace) -> Iterator[tuple[Path, Sequence[int], list[str]]]:
    """Each file with its images, by number, and its methods, as far as they are asked for."""
    for name, (images, methods) in FILES.items():
        if options.to is None or options.to.name == name or options.to.name not in FILES:
            path = reference() / name if options.to is None else options.to
            yield path, images[: options.images], [m for m in methods if m in options.methods]


def record(path: Path, problem: study.Problem, methods: Sequence[str], subjects: tuple[list[str], Tensor], G) -> None:
    """Add to the file what it lacks of a problem: the rows of the methods that have not one for every image."""
    rows = read(path)
    there = set(rows.loc[at(rows, problem), ["method", "image"]].itertuples(index=False, name=None))
    wanted = methods_for(problem, [m for m in methods if problem in ONLY_AT.get(m, [problem])])
    lacking = {
        label: method
        for label, method in wanted.items()
        if not {(answer, name) for answer in ANSWERS.get(label, (label,)) for name in subjects[0]} <= there
    }
    if not lacking:
        return
    found = study.run(subjects, [problem], lacking, G=G)
    kept = rows[~(at(rows, problem) & rows["method"].isin(found["method"]))]
    write(path, kept, found.reindex(columns=[*study.KEYS, *MEASURED]))
    if (oracle := found[found["method"] == "oracle"]).size:
        beside = path.with_name(f"{path.stem}_settings.csv")
        means = study.tried_settings(oracle).groupby(SETTING, dropna=False)["psnr"].mean().reset_index()
        settings = read(beside)
        about = {"task": problem.task, "level": problem.level, "noise": problem.noise}
        write(beside, settings[~at(settings, problem)], means.assign(**about))
    print(found.groupby("method", sort=False)[["psnr", "lpips"]].mean().round(3).to_string(header=False), flush=True)


def show(path: Path) -> None:
    rows = read(path).assign(kind="CelebA")
    for metric, digits in (("psnr", 2), ("lpips", 3)):
        print(f"\n{path.name}: {metric}\n{study.summary(rows, metric, ['task', 'level']).round(digits).to_string()}")


def reference() -> Path:
    return checkout() / "data" / "reference"


def at(rows: pd.DataFrame, problem: study.Problem) -> pd.Series:
    return (rows["task"] == problem.task) & (rows["level"] == problem.level)


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=[*study.KEYS, "revision"])


def write(path: Path, kept: pd.DataFrame, new: pd.DataFrame) -> None:
    new = new.assign(revision=revision())
    rows = pd.concat([kept, new], ignore_index=True) if len(kept) else new
    with written_atomically(path) as temporary:
        rows.dropna(axis=1, how="all").round(5).to_csv(temporary, index=False)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks record", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, help="CSV file of the rows, read and written (default: those committed)")
    parser.add_argument("--images", type=int, default=64, help="only the first IMAGES of each method's; needs --to")
    parser.add_argument("--problems", nargs="+", metavar="TASK[:LEVEL]", help=f"of {', '.join(TASKS)} (default: all)")
    parser.add_argument("--methods", nargs="+", default=[*METHODS], choices=[*METHODS], help="(default: all)")
    options = parser.parse_args(arguments)
    if not 1 <= options.images <= 64:
        parser.error(f"--images is a number from 1 to 64, got {options.images}")
    committed = {(reference() / name).resolve() for name in FILES}
    if options.images < 64 and (options.to is None or options.to.resolve() in committed):
        parser.error("the committed rows are of all images: name another file by --to")
    named = {f"{p.task}:{p.level:g}": p for p in study.PROBLEMS}
    words = options.problems or [*named]
    if unknown := [word for word in words if word not in named and word not in TASKS]:
        parser.error(f"no problem {unknown}: choose from {', '.join((*TASKS, *named))}")
    options.problems = [p for word, p in named.items() if word in words or p.task in words]
    return options
