"""The smooth deviation: its covariance, and its conditional mean against dense linear algebra."""

import math

import pytest
import torch

from ilo import operators
from ilo.auto.smooth import Conditioner, smooth_prior
from ilo.auto.solves import pixel_weights

SHAPE = (3, 8, 6)


def images(n: int = 40, shape=SHAPE) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    grey = torch.randn(n, 1, *shape[1:], generator=g, dtype=torch.float64)
    return 0.3 * grey + 0.1 * torch.randn(n, *shape, generator=g, dtype=torch.float64)


@pytest.fixture
def prior():
    return smooth_prior(images())


def dense(function, n: int = math.prod(SHAPE)) -> torch.Tensor:
    """The matrix of a linear map of images, column by column."""
    unit = torch.eye(n, dtype=torch.float64).view(n, *SHAPE)
    return function(unit).flatten(1).T


def test_the_change_of_basis_is_orthonormal(prior):
    x = images(3)
    torch.testing.assert_close(prior.synthesise(prior.analyse(x)), x)
    torch.testing.assert_close(prior.analyse(x).norm(), x.norm())


def test_the_covariance_is_that_of_the_colours_and_falls_with_distance(prior):
    K = dense(prior.covariance).view(*SHAPE, *SHAPE)
    torch.testing.assert_close(K.flatten(3).flatten(0, 2), K.flatten(3).flatten(0, 2).T)
    x = images() - images().mean(0)
    colours = torch.einsum("bchw,bdhw->cd", x, x) / x[:, 0].numel()
    by_pixel = torch.stack([K[:, i, j, :, i, j] for i in range(8) for j in range(6)]).mean(0)
    torch.testing.assert_close(by_pixel, colours, rtol=1e-6, atol=1e-9)
    row = K[0, 4, 0, 0, 4]  # with the pixels of its row
    assert (row[1:] < row[:-1]).all()


def test_samples_have_the_covariance(prior):
    fields = prior.sample(4000, 1).flatten(1)
    K = dense(prior.covariance)
    assert (fields.T.cov() - K).norm() < 0.2 * K.norm()
    torch.testing.assert_close(prior.sample(2, 1), prior.sample(5, 1)[:2])


def hole() -> torch.Tensor:
    """(8, 6): all pixels but a rectangle."""
    seen = torch.ones(SHAPE[1:], dtype=torch.bool)
    seen[2:5, 1:4] = False
    return seen


