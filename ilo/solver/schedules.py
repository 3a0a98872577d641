"""Schedules of rounds: those of the paper, of its authors' release, of CSGM, and one of ours."""

import torch
from torch import Tensor

from ilo.checks import check_kind, check_positive
from ilo.generators.base import Generator
from ilo.solver.lbfgs import lbfgs
from ilo.solver.rounds import Round, SearchRound, constant, keep_norms
from ilo.solver.whitened import PriorRound, feature_prior

# The radii of the release's README for StyleGAN2-1024: layer, of features, of latents (18 × 512); and our steps.
STYLEGAN2_ROUNDS = ((2, 1000.0, 100.0, 200), (3, 1000.0, 1000.0, 100), (4, 6000.0, 6000.0, 100))
CHANNELS, LATENTS = 512, 18 * 512  # of that generator, at these layers


def csgm_rounds(G: Generator) -> list[Round]:
    """CSGM: the latent alone, 300 steps at 0.1 with the ILO release's ramp.

    Bora et al. (2017) take 500 steps at a constant 0.1 on CelebA; the ramp ends better in fewer.
    """
    check_kind(G, Generator, "G")
    return [Round(layer=0, steps=300, lr=0.1)]


def latent_rounds(G: Generator) -> list[Round]:
    """The strong search of the latent: L-BFGS, from `ilo.linear_start`. It finds what the generator itself made.

    300 evaluations per restart. Adam from random latents (`csgm_rounds`, and CSGM as published, `ilo.baselines.csgm`)
    ends far above the truth's objective on such images.
    """
    check_kind(G, Generator, "G")
    return [Round(layer=0, steps=300, lr=0.1, schedule=constant, optimiser=lbfgs)]


def whitened_rounds(G: Generator) -> list[SearchRound]:
    """A fixed schedule of ours: layer 1 in coordinates whitened by its prior, from the prior's mean, then a ball.

    150 steps at layer 1 and 100 at layer 2, in an l1 ball of 1000 about what layer 1 found; the latent is not searched.
    It goes with a state of one tensor and at least two layers, such as a DCGAN's. Any other generator gets
    `csgm_rounds` and the deeper rounds of `paper_rounds`, since there is no prior to whiten by.
    """
    check_kind(G, Generator, "G")
    start = G.sample(1, 0)
    if G.num_layers == 1 or set(start) != {"features"}:
        return [*csgm_rounds(G), *paper_rounds(G)[1:]]
    whitened = PriorRound(prior=feature_prior(G, 1), steps=150, lr=0.1)
    return [whitened, Round(layer=2, steps=100, lr=0.03, radius=1000.0)][: G.num_layers - 1]


def paper_rounds(G: Generator, radius: float | None = 1000.0) -> list[Round]:
    """ILO as the paper has it: the latent, then deeper layers, each in an l1 ball about what the round before found.

    The latent is searched by `latent_rounds`, to be started from `ilo.linear_start`; then 150 steps at layer 1 and 100
    at layer 2, by Adam, in balls of one radius: that of the ILO release's README for its first layers. A StyleGAN2 is
    searched at the inputs of its blocks of 8, 16 and 32 pixels, features and styles together, inside the release's
    radii scaled to its size (`style_rounds`).

    Args:
        radius: r_2 > 0, of both balls; None: no ball. Not of a StyleGAN2. On portraits 1000 is level with the best of
            100 to 3000 (data/reference/tuning_first_stage.csv).
    """
    check_kind(G, Generator, "G")
    radius = None if radius is None else check_positive(radius, "radius")
    if {"latents", "styles"} & set(G.run(G.sample(1, 0), 0, min(1, G.num_layers - 1))):
        return [*latent_rounds(G), *style_rounds(G)]
    deeper = [Round(1, steps=150, lr=0.05, radius=radius), Round(2, steps=100, lr=0.03, radius=radius)]
    return [*latent_rounds(G), *deeper][: G.num_layers]


def style_rounds(G: Generator) -> list[Round]:
    """The deeper rounds of a StyleGAN2: layers 2, 3 and 4, whose features are 4 × 4, 8 × 8 and 16 × 16 pixels.

    On StyleGAN2-1024 the radii are those of the ILO authors' release: 1000, 1000 and 6000 for features, 100, 1000 and
    6000 for latents. On another size they are scaled with the number of entries, so that an entry moves as far on
    average (0.12, 0.03 and 0.05; latents 0.01, 0.11 and 0.65); in the spaces of w, also by the styles' standard
    deviation, which is 1 for latents. A noise map that is free moves as far an entry as the features. The learning rate
    is the release's; the numbers of steps are ours: it takes 50, 25 and 25, or thousands. A StyleGAN3's layers get the
    same per entry; its features there have 36 or more samples a side.
    """
    rounds = []
    reached, state = 0, G.sample(16, 0, "prior")  # the spread of styles is a mean over thousands of entries: 16 do
    for layer, of_features, of_latents, steps in STYLEGAN2_ROUNDS:
        if layer >= G.num_layers:
            break
        with torch.no_grad():
            state, reached = G.run(state, reached, layer), layer
        per_entry = of_features / (CHANNELS * 4**layer)  # features are 2^layer pixels a side
        radius = {}
        for name in G.variables(state):
            scale = (
                per_entry if name not in ("latents", "styles") else of_latents / LATENTS * _spread(name, state[name])
            )
            radius[name] = scale * state[name][0].numel()
        rounds.append(Round(layer, steps=steps, lr=0.1, radius=radius))
    return rounds


def _spread(name: str, styles: Tensor) -> float:
    """Standard deviation over samples; latents are standard normal draws."""
    return 1.0 if name == "latents" else styles.std(0).mean().item()


def release_rounds(G: Generator) -> list[Round]:
    """The rounds of the ILO authors' release by default: 50, 50, 25 and 25 steps at 0.1, at layers 0 to 3, no radius.

    What a layer's features are is free; latents, styles and noise maps keep, vector by vector, the norm that they began
    the round with. With its objective this is `ilo.baselines.release`.
    """
    check_kind(G, Generator, "G")
    rounds, state = [], G.sample(1, 0)
    for layer, steps in enumerate((50, 50, 25, 25)[: G.num_layers]):
        free = {"features"} if layer else set()
        held = {name: keep_norms for name in G.variables(state) if name not in free}
        rounds.append(Round(layer, steps, lr=0.1, constraint=held or None))
        with torch.no_grad():
            state = G.run(state, layer, layer + 1)
    return rounds
