"""Objectives: values worked out by hand, one value a sample, gradients that exist, sums with weights."""

import math

import pytest
import torch
from torch import nn

import ilo
from ilo.solver.objectives import WeightedSum

SHAPE = (3, 6, 5)


def images(n=3, seed=0):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Distance(nn.Module):
    """Stands for a perceptual network where only the plumbing is tested."""

    def forward(self, x, y):
        return (x - y).square().mean((1, 2, 3), keepdim=True)


def test_squared_error_is_the_mean_over_measurements():
    A = ilo.operators.Identity((1, 1, 2))
    y = torch.tensor([[[[0.0, 0.5]]]])
    x = torch.tensor([[[[0.3, 0.1]]]])
    # ((0.3 − 0)² + (0.1 − 0.5)²) / 2 = (0.09 + 0.16) / 2
    assert ilo.SquaredError(A, y)(x, {}).tolist() == pytest.approx([0.125])


def test_dead_zone_ignores_small_residuals():
    A = ilo.operators.Identity((1, 1, 2))
    y = torch.zeros(1, 1, 1, 2)
    x = torch.tensor([[[[0.05, -0.4]]]])
    # max(0, 0.05 − 0.1) = 0 and max(0, 0.4 − 0.1) = 0.3, mean 0.15
    assert ilo.DeadZone(A, y)(x, {}).tolist() == pytest.approx([0.15])
    with pytest.raises(ValueError, match="width"):
        ilo.DeadZone(A, y, width=-1)


def test_geocross_by_hand_and_where_it_vanishes():
    v = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    # ‖v1 − v2‖ = ‖v1 + v2‖ = √5, so θ_12 = θ_21 = 2·atan2(√5, √5) = π/2; θ_11 = θ_22 = 0; d = 2:
    # mean of d·θ²/8 over four pairs = 2 · (π/2)² / 8 · 2/4
    assert ilo.GeoCross()(None, {"latents": v}).item() == pytest.approx(2 * (math.pi / 2) ** 2 / 8 / 2, rel=1e-4)
    same = torch.randn(4, 1, 16, generator=torch.Generator().manual_seed(0)).expand(4, 7, 16).clone().requires_grad_()
    value = ilo.GeoCross()(None, {"latents": same})
    assert value.max() < 1e-6
    value.sum().backward()
    assert torch.isfinite(same.grad).all(), "the release's cost is NaN here"
    with pytest.raises(ValueError, match="geocross needs"):
        ilo.GeoCross()(None, {"latents": torch.zeros(2, 3)})


def test_geocross_is_per_sample():
    """The release slices along the batch and mixes the samples."""
    v = torch.randn(5, 4, 8, generator=torch.Generator().manual_seed(1))
    whole = ilo.GeoCross()(None, {"latents": v})
    parts = torch.cat([ilo.GeoCross()(None, {"latents": v[i : i + 1]}) for i in range(5)])
    torch.testing.assert_close(whole, parts)


def test_perceptual_fills_the_hole_with_the_current_image():
    A = ilo.operators.RandomInpainting(SHAPE, keep=0.4, rng=0)
    x, truth = images(), images(seed=1)
    objective = ilo.Perceptual(A, A(truth), network=Distance(), size=1)
    # what is not seen agrees with itself: only the observed pixels differ
    expected = (A(x) - A(truth)).square().flatten(1).sum(1) / math.prod(SHAPE)
    torch.testing.assert_close(objective(x, {}), expected)
    assert objective(A.fill(A(truth), x), {}).max() == 0


def test_perceptual_enlarges_small_images_and_repeats_grey():
    A = ilo.operators.Grayscale(SHAPE)
    seen = []

    def network(x, y):
        seen.append((x.shape, y.shape))
        return Distance()(x, y)

    ilo.Perceptual(A, A(images()), network=network, size=10)(images(), {})
    assert seen == [((3, 3, 12, 10), (3, 3, 12, 10))]


