"""How the settings of the methods that ILO is compared with were chosen, and auto's start: on CelebA 1–8.

    python -m benchmarks tune                 (or some: python -m benchmarks tune "Deep decoder" TV)

Writes data/reference/tuning_methods.csv, a row per problem, method, setting and image, and prints for every method what
each setting falls short of the problem's best, in dB, on average over the problems and at worst. What is there is not
run again. No image of these judges anything: reference rows are of CelebA 33–64.

Settings: the factor of `ilo.baselines.default_weight` for total variation and LASSO; width and learning rate of the
deep decoder; PULSE's learning rate; where the solutions of `rounds="auto"` start. The search of the latent, its
penalty and the paper's radii have a script of their own (`first_stage`). Needs celebAtest.zip (data/README.md). An
hour on one core.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from unittest import mock

import pandas as pd
from torch import Tensor

import ilo
from ilo import baselines, metrics, operators, study
from ilo.auto import plan, search
from ilo.baselines import weights
from ilo.files import written_atomically
from ilo.provenance import checkout, revision
from ilo.study.cells import image_seed

NAMES = [f"CelebA {i}" for i in range(1, 17)]
FEW = [study.inpainting(0.1), study.gaussian(0.05), study.superres(4), study.denoising(0.3)]
MANY = [
    *FEW,
    *(study.inpainting(keep) for keep in (0.05, 0.2, 0.5)),
    *(study.gaussian(0.1), study.circulant(0.05), study.superres(2), study.superres(8)),
    *(study.denoising(0.1), study.deblurring(2.0), study.colourisation(), study.region("mouth"), study.region("half")),
]
COLUMNS = ["task", "level", "noise", "method", "setting", "image", "psnr", "lpips", "revision"]


def weighed(method: str, solve: Callable) -> Callable:
    """A method whose setting is the factor of its weight."""

    def run(G, A, y: Tensor, noise: float, factor: float) -> Tensor:
        return solve(A, y, weight=factor / weights.FACTORS[method] * baselines.default_weight(method, A, noise))

    return run


def decoder(G, A, y: Tensor, noise: float, setting: tuple[int, float]) -> Tensor:
    return baselines.deep_decoder(A, y, width=setting[0], lr=setting[1])


def pulse(G, A, y: Tensor, noise: float, lr: float) -> Tensor:
    return baselines.pulse(G, A, y, lr=lr, progress=False).images


def auto(G, A, y: Tensor, noise: float, start: str) -> dict[str, Tensor]:
    """From the linear estimate of the latent, or from random latents."""
    planned = replace(plan.plan_for(G), linear_start=start == "linear")
    with mock.patch.object(search, "plan_for", return_value=planned):
        found = ilo.recover(G, A, y, rounds=ilo.Auto(noise=noise), progress=False)
    return {"ILO auto": found.images, "ILO auto, sharp": found.sharp}


METHODS: Mapping[str, tuple] = {  # the run, the settings tried, the problems, how many of the images
    "TV": (weighed("total_variation", baselines.total_variation), (0.4, 0.8, 1.2, 1.6), MANY, 8),
    "LASSO (DCT)": (weighed("lasso_dct", baselines.lasso_dct), (0.8, 1.2, 1.6, 3.2), MANY, 8),
    "LASSO (wavelet)": (weighed("lasso_wavelet", baselines.lasso_wavelet), (0.8, 1.2, 1.6, 3.2), MANY, 8),
    "Deep decoder": (decoder, ((32, 0.03), (64, 0.01), (64, 0.03)), [*FEW, study.deblurring(2.0)], 4),
    "PULSE": (pulse, (0.4, 0.8, 1.6), FEW, 8),
    "ILO auto": (auto, ("random", "linear"), FEW[:3], 8),
}  # fmt: skip


def rows_of(G, method: str, problem: study.Problem, setting, truth: Tensor) -> pd.DataFrame:
    run = METHODS[method][0]
    names = NAMES[: len(truth)]
    A = problem.operator(G.image_shape, rng=0)
    y = operators.measure(A, truth, noise=problem.noise, rng=[image_seed(0, name) for name in names])
    found = run(G, A, y, problem.noise, setting)
    about = {"task": problem.task, "level": problem.level, "noise": problem.noise, "setting": said(setting)}
    parts = [
        metrics.evaluate(images, truth)[["psnr", "lpips"]].round(4).assign(method=name, image=names)
        for name, images in (found if isinstance(found, dict) else {method: found}).items()
    ]
    return pd.concat(parts).assign(**about, revision=revision())[COLUMNS]


def said(setting) -> str:
    return ", ".join(map(str, setting)) if isinstance(setting, tuple) else str(setting)


def shortfall(rows: pd.DataFrame) -> pd.DataFrame:
    """dB below the problem's best setting, a row per setting: on average over the problems, and at worst."""
    means = rows.groupby(["task", "level", "setting"])["psnr"].mean().unstack()
    short = means.sub(means.max(axis=1), axis=0)
    return pd.DataFrame({"mean": short.mean(), "worst": short.min(), "where": short.idxmin().astype(str)})


def main(arguments: Sequence[str] = ()) -> None:
    if unknown := sorted(set(arguments) - METHODS.keys()):
        sys.exit(f"no method {unknown}: choose from {', '.join(METHODS)}")
    path = checkout() / "data" / "reference" / "tuning_methods.csv"
    G = ilo.generators.load("dcgan-digiface64")
    truth = study.csgm_test_images(G.image_shape[-1])
    rows = pd.read_csv(path, dtype={"setting": str}) if path.exists() else pd.DataFrame(columns=COLUMNS)
    for method in arguments or METHODS:
        _, settings, problems, count = METHODS[method]
        for problem in problems:
            for setting in settings:
                about = (problem.task, problem.level, method, said(setting))
                if not (rows[["task", "level", "method", "setting"]] == about).all(axis=1).any():
                    found = rows_of(G, method, problem, setting, truth[:count])
                    rows = pd.concat([rows, found], ignore_index=True) if len(rows) else found
                    with written_atomically(path) as temporary:
                        rows.to_csv(temporary, index=False)
        print(f"{method}\n{shortfall(rows[rows['method'] == method]).round(2).to_string()}\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
