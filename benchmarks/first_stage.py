"""How to find the latent, and how far ILO's balls reach from there: measured on images that judge nothing.

    python -m benchmarks first_stage PORTRAITS.zip

PORTRAITS.zip holds JPEG portraits, 128×128, named as `PORTRAITS` below (official photographs of members of the United
States Congress, public domain, from the collection unitedstates/images). Beside these eight: the astronaut's face, and
six faces that the generator makes. None of them is a test image.

Writes data/reference/tuning_first_stage.csv, one row per image. Methods: the searches of the latent, "Adam" (CSGM as it
was: 300 steps at 0.1 with the ramp), "Adam, sphere" (200 steps at 0.8 on the sphere, 100 free), "L-BFGS", "linear +
Adam" and "linear + L-BFGS" (the first stage), their setting restarts × steps; "penalty", the first stage with a weight
on ‖z‖²; "ILO" from the first stage's four restarts, 150 steps at layer 1 and 100 at layer 2 in balls, their setting
optimiser and radius. evaluations: of objective and gradient, per image. The linear model's 1024 runs of the generator
without gradients, one lot a task, are not among them. objective_ratio: to the truth's own. Parts that are there already
are not run again. Half an hour on one core.
"""

import io
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

import ilo
from ilo import metrics, operators, study
from ilo.files import written_atomically
from ilo.images import astronaut_face, read_image
from ilo.provenance import checkout, revision
from ilo.solver.copies import Copies
from ilo.solver.inputs import drawn_states
from ilo.study.cells import image_seed

ROWS = checkout() / "data" / "reference" / "tuning_first_stage.csv"
PORTRAITS = ["B000944", "C000754", "D000617", "G000568", "J000288", "L000563", "M001160", "R000570"]
COLUMNS = ["task", "level", "noise", "method", "setting", "image", "psnr", "lpips", "evaluations"]
COLUMNS += ["objective_ratio", "revision"]
TASKS = [study.gaussian(0.05), study.inpainting(0.1), study.superres(4)]
RADII = (100.0, 300.0, 1000.0, 3000.0)
OPTIMISERS = {"Adam": ilo.adam, "sample_adam": ilo.sample_adam}
PENALTIES = (1e-3, 1e-2)


def main(arguments: Sequence[str] = ()) -> None:
    if len(arguments) != 1:
        sys.exit("usage: python -m benchmarks first_stage PORTRAITS.zip")
    path = arguments[0]
    G = ilo.generators.load("dcgan-digiface64")
    with torch.no_grad():
        made = G(G.sample(6, 0, "truth"))
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
        seeds = [image_seed(0, name) for name in self.names]
        self.y = operators.measure(self.A, self.truth, problem.noise, rng=seeds)

    def rows(self, method: str, setting: str, images: Tensor, evaluations: int) -> pd.DataFrame:
        def error(x: Tensor) -> Tensor:
            return ilo.SquaredError(self.A, self.y)(x, {})

        ratio = error(images) / error(self.truth)
        measured = metrics.evaluate(images.clamp(-1, 1), self.truth)[["psnr", "lpips"]]
        return measured.assign(
            image=self.names,
            method=method,
            setting=setting,
            evaluations=evaluations,
            objective_ratio=ratio.tolist() if self.problem.noise > 0 else float("nan"),
        )

    def search(self, rounds, restarts: int, linear: bool) -> dict[int, ilo.Result]:
        """The best of the first so many restarts, for 1, 3 and all of them."""
        problems = len(self.y)
        if linear:
            start = ilo.linear_start(self.G, self.A, self.y, restarts=restarts, noise=self.problem.noise)
        else:
            start = drawn_states(self.G, [0], Copies(restarts, problems))
        found = {}
        for n in sorted({1, min(3, restarts), restarts}):
            part = {name: x[: n * problems] for name, x in start.items()}
            options = {"rounds": rounds, "start": part, "restarts": n, "progress": False}
            found[n] = ilo.recover(self.G, self.A, self.y, **options)
        return found


def search(case: Case, method: str, restarts: int, steps: int) -> pd.DataFrame:
    """One row per image and number of restarts: 1, 3 and all."""
    if method.endswith("L-BFGS"):
        rounds = [replace(ilo.latent_rounds(case.G)[0], steps=steps)]
    elif method.endswith("sphere"):
        rounds = [ilo.Round(0, 200, lr=0.8, constraint=ilo.keep_norm), ilo.Round(0, steps - 200, lr=0.1)]
    else:
        rounds = [ilo.Round(0, steps, lr=0.1)]
    found = case.search(rounds, restarts, method.startswith("linear"))
    return pd.concat([case.rows(method, f"{n} × {steps}", r.images, n * steps) for n, r in found.items()])


def penalised(case: Case, method: str) -> pd.DataFrame:
    parts = []
    for weight in PENALTIES:
        rounds = [replace(ilo.latent_rounds(case.G)[0], penalty=weight * ilo.SquaredNorm())]
        parts.append(case.rows(method, f"{weight:g}, 1 × 300", case.search(rounds, 1, True)[1].images, 300))
    return pd.concat(parts)


def continued(case: Case, method: str) -> pd.DataFrame:
    """The first stage, and the paper's two rounds from it in balls of every radius."""
    G, found = case.G, case.search(ilo.latent_rounds(case.G), 4, True)
    parts = [case.rows("linear + L-BFGS", f"{n} × 300", r.images, 300 * n) for n, r in found.items()]
    start = G.run(found[4].state, 0, 1)
    for name, optimiser in OPTIMISERS.items():
        for radius in RADII:
            rounds = [replace(r, optimiser=optimiser) for r in ilo.paper_rounds(G, radius)[1:]]
            deeper = ilo.recover(G, case.A, case.y, rounds=rounds, start=start, progress=False)
            parts.append(case.rows(method, f"{name}, {radius:g}", deeper.images, 1450))
    return pd.concat(parts)


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
