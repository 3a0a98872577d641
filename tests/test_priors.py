"""The feature prior against plain statistics, and the round that searches by it."""

import pytest
import torch
from torch import nn

import ilo
from ilo.generators import Generator
from ilo.solver.copies import Copies
from ilo.solver.whitened import WhitenedSearch

SHAPE = (1, 4, 4)


def generator():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(6, 30), nn.LeakyReLU(0.3), nn.Linear(30, 40), nn.Tanh(),
            nn.Linear(40, 16), nn.Tanh(), nn.Unflatten(1, SHAPE),
        )  # fmt: skip
    return Generator.from_sequential(model, cuts=(2, 4), latent_shape=(6,))


def test_prior_is_the_mean_and_covariance_of_the_features():
    G = generator()
    prior = ilo.feature_prior(G, 1, samples=600, rank=30, batch=200)
    features = G.run(G.sample(600, 0, "prior"), 0, 1)["features"]
    torch.testing.assert_close(prior.mean, features.mean(0), rtol=1e-4, atol=1e-5)
    covariance = prior.basis.T @ prior.basis + prior.residual.square().diag()
    torch.testing.assert_close(covariance, features.T.cov(), rtol=1e-3, atol=1e-4)


def test_what_a_low_rank_leaves_is_kept_as_variance():
    G = generator()
    prior = ilo.feature_prior(G, 1, samples=600, rank=5)
    full = ilo.feature_prior(G, 1, samples=600, rank=30)
    assert prior.basis.shape == (5, 30)
    variance = prior.basis.square().sum(0) + prior.residual.square()
    torch.testing.assert_close(variance, full.basis.square().sum(0) + full.residual.square(), rtol=1e-4, atol=1e-6)
    assert (prior.residual > full.residual + 1e-3).any()


def test_prior_is_the_same_twice_and_leaves_the_global_rng_alone():
    G = generator()
    before = torch.get_rng_state()
    one, two = (ilo.feature_prior(generator(), 2, samples=100, rank=7, rng=3) for _ in range(2))
    assert one is not two
    assert torch.equal(one.basis, two.basis)
    torch.testing.assert_close(ilo.feature_prior(G, 2, samples=100, rank=7, rng=3, batch=9).mean, one.mean)
    assert torch.equal(before, torch.get_rng_state())
    assert len(repr(one)) < 100, "results record rounds by their repr"


def test_prior_round_starts_at_the_mean_and_fits():
    G = generator()
    prior = ilo.feature_prior(G, 1, samples=400, rank=20)
    A = ilo.operators.Identity(SHAPE)
    y = A(G(G.sample(3, 99)))
    round_ = ilo.PriorRound(prior=prior, steps=150, lr=0.2)
    search = round_.begin(G, G.run(G.sample(2, 0), 0, 1), Copies(1, 2))
    assert isinstance(search, WhitenedSearch)
    torch.testing.assert_close(search.state()["features"], prior.mean.expand(2, -1))
    result = ilo.recover(G, A, y, rounds=[round_], progress=False)
    assert result.layer == 1
    assert (result.objective < 1e-3).all()
    assert torch.equal(result.render(G), result.images)


def test_what_was_found_before_wins_when_the_prior_round_ends_worse():
    G = generator()
    prior = ilo.feature_prior(G, 1, samples=400, rank=20)
    A = ilo.operators.Identity(SHAPE)
    y = A(G(G.sample(3, 99)))
    good = [ilo.Round(0, 300, 0.1)]
    alone = ilo.recover(G, A, y, rounds=good, restarts=4, progress=False)
    both = ilo.recover(
        G, A, y, rounds=[*good, ilo.PriorRound(prior=prior, steps=1, lr=1e-3)], restarts=4, progress=False
    )
    torch.testing.assert_close(both.images, alone.images, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "bad",
    [
        {"layer": 0},
        {"layer": 3},
        {"layer": 1, "rank": 0},
        {"layer": 1, "rank": 3000},
        {"layer": 1, "samples": 1, "rank": 1},
    ],
)
def test_bad_priors_are_clear_errors(bad):
    with pytest.raises(ValueError, match=r"layer|rank|samples"):
        ilo.feature_prior(generator(), **bad)


def test_a_prior_for_another_layer_is_a_clear_error():
    G = generator()
    prior = ilo.feature_prior(G, 1, samples=50, rank=5)
    with pytest.raises(ValueError, match="describes 30 features"):
        ilo.PriorRound(prior=prior, steps=1).begin(Generator.from_sequential(
            nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 16), nn.Unflatten(1, SHAPE)), cuts=(1,), latent_shape=(6,)
        ), {"features": torch.zeros(1, 9)}, Copies(1, 1))  # fmt: skip


def test_a_round_can_start_from_what_was_found():
    G = generator()
    prior = ilo.feature_prior(G, 1, samples=600, rank=30)
    start = G.run(G.sample(2, 7), 0, 1)
    begun = ilo.PriorRound(prior=prior, steps=1, from_mean=False).begin(G, start, Copies(1, 2))
    torch.testing.assert_close(begun.state()["features"], start["features"])
    begun = ilo.PriorRound(prior=prior, steps=1).begin(G, start, Copies(1, 2))
    torch.testing.assert_close(begun.state()["features"], prior.mean.expand(2, -1))
