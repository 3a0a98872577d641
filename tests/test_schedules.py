"""The rounds that run when nobody says otherwise: for every kind of generator, and the release's radii for its own."""

from dataclasses import replace

import golden_files
import pytest
import torch

import ilo
from ilo.generators import biggan, random_stylegan2, stylegan2


def small(size: int = 32, **options):
    weights = random_stylegan2(size, channel_base=256, channel_max=8, z_dim=6, w_dim=8, mapping_layers=2)
    return stylegan2(weights, **options)


def test_the_release_radii_for_the_generator_it_was_made_for():
    """StyleGAN2-1024 as published up to 16 pixels; narrower beyond, where no default round searches."""
    G = stylegan2(random_stylegan2(1024, channel_base=8192, z_dim=4, mapping_layers=1))
    first, *deeper = ilo.whitened_rounds(G)
    assert (first.layer, first.radius) == (0, None)
    assert [r.layer for r in deeper] == [2, 3, 4]
    assert [G.run(G.sample(1, 0), 0, r.layer)["features"].shape[1:] for r in deeper] == [
        (512, 4, 4), (512, 8, 8), (512, 16, 16)
    ]  # fmt: skip
    assert [r.radius["features"] for r in deeper] == pytest.approx([1000, 1000, 6000])
    assert [r.radius["latents"] for r in deeper] == pytest.approx([100, 1000, 6000])


@pytest.mark.parametrize("noise", ["fixed", "free"])
@pytest.mark.parametrize("space", ["paper", "z", "w", "w+"])
def test_every_space_is_searched_and_stays_inside_its_radii(space, noise):
    G = small(space=space, noise=noise)
    rounds = [replace(r, steps=6) for r in ilo.whitened_rounds(G)]
    assert [r.layer for r in rounds] == [0, 2, 3, 4]
    A = ilo.operators.RandomInpainting(G.image_shape, keep=0.3, rng=0)
    y = A(G(G.sample(2, 5)))
    result = ilo.recover(G, A, y, rounds=rounds, rng=0, restarts=2, progress=False)
    for before, after, round_ in zip(result.rounds, result.rounds[1:], rounds[1:], strict=False):
        began = G.run(before.state, before.layer, after.layer)
        assert set(round_.radius) == set(G.variables(began))
        for name, limit in round_.radius.items():
            moved = (after.state[name].double() - began[name].double()).flatten(1).abs().sum(1)
            assert (moved <= limit * (1 + 1e-5)).all()
        assert (after.objective <= before.objective * (1 + 1e-5)).all()
        assert (after.objective < before.objective).any()


def test_a_style_moves_as_far_as_its_spread_allows():
    """The spaces z and paper are the same styles; a radius in w is one of latents times what a latent does to w."""
    paper, z = (ilo.whitened_rounds(small(space=space)) for space in ("paper", "z"))
    spread = small(space="z").run(small(space="z").sample(2000, 1), 0, 1)["styles"].std(0).mean().item()
    for a, b in zip(paper[1:], z[1:], strict=True):
        assert b.radius["styles"] == pytest.approx(a.radius["latents"] * spread, rel=0.1)
        assert b.radius["features"] == a.radius["features"]


@pytest.mark.parametrize("size", [8, 16, 64])
def test_small_generators_have_fewer_rounds(size):
    G = small(size)
    assert [r.layer for r in ilo.whitened_rounds(G)] == [0, 2, 3, 4][: 1 + max(0, G.num_layers - 2)]


def test_other_generators(dcgan):
    assert [type(r).__name__ for r in ilo.whitened_rounds(dcgan)] == ["PriorRound", "Round"]
    G = biggan(golden_files.weights("biggan_64"))
    assert [(r.layer, r.radius) for r in ilo.whitened_rounds(G)] == [(0, None), (1, 1000.0), (2, 1000.0)]
    one = ilo.generators.Generator.from_sequential(
        torch.nn.Sequential(torch.nn.Linear(4, 12), torch.nn.Tanh(), torch.nn.Unflatten(1, (3, 2, 2))),
        cuts=(),
        latent_shape=(4,),
    )
    assert [r.layer for r in ilo.whitened_rounds(one)] == [0]


def test_the_release_frees_features_and_holds_the_norms_of_latents(dcgan):
    """Layer 0 of a DCGAN is its latent; a StyleGAN2's latents and noise maps stay variables in every round."""
    A = ilo.operators.RandomInpainting(dcgan.image_shape, keep=0.3, rng=0)
    rounds = ilo.release_rounds(dcgan)
    assert [(r.layer, r.steps, r.radius) for r in rounds] == [
        (0, 50, None),
        (1, 50, None),
        (2, 25, None),
        (3, 25, None),
    ]
    y = A(dcgan(dcgan.sample(1, 5)))
    found = ilo.recover(dcgan, A, y, rounds=[replace(r, steps=3) for r in rounds[:2]], progress=False)
    norms = [found.rounds[0].state["features"].norm(), dcgan.sample(1, 0, "start")["features"].norm()]
    torch.testing.assert_close(*norms)
    began = dcgan.run(found.rounds[0].state, 0, 1)["features"].norm()
    assert (found.rounds[1].state["features"].norm() - began).abs() > 1e-3

    G = small(space="paper", noise="free")
    A = ilo.operators.RandomInpainting(G.image_shape, keep=0.3, rng=0)
    rounds = [replace(r, steps=3) for r in ilo.release_rounds(G)]
    found = ilo.recover(G, A, A(G(G.sample(1, 5))), rounds=rounds, progress=False)
    for before, after in zip(found.rounds, found.rounds[1:], strict=False):
        for name, value in after.state.items():
            if name == "latents":
                torch.testing.assert_close(value.norm(dim=2), before.state[name].norm(dim=2))
            elif name.startswith("noise"):
                torch.testing.assert_close(value.norm(), before.state[name].norm())


@pytest.mark.parametrize(("operator", "terms"), [("RandomInpainting", 2), ("GaussianSensing", 1)])
def test_the_release_compares_pictures_where_there_are_any(dcgan, operator, terms, monkeypatch):
    options = {"keep": 0.3} if operator == "RandomInpainting" else {"m": 50}
    A = getattr(ilo.operators, operator)(dcgan.image_shape, rng=0, **options)
    seen = {}
    monkeypatch.setattr(ilo.baselines.generative, "recover", lambda *a, **k: seen.update(k))
    ilo.baselines.release(dcgan, A, A(dcgan(dcgan.sample(1, 5))), perceptual=torch.nn.Identity())
    objective = seen["objective"]
    assert len(list(objective)) == terms if terms > 1 else isinstance(objective, ilo.SquaredError)
