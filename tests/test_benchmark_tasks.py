"""The benchmark of robust recovery: its tasks, its brush, and the three stages of the method that it comes from."""

import pytest
import torch
from torch import nn

from ilo import baselines, generators, operators
from ilo.baselines.robust import Multiscale, Normalised, predicted
from ilo.operators import measure
from ilo.rng import stream
from ilo.study import robust


def test_there_are_twenty_single_tasks_and_eleven_composed_ones():
    single, composed = robust.single_tasks(), robust.composed_tasks()
    assert len({(p.task, p.level) for p in single}) == 20
    assert [p.task for p in composed] == ["UN", "UA", "UP", "NA", "NP", "AP", "UNA", "UNP", "UAP", "NAP", "UNAP"]
    assert {p.level for p in robust.single_tasks(["XL"])} == {32, 6, 17}


@pytest.mark.parametrize("problem", [*robust.single_tasks(["XS", "XL"]), *robust.composed_tasks()], ids=str)
def test_every_task_measures(problem):
    x = torch.zeros(2, 3, 64, 64)
    A = problem.operator((3, 64, 64), rng=0)
    y = measure(A, x, rng=0)
    assert y.shape == (2, *A.shape_out)
    assert torch.equal(measure(A, x[:1], rng=0), y[:1])
    assert A.picture(y).shape == x.shape


def test_a_brush_hides_more_with_every_stroke():
    seen = [robust.brush_mask(64, 64, n, rng=0).float().mean().item() for n in (0, 1, 5, 17)]
    assert seen[0] == 1
    assert seen == sorted(seen, reverse=True)
    assert 0.02 < 1 - seen[1] < 0.15, "a stroke is 8 % of a side wide"
    assert not torch.equal(robust.brush_mask(64, 64, 3, rng=0), robust.brush_mask(64, 64, 3, rng=1))


def test_steps_are_of_one_length_whatever_the_gradient():
    x = torch.zeros(2, 4, 3, 3, requires_grad=True)
    x.grad = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * 100
    x.grad[0, :, 0, 0] = 0
    Normalised([x], {"lr": 0.3}).step()
    length = x.detach().norm(dim=1)
    assert length[0, 0, 0] == 0
    torch.testing.assert_close(length.flatten()[1:], torch.full((17,), 0.3))


class Distance(nn.Module):
    def forward(self, x, y):
        return (x - y).square().mean((1, 2, 3)).view(-1, 1, 1, 1)


def test_images_are_compared_at_every_scale_and_by_l1_at_the_last():
    x, y = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    loss = Multiscale(operators.Identity((3, 64, 64)), y, Distance(), 0)
    half, quarter = (nn.functional.avg_pool2d(x - y, k) for k in (2, 4))
    expected = (x - y).square().mean((1, 2, 3)) + half.square().mean((1, 2, 3)) + 0.1 * quarter.abs().mean((1, 2, 3))
    torch.testing.assert_close(loss(x, {}), expected)
    mask = torch.ones(64, 64)
    mask[:, 32:] = 0
    A = operators.Inpainting(mask)
    hidden = x.clone()
    hidden[..., 32:] = 0.5
    loss = Multiscale(A, A(y), Distance(), 0)
    torch.testing.assert_close(loss(x, {}), loss(hidden, {}), msg="what is hidden counts in neither image")
    few = Multiscale(operators.GaussianSensing((3, 64, 64), m=5), torch.zeros(2, 5), Distance(), 0)
    assert few(x, {}).shape == (2,)


def test_predicted_noise_has_the_moments_of_what_is_drawn():
    A, x = operators.Photons((1, 50, 50), 60.0, 0.2), torch.zeros(40, 1, 50, 50)
    parts = [predicted(A, x[:1], stream(i, "exposure")) for i in range(40)]
    ours, theirs = torch.cat(parts), A.draw(x, 0)
    assert float(ours.mean()) == pytest.approx(float(theirs.mean()), abs=0.03)
    assert float(ours.std()) == pytest.approx(float(theirs.std()), abs=0.03)


@pytest.mark.slow
def test_three_stages_fit_what_was_measured():
    G = generators.load("dcgan-digiface64", dtype=torch.float64)  # steps so long make much of rounding
    x = G(G.sample(2, 5)).detach()
    A = operators.Downsample(G.image_shape, 2).double()
    y = A(x)
    found = baselines.robust_unsupervised(G, A, y, steps=10, stride=5.0, rng=0, progress=False)
    assert [r.layer for r in found.rounds] == [0, 1, 2]
    values = torch.stack([r.objective for r in found.rounds])
    assert (values.diff(dim=0) <= 0).all(), "each stage begins where the one before ended"
    again = baselines.robust_unsupervised(G, A, y[:1], steps=10, stride=5.0, rng=0, progress=False)
    torch.testing.assert_close(again.images, found.images[:1], rtol=0, atol=1e-6)
