"""L-BFGS for batches: it minimises, a step is one evaluation, and samples do not know of each other."""

import pytest
import torch

from ilo.solver.lbfgs import lbfgs


def minimise(loss, start, *, steps, lr=0.1):
    """Return the best iterates and their losses; `loss` maps (B, n) to (B,)."""
    x = start.clone().requires_grad_()
    mover = lbfgs([x], lr)
    best, least = start.clone(), torch.full((len(start),), torch.inf, dtype=start.dtype)
    for _ in range(steps):
        value = loss(x)
        better = value.detach() < least
        least = torch.where(better, value.detach(), least)
        best[better] = x.detach()[better]
        (x.grad,) = torch.autograd.grad(value.sum(), x)
        mover.step(value.detach)
    return best, least


def quadratic(condition=1e4, n=12, b=3):
    """A badly conditioned quadratic for each sample, with minimisers of different sizes."""
    stream = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(b, n, n, generator=stream, dtype=torch.float64)).Q
    scales = torch.logspace(0, -torch.tensor(condition).log10().item() / 2, n, dtype=torch.float64)
    target = torch.randn(b, n, generator=stream, dtype=torch.float64) * torch.tensor([[1e-2], [1.0], [1e2]])
    return target, lambda x: (scales * (turn @ (x - target)[..., None]).squeeze(-1)).square().sum(1)


def rosenbrock(x):
    return (100 * (x[:, 1:] - x[:, :-1].square()).square() + (1 - x[:, :-1]).square()).sum(1)


def test_it_finds_the_minimum_of_a_badly_conditioned_quadratic():
    target, loss = quadratic()
    found, _ = minimise(loss, torch.zeros_like(target), steps=80)
    assert ((found - target).norm(dim=1) < 1e-6 * target.norm(dim=1)).all()


def test_it_follows_the_curved_valley_of_rosenbrock():
    start = torch.tensor([[-1.2, 1.0, -1.2, 1.0], [0.0, 0.0, 0.0, 0.0], [2.0, -1.0, 1.5, 3.0]], dtype=torch.float64)
    found, least = minimise(rosenbrock, start, steps=150)
    assert least.max() < 1e-12
    torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=1e-5)


def test_it_descends_where_there_is_a_kink():
    """max(|x_1|, 10·|x_2|, …): the gradient jumps where the search wants to be, as a ReLU's does."""
    weights = torch.tensor([1.0, 10.0, 3.0], dtype=torch.float64)
    start = torch.tensor([[1.0, 2.0, -3.0], [5.0, -0.1, 1.0]], dtype=torch.float64)
    _, least = minimise(lambda x: (weights * x).abs().amax(1), start, steps=200)
    assert (least < 1e-3 * (weights * start).abs().amax(1)).all()


def test_samples_do_not_influence_each_other():
    target, loss = quadratic()
    start = torch.zeros_like(target)
    together, _ = minimise(loss, start, steps=25)
    alone, _ = minimise(lambda x: loss(torch.cat([start[:2], x]))[2:], start[2:], steps=25)
    torch.testing.assert_close(alone, together[2:], rtol=1e-9, atol=0)


def test_a_sample_that_breaks_down_leaves_the_others_alone():
    target, loss = quadratic()
    start = torch.zeros_like(target)
    bad = torch.tensor([1.0, torch.nan, 1.0], dtype=torch.float64)
    found, least = minimise(lambda x: loss(x) * bad, start, steps=80)
    assert least[1] == torch.inf
    assert torch.isfinite(found).all()
    assert ((found - target).norm(dim=1) < 1e-6 * target.norm(dim=1))[[0, 2]].all()


def test_a_trial_that_is_not_a_number_is_taken_back():
    """Beyond 2 the objective is not defined; the minimum lies at 1.9."""
    start = torch.zeros(2, 1, dtype=torch.float64)
    found, _ = minimise(lambda x: ((x - 1.9).square() + 0 * (2 - x).log()).sum(1), start, steps=60, lr=50.0)
    torch.testing.assert_close(found, torch.full_like(found, 1.9), rtol=0, atol=1e-6)


def test_the_first_trial_moves_by_the_rate_in_root_mean_square_along_the_gradient():
    _, loss = quadratic()
    x = torch.zeros(3, 12, dtype=torch.float64, requires_grad=True)
    value = loss(x)
    value.sum().backward()
    lbfgs([x], 0.25).step(value.detach)
    assert x.detach().square().mean(1).sqrt().tolist() == pytest.approx([0.25] * 3)
    assert torch.nn.functional.cosine_similarity(x.detach(), -x.grad, dim=1).tolist() == pytest.approx([1.0] * 3)


def test_several_variables_are_searched_as_one():
    target, loss = quadratic()
    whole, _ = minimise(loss, torch.zeros_like(target), steps=20)
    parts = [torch.zeros(3, 2, 2, dtype=torch.float64), torch.zeros(3, 8, dtype=torch.float64)]
    parts = [p.requires_grad_() for p in parts]
    mover, least, best = lbfgs(parts, 0.1), torch.full((3,), torch.inf, dtype=torch.float64), None
    for _ in range(20):
        x = torch.cat([p.flatten(1) for p in parts], 1)
        value = loss(x)
        better = (value < least)[:, None]
        best = x.detach() if best is None else torch.where(better, x.detach(), best)
        least = torch.minimum(least, value.detach())
        for p, g in zip(parts, torch.autograd.grad(value.sum(), parts), strict=True):
            p.grad = g
        mover.step(value.detach)
    torch.testing.assert_close(best, whole, rtol=1e-9, atol=1e-12)


def test_where_the_gradient_is_zero_it_stays():
    x = torch.ones(2, 3, requires_grad=True)
    mover = lbfgs([x], 0.1)
    for _ in range(3):
        x.grad = torch.zeros_like(x)
        mover.step(lambda: torch.zeros(2))
    assert torch.equal(x, torch.ones(2, 3))