def test_perceptual_reduces_large_images_to_the_mean_over_areas():
    A, x = ilo.operators.Identity((3, 8, 16)), torch.randn(2, 3, 8, 16, generator=torch.Generator().manual_seed(0))
    small = x.unflatten(3, (8, 2)).unflatten(2, (4, 2)).mean((3, 5))  # (2, 3, 4, 8)
    objective = ilo.Perceptual(A, torch.zeros_like(x), network=Distance(), size=2, largest=4)
    torch.testing.assert_close(objective(x, {}), small.square().mean((1, 2, 3)))
    with pytest.raises(ValueError, match="largest"):
        ilo.Perceptual(A, x, network=Distance(), size=64, largest=32)


def test_perceptual_refuses_measurements_that_are_no_image():
    A = ilo.operators.GaussianSensing(SHAPE, m=7, rng=0)
    with pytest.raises(ValueError, match="compares images"):
        ilo.Perceptual(A, A(images()), network=Distance())


def test_sums_and_weights():
    A = ilo.operators.Identity(SHAPE)
    x, y, state = images(), images(seed=1), {"features": torch.ones(3, 4)}
    error, norm = ilo.SquaredError(A, y), ilo.SquaredNorm()
    total = 2 * error + 0.5 * (norm + 3 * error)
    torch.testing.assert_close(total(x, state), 3.5 * error(x, state) + 0.5 * 4.0)
    assert isinstance(total, WeightedSum)
    with pytest.raises(TypeError, match="only objectives add up"):
        error + (lambda x, s: x)


def test_every_objective_gives_one_value_a_sample_and_a_gradient():
    A = ilo.operators.Identity(SHAPE)
    y = images(seed=1)
    linear = nn.Linear(math.prod(SHAPE), 4)
    objectives = [
        ilo.SquaredError(A, y), ilo.DeadZone(A, y), ilo.Perceptual(A, y, network=Distance()),
        ilo.ClassScore(lambda x: linear(x.flatten(1)), 2), ilo.ClassScore(lambda x: linear(x.flatten(1)), 2, views=0),
    ]  # fmt: skip
    for objective in objectives:
        x = images().requires_grad_()
        value = objective(x, {})
        assert value.shape == (3,)
        value[1].backward()
        assert x.grad[1].abs().max() > 0
        assert x.grad[[0, 2]].abs().max() == 0, "samples must not mix"


def test_class_score_is_cross_entropy_and_draws_by_step():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    score = ilo.ClassScore(lambda x: logits.expand(len(x), 3), target=2, views=0)
    # −log softmax(3 | 1, 2, 3) = log(1 + e^{−1} + e^{−2})
    assert score(images(1), {}).item() == pytest.approx(math.log(1 + math.exp(-1) + math.exp(-2)), rel=1e-5)
    linear = nn.Linear(math.prod(SHAPE), 4)
    score = ilo.ClassScore(lambda x: linear(x.flatten(1)), target=1, rng=3)
    first = score(images(), {})
    assert torch.equal(score(images(), {}), first), "one step has one set of views: restarts are compared on the same"
    (2 * score).draw(1)
    assert not torch.equal(score(images(), {}), first), "the next step sees others"
    (2 * score).draw(0)
    assert torch.equal(score(images(), {}), first)


def test_class_score_of_a_problem_does_not_depend_on_the_batch():
    linear = nn.Linear(math.prod(SHAPE), 4)
    whole = ilo.ClassScore(lambda x: linear(x.flatten(1)), target=torch.tensor([0, 1, 2]))(images(), {})
    alone = ilo.ClassScore(lambda x: linear(x.flatten(1)), target=1)(images()[1:2], {})
    torch.testing.assert_close(whole[1:2], alone)


def test_objectives_follow_dtype():
    A = ilo.operators.Identity(SHAPE)
    objective = (ilo.SquaredError(A, images(seed=1)) + 0.1 * ilo.DeadZone(A, images())).to(torch.float64)
    assert objective(images().double(), {}).dtype == torch.float64
