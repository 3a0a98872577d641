"""Images that estimates of the prior are made from: the same as drawn by hand, and rendered once."""

import gc

import pytest
import torch
from torch import nn

from ilo.auto.posterior import image_prior
from ilo.generators import Generator, drawn
from ilo.solver.whitened import feature_prior


@pytest.fixture
def counted():
    """A small generator, and the list of the batches that it has rendered."""
    model = nn.Sequential(nn.Linear(5, 48), nn.Tanh(), nn.Unflatten(1, (3, 4, 4)))
    G = Generator.from_sequential(model, cuts=(), latent_shape=(5,))
    batches = []
    G.register_forward_hook(lambda module, given, images: batches.append(len(images)))
    return G, batches


def drawn_by(G, n=10, rng=0, purpose="prior", batch=4):
    return torch.cat([*drawn.drawn_images(G, n, rng, purpose, batch)])


def test_they_are_the_samples_images_and_rendered_once(counted):
    G, batches = counted
    first, again = drawn_by(G), drawn_by(G)
    assert batches == [4, 4, 2]
    assert torch.equal(first, again)
    assert torch.equal(first, torch.cat([G({"features": t}) for t in G.sample(10, 0, "prior")["features"].split(4)]))


@pytest.mark.parametrize("other", [{"n": 9}, {"rng": 1}, {"purpose": "truth"}, {"batch": 5}])
def test_other_draws_are_rendered_and_not_taken_from_what_is_kept(counted, other):
    G, batches = counted
    first = drawn_by(G)
    found = drawn_by(G, **other)
    assert sum(batches) == 10 + len(found)
    same = {"n", "batch"} & set(other)
    assert torch.allclose(found, first[: len(found)], atol=1e-6) == bool(same)


def test_purposes_do_not_drive_each_other_out(counted):
    G, batches = counted
    for purpose in ("prior", "truth", "prior", "truth"):
        drawn_by(G, purpose=purpose)
    assert sum(batches) == 20


def test_changed_weights_make_other_images(counted):
    G, _ = counted
    before = drawn_by(G)
    with torch.no_grad():
        next(G.parameters()).mul_(2)
    assert not torch.equal(before, drawn_by(G))
    assert drawn_by(G.double()).dtype == torch.float64


def test_what_is_large_is_not_kept(counted, monkeypatch):
    G, batches = counted
    monkeypatch.setattr(drawn, "KEPT", 10 * 48 - 1)
    assert torch.equal(drawn_by(G), drawn_by(G))
    assert sum(batches) == 20


def test_a_generator_that_is_gone_leaves_nothing(counted):
    model = nn.Sequential(nn.Linear(5, 48), nn.Tanh(), nn.Unflatten(1, (3, 4, 4)))
    G = Generator.from_sequential(model, cuts=(), latent_shape=(5,))
    drawn_by(G)
    count = len(drawn._kept)
    del G, model
    gc.collect()
    assert len(drawn._kept) < count


def test_priors_are_made_once_for_a_generator_and_anew_for_other_weights():
    model = nn.Sequential(nn.Linear(5, 48), nn.Tanh(), nn.Unflatten(1, (3, 4, 4)))
    with_two = Generator.from_sequential(model, cuts=(1,), latent_shape=(5,))
    for make in (lambda G: image_prior(G), lambda G: feature_prior(G, 1, samples=8, rank=2)):
        first = make(with_two)
        assert make(with_two) is first
        with torch.no_grad():
            next(with_two.parameters()).mul_(2)
        again = make(with_two)
        assert again is not first
        assert not torch.equal(again.mean, first.mean)
    assert feature_prior(with_two, 1, samples=8, rank=3) is not again
