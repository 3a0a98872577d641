"""The extended range is sampled where it should be, and S-REC constants agree with a loop over pairs."""

import itertools
import math

import pytest
import scipy.stats
import torch
from torch import nn

from ilo.generators import Generator
from ilo.theory import sample_extended_range, srec_constant, srec_ratios
from ilo.theory.srec import sample_l1_ball, sample_l2_ball

SURE = 1e-4  # p-values below this fail: the seeds are fixed, so the tests do not flicker


@pytest.fixture(scope="module")
def G() -> Generator:  # noqa: N802 - the letter that the code under test uses
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 20), nn.ReLU(), nn.Linear(20, 30), nn.Tanh(), nn.Unflatten(1, (1, 5, 6)))
    return Generator.from_sequential(model.double(), cuts=(2,), latent_shape=(3,))


def test_the_l1_ball_is_sampled_uniformly():
    p, radius = 5, 3.0
    points = sample_l1_ball(4000, p, radius, rng=0) / radius
    norms = points.abs().sum(1)
    assert norms.max() <= 1
    # P(‖v‖₁ ≤ t) = t^p, and the distance of one coordinate from 0 has the Beta(1, p) law
    assert scipy.stats.kstest(norms.numpy(), lambda t: t**p).pvalue > SURE
    for i in range(p):
        assert scipy.stats.kstest(points[:, i].abs().numpy(), scipy.stats.beta(1, p).cdf).pvalue > SURE
        assert scipy.stats.binomtest(int((points[:, i] > 0).sum()), len(points)).pvalue > SURE
    signs = (points > 0).long() @ (2 ** torch.arange(p))
    assert scipy.stats.chisquare(torch.bincount(signs, minlength=2**p).numpy()).pvalue > SURE


def test_the_l2_ball_is_sampled_uniformly():
    k, radius = 4, 2.0
    points = sample_l2_ball(4000, k, radius, rng=0) / radius
    norms = points.norm(dim=1)
    assert norms.max() <= 1
    assert scipy.stats.kstest(norms.numpy(), lambda t: t**k).pvalue > SURE
    cosine = (points[:, 0] / norms).numpy()  # (1 + cos)/2 of a uniform direction in R^k is Beta((k−1)/2, (k−1)/2)
    assert scipy.stats.kstest((1 + cosine) / 2, scipy.stats.beta((k - 1) / 2, (k - 1) / 2).cdf).pvalue > SURE


def test_few_nonzeros_are_anywhere_and_uniform_among_themselves():
    points = sample_l1_ball(3000, 8, 1.0, rng=0, nonzeros=2)
    assert (points.ne(0).sum(1) == 2).all()
    assert scipy.stats.kstest(points.abs().sum(1).numpy(), lambda t: t**2).pvalue > SURE
    assert scipy.stats.chisquare(points.ne(0).sum(0).numpy()).pvalue > SURE


def test_the_extended_range_of_a_line_in_the_plane_worked_out_by_hand():
    # G_1(z) = (3, 4)·z + (1, 1), |z| ≤ r_1 = ½, ‖v‖₁ ≤ r_2 = 0.2. Across the line, along (4, −3)/5, v reaches at most
    # 0.2·4/5 = 0.16. A uniform z has variance r_1²/3 = 1/12, a coordinate of a uniform v 2·r_2²/((p + 1)(p + 2)) =
    # 2·0.04/12 = 1/150, and v's two are uncorrelated: variances 9/12 + 1/150 = 0.756667 and 16/12 + 1/150 = 1.34,
    # covariance 12/12 = 1, mean (1, 1).
    first, rest = nn.Linear(1, 2), nn.Sequential(nn.Tanh(), nn.Unflatten(1, (1, 1, 2)))
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[3.0], [4.0]]))
        first.bias.fill_(1)
    line = Generator.from_sequential(nn.Sequential(first, *rest).double(), cuts=(1,), latent_shape=(1,))
    points = sample_extended_range(line, 1, 0.2, 4000, 0.5, 0)["features"]
    across = (points - 1) @ torch.tensor([0.8, -0.6], dtype=torch.float64)
    assert 0.15 < across.abs().max() <= 0.16 + 1e-12
    assert points.mean(0).tolist() == pytest.approx([1, 1], abs=0.08)  # four standard errors
    covariance = torch.cov(points.T)
    expected = torch.tensor([[0.756667, 1.0], [1.0, 1.34]], dtype=torch.float64)
    torch.testing.assert_close(covariance, expected, rtol=0.06, atol=0)  # four standard errors


@pytest.mark.parametrize("nonzeros", [None, 1, 4])
def test_a_sample_does_not_depend_on_how_many_are_drawn(G, nonzeros):
    few = sample_extended_range(G, 1, 0.7, 3, 2.0, 5, nonzeros=nonzeros)["features"]
    many = sample_extended_range(G, 1, 0.7, 9, 2.0, 5, nonzeros=nonzeros)["features"]
    torch.testing.assert_close(few, many[:3], rtol=1e-14, atol=1e-14)
    single = sample_extended_range(G.float(), 1, 0.7, 3, 2.0, 5, nonzeros=nonzeros)["features"]
    G.double()
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), few, rtol=1e-5, atol=1e-5)


