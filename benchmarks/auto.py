"""What `rounds="auto"` costs against the bare network: its own part is the smooth field, the judging, the draws.

    python -m benchmarks auto

The bound is the bare forward and backward passes of the plan, layer by layer, with nothing else. Processor time of one
thread, so that a shared machine tells the truth; both are timed in turn, and the median ratio is reported, with what
the smooth field's systems alone take of the bound.

In a batch of 4, those systems for 27 right-hand sides and 16 draws an image, in seconds of one processor, as they were
solved until they were told of masks, converged rows and the operator's diagonal, and now: 10 % of the pixels 0.7 and
0.7, 50 % 6.9 and 3.7, eyes missing 18.3 and 0.6, mouth 20.1 and 0.8, half 21.6 and 5.2 (these three had not converged
before: half was off by up to 0.5), 5 % Gaussian 1.1 and 0.9, blur of 2 pixels 5.2 and 2.4, colourisation 14.8 and 7.3.
"""

import statistics
import time
from unittest import mock

import torch

import ilo
from benchmarks.solver import bare_pass
from ilo import operators, study
from ilo.auto.plan import Auto, plan_for
from ilo.auto.smooth import Conditioner

BLOCKS, BATCH, SOME = 3, 8, 3
PROBLEMS = (
    study.inpainting(0.1), study.inpainting(0.5), study.region("mouth"), study.gaussian(0.1), study.superres(4),
    study.deblurring(2.0),
)  # fmt: skip


def bare_plan(G, settings: Auto) -> float:
    """Seconds of the plan's passes alone, from `SOME` of each round."""
    plan = plan_for(G).within(settings.budget, settings.samples)
    seconds = 0.0
    for rows, rounds in ((settings.samples * BATCH, plan.rounds()), (BATCH, plan.finish)):
        for round_ in rounds:
            state = G.run(G.sample(rows, 0), 0, round_.layer)
            bare_pass(G, state, round_.layer, 1)
            began = time.process_time()
            bare_pass(G, state, round_.layer, SOME)
            seconds += (time.process_time() - began) * round_.steps / SOME
    return seconds


def whole(G, problem: study.Problem, settings: Auto) -> tuple[float, float]:
    """Seconds of a whole search of truths of the generator's, and of the smooth field's systems in it."""
    A = problem.operator(G.image_shape, rng=0)
    y = operators.measure(A, G(G.sample(BATCH, 1, "truth")), noise=problem.noise, rng=0)
    inside = 0.0

    def timed(condition: Conditioner, *arguments):
        nonlocal inside
        began = time.process_time()
        found = solve(condition, *arguments)
        inside += time.process_time() - began
        return found

    solve = Conditioner.__call__
    with mock.patch.object(Conditioner, "__call__", timed):
        began = time.process_time()
        ilo.recover(G, A, y, rounds=settings, progress=False)
        return time.process_time() - began, inside


def main() -> None:
    G = ilo.generators.load("dcgan-digiface64")
    torch.set_num_threads(1)
    print(f"auto against its {Auto.budget} bare passes, batch of {BATCH}, {G.name}, torch {torch.__version__}")
    whole(G, PROBLEMS[0], Auto(noise=0.02))  # priors, made once
    for problem in PROBLEMS:
        settings = Auto(noise=problem.noise)
        pairs = [(bare_plan(G, settings), *whole(G, problem, settings)) for _ in range(BLOCKS)]
        ratio = statistics.median(total / bare for bare, total, _ in pairs)
        field = statistics.median(inside / bare for bare, _, inside in pairs)
        seconds = statistics.median(total for _, total, _ in pairs) / BATCH
        print(f"  {problem!s:40} {ratio:.2f}, {field:.2f} the smooth field; {seconds:.2f} s an image")


if __name__ == "__main__":
    main()