OPERATORS = {
    "inpainting": lambda: operators.RandomInpainting(SHAPE, keep=0.2, rng=0),
    "Gaussian": lambda: operators.GaussianSensing(SHAPE, m=30, rng=0),
    "identity": lambda: operators.Identity(SHAPE),
    "half": lambda: operators.RandomInpainting(SHAPE, keep=0.6, rng=0),
    "hole": lambda: operators.Entries(SHAPE, torch.arange(144).view(SHAPE)[:, hole()].flatten()),
    "entries": lambda: operators.Entries(SHAPE, range(0, 144, 5)),  # other ones of every colour
    "grey": lambda: operators.Grayscale(SHAPE),
    "blur": lambda: operators.Blur(SHAPE, sigma=1.0),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_the_conditional_mean_is_that_of_dense_algebra(prior, name):
    A = OPERATORS[name]().double()
    truth, mean = images(4)[2:], images(4)[:2]
    y = A(truth)
    ratio = torch.tensor([50.0, 2000.0], dtype=torch.float64)
    condition = Conditioner(A, prior)
    assert condition.direct == (name in ("Gaussian", "entries"))
    found = condition(y, mean, ratio)
    M, K = dense(A), dense(prior.covariance)
    for i in range(2):
        gram = ratio[i] * M @ K @ M.T + torch.eye(len(M), dtype=torch.float64)
        rest = (y[i] - A(mean)[i]).flatten()
        weights = torch.linalg.solve(gram, rest)
        expected = mean[i] + (ratio[i] * K @ M.T @ weights).view(SHAPE)
        torch.testing.assert_close(found[i], expected, rtol=1e-3, atol=5e-3)
        noise = condition.noise(y, mean, ratio)[i]
        torch.testing.assert_close(noise, (rest @ weights / len(rest)).sqrt(), rtol=1e-2, atol=1e-4)


def test_no_scale_moves_nothing_and_problems_do_not_mix(prior):
    for name in ("inpainting", "identity", "blur", "Gaussian"):
        A = OPERATORS[name]().double()
        truth, mean = images(4)[2:], images(4)[:2]
        condition = Conditioner(A, prior)
        both = condition(A(truth), mean, torch.tensor([0.0, 100.0], dtype=torch.float64))
        torch.testing.assert_close(both[0], mean[0])
        one = condition(A(truth)[1:], mean[1:], torch.tensor([100.0], dtype=torch.float64))
        torch.testing.assert_close(both[1:], one, rtol=1e-6, atol=1e-6)
        none = condition(A(truth), mean, torch.zeros(2, dtype=torch.float64))
        assert torch.equal(none, mean)


@pytest.mark.parametrize("name", ["inpainting", "half", "hole", "identity"])
def test_masks_are_solved_exactly_in_single_precision(prior, name):
    """Also at a noise of 0.001, where a hole's smooth content is a tiny part of what the matrix holds."""
    A = OPERATORS[name]()
    single = smooth_prior(images().float())
    truth, mean = images(4)[2:], images(4)[:2]
    ratio = torch.tensor([300.0, 3e5], dtype=torch.float64)
    found = Conditioner(A, single)(A(truth.float()), mean.float(), ratio.float())
    M, K = dense(lambda x: A(x.float()).double()), dense(prior.covariance)
    for i in range(2):
        gram = ratio[i] * M @ K @ M.T + torch.eye(len(M), dtype=torch.float64)
        expected = ratio[i] * K @ M.T @ torch.linalg.solve(gram, M @ (truth - mean)[i].flatten())
        torch.testing.assert_close((found - mean)[i].double(), expected.view(SHAPE), rtol=0, atol=2e-5)


def test_a_problem_that_has_converged_waits_for_no_other(prior):
    """Conjugate gradients: an easy problem gives the same numbers alone and beside a hard one."""
    A = operators.Blur(SHAPE, sigma=1.5).double()
    truth, mean = images(4)[2:], images(4)[:2]
    condition = Conditioner(A, prior)
    both = condition(A(truth), mean, torch.tensor([0.1, 1e5], dtype=torch.float64))
    one = condition(A(truth)[:1], mean[:1], torch.tensor([0.1], dtype=torch.float64))
    torch.testing.assert_close(both[:1], one, rtol=1e-12, atol=1e-12)


def test_only_an_operator_that_weighs_pixels_is_taken_for_one():
    like = torch.zeros(SHAPE, dtype=torch.float64)
    weights = {}
    for name, make in OPERATORS.items():
        A = make().double()
        weights[name] = pixel_weights(lambda x, A=A: A.adjoint(A(x)), like)
    assert {name for name, w in weights.items() if w is not None} == {"inpainting", "identity", "half", "hole"}
    torch.testing.assert_close(weights["hole"], hole().double())


def test_the_noise_is_found_when_the_model_is_true(prior):
    A = operators.Identity(SHAPE).double()
    truth = prior.sample(200, 3)
    y = truth + 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ratio = torch.full((200,), 1 / 0.05**2, dtype=torch.float64)
    noise = Conditioner(A, prior).noise(y, torch.zeros_like(truth), ratio)
    assert noise.square().mean().sqrt() == pytest.approx(0.05, rel=0.02)


def test_a_wrong_length_is_refused():
    for length in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="length is a distance in pixels"):
            smooth_prior(images(), length)


@pytest.mark.parametrize("units", [1.0, 127.5])
def test_measurements_that_repeat_one_another_are_fitted(units):
    class Twice(operators.LinearOperator):
        def __init__(self):
            super().__init__(SHAPE, (36,))

        def _forward(self, x):
            return units * x.flatten(1)[:, :18].repeat(1, 2)

    x = images(2).float()
    A = Twice()
    found = Conditioner(A, smooth_prior(images().float()))(A(x), torch.zeros_like(x), torch.tensor([1e4, 1e6]))
    assert (A(found) - A(x)).abs().max() < 0.02 * units