def test_the_points_lie_in_the_extended_range(G):
    radius, r1 = 0.7, 2.0
    at_range = sample_extended_range(G, 1, 0.0, 50, r1, 5)["features"]
    latents = sample_extended_range(G, 0, 0.0, 50, r1, 5)["features"]
    assert latents.norm(dim=1).max() <= r1
    torch.testing.assert_close(at_range, G.run(latents, 0, 1)["features"])
    extended = sample_extended_range(G, 1, radius, 50, r1, 5)["features"]
    deviation = (extended - at_range).abs().sum(1)  # the same seed draws the same latents
    assert deviation.max() <= radius * (1 + 1e-12)
    assert deviation.min() > 0.5 * radius


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layer": 2}, "layer must lie in 0 … 1"),
        ({"n": 0}, "n must be an integer of at least 1"),
        ({"radius": -1.0}, "radius must be a finite number of at least 0"),
        ({"r1": 0.0}, "r1 must be positive"),
        ({"r1": math.nan}, "r1 must be positive"),
        ({"nonzeros": 21}, "nonzeros must lie in 1 … 20"),
    ],
)
def test_wrong_arguments_are_refused(G, wrong, message):
    with pytest.raises(ValueError, match=message):
        sample_extended_range(G, **{"layer": 1, "radius": 1.0, "n": 2, "r1": 1.0, "rng": 0, **wrong})


def test_srec_of_three_points_worked_out_by_hand():
    # Images (0, 0), (3, 4), (3, 0), of which A keeps the first value. Distances 5, 3, 4; measured 3, 3, 0.
    # At δ = 1 the ratios are (3 + 1)/5 = 0.8, (3 + 1)/3 and (0 + 1)/4 = 0.25, the least; at δ = 0 it is 0/4.
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]]).view(3, 1, 1, 2)

    def measure(x):
        return x[..., 0].flatten(1)

    measured, apart = srec_ratios(measure, points)
    assert measured.tolist() == pytest.approx([3, 3, 0])
    assert apart.tolist() == pytest.approx([5, 3, 4])
    assert srec_constant(measure, points, delta=1.0) == pytest.approx(0.25)
    assert srec_constant(measure, points[:2], delta=1.0) == pytest.approx(0.8)
    assert srec_constant(measure, points) == 0


def test_srec_agrees_with_a_loop_over_pairs(G):
    matrix = torch.randn(7, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) / math.sqrt(7)
    points = G(sample_extended_range(G, 1, 0.7, 12, 2.0, 5), 1)  # (12, 1, 5, 6)

    def measure(x):
        return x.flatten(1) @ matrix.T

    pairs = [x1 - x2 for x1, x2 in itertools.combinations(points.flatten(1), 2)]
    for delta in (0.0, 0.3):
        expected = min(((matrix @ d).norm() + delta) / d.norm() for d in pairs)
        assert srec_constant(measure, points, delta=delta) == pytest.approx(float(expected), rel=1e-12)
    measured, apart = srec_ratios(measure, points)
    torch.testing.assert_close(apart, torch.stack([d.norm() for d in pairs]))
    torch.testing.assert_close(measured, torch.stack([(matrix @ d).norm() for d in pairs]))


def test_the_constant_is_the_largest_that_satisfies_the_condition(G):
    matrix = torch.randn(3, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) / math.sqrt(3)
    points = G(G.sample(10, 0))
    delta = 0.05
    gamma = srec_constant(lambda x: x.flatten(1) @ matrix.T, points, delta=delta)
    measured, apart = srec_ratios(lambda x: x.flatten(1) @ matrix.T, points)
    assert (measured >= (gamma - 1e-12) * apart - delta).all()
    assert not (measured >= (gamma + 1e-9) * apart - delta).all()


def test_scaling_a_photo_scales_its_distances():
    points = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert srec_constant(lambda x: x, points) == pytest.approx(1)
    assert srec_constant(lambda x: 0.25 * x, points) == pytest.approx(0.25)
    assert srec_constant(lambda x: 0 * x, points) == 0
    with_twin = torch.cat([points, points[:1]])  # a pair that coincides counts for nothing
    assert srec_constant(lambda x: 0.25 * x, with_twin) == pytest.approx(0.25)


def test_points_without_a_distance_are_refused():
    with pytest.raises(ValueError, match="at least 2 points"):
        srec_constant(lambda x: x, torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="coincide"):
        srec_constant(lambda x: x, torch.zeros(3, 1, 2, 2))
    with pytest.raises(ValueError, match="delta"):
        srec_constant(lambda x: x, torch.zeros(3, 1, 2, 2), delta=-1)


def test_a_gaussian_matrix_keeps_distances_better_the_more_rows_it_has(G):
    points = G(sample_extended_range(G, 1, 0.7, 40, 2.0, 5), 1)
    draw = torch.randn(400, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def gamma(m: int) -> float:
        return srec_constant(lambda x: x.flatten(1) @ draw[:m].T / math.sqrt(m), points)

    constants = [gamma(m) for m in (2, 8, 50, 400)]
    assert constants == sorted(constants)
    assert constants[0] < 0.3
    assert 0.8 < constants[-1] < 1.2
