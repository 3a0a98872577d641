"""Trials of the theorem: their targets are what they are said to be, and transitions are found where they were put."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ilo import Round
from ilo.generators import Generator
from ilo.theory import Targets, own_matrices, recovery_trials, transition_point
from ilo.theory.trials import flat_deviations


def targets(K, delta=0.6):
    return Targets(K, delta=delta, L2=2.0, r1=2.0, trials=5)


def features_are_pixels() -> Generator:
    """G_2 only reshapes, so a deviation of the features is the same deviation of the image."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Unflatten(1, (1, 4, 5)))
    return Generator.from_sequential(model.double(), cuts=(2,), latent_shape=(3,))


def one_step(radius):
    return Round(1, 1, radius=radius)


class Remembering:
    """All pixels, and the first images that were measured: the targets."""

    targets = None

    def __call__(self, images):
        if self.targets is None:
            self.targets = images.clone()
        return images.flatten(1)


def test_flat_deviations_have_equal_entries_and_unit_l1_norm():
    for nonzeros in (1, 3, 12):
        v = flat_deviations(40, 12, nonzeros, rng=0)
        assert (v.ne(0).sum(1) == nonzeros).all()
        assert v.abs()[v.ne(0)].unique().tolist() == [1 / nonzeros]
        assert torch.equal(flat_deviations(7, 12, nonzeros, rng=0), v[:7])
        assert 0.3 < (v > 0).sum() / v.ne(0).sum() < 0.7
    with pytest.raises(ValueError, match="nonzeros"):
        flat_deviations(2, 12, 13, rng=0)


def test_each_problem_has_a_matrix_of_its_own_with_entries_of_variance_one_over_m():
    images = torch.eye(12).view(12, 1, 3, 4)  # problem i measures the i-th unit image: column i of its matrix
    columns = own_matrices((1, 3, 4), 500, 12, rng=0)(images)
    assert columns.shape == (12, 500)
    assert columns.square().sum(1).mean() == pytest.approx(1, abs=0.05)
    assert torch.corrcoef(columns).fill_diagonal_(0).abs().max() < 0.2
    same = images[:1].expand(12, 1, 3, 4)
    assert torch.corrcoef(own_matrices((1, 3, 4), 500, 12, rng=0)(same)).fill_diagonal_(0).abs().max() < 0.2
    assert torch.equal(own_matrices((1, 3, 4), 500, 3, rng=0)(images[:3]), columns[:3])


def test_problems_may_have_numbers_of_measurements_of_their_own():
    images = torch.randn(3, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    measured = own_matrices((1, 3, 4), [2, 7, 4], 3, rng=0)(images)
    assert measured.shape == (3, 7)
    assert measured.ne(0).sum(1).tolist() == [2, 7, 4]
    for i, m in enumerate([2, 7, 4]):
        assert torch.allclose(measured[i, :m], own_matrices((1, 3, 4), m, 3, rng=0)(images)[i], atol=1e-6)
    with pytest.raises(ValueError, match="2 numbers for 3 problems"):
        own_matrices((1, 3, 4), [2, 7], 3, rng=0)


def test_targets_are_k_squared_equal_coordinates_of_the_right_radius():
    G, A = features_are_pixels(), Remembering()
    K = [1.0, 2.0, math.sqrt(5), math.sqrt(20)]
    rows = recovery_trials(G, 1, A, targets(K), search=one_step, restarts=1, rng=3)
    assert rows["K"].tolist() == np.repeat(K, 5).tolist()
    assert rows["trial"].tolist() == [0, 1, 2, 3, 4] * 4
    assert rows["deviation"].tolist() == pytest.approx([0.6 / 2.0] * 20)  # δ/L_2 in l2 norm, whatever K
    nothing = Remembering()
    recovery_trials(G, 1, nothing, targets(K, delta=1e-12), search=one_step, restarts=1, rng=3)
    change = (A.targets - nothing.targets).flatten(1)
    assert (change.abs() > 1e-9).sum(1).tolist() == np.repeat([1, 4, 5, 20], 5).tolist()
    assert change.abs().sum(1).tolist() == pytest.approx(np.repeat(K, 5) * 0.6 / 2.0)  # K·δ/L_2 in l1 norm
    assert torch.equal(nothing.targets[:5].round(decimals=6), nothing.targets[5:10].round(decimals=6))  # the same z


def test_with_all_pixels_the_truth_is_found_and_with_few_it_is_not():
    G = features_are_pixels()
    K = [1.0, 2.0]

    def run(m):
        return recovery_trials(G, 1, own_matrices(G.image_shape, m, 10, rng=1), targets(K), rng=3)

    all_, few = run(40), run(2)
    assert (all_["error"] < 0.05 * all_["deviation"]).all()
    assert (all_["csgm_error"] > 0.3 * all_["deviation"]).all(), "the range alone is not enough"
    assert (few["residual"] < 0.01).all()
    assert (few["error"] > few["deviation"]).mean() > 0.8
    pd.testing.assert_frame_equal(run(2), few)


@pytest.mark.parametrize("center", [5.0, 20.0, 111.0])
@pytest.mark.parametrize("steepness", [3.0, 10.0, 40.0])
def test_transitions_are_found_where_they_were_put(center, steepness):
    m = np.repeat(np.geomspace(center / 4, center * 4, 9), 60)
    chance = 1 / (1 + (m / center) ** -steepness)
    success = np.random.default_rng(0).uniform(size=len(m)) < chance
    assert transition_point(m, success) == pytest.approx(center, rel=0.12)


def test_a_step_is_found_between_its_two_sides():
    m = np.repeat([4, 8, 16, 32], 20)
    assert 8 < transition_point(m, m > 10) < 16


def test_the_transition_of_a_symmetric_step_is_the_geometric_mean():
    # none of 10 at m = 4, all of 10 at m = 16: by symmetry the curve's middle is at (log 4 + log 16)/2 = log 8
    assert transition_point([4] * 10 + [16] * 10, [False] * 10 + [True] * 10) == pytest.approx(8, rel=1e-3)


def test_without_both_outcomes_there_is_no_transition():
    assert math.isnan(transition_point([1, 2], [True, True]))
    assert math.isnan(transition_point([1, 2], [False, False]))
