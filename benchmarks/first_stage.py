"""How to find the latent, and how far ILO's balls reach from there: measured on images that judge nothing.

    python -m benchmarks.first_stage PORTRAITS.zip

PORTRAITS.zip holds JPEG portraits, 128×128, named as `PORTRAITS` below (official photographs of members of the United
States Congress, public domain, from the collection unitedstates/images). Beside these eight: the astronaut's face, and
six faces that the generator makes. None of them is a test image.

Writes data/reference/tuning_first_stage.csv, a row an image. Methods: the searches of the latent, "Adam" (CSGM as it
was: 300 steps at 0.1 with the ramp), "Adam, sphere" (200 steps at 0.8 on the sphere, 100 free), "L-BFGS", "linear +
Adam" and "linear + L-BFGS" (the first stage), their setting restarts × steps; "penalty", the first stage with a weight
on ‖z‖²; "ILO" from the first stage's four restarts, 150 steps at layer 1 and 100 at layer 2 in balls, their setting
optimiser and radius. evaluations: of objective and gradient, an image. The linear model's 1024 runs of the generator
without gradients, one lot a task, are not among them. objective_ratio: to the truth's own. Parts that are there already
are not run again. Half an hour on one core.
"""

import io
import sys
import zipfile

import pandas as pd
import torch
from torch import Tensor

import ilo
from ilo import metrics, operators, study
from ilo.files import written_atomically
from ilo.images import astronaut_face, read_image
from ilo.provenance import REPOSITORY, revision
from ilo.rng import stream
from ilo.solver.first_stage import search_latents
from ilo.solver.linear_start import linear_model, linear_starts
from ilo.solver.objectives import SquaredError, SquaredNorm
from ilo.solver.rounds import keep_norm
from ilo.solver.starts import draw_states

ROWS = REPOSITORY / "data" / "reference" / "tuning_first_stage.csv"
PORTRAITS = ["B000944", "C000754", "D000617", "G000568", "J000288", "L000563", "M001160", "R000570"]
COLUMNS = ["task", "level", "noise", "method", "setting", "image", "psnr", "lpips", "evaluations"]
COLUMNS += ["objective_ratio", "revision"]
TASKS = [study.gaussian(0.05), study.inpainting(0.1), study.superres(4)]
RADII = (100.0, 300.0, 1000.0, 3000.0)
OPTIMISERS = {"Adam": ilo.adam, "sample_adam": ilo.sample_adam}
PENALTIES = (1e-3, 1e-2)


def main(path: str) -> None:
    G = ilo.generators.load("dcgan-digiface64")
    with torch.no_grad():
        made = G(G.sample(6, stream(0, "truth")))
    drawn = [f"in range {i + 1}" for i in range(6)], made
    real = ["astronaut", *PORTRAITS], torch.cat([astronaut_face(64), *portraits(path)])
    few = real[0][:4], real[1][:4]
    for problem in TASKS:
        record(G, problem, real, "ILO", continued)
        record(G, problem, real, "penalty", penalised)
    for problem in TASKS[:2]:
        record(G, problem, drawn, "linear + L-BFGS", search, restarts=4, steps=300)
        record(G, problem, drawn, "linear + L-BFGS", search, restarts=1, steps=900)
        record(G, without_noise(problem), drawn, "linear + L-BFGS", search, restarts=1, steps=300)
        for name in ("Adam", "Adam, sphere", "linear + Adam", "L-BFGS"):
            record(G, problem, drawn, name, search, restarts=3, steps=300)
    for problem in TASKS:
        for name in ("Adam", "Adam, sphere", "L-BFGS"):
            record(G, problem, few, name, search, restarts=3, steps=300)


def portraits(path: str) -> list[Tensor]:
    with zipfile.ZipFile(path) as archive:
        return [read_image(io.BytesIO(archive.read(f"{name}.jpg")), 64) for name in PORTRAITS]


def without_noise(problem: study.Problem) -> study.Problem:
    return study.Problem(problem.task, problem.level, problem.operator, 0.0)


