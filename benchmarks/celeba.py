"""Every method on CSGM's 64 CelebA test images, as tables of PSNR and LPIPS.

    python -m benchmarks celeba

All methods see the same measurements (noise 0.02), and the searches the same three starting latents. Needs
celebAtest.zip (data/README.md says where from). Rows go to data/reference/celeba.csv as each level ends, one an image
and method; levels that are there already with every method are not run again, and one that was interrupted resumes
from its cells in runs/cells. Two at a time on two cores, a thread each, get more done than one on both: start it twice.
"""

import os

import pandas as pd

import ilo
from ilo import experiment, methods, plots, study
from ilo.assets import csgm_test_images
from ilo.files import written_atomically
from ilo.provenance import REPOSITORY, revision

ROWS = REPOSITORY / "data" / "reference" / "celeba.csv"
RUNNING = REPOSITORY / "runs" / "celeba"
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


def main() -> None:
    G = ilo.generators.load("dcgan-digiface64")
    truth = csgm_test_images(G.image_shape[-1])
    names = [f"CelebA {i + 1}" for i in range(len(truth))]
    RUNNING.mkdir(parents=True, exist_ok=True)
    for problem in PROBLEMS:
        expected = {"CSGM", "ILO", *methods.methods_for(problem)} - {"searches"}
        rows = read()
        if expected <= set(rows.loc[at(rows, problem), "method"]):
            continue
        claim = RUNNING / f"{problem.task} {problem.level:g}"
        try:  # another process has it
            with open(claim, "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            print(f"{problem}: claimed by process {claim.read_text()} (if it is gone, remove {claim})")
            continue
        try:
            found = methods.compare((names, truth), [problem], G=G)
            found = found.reindex(columns=COLUMNS).assign(revision=revision())
            rows = read()
            rows = pd.concat([rows[~at(rows, problem)], found], ignore_index=True)
            with written_atomically(ROWS) as temporary:
                rows.round(5).to_csv(temporary, index=False)
        finally:
            claim.unlink()
    rows = read().assign(kind="CelebA")
    for metric, digits in (("psnr", 2), ("lpips", 3)):
        print(f"\n{metric}\n{experiment.summary(rows, metric, ['task', 'level']).round(digits).to_string()}")
    missing = [m for m in plots.METHODS if m not in set(rows["method"])]
    print("\nnot run:", ", ".join(missing))


def at(rows: pd.DataFrame, problem: study.Problem) -> pd.Series:
    return (rows["task"] == problem.task) & (rows["level"] == problem.level)


def read() -> pd.DataFrame:
    return pd.read_csv(ROWS) if ROWS.exists() else pd.DataFrame(columns=[*COLUMNS, "revision"])


if __name__ == "__main__":
    main()
