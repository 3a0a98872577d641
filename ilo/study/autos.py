"""`rounds="auto"` as a grid's method: the mean, the sharp image, and what an oracle would have chosen."""

from torch import Tensor

from ilo.auto.choose import NO_NOISE
from ilo.auto.plan import Auto
from ilo.generators.base import Generator
from ilo.operators import LinearOperator
from ilo.recovery import recover
from ilo.study.cells import Answer, Tried


def automatic(
    A: LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float, budget: int = Auto.budget
) -> dict[str, Answer | Tried]:
    """Answer as "ILO auto", with how much of the truth its 90 % interval covers; "ILO auto, sharp"; and "oracle", the
    setting of those tried that is nearest to the truth, image by image.

    budget: gradient evaluations per image; the noise is known to the search.
    """
    found = recover(G, A, y, rounds=Auto(budget=budget, noise=noise), rng=rng, progress=False)
    columns = {"evaluations": found.parameters["evaluations"], "status": found.status}
    tried = found.tries[found.tries["problem"] == 0]
    scales = (tried["scale_over_noise"] * max(noise, NO_NOISE) ** 2).round(6)
    settings = tried[["layer", "radius", "step"]].assign(scale=scales).to_dict("records")
    return {
        "ILO auto": Answer(found.images, columns, interval=found.interval(0.9)),
        "ILO auto, sharp": Answer(found.sharp, columns),
        "oracle": Tried(settings, found.renders()),
    }