class Case:
    """One problem's measurements of some images, and what is asked of every answer to them."""

    def __init__(self, G, problem, images):
        self.G, self.problem, (self.names, self.truth) = G, problem, images
        self.A = problem.operator(G.image_shape, rng=0)
        seeds = [study.cells.image_seed(0, name) for name in self.names]
        self.y = operators.measure(self.A, self.truth, problem.noise, rng=seeds)

    def rows(self, method: str, setting: str, images: Tensor, evaluations: int) -> pd.DataFrame:
        def error(x: Tensor) -> Tensor:
            return SquaredError(self.A, self.y)(x, {})

        ratio = error(images) / error(self.truth)
        measured = metrics.evaluate(images.clamp(-1, 1), self.truth)[["psnr", "lpips"]]
        return measured.assign(
            image=self.names,
            method=method,
            setting=setting,
            evaluations=evaluations,
            objective_ratio=ratio.tolist() if self.problem.noise > 0 else float("nan"),
        )

    def starts(self, restarts: int, linear: bool):
        draws = draw_states(self.G, [0], restarts, len(self.y))
        if not linear:
            return draws
        return linear_starts(self.G, linear_model(self.G, self.A, noise=self.problem.noise), self.y, draws)

    def best(self, state, value: Tensor, restarts: int):
        """The best of the first `restarts` copies."""
        size = len(self.y)
        rows = value.view(-1, size)[:restarts].argmin(0) * size + torch.arange(size)
        return {name: t[rows] for name, t in state.items()}


def search(case: Case, method: str, restarts: int, steps: int) -> pd.DataFrame:
    """One row an image and number of restarts: 1, 3 and all."""
    G = case.G
    starts = case.starts(restarts, method.startswith("linear"))
    if method.endswith("L-BFGS"):
        state, value = search_latents(G, case.A, case.y, starts, steps=steps)
    else:
        rounds = [ilo.Round(0, steps, lr=0.1)]
        if method.endswith("sphere"):
            rounds = [ilo.Round(0, 200, lr=0.8, constraint=keep_norm), ilo.Round(0, steps - 200, lr=0.1)]
        y = case.y.repeat(restarts, *[1] * (case.y.ndim - 1))
        found = ilo.recover(G, case.A, y, rounds=rounds, start=starts, progress=False)
        state, value = found.state, found.objective
    counts = sorted({1, min(3, restarts), restarts})
    parts = [case.rows(method, f"{n} × {steps}", rendered(G, case.best(state, value, n)), n * steps) for n in counts]
    return pd.concat(parts)


def penalised(case: Case, method: str) -> pd.DataFrame:
    starts, parts = case.starts(1, True), []
    for weight in PENALTIES:
        penalty = weight * SquaredNorm()
        state, _ = search_latents(case.G, case.A, case.y, starts, steps=300, penalty=penalty)
        parts.append(case.rows(method, f"{weight:g}, 1 × 300", rendered(case.G, state), 300))
    return pd.concat(parts)


def continued(case: Case, method: str) -> pd.DataFrame:
    """The first stage, and the paper's two rounds from it in balls of every radius."""
    G = case.G
    state, value = search_latents(G, case.A, case.y, case.starts(4, True), steps=300)
    parts = [
        case.rows("linear + L-BFGS", f"{n} × 300", rendered(G, case.best(state, value, n)), 300 * n) for n in (1, 3, 4)
    ]
    start = G.run(case.best(state, value, 4), 0, 1)
    for name, optimiser in OPTIMISERS.items():
        for radius in RADII:
            rounds = [
                ilo.Round(1, 150, lr=0.05, radius=radius, optimiser=optimiser),
                ilo.Round(2, 100, lr=0.03, radius=radius, optimiser=optimiser),
            ]
            found = ilo.recover(G, case.A, case.y, rounds=rounds, start=start, progress=False)
            parts.append(case.rows(method, f"{name}, {radius:g}", found.images, 1450))
    return pd.concat(parts)


@torch.no_grad()
def rendered(G, state) -> Tensor:
    return G(state)


def record(G, problem, images, method: str, solve, **options) -> None:
    """Run one part and add its rows to the file, unless they are there."""
    there = [pd.read_csv(ROWS)] if ROWS.exists() else []
    for rows in there:
        mine = rows[(rows["task"] == problem.task) & (rows["noise"] == problem.noise) & (rows["method"] == method)]
        mine = mine[mine["image"] == images[0][-1]]
        if options:
            mine = mine[mine["setting"] == f"{options['restarts']} × {options['steps']}"]
        if len(mine):
            return
    found = solve(Case(G, problem, images), method, **options)
    found = found.assign(task=problem.task, level=problem.level, noise=problem.noise, revision=revision())
    with written_atomically(ROWS) as temporary:
        pd.concat([*there, found[COLUMNS].round(4)], ignore_index=True).to_csv(temporary, index=False)
    means = found.groupby(["method", "setting"])[["psnr", "lpips", "objective_ratio"]].mean().round(3)
    print(f"{problem}\n{means.to_string()}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.first_stage PORTRAITS.zip")
    main(sys.argv[1])
