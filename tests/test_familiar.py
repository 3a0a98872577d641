"""Whether measurements look like the generator's own: false alarms at the rate that is promised, strangers noticed."""

import pytest
import torch
from skimage import data
from torch import nn

from ilo import operators
from ilo.auto.familiar import Directions, Looks, familiarity
from ilo.generators import Generator
from ilo.rng import normal

SHAPE = (1, 9, 7)


@pytest.fixture(scope="module")
def G() -> Generator:  # noqa: N802 (a generator's name throughout)
    """Images (1, 9, 7) that follow six latents along curves."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 63), nn.Unflatten(1, SHAPE), nn.Tanh()
        )  # fmt: skip
    return Generator.from_sequential(model, cuts=(2,), latent_shape=(6,), name="curved")


@torch.no_grad()
def own(G, n: int, seed: int):
    return G(G.sample(n, seed))


@pytest.mark.parametrize("noise", [0.02, 0.3])
@pytest.mark.parametrize("keep", [0.4, 1.0])
def test_its_own_images_are_called_strange_as_often_as_is_said(G, keep, noise):
    A = operators.RandomInpainting(SHAPE, keep=keep, rng=1)
    y = operators.measure(A, own(G, 600, 7), noise=noise, rng=2)
    ranks = familiarity(G, A, y, torch.full((600,), noise))
    for share in (0.05, 0.25, 0.5, 0.75):  # three standard deviations of 600 draws, and of the 512 that they rank among
        assert (ranks <= share).double().mean().item() == pytest.approx(share, abs=3 * (0.25 / 600 + 0.25 / 512) ** 0.5)
    assert (ranks <= 0.05).double().mean() < 0.1


def test_what_it_cannot_make_is_strange_with_more_and_with_less_contrast_than_its_images_have(G):
    A = operators.Identity(SHAPE)
    images = own(G, 40, 8)
    mean = own(G, 1024, 0).mean(0, keepdim=True)
    other = normal(3, 40, SHAPE, purpose="field")
    noise = torch.full((40,), 0.02)
    measured = lambda x: operators.measure(A, x.clamp(-1, 1), noise=0.02, rng=2)  # noqa: E731
    assert familiarity(G, A, measured(images + 0.5 * other), noise).median() < 0.01
    dull = mean + 0.05 * (images - mean) + 0.1 * other  # less left over than an image of its own has
    assert familiarity(G, A, measured(dull), noise).median() < 0.01
    assert familiarity(G, A, measured(images), noise).median() > 0.2


def test_a_problem_is_judged_alike_alone_and_in_a_batch(G):
    A = operators.RandomInpainting(SHAPE, keep=0.5, rng=1)
    y = operators.measure(A, own(G, 3, 5), noise=0.1, rng=2)
    noise = torch.tensor([0.1, torch.nan, 0.3])
    together = familiarity(G, A, y, noise)
    assert together.isnan().tolist() == [False, True, False]
    for b in (0, 2):
        assert familiarity(G, A, y[b : b + 1], noise[b : b + 1]).item() == pytest.approx(together[b].item(), abs=3e-3)
    assert torch.equal(together[[0, 2]], familiarity(G, A, y, noise)[[0, 2]])


def test_too_few_measurements_are_not_judged(G):
    A = operators.Identity(SHAPE).rows(range(15))
    assert familiarity(G, A, torch.zeros(2, 15), torch.zeros(2)).isnan().all()


def test_any_function_is_judged(G):
    ranks = familiarity(G, lambda x: x.clamp(-0.5, 0.5), own(G, 50, 6).clamp(-0.5, 0.5), torch.zeros(50))
    assert 0.2 < ranks.median() < 0.8


def test_directions_are_those_of_a_singular_value_decomposition():
    rows, y = normal(0, 30, (50,), purpose="probe").double(), normal(1, 4, (50,), purpose="probe").double()
    rows[:, :5] *= 7
    usual = Directions.of(rows, 5)
    _, lengths, directions = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    torch.testing.assert_close(usual.deviations.flip(0), lengths[:5] / 29**0.5)
    look, inside = usual.look(y), (y - rows.mean(0)) @ directions[:5].T
    torch.testing.assert_close(look.along.flip(1).abs(), inside.abs())
    torch.testing.assert_close(look.left, (y - rows.mean(0) - inside @ directions[:5]).square().sum(1))
    assert look.numbers == 45


def test_noise_in_these_coordinates_is_that_of_the_measurements():
    usual = Directions.of(normal(0, 30, (50,), purpose="probe").double(), 5)
    y, n, sigma = normal(1, 1, (50,), purpose="probe").double(), 20000, torch.tensor(0.5)
    look = usual.look(y)
    many = Looks(look.along.expand(n, -1), look.left.expand(n), look.numbers)
    short = many.noisy(sigma, normal(2, 1, (n, 7), purpose="probe").double()[0])
    true = usual.look(y + sigma * normal(3, 1, (n, 50), purpose="probe").double()[0])
    torch.testing.assert_close(short.left.mean(), true.left.mean(), rtol=0.01, atol=0)
    torch.testing.assert_close(short.left.std(), true.left.std(), rtol=0.04, atol=0)
    quantiles = torch.tensor([0.05, 0.5, 0.95]).double()
    torch.testing.assert_close(short.left.quantile(quantiles), true.left.quantile(quantiles), rtol=0.02, atol=0)
    torch.testing.assert_close(short.along.mean(0), true.along.mean(0), rtol=0, atol=0.02)
    torch.testing.assert_close(short.along.std(0), true.along.std(0), rtol=0.04, atol=0)


@pytest.mark.slow
def test_of_the_default_generator_a_cat_is_strange_and_its_own_faces_are_not(dcgan):
    photos = torch.cat([_square(data.chelsea()), _square(data.coffee())])
    images = torch.cat([own(dcgan, 200, 9).clamp(-1, 1), photos])
    A = operators.RandomInpainting(dcgan.image_shape, keep=0.1, rng=0)
    y = operators.measure(A, images, noise=0.02, rng=0)
    ranks = familiarity(dcgan, A, y, torch.full((len(y),), 0.02))
    assert (ranks[:200] <= 0.05).double().mean() < 0.1
    assert (ranks[200:] <= 0.05).all()


def _square(picture) -> torch.Tensor:
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    side = min(x.shape[2:])
    top, left = ((n - side) // 2 for n in x.shape[2:])
    x = x[:, :, top : top + side, left : left + side]
    return nn.functional.interpolate(x, (64, 64), mode="bilinear", antialias=True, align_corners=False)
