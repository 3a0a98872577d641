"""Holes are found by what no measurement sees, and what is held out beside them looks like them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ilo
from ilo import operators, study
from ilo.auto import choose, holes
from ilo.auto.plan import Auto

SHAPE = (3, 32, 24)


def masked(top: int, bottom: int, left: int, right: int, shape=SHAPE) -> operators.Inpainting:
    mask = torch.ones(shape[1:], dtype=torch.bool)
    mask[top:bottom, left:right] = False
    return operators.Inpainting(mask, shape[0])


OPERATORS = {
    "hole": lambda: masked(8, 20, 6, 18),
    "random": lambda: operators.RandomInpainting(SHAPE, keep=0.3),
    "blur": lambda: operators.Blur(SHAPE, sigma=1.0),
    "small": lambda: operators.Downsample(SHAPE, 4),
    "Gaussian": lambda: operators.GaussianSensing(SHAPE, m=40),
    "frequencies": lambda: operators.PartialFourier(SHAPE, m=40),
    "blurred hole": lambda: masked(8, 20, 6, 18) @ operators.Blur(SHAPE, sigma=0.5),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_the_sensitivity_is_the_diagonal(name):
    A = OPERATORS[name]()
    exact = operators.matrix(A).square().sum(0).view(SHAPE).sum(0)
    found = holes.sensitivity(A)
    one_each = isinstance(A, operators.Inpainting)
    torch.testing.assert_close(found, exact.to(found), rtol=1e-5 if one_each else 1.5, atol=1e-6)
    assert found.mean().item() == pytest.approx(exact.mean().item(), rel=1e-5 if one_each else 0.15)


def test_only_what_nothing_sees_is_unseen_and_only_regions_are_holes():
    for name, make in OPERATORS.items():
        A = make()
        exact = operators.matrix(A).square().sum(0).view(SHAPE).sum(0)
        hidden = holes.unseen(A)
        assert torch.equal(hidden, exact < 0.01 * exact.max()) or name == "blurred hole", name
        assert (holes.blocks_of(A, 0.1) is not None) == ("hole" in name), name
    for problem in study.PROBLEMS:
        if problem.task == "inpainting":
            A = problem.operator((3, 64, 64), rng=1)
            assert holes.blocks_of(A, 0.1) is None, problem


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 40), st.integers(20, 40), st.integers(0, 30), st.integers(0, 30), st.integers(5, 16))
def test_blocks_are_seen_squares_apart_and_no_more_than_asked_for(height, width, top, left, side):
    hidden = torch.zeros(height, width, dtype=torch.bool)
    hidden[top : top + side, left : left + side] = True
    found = holes.blocks(hidden, 0.2)
    if found is None:
        return
    assert not (found[hidden] > 0).any()
    assert 0 < (found > 0).sum() <= 0.2 * (~hidden).sum()
    sides = set()
    for number in range(1, int(found.max()) + 1):
        rows, columns = (found == number).nonzero(as_tuple=True)
        high, wide = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
        assert len(rows) == high * wide
        sides |= {int(high), int(wide)}
        grown = torch.zeros_like(hidden)
        grown[max(0, rows.min() - 1) : rows.max() + 2, max(0, columns.min() - 1) : columns.max() + 2] = True
        assert set(found[grown].unique().tolist()) <= {0, number}, "two blocks touch"
    assert sides == {holes.block_side(hidden, 0.2 * float((~hidden).sum()) / holes.FEWEST)}
    assert torch.equal(found, holes.blocks(hidden, 0.2)), "always the same"


def test_a_deeper_hole_gets_larger_blocks():
    sides = []
    for half in (3, 6, 9):
        hidden = torch.zeros(64, 64, dtype=torch.bool)
        hidden[32 - half : 32 + half, 32 - half : 32 + half] = True
        sides.append(holes.block_side(hidden, 1e9))
        assert sides[-1] <= 2 * half
    assert sides == sorted(set(sides))
    assert holes.block_side(hidden, 9.5) == 3, "as large as may be"
    assert holes.block_side(torch.zeros(8, 8, dtype=torch.bool), 100) == 0


@pytest.mark.parametrize("name", ["hole", "blurred hole"])
def test_beside_a_hole_whole_blocks_are_held_out(name):
    A = OPERATORS[name]()
    y = torch.arange(2.0 * A.shape_out[0] * A.shape_out[1]).view(2, *A.shape_out)
    split = choose.hold_out(A, y, Auto())
    assert split.A.shape_out[0] + split.A_held.shape_out[0] == y[0].numel()
    both = torch.cat([split.y, split.y_held], 1)
    assert torch.equal(both.sort(1).values, y.flatten(1)), "each measurement is in one part"
    where = split.A_held.adjoint(torch.ones_like(split.y_held)).abs().sum((0, 1)) > 1e-3
    blocks = holes.blocks(holes.unseen(A), 0.1)
    inside = where[blocks > 0].float().mean()
    assert inside == 1
    if name == "hole":
        assert torch.equal(where, blocks > 0)
        assert torch.equal(split.together, blocks.flatten()[split.A_held.units()])
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(A(x).flatten(1)[:, holes.blocks_of(A, 0.1) > 0], split.A_held(x))


def test_where_no_measurement_lies_in_a_block_there_are_none(monkeypatch):
    A = operators.GaussianSensing(SHAPE, m=40)
    hidden = torch.zeros(SHAPE[1:], dtype=torch.bool)
    hidden[4:16, 4:16] = True
    monkeypatch.setattr(holes, "unseen", lambda A: hidden)
    assert holes.blocks_of(A, 0.1) is None


@pytest.mark.parametrize("problem", study.ONE_A_TASK, ids=str)
def test_only_a_grey_photo_leaves_colours_unseen(problem):
    A = problem.operator((3, 64, 64), rng=1)
    split = choose.hold_out(A, torch.zeros(1, *A.shape_out), Auto())
    assert holes.sees_all_colours(split.A_held) == holes.sees_all_colours(A) == (problem.task != "colourisation")


def test_the_spread_of_colours_is_not_shrunk_by_how_well_grey_is_predicted(default_generator):
    """Of the generator's own images, whose grey is found exactly."""
    G = default_generator
    A = study.colourisation().operator(G.image_shape, rng=0)
    y = operators.measure(A, G(G.sample(2, 1, "truth")).clamp(-1, 1), noise=0.02, rng=0)
    found = ilo.recover(G, A, y, rounds=Auto(noise=0.02, budget=60), rng=0, progress=False)
    assert min(found.parameters["stretch"]) >= 1


def test_what_lies_in_the_blocks_beside_a_hole_does_not_tell_the_noise(dcgan):
    """Images of the generator but for those very blocks, which are of other colours: what is held out is foreseen by
    nothing, and none of that is noise."""
    G = dcgan
    A = study.region("mouth").operator(G.image_shape, rng=0)
    marks = holes.blocks(holes.unseen(A), Auto.held_out)
    images = G(G.sample(3, 3, "truth")).detach()
    for number in range(1, int(marks.max()) + 1):
        images = torch.where(marks == number, torch.tensor((-1.0, 1.0))[number % 2], images)
    y = operators.measure(A, images, noise=0.02, rng=0)
    found = ilo.recover(G, A, y, rounds=Auto(budget=60), rng=0, progress=False)
    assert found.evidence["held_out"].eq(int((marks > 0).sum()) * 3).all()
    assert found.evidence["noise"].between(0.005, 0.05).all()
