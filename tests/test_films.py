"""Films: later frames are cheap, start where the one before ended, stay near it, and flicker little."""

from itertools import pairwise

import pytest
import torch

import ilo
from ilo import films
from ilo.films import flicker, recover_frames
from ilo.images import astronaut_face
from ilo.operators import Downsample, RandomInpainting, measure
from ilo.solver.whitened import PriorRound, feature_prior

ROUNDS = [ilo.Round(0, 30, 0.1), ilo.Round(1, 15, 0.05, radius=1000.0), ilo.Round(2, 15, 0.03, radius=1000.0)]


def panned(frames: int = 5, step: int = 1) -> torch.Tensor:
    """The astronaut, moved to the right by `step` pixels a frame: (T, 3, 64, 64)."""
    return torch.cat([torch.roll(astronaut_face(64), step * t, 3) for t in range(frames)])


@pytest.fixture(scope="module")
def problem(dcgan):
    x = panned()
    A = RandomInpainting(dcgan.image_shape, keep=0.3, rng=0)
    return A, measure(A, x, noise=0.02, rng=0), x


@pytest.fixture(scope="module")
def film(dcgan, problem):
    A, y, _ = problem
    return recover_frames(dcgan, A, y, rounds=ROUNDS, restarts=2, progress=False)


def test_every_frame_is_there_and_the_first_is_recovers_own(dcgan, problem, film):
    A, y, x = problem
    assert film.images.shape == x.shape
    assert len(film.status) == len(film.seconds) == len(film.objective) == len(x)
    start = ilo.linear_start(dcgan, A, y[:1], restarts=2)
    alone = ilo.recover(dcgan, A, y[:1], rounds=ROUNDS, start=start, restarts=2, progress=False)
    assert torch.equal(film.images[:1], alone.images)
    assert torch.equal(film.images[-1:], film.last.images)


def test_a_later_frame_starts_where_the_one_before_ended_and_stays_in_its_ball(dcgan, problem, film, monkeypatch):
    A, y, _ = problem
    begun = []
    recover = films.recover

    def spied(*arguments, **options):
        result = recover(*arguments, **options)
        begun.append((options.get("start"), result))
        return result

    monkeypatch.setattr(films, "recover", spied)
    later = ilo.Round(2, 4, 0.03, radius=50.0)
    again = recover_frames(dcgan, A, y, rounds=ROUNDS, restarts=2, later=later, progress=False)
    assert torch.equal(again.images[0], film.images[0])
    for (_, before), (start, after) in pairwise(begun):
        assert torch.equal(start["features"], before.state["features"])
        moved = (after.state["features"] - before.state["features"]).abs().sum()
        assert 0 < moved <= 50 * (1 + 1e-4)


def test_later_frames_take_a_fifth_of_the_last_rounds_steps(dcgan, film):
    assert film.last.history["step"].max() == 3
    assert film.first.history["step"].max() == 30
    assert max(film.seconds[1:]) < film.seconds[0]


def test_a_film_is_recovered_better_than_its_first_frame_stands_still(problem, film):
    _, _, x = problem
    still = (film.images[:1] - x[-1]).square().mean()
    assert (film.images[-1] - x[-1]).square().mean() < 0.8 * still


def test_a_still_film_of_clean_measurements_only_gets_better(dcgan):
    A = Downsample(dcgan.image_shape, factor=4)
    y = A(astronaut_face(64)).expand(4, -1, -1, -1)
    film = recover_frames(dcgan, A, y, rounds=ROUNDS, progress=False)
    assert (film.objective.diff() <= 0).all(), "the state that a frame starts from competes with what it finds"


def test_the_default_is_the_papers_from_the_linear_start(dcgan, problem, monkeypatch):
    A, y, _ = problem
    few = [ilo.Round(layer, 3, radius=None if layer == 0 else 1000.0) for layer in range(3)]
    monkeypatch.setattr(films, "paper_rounds", lambda G: few)
    film = recover_frames(dcgan, A, y[:2], restarts=2, progress=False)
    start = ilo.linear_start(dcgan, A, y[:1], restarts=2)
    alone = ilo.recover(dcgan, A, y[:1], rounds=few, start=start, restarts=2, progress=False)
    assert torch.equal(film.images[:1], alone.images)
    assert film.last.history["step"].max() == 1


def test_what_does_not_fit_is_refused(dcgan, problem):
    A, y, _ = problem
    with pytest.raises(ValueError, match="layer 2, where the first frame ends"):
        recover_frames(dcgan, A, y, rounds=ROUNDS, later=ilo.Round(1, 5))
    with pytest.raises(ValueError, match=r"need an ilo\.Round"):
        recover_frames(dcgan, A, y, rounds=[PriorRound(prior=feature_prior(dcgan, 1), steps=5)])
    with pytest.raises(ValueError, match="NaN"):
        recover_frames(dcgan, A, torch.full_like(y, torch.nan))
    with pytest.raises(ValueError, match="restarts"):
        recover_frames(dcgan, A, y, restarts=0)


def test_flicker_is_the_ratio_of_changes():
    x = panned(4)
    assert flicker(x, x) == pytest.approx(1)
    assert flicker(x / 2, x) == pytest.approx(0.5)
    assert flicker(x[:1].expand(4, -1, -1, -1), x) == 0
    noisy = (x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    assert flicker(noisy, x) > 1.5
    for wrong in (x[:1], x[:1].expand(4, -1, -1, -1)):
        with pytest.raises(ValueError, match=r"2 frames|stands still"):
            flicker(wrong, wrong)
    with pytest.raises(ValueError, match="alike"):
        flicker(x[:3], x)
