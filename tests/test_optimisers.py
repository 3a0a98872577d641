"""The two optimisers: Adam is torch's, the other has one step size a sample and minimises inside a ball."""

import math

import pytest
import torch

import ilo
from ilo.solver.projections import project_l1_ball


def minimise(optimiser, loss, start, *, steps, lr, project=lambda x: x):
    """Run `steps` of decreasing length; `loss` maps (B, n) to (B,)."""
    x = start.clone().requires_grad_()
    mover = optimiser([x], lr)
    for step in range(steps):
        mover.zero_grad()
        loss(x).sum().backward()
        mover.param_groups[0]["lr"] = lr * (1 - step / steps)
        mover.step()
        with torch.no_grad():
            x.copy_(project(x))
    return x.detach()


def quadratic(n=12, b=3):
    """A well-conditioned least-squares problem for each sample, with minimisers of very different sizes."""
    stream = torch.Generator().manual_seed(0)
    matrix = torch.randn(b, 3 * n, n, generator=stream, dtype=torch.float64) / math.sqrt(3 * n)
    target = torch.randn(b, n, generator=stream, dtype=torch.float64) * torch.tensor([[1e-3], [1.0], [1e3]])
    return target, lambda x: (matrix @ (x - target)[..., None]).squeeze(-1).square().sum(1)


def test_the_first_step_is_the_rate_in_root_mean_square_along_the_gradient():
    _, loss = quadratic()
    x = torch.zeros(3, 12, dtype=torch.float64, requires_grad=True)
    loss(x).sum().backward()
    mover = ilo.sample_adam([x], 0.25)
    mover.step()
    assert x.detach().square().mean(1).sqrt().tolist() == pytest.approx([0.25] * 3)
    cosine = torch.nn.functional.cosine_similarity(x.detach(), -x.grad, dim=1)
    assert cosine.tolist() == pytest.approx([1.0] * 3)


def test_samples_do_not_influence_each_other():
    target, loss = quadratic()
    start = torch.zeros_like(target)
    together = minimise(ilo.sample_adam, loss, start, steps=30, lr=0.1)

    def only_last(x):
        return loss(torch.cat([start[:2], x]))[2:]

    alone = minimise(ilo.sample_adam, only_last, start[2:], steps=30, lr=0.1)
    torch.testing.assert_close(alone, together[2:], rtol=1e-12, atol=0)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_the_objective_does_not_matter(factor):
    target, loss = quadratic()
    one = minimise(ilo.sample_adam, loss, torch.zeros_like(target), steps=30, lr=0.1)
    other = minimise(ilo.sample_adam, lambda x: factor * loss(x), torch.zeros_like(target), steps=30, lr=0.1)
    torch.testing.assert_close(one, other, rtol=1e-9, atol=0)


def test_it_finds_the_minimum_of_a_quadratic():
    target, loss = quadratic()
    for i, size in enumerate((1e-3, 1.0, 1e3)):
        found = minimise(ilo.sample_adam, loss, torch.zeros_like(target), steps=600, lr=0.1 * size)[i]
        assert (found - target[i]).norm() < 1e-3 * target[i].norm()


def test_where_the_gradient_is_zero_it_stays():
    x = torch.ones(2, 3, requires_grad=True)
    x.grad = torch.zeros_like(x)
    ilo.sample_adam([x], 0.1).step()
    assert torch.equal(x, torch.ones(2, 3))


def test_inside_an_l1_ball_it_reaches_the_minimum_where_adam_stalls():
    """LASSO with a one-sparse truth on the ball's surface: m = 30 of n = 60, so the minimum is the truth, at zero."""
    stream = torch.Generator().manual_seed(1)
    m, n, samples = 30, 60, 8
    matrix = torch.randn(samples, m, n, generator=stream, dtype=torch.float64) / math.sqrt(m)
    truth = torch.zeros(samples, n, dtype=torch.float64)
    truth[:, 7] = 1.0

    def loss(x):
        return (matrix @ (x - truth)[..., None]).squeeze(-1).square().sum(1)

    def inside(x):
        return project_l1_ball(x, 1.0)

    start = torch.zeros_like(truth)
    stalled = minimise(ilo.adam, loss, start, steps=2000, lr=0.02, project=inside)
    found = minimise(ilo.sample_adam, loss, start, steps=2000, lr=0.02, project=inside)
    assert (found - truth).norm(dim=1).max() < 1e-3
    assert (stalled - truth).norm(dim=1).min() > 0.1
