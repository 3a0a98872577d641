"""Projections against solvers that share nothing with them, and the conditions of optimality."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import brentq, minimize

from ilo.solver.projections import project_l1_ball, project_l2_ball, project_sphere

SLACK = {torch.float32: 1e-6, torch.float64: 2e-15}  # the excess over the radius that the docstrings allow
BALLS = {project_l1_ball: 1, project_l2_ball: 2}


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def deviation_norm(p, center, order):
    """Norms of the samples of p − center, (B,), summed exactly."""
    d = (p.double() - (0 if center is None else center.double())).flatten(1).numpy()
    powers = [math.fsum(abs(float(v)) ** order for v in row) for row in d]
    return np.array(powers) ** (1 / order)


def sorted_l1(v, radius):
    """The projection of a vector by sorting (Duchi et al. 2008, Fig. 1), in exact arithmetic."""
    v = [Fraction(float(value)) for value in v]
    radius = Fraction(float(radius))
    if sum(map(abs, v)) <= radius:
        return np.array([float(value) for value in v])
    total, tau = Fraction(0), Fraction(0)
    for count, size in enumerate(sorted(map(abs, v), reverse=True), 1):
        total += size
        if size <= (total - radius) / count:
            break
        tau = (total - radius) / count
    return np.array([math.copysign(float(max(abs(value) - tau, 0)), value) for value in v])


def assert_solves(p, x, radius, dtype):
    """p, the projection of x about 0, is the oracle's: to the rounding of numbers of the radius' size."""
    want = np.stack([sorted_l1(v, radius) for v in x.flatten(1).tolist()])
    atol = 20 * torch.finfo(dtype).eps * max(float(radius), np.abs(want).max())
    np.testing.assert_allclose(p.flatten(1).double().numpy(), want, rtol=0, atol=atol)


# The l1 ball against independent solvers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [1e-6, 0.3, 7.0, 500.0, 1e4])
@pytest.mark.parametrize("power", [1, 9])  # 9: few entries hold nearly all
def test_l1_agrees_with_sorting(dtype, radius, power):
    x = (draw(4, 3, 13, 17) ** power).to(dtype)
    p = project_l1_ball(x, radius)
    assert p.shape == x.shape
    assert p.dtype == dtype
    assert_solves(p, x, radius, dtype)
    assert (deviation_norm(p, None, 1) <= radius * (1 + SLACK[dtype])).all()


@pytest.mark.parametrize("seed", range(5))
def test_l1_agrees_with_quadratic_programming(seed):
    """p = a − b with a, b ≥ 0 and Σ (a + b) ≤ radius, solved by SLSQP."""
    x = draw(1, 5, seed=seed)
    v, radius, n = x[0].numpy(), 1.2, 5
    done = minimize(
        lambda ab: ((ab[:n] - ab[n:] - v) ** 2).sum(),
        np.full(2 * n, 0.05),
        jac=lambda ab: np.concatenate([2 * (ab[:n] - ab[n:] - v), -2 * (ab[:n] - ab[n:] - v)]),
        bounds=[(0, None)] * (2 * n),
        constraints={"type": "ineq", "fun": lambda ab: radius - ab.sum()},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert done.success
    np.testing.assert_allclose(project_l1_ball(x, radius)[0].numpy(), done.x[:n] - done.x[n:], atol=1e-6)


def test_l1_agrees_with_root_finding_on_the_threshold():
    x = draw(1, 400)
    a = x[0].abs().numpy()
    tau = brentq(lambda t: np.maximum(a - t, 0).sum() - 20, 0, a.max(), xtol=1e-15)
    np.testing.assert_allclose(project_l1_ball(x, 20)[0].abs().numpy(), np.maximum(a - tau, 0), atol=1e-12)


@settings(max_examples=200)
@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(-1e3, 1e3)),
    st.floats(1e-3, 1e3),
)
def test_l1_satisfies_the_conditions_of_optimality(x, radius):
    """x − p = τ·s with s in the subdifferential of ‖·‖₁ at p, τ ≥ 0, and τ = 0 unless p is on the boundary."""
    x = torch.from_numpy(x)
    p = project_l1_ball(x, radius)
    residual = x - p
    tau = residual.abs().amax(1, keepdim=True)
    tolerance = 1e-12 * (1 + x.abs().amax())
    active = p != 0
    assert (p * x >= 0).all()
    assert ((residual - tau * p.sign()).abs() <= tolerance)[active].all()
    on_boundary = ((p.abs().sum(1) - radius).abs() <= 1e-12 * radius)[:, None]
    assert (on_boundary | (tau == 0)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("radius", [1e-3, 1.0, 1e3])
def test_l1_at_any_scale(dtype, scale, radius):
    """The radius is met even where it is far below the rounding error of the entries."""
    x = draw(3, 2000, dtype=dtype) * scale
    p = project_l1_ball(x, radius)
    assert_solves(p, x, radius, dtype)
    norms = deviation_norm(p, None, 1)
    outside = deviation_norm(x, None, 1) > radius
    assert (norms <= radius * (1 + SLACK[dtype])).all()
    assert (norms[outside] >= radius * (1 - 1e-5)).all()


@pytest.mark.parametrize("value", [1.0, 1e9, 1e-9, 1.1e12])
@pytest.mark.parametrize("n", [1, 2, 1000])
def test_l1_of_ties(value, n):
    """Entries of one size share the radius equally."""
    x = torch.full((2, n), value)
    x[1] *= -1
    p = project_l1_ball(x, 1e-10)
    torch.testing.assert_close(p, x.sign() * (1e-10 / n), rtol=1e-5, atol=0)


def test_l1_of_many_scales_ends():
    """Entries over all of float32's range: the worst case for a method that removes entries pass by pass."""
    x = torch.logspace(-37, 36, 4000, base=10, dtype=torch.float64).float()[None]
    for radius in (1e-30, 1.0, 1e30):
        p = project_l1_ball(x, radius)
        assert_solves(p, x, radius, torch.float32)


