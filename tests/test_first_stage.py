"""The first stage finds what the generator itself made: without that, CSGM is no fair opponent."""

import pytest
import torch

import ilo
from ilo import operators
from ilo.operators import measure

TRUTHS, NOISE = 8, 0.02


def csgm(G, A, y, restarts):
    start = ilo.linear_start(G, A, y, restarts=restarts, noise=NOISE)
    return ilo.recover(G, A, y, rounds=ilo.latent_rounds(G), start=start, restarts=restarts, progress=False)


OPERATORS = {
    "5 % Gaussian": lambda shape: operators.GaussianSensing(shape, m=614, rng=0),
    "10 % of the pixels": lambda shape: operators.RandomInpainting(shape, keep=0.1, rng=0),
}


def share_found(G, make) -> float:
    """How many of 8 faces end within twice the truth's objective, which is about the noise's variance, by best of 4.

    Restarts do not know of each other, so the best of four is within twice if any is: the others are run for those
    that the first, from the linear estimate alone, leaves above.
    """
    with torch.no_grad():
        truth = G(G.sample(TRUTHS, 0, "truth"))
    A = make(G.image_shape)
    y = measure(A, truth, NOISE, rng=0)
    bound = 2 * (A(truth) - y).square().flatten(1).mean(1)
    reached = csgm(G, A, y, restarts=1).objective <= bound
    assert reached.float().mean() >= 0.5, "from the estimate alone"
    left = ~reached
    if left.any():
        reached[left] = csgm(G, A, y[left], restarts=4).objective <= bound[left]
    return reached.float().mean().item()


@pytest.mark.slow
def test_best_of_four_fits_the_generators_own_images_as_the_truth_does(dcgan):
    """At least 80 % of 16 problems; as trajectories drift between processors, each task alone is held to 70 %."""
    shares = {task: share_found(dcgan, make) for task, make in OPERATORS.items()}
    assert sum(shares.values()) / len(shares) >= 0.8, shares
    assert min(shares.values()) >= 0.7, shares
