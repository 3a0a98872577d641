"""What is taken apart for the record, as methods of a grid: auto part by part, the paper's ILO by radius and layer."""

from dataclasses import replace

import torch
from torch import Tensor

from ilo.auto import linearise
from ilo.auto.choose import DEFAULT_SCALE, NO_NOISE
from ilo.auto.plan import Auto, plan_for
from ilo.auto.posterior import image_prior
from ilo.auto.walk import Walk
from ilo.generators.base import Generator
from ilo.operators import LinearOperator
from ilo.recovery import recover
from ilo.solver.copies import Copies
from ilo.solver.inputs import drawn_states, frozen_run
from ilo.solver.loop import Watch
from ilo.solver.rounds import Round
from ilo.solver.schedules import paper_rounds
from ilo.study.cells import Answer
from ilo.study.methods import RESTARTS, Latent

RADII = {"radius 100": 100.0, "radius 300": 300.0, "radius 1000": 1000.0, "radius 3000": 3000.0, "no ball": None}
SETTINGS = ("CSGM", *(f"layer {layer}, {ball}" for ball in RADII for layer in (1, 2, 3)))
PARTS = ("latent", "+ layer 1", "+ layer 2, in a ball", "+ averaging", "+ linear estimate", "+ smooth field")


@torch.no_grad()
def auto_parts(A: LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float) -> dict[str, Answer]:
    """Answer as each of `PARTS`: one of auto's solutions as it goes deeper, their mean, and the mean with its field.

    All measurements are used, and the default setting: what is left of `rounds="auto"` is holding out and choosing, and
    the share that the sharp image has in the mean.
    """
    settings = Auto(noise=noise)
    copies = Copies(settings.samples, len(y))
    plan = plan_for(G).within(settings.budget, settings.samples)
    walk = Walk(G, plan, drawn_states(G, [rng], copies), copies, Watch(), False, noise)
    _, latent, _, layer_1, _, layer_2 = (c.images for c in walk(A, y))  # each (S, B, C, H, W)
    searched = layer_2[: settings.samples]
    condition = linearise.conditioner(A, image_prior(G).smooth)
    ratio = torch.full((len(y),), DEFAULT_SCALE / max(noise, NO_NOISE) ** 2).to(y)
    field = condition(y, layer_2.mean(0), ratio).clamp(-1, 1)
    found = (latent[0], layer_1[0], searched[0], searched.mean(0), layer_2.mean(0), field)
    return {name: Answer(images, {"evaluations": walk.evaluations}) for name, images in zip(PARTS, found, strict=True)}


def paper_settings(A: LinearOperator, y: Tensor, *, G: Generator, rng: int, noise: float) -> dict[str, Answer]:
    """Answer as "CSGM" and, from what it found, the paper's ILO to layer 1, 2 and 3, in balls of each of `RADII`."""
    first, *deeper = paper_rounds(G, None)
    csgm = Latent.found(G, A, y, first, {"restarts": RESTARTS, "rng": rng, "noise": noise})
    found = {"CSGM": csgm.answer()}
    start = frozen_run(G, csgm.result.state, 0, 1)
    for ball, radius in RADII.items():
        rounds = [replace(round_, radius=radius) for round_ in (*deeper, Round(3, 100, 0.02))]
        result = recover(G, A, y, rounds=rounds, start=start, progress=False)
        spent = csgm.evaluations
        for round_, ended in zip(rounds, result.rounds, strict=True):
            spent += round_.steps
            found[f"layer {round_.layer}, {ball}"] = Answer(ended.images, {"evaluations": spent})
    return found