def test_l1_of_a_wide_sample_keeps_its_promise():
    """At 2^20 entries sums round more; with a center of the size of features, so does the sum with it."""
    x, c = draw(2, 2**20, dtype=torch.float32), draw(2, 2**20, seed=1, dtype=torch.float32)
    for radius in (10.0, 1e4):
        p = project_l1_ball(x, radius)
        assert (deviation_norm(p, None, 1) <= radius * (1 + SLACK[torch.float32])).all()
        p = project_l1_ball(x, radius, c)
        rounding = torch.finfo(torch.float32).eps / 2 * p[p != c].abs().sum().item()
        assert (deviation_norm(p, c, 1) <= radius * (1 + SLACK[torch.float32]) + rounding).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_l1_ends_where_steps_underflow(dtype):
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    x = draw(2, 300, dtype=dtype)
    for scale in (smallest * 7, 1.0):
        p = project_l1_ball(scale * x, 50 * smallest)
        assert (p.abs().sum(1) <= 400 * smallest).all()


# The l2 ball and the sphere


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1.0, 1e9, 1e30])
def test_l2_and_sphere_scale_the_sample(dtype, scale):
    x = draw(3, 2, 5, 7, dtype=dtype) * scale
    radius = 0.5 * scale
    want = x.double() * (radius / x.double().flatten(1).norm(dim=1))[:, None, None, None]
    tolerance = {"rtol": 8 * torch.finfo(dtype).eps, "atol": 0}
    torch.testing.assert_close(project_l2_ball(x, radius).double(), want, **tolerance)
    torch.testing.assert_close(project_sphere(x, radius).double(), want, **tolerance)
    torch.testing.assert_close(project_sphere(x, 100 * radius).double(), 100 * want, **tolerance)


def test_sphere_of_its_center_is_a_fixed_point_on_the_sphere():
    c = draw(2, 3, 4)
    p = project_sphere(c, 2.0, center=c)
    np.testing.assert_allclose(deviation_norm(p, c, 2), 2.0, rtol=1e-14)
    torch.testing.assert_close(p, c + 2.0 / math.sqrt(12))


@pytest.mark.parametrize("seed", range(5))
def test_no_point_of_the_set_is_nearer(seed):
    """The definition itself, on random points of the set, near the answer and far from it."""
    x = 3 * draw(1, 6, seed=seed)
    for project, order in ((project_l1_ball, 1), (project_l2_ball, 2), (project_sphere, 2)):
        p = project(x, 1.5)
        others = torch.cat([draw(2000, 6, seed=10 + seed), p + 0.05 * draw(2000, 6, seed=20 + seed)])
        others = others * 1.5 / others.norm(p=order, dim=1, keepdim=True)
        assert (p - x).norm() <= (others - x).norm(dim=1).min()


# What all promise


