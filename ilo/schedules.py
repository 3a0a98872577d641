"""Schedules of rounds: what to run when nobody says otherwise, and what others have run."""

from ilo.generators.base import Generator
from ilo.priors import PriorRound, feature_prior
from ilo.rounds import Round


def csgm_rounds(G: Generator) -> list[Round]:
    """CSGM: the latent alone, 300 steps at 0.1 with the ILO release's ramp.

    Bora et al. (2017) take 500 steps at a constant 0.1 on CelebA; the ramp ends better in fewer.
    """
    return [Round(layer=0, steps=300, lr=0.1)]


def default_rounds(G: Generator) -> list[Round | PriorRound]:
    """CSGM, then the inputs of deeper layers: what the command line and the notebooks run.

    Layer 1 is searched in coordinates whitened by its prior, from the prior's mean, where the state is one tensor;
    generators whose state holds more (styles, noise maps) search it from what layer 0 found.
    """
    first = csgm_rounds(G)
    if G.num_layers == 1:
        return first
    single = set(G.sample(1, 0)) == {"features"}
    second = PriorRound(feature_prior(G, 1), steps=150, lr=0.1) if single else Round(1, steps=150, lr=0.05)
    deeper = [Round(layer=2, steps=100, lr=0.03, radius=1000.0)]
    return [*first, second, *deeper][: G.num_layers]


def release_rounds(G: Generator) -> list[Round]:
    """The ILO authors' release by default: 50, 50, 25 and 25 steps at 0.1, no radius, at layers 0 to 3."""
    return [Round(layer, steps, lr=0.1) for layer, steps in enumerate((50, 50, 25, 25)[: G.num_layers])]
