"""`rounds="auto"` against an oracle, the best fixed setting and the ILO authors' schedule, on CSGM's CelebA images.

    python -m benchmarks auto

The plan of `ilo.auto.search` and its default were chosen on the first 32 of the 64 images; the last 32 judge it, under
the measurements that `python -m benchmarks celeba` takes. Needs celebAtest.zip (data/README.md says where from).

Writes data/reference/auto.csv, one row an image and method: "ILO auto"; "ILO auto, sharp"; "oracle", the setting of
those tried that is nearest to the truth, image by image; "release", the authors' rounds without radii, their steps
scaled to the same number of gradient evaluations, at one level a task; "CSGM" where celeba.csv has none. And
auto_settings.csv: the mean PSNR of every setting that was tried, if chosen for all images. Problems that are there
already are not run again.
"""

import time
from dataclasses import replace

import pandas as pd
import torch

import ilo
from benchmarks.celeba import at
from ilo import metrics, operators, study
from ilo.assets import csgm_test_images
from ilo.auto import search as automatic
from ilo.files import written_atomically
from ilo.provenance import checkout, revision
from ilo.solver.result import bounds
from ilo.solver.starts import draw_states
from ilo.study.cells import image_seed

REFERENCE = checkout() / "data" / "reference"
ROWS, SETTINGS = REFERENCE / "auto.csv", REFERENCE / "auto_settings.csv"
REPORTED = range(32, 64)  # of the 64; on the first 32 the plan was chosen
BATCH = 16
ONE_A_TASK = [
    study.inpainting(0.1),
    study.gaussian(0.1),
    study.circulant(0.1),
    study.superres(4),
    study.denoising(0.3),
    study.colourisation(),
    study.deblurring(2.0),
]
PROBLEMS = [
    *ONE_A_TASK,
    *(study.inpainting(keep) for keep in (0.05, 0.2)),
    study.gaussian(0.05),
    study.superres(8),
    study.superres(2),
    study.denoising(0.1),
    *(make(fraction) for make in (study.inpainting, study.gaussian) for fraction in (0.01, 0.02)),
    study.inpainting(0.5),
    study.gaussian(0.2),
    *(study.circulant(fraction) for fraction in (0.05, 0.2, 0.02, 0.01)),
]


def main() -> None:
    G = ilo.generators.load("dcgan-digiface64")
    images = csgm_test_images(G.image_shape[-1])
    runs = [
        ("ILO auto", automatically, PROBLEMS),
        ("release", by_the_release, ONE_A_TASK),
        ("CSGM", by_csgm, PROBLEMS),
    ]
    for name, solve, problems in runs:
        for problem in problems:
            if done(problem, name) or (name == "CSGM" and done(problem, name, REFERENCE / "celeba.csv")):
                continue
            began = time.perf_counter()
            A = problem.operator(G.image_shape, rng=0)
            found = []
            for start in range(REPORTED.start, REPORTED.stop, BATCH):
                names = [f"CelebA {i + 1}" for i in range(start, start + BATCH)]
                truth = images[start : start + BATCH]
                y = operators.measure(A, truth, problem.noise, rng=[image_seed(0, n) for n in names])
                found.append(solve(G, A, y, truth, problem, names))
            rows = pd.concat([part for part, _ in found])
            write(ROWS, rows, problem)
            if name == "ILO auto":
                keys = ["layer", "radius", "step", "scale"]
                settings = pd.concat([part for _, part in found])
                write(SETTINGS, settings.groupby(keys, dropna=False)["psnr"].mean().reset_index(), problem)
            means = rows.groupby("method")[["psnr", "lpips", "covered"]].mean().round(3).to_dict("index")
            print(f"{problem}: {means}, {time.perf_counter() - began:.0f} s", flush=True)


def automatically(G, A, y, truth, problem, names):
    settings = ilo.Auto(noise=problem.noise)
    start = draw_states(G, [0], settings.samples, len(y))
    found = automatic.search(ilo.recover, G, A, y, start, settings, [0], None, False)
    low, high = bounds(found.images, found.spread, 0.9)
    covered = ((low <= truth) & (truth <= high)).flatten(1).float().mean(1)
    spent = found.words["evaluations"]
    auto = frame(names, "ILO auto", found.images, truth, spent).assign(covered=covered.tolist())
    sharp = frame(names, "ILO auto, sharp", found.sharp, truth, spent)
    by_setting = torch.stack([metrics.psnr(images, truth) for images in found.renders()])  # (settings, B)
    oracle = pd.DataFrame({"image": names, "method": "oracle", "psnr": by_setting.max(0).values.tolist()})
    tried = found.tries[found.tries["problem"] == 0].reset_index(drop=True)
    tried["scale"] = (tried["scale_over_noise"] * max(problem.noise, 1e-3) ** 2).round(6)
    parts = [tried.assign(image=n, psnr=by_setting[:, i].tolist()) for i, n in enumerate(names)]
    return pd.concat([auto, sharp, oracle]), pd.concat(parts)


def by_the_release(G, A, y, truth, problem, names):
    rounds = ilo.release_rounds(G)
    share = ilo.Auto().budget / sum(r.steps for r in rounds)
    rounds = [replace(r, steps=round(share * r.steps)) for r in rounds]
    images = ilo.recover(G, A, y, rounds=rounds, rng=0, progress=False).images
    return frame(names, "release", images, truth, sum(r.steps for r in rounds)), None


def by_csgm(G, A, y, truth, problem, names):
    images = ilo.recover(G, A, y, rounds=ilo.csgm_rounds(G), rng=0, restarts=3, progress=False).images
    return frame(names, "CSGM", images, truth, 900), None


def frame(names, method, images, truth, evaluations) -> pd.DataFrame:
    measured = metrics.evaluate(images, truth)[["psnr", "ssim", "lpips"]].reset_index(drop=True)
    return measured.assign(image=names, method=method, evaluations=evaluations, covered=float("nan"))


def done(problem, method, path=ROWS) -> bool:
    rows = read(path)
    return bool(len(rows)) and bool((at(rows, problem) & (rows["method"] == method)).any())


def read(path) -> pd.DataFrame:
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def write(path, rows: pd.DataFrame, problem) -> None:
    rows = rows.assign(task=problem.task, level=problem.level, noise=problem.noise, revision=revision())
    if path == ROWS:
        order = [
            "image",
            "task",
            "level",
            "noise",
            "method",
            "psnr",
            "ssim",
            "lpips",
            "covered",
            "evaluations",
            "revision",
        ]
        rows = rows.reindex(columns=order)
    with written_atomically(path) as temporary:
        pd.concat([read(path), rows], ignore_index=True).round(4).to_csv(temporary, index=False)


if __name__ == "__main__":
    main()