@pytest.mark.parametrize("project", BALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inside_and_on_the_edge_nothing_changes(project, dtype):
    c = draw(3, 2, 4, 5, dtype=dtype)
    x = c + 0.1 * draw(3, 2, 4, 5, seed=1, dtype=dtype)
    assert torch.equal(project(x, 1e3, c), x)
    edge = torch.zeros(2, 7, dtype=dtype)
    edge[:, 3] = -2.5
    assert torch.equal(project(edge, 2.5), edge)
    mixed = torch.cat([x, c + 50])
    p = project(mixed, 30.0, torch.cat([c, c]))
    assert torch.equal(p[:3], x)
    assert not torch.equal(p[3:], mixed[3:])


@pytest.mark.parametrize("project", [project_l1_ball, project_l2_ball, project_sphere])
def test_radius_zero_is_the_center(project):
    x, c = draw(3, 4, 5), draw(3, 4, 5, seed=1)
    x[1] = c[1]
    assert torch.equal(project(x, 0, c), c)
    assert torch.equal(project(x, 0.0), torch.zeros_like(x))


@pytest.mark.parametrize("project", [project_l1_ball, project_l2_ball, project_sphere])
def test_a_batch_is_a_loop_and_a_center_a_shift(project):
    x, c = draw(6, 3, 5, 4), draw(6, 3, 5, 4, seed=1)
    radius = torch.tensor([0.0, 0.5, 2.0, 10.0, 60.0, 1e4])
    together = project(x, radius, c)
    alone = torch.cat([project(x[i : i + 1], float(radius[i]), c[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(together, project(x - c, radius) + c, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("project", [project_l1_ball, project_l2_ball, project_sphere])
def test_any_memory_layout(project):
    x, c = draw(2, 6, 5, 4), draw(2, 6, 5, 4, seed=1)
    want = project(x, 3.0, c)
    last = {"memory_format": torch.channels_last}
    strided = torch.stack([x, x], -1)[..., 0]
    for other in (x.contiguous(**last), strided, x.flip(0).flip(0), x.transpose(2, 3).contiguous().transpose(2, 3)):
        torch.testing.assert_close(project(other, 3.0, c), want, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(project(other, 3.0, c.contiguous(**last)), want, rtol=1e-13, atol=1e-13)
    same = torch.ones(2, 1).expand(2, 50)  # entries share memory: writing into a view would be seen
    assert project(same, 3.0).shape == (2, 50)
    assert torch.equal(same, torch.ones(2, 50))


@pytest.mark.parametrize("project", [project_l1_ball, project_l2_ball, project_sphere])
def test_arguments_are_left_alone(project):
    x, c, radius = draw(4, 9), draw(4, 9, seed=1), torch.tensor([0.0, 1.0, 5.0, 100.0])
    copies = x.clone(), c.clone(), radius.clone()
    project(x, radius, c)
    with torch.no_grad():
        project(x.requires_grad_(), radius, c)
    for now, before in zip((x.detach(), c, radius), copies, strict=True):
        assert torch.equal(now, before)


@settings(max_examples=100)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(1e-6, 1e6))
def test_balls_are_idempotent_and_nonexpansive(seed, radius, scale):
    x, y = scale * draw(3, 11, seed=seed), scale * draw(3, 11, seed=seed + 1)
    for project in BALLS:
        px, py = project(x, radius), project(y, radius)
        assert torch.equal(project(px, radius), px)
        assert ((px - py).norm(dim=1) <= (x - y).norm(dim=1) * (1 + 1e-12)).all()


@pytest.mark.parametrize("project", [project_l1_ball, project_l2_ball, project_sphere])
def test_derivatives(project):
    """In x, center and radius, with samples inside and outside together, against finite differences."""
    x, c = draw(3, 2, 4), draw(3, 2, 4, seed=1)
    radius = torch.tensor([0.7, 3.0, 1e3], dtype=torch.float64)
    arguments = [t.requires_grad_() for t in (x, radius, c)]
    assert torch.autograd.gradcheck(project, arguments, eps=1e-7, atol=1e-6)


def test_l1_jacobian_in_closed_form():
    """On the support S of p with signs s: diag(1_S) − s sᵀ/|S|."""
    x = draw(1, 8)
    p = project_l1_ball(x, 1.5)[0]
    s = p.sign()
    want = torch.diag(s.abs()) - torch.outer(s, s) / s.abs().sum()
    assert 1 < s.abs().sum() < 8
    got = torch.autograd.functional.jacobian(lambda v: project_l1_ball(v[None], 1.5)[0], x[0])
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("project", [project_l1_ball, project_l2_ball, project_sphere])
def test_nan_and_infinity_stay_in_their_sample(project):
    x = draw(3, 5)
    want = project(x, 1.0)
    x[1, 2] = math.nan
    x[2, 0] = math.inf
    p = project(x, 1.0)
    assert torch.equal(p[0], want[0])
    assert p[1].isnan().any()
    assert p[2].isnan().any()


@pytest.mark.parametrize("project", [project_l1_ball, project_l2_ball, project_sphere])
def test_errors_are_for_people(project):
    x = draw(2, 3)
    for radius in (-1.0, math.nan, torch.tensor([1.0, -1.0])):
        with pytest.raises(ValueError, match="at least 0"):
            project(x, radius)
    with pytest.raises(ValueError, match="one per sample"):
        project(x, torch.ones(3))
    for center in (draw(2, 4), draw(2, 3, dtype=torch.float32)):
        with pytest.raises(ValueError, match="shape and dtype of x"):
            project(x, 1.0, center=center)
    with pytest.raises(ValueError, match="batch axis"):
        project(x[0], 1.0)
    with pytest.raises(TypeError, match="float32 or float64"):
        project(x.int(), 1.0)
    with pytest.raises(TypeError, match="float32 or float64"):
        project(x.half(), 1.0)


def test_an_empty_batch_is_nothing_to_do():
    for project in (project_l1_ball, project_l2_ball, project_sphere):
        assert project(torch.empty(0, 3, 4), 1.0).shape == (0, 3, 4)
