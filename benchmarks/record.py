"""Record the reference rows: every method on CSGM's CelebA test images, one row per image, problem and method.

    python -m benchmarks record
    python -m benchmarks record --to runs/fresh/celeba.csv --images 8
    ilo verify runs/fresh --reference data/reference

All methods see the same measurements (noise 0.02), and the searches the same starting latents. The images are the 32 on
which nothing was chosen, 33 to 64. Without --to or --folder the committed files of data/reference are completed, each
known by its name (one of another name gets the rows of the first two):

- celeba.csv: every method but those of the next file.
- auto.csv: `rounds="auto"`, and the authors' release at one level of each task. "oracle" is the setting nearest to the
  truth, image by image, of those that auto tried; beside it, auto_settings.csv has the mean PSNR of each, if chosen for
  all images.
- auto_parts.csv: auto part by part; paper_settings.csv: the paper's ILO by radius and layer (`benchmarks.parts`), at a
  few problems.

Needs celebAtest.zip (data/README.md says where from). Rows go to the file as each problem ends. What is there with
every image is not run again, and a run that was interrupted resumes from its cells in runs/cells. To use several cores,
start it several times with other --problems: they may share the files. To use several machines, name a Dask scheduler
in ILO_DASK. --folder is for a recording that takes days: its rows are put aside until they are whole.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from torch import Tensor

import ilo
from benchmarks import parts
from benchmarks.rows import DIGITS, put
from ilo import study
from ilo.auto.plan import Auto
from ilo.provenance import checkout, revision
from ilo.study.methods import ANSWERS, methods_for
from ilo.study.record import JUDGES

FILES = {
    "celeba.csv": (
        *("ILO (schemes)", "ILO (whitened)", "CSGM (published)", "PULSE", "Smooth field", "TV", "LASSO (DCT)"),
        *("LASSO (wavelet)", "Deep decoder", "Deep decoder (mean of 4)", "Bicubic"),
    ),
    "auto.csv": ("ILO auto", "ILO (release)"),
    "auto_parts.csv": ("auto's parts",),
    "paper_settings.csv": ("the paper's settings",),
}
TAKEN_APART = {"auto's parts": parts.auto_parts, "the paper's settings": parts.paper_settings}
A_TASK = [(problem.task, problem.level) for problem in study.ONE_A_TASK]
ONLY_AT = {
    "ILO (release)": A_TASK,
    "auto's parts": A_TASK,
    "the paper's settings": [("inpainting", 0.1), ("Gaussian", 0.05), ("super-resolution", 4)],
}
FOUND = ANSWERS | {"auto's parts": parts.PARTS, "the paper's settings": parts.SETTINGS}
AVERAGED = {  # solutions in the mean, auto's with the linear estimate; of all others 1
    **dict.fromkeys(("ILO auto", "oracle", "+ linear estimate", "+ smooth field"), Auto.samples + 1),
    **{"+ averaging": Auto.samples, "Deep decoder (mean of 4)": 4},
}
TASKS = [problem.task for problem in study.ONE_A_TASK]
MEASURED = ["mse", "psnr", "ssim", "lpips", "covered", "solutions", "evaluations", "seconds"]
SETTING = ["layer", "radius", "step", "scale"]


def main(arguments: Sequence[str] = ()) -> None:
    options = parse(arguments)
    G = ilo.generators.load()
    names = JUDGES[: options.images]
    truth = study.csgm_test_images(G.image_shape[-1])[[int(name.split()[1]) - 1 for name in names]]
    for path, methods in files(options):
        for problem in options.problems:
            record(path, problem, methods, (names, truth), G)
        if path.exists():
            show(path)


def files(options: argparse.Namespace) -> Iterator[tuple[Path, list[str]]]:
    """Each file with its methods, as far as they are asked for."""
    if options.to is None:
        chosen = {(options.folder or reference()) / name: methods for name, methods in FILES.items()}
    else:
        chosen = {options.to: FILES.get(options.to.name, (*FILES["celeba.csv"], *FILES["auto.csv"]))}
    for path, methods in chosen.items():
        yield path, [m for m in methods if m in options.methods]


def record(path: Path, problem: study.Problem, methods: Sequence[str], subjects: tuple[list[str], Tensor], G) -> None:
    """Add to the file what it lacks of a problem: the rows of the methods that have not one for every image."""
    rows = read(path)
    there = set(rows.loc[at(rows, problem), ["method", "image"]].itertuples(index=False, name=None))
    here = [m for m in methods if m not in ONLY_AT or (problem.task, problem.level) in ONLY_AT[m]]
    wanted = methods_for(problem, [m for m in here if m not in TAKEN_APART])
    wanted |= {m: TAKEN_APART[m] for m in here if m in TAKEN_APART}
    lacking = {
        label: method
        for label, method in wanted.items()
        if not {(answer, name) for answer in FOUND.get(label, (label,)) for name in subjects[0]} <= there
    }
    if not lacking:
        return
    found = study.run(subjects, [problem], lacking, G=G)
    found["solutions"] = [AVERAGED.get(method, 1) for method in found["method"]]
    put(path, found.reindex(columns=[*study.KEYS, *MEASURED]).assign(revision=revision()), ["task", "level", "method"])
    if (oracle := found[found["method"] == "oracle"]).size:
        beside = path.with_name(f"{path.stem}_settings.csv")
        means = study.tried_settings(oracle).groupby(SETTING, dropna=False)["psnr"].mean().reset_index()
        about = {"task": problem.task, "level": problem.level, "noise": problem.noise, "revision": revision()}
        put(beside, means.assign(**about), ["task", "level"])
    print(found.groupby("method", sort=False)[["psnr", "lpips"]].mean().round(3).to_string(header=False), flush=True)


def show(path: Path) -> None:
    rows = read(path).assign(kind="CelebA")
    for metric, digits in (("psnr", 2), ("lpips", 3)):
        print(f"\n{path.name}: {metric}\n{study.summary(rows, metric, ['task', 'level']).round(digits).to_string()}")


def reference() -> Path:
    return checkout() / "data" / "reference"


def at(rows: pd.DataFrame, problem: study.Problem) -> pd.Series:
    return (rows["task"] == problem.task) & ((rows["level"] - problem.level).abs() < 10**-DIGITS)


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=[*study.KEYS, "revision"])


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks record", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--to", type=Path, help="CSV file of the rows, read and written (default: those committed)")
    where.add_argument("--folder", type=Path, help="folder of all four files, in place of data/reference")
    parser.add_argument("--images", type=int, default=len(JUDGES), help="only the first IMAGES; needs --to or --folder")
    parser.add_argument("--problems", nargs="+", metavar="TASK[:LEVEL]", help=f"of {', '.join(TASKS)} (default: all)")
    known = [method for methods in FILES.values() for method in methods]
    parser.add_argument("--methods", nargs="+", default=known, choices=known, help="(default: all)")
    options = parser.parse_args(arguments)
    if not 1 <= options.images <= len(JUDGES):
        parser.error(f"--images is a number from 1 to {len(JUDGES)}, got {options.images}")
    folder = options.folder or (reference() if options.to is None else options.to.parent)
    if options.images < len(JUDGES) and folder.resolve().is_relative_to(reference().resolve()):
        parser.error("the committed rows are of all images: name another file by --to")
    named = {f"{p.task}:{p.level:g}": p for p in study.PROBLEMS}
    words = options.problems or [*named]
    if unknown := [word for word in words if word not in named and word not in TASKS]:
        parser.error(f"no problem {unknown}: choose from {', '.join((*TASKS, *named))}")
    options.problems = [p for word, p in named.items() if word in words or p.task in words]
    return options
