"""Streams: one for each purpose, none of which gives what another gives."""

import itertools

import numpy as np
import pytest
import torch

from ilo.generators import Generator
from ilo.rng import PURPOSES, normal, stream
from ilo.solver.copies import Copies
from ilo.solver.inputs import drawn_states
from ilo.study import choose_subjects


def test_no_two_purposes_share_a_number():
    seen: dict[float, str] = {}
    for purpose, seed in itertools.product(PURPOSES, range(100)):
        for number in torch.rand(8, generator=stream(seed, purpose), dtype=torch.float64).tolist():
            assert number not in seen, (purpose, seed, seen.get(number))
            seen[number] = f"{purpose}, seed {seed}"


def test_a_truth_is_never_among_the_starting_latents(dcgan):
    """Of the same seed, or of any other: 100 truths against 100 × 3 starts."""
    truths = torch.cat([dcgan.sample(1, seed, "truth")["features"] for seed in range(100)])
    starts = torch.cat([drawn_states(dcgan, [seed], Copies(3, 1))["features"] for seed in range(100)])
    users = torch.cat([dcgan.sample(1, seed)["features"] for seed in range(100)])
    for one, other in itertools.combinations((truths, starts, users), 2):
        assert torch.cdist(one, other).min() > 5, "independent latents of 100 dimensions lie some 14 apart"


def test_subjects_of_the_experiments_are_not_what_a_search_starts_from(dcgan):
    for seed in range(5):
        who = choose_subjects(dcgan, near_range=2, in_range=2, rng=seed)
        faces = who.truth[[kind != "photo" for kind in who.kinds]]
        with torch.no_grad():
            started = dcgan(drawn_states(dcgan, [seed], Copies(4, 1))).clamp(-1, 1)
        assert torch.cdist(faces.flatten(1), started.flatten(1)).min() > 1


def test_sample_i_draws_the_same_numbers_in_any_batch_and_from_a_list_of_seeds():
    many = normal(3, 5, (2, 4), purpose="noise")
    assert torch.equal(many[:2], normal(3, 2, (2, 4), purpose="noise"))
    alone = [normal(seed, 1, (2, 4), purpose="noise") for seed in (7, 8)]
    assert torch.equal(normal([7, 8], 2, (2, 4), purpose="noise"), torch.cat(alone))
    assert normal(0, 0, (2,), purpose="noise").shape == (0, 2)
    with pytest.raises(ValueError, match="2 seeds for 3 samples"):
        normal([1, 2], 3, (2,), purpose="noise")


def test_a_generator_gives_its_next_draw_and_numpys_integers_are_seeds():
    g = torch.Generator().manual_seed(0)
    one, two = (normal(g, 1, (3,), purpose="start") for _ in range(2))
    assert not torch.equal(one, two)
    assert torch.equal(normal(np.int64(4), 1, (3,), purpose="start"), normal(4, 1, (3,), purpose="start"))


@pytest.mark.parametrize(("rng", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError), ("1", TypeError)])
def test_what_is_no_seed_is_refused(rng, error):
    with pytest.raises(error, match="rng must be"):
        stream(rng, "noise")


def test_an_unknown_purpose_is_refused(dcgan: Generator):
    with pytest.raises(ValueError, match="no purpose 'luck': a random stream is for one of sample"):
        dcgan.sample(1, 0, "luck")
