"""Cameras that are not linear in `rounds="auto"`: the linearised route is the linear one where a camera is linear."""

import pytest
import torch
from searches import small_generator

import ilo
from ilo import operators
from ilo.auto import linearise
from ilo.auto.linearise import Jacobian, LinearisedConditioner
from ilo.auto.plan import Auto
from ilo.auto.smooth import Conditioner, smooth_prior
from ilo.generators import Generator
from ilo.metrics import psnr

SHAPE = (3, 8, 8)
FEW = Auto(budget=60, samples=2, draws=2, noise=0.02)


@pytest.fixture(scope="module")
def G() -> Generator:  # noqa: N802 (a generator's name throughout)
    """Smooth colour images of few dimensions, in four layers."""
    return small_generator(SHAPE, factor=2)


@pytest.fixture(scope="module")
def truth(G) -> torch.Tensor:
    with torch.no_grad():
        return G(G.sample(3, 5))


@pytest.fixture(scope="module")
def prior(G):
    with torch.no_grad():
        return smooth_prior(G(G.sample(200, 1)))


def quadratic(x: torch.Tensor) -> torch.Tensor:
    return (x + 0.2 * x.square()).flatten(1)[:, ::2]


def test_the_jacobian_and_its_transpose_are_autograds():
    at, d = (torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in (0, 1))
    J = Jacobian(quadratic, at)
    slope = (1 + 0.4 * at).flatten(1)[:, ::2]
    torch.testing.assert_close(J.measured, quadratic(at))
    torch.testing.assert_close(J(d), slope * d.flatten(1)[:, ::2])
    y = torch.randn(2, 96, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    whole = torch.autograd.functional.jacobian(lambda x: quadratic(x[None])[0], at[1])
    torch.testing.assert_close(J.adjoint(y)[1], torch.einsum("m,mchw->chw", y[1], whole))
    torch.testing.assert_close((J(d) * y).sum(), (d * J.adjoint(y)).sum())


class Once(torch.autograd.Function):
    """A square whose gradient has none."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x.detach().square(), "keeps no gradient"),
        (lambda x: x.round().detach() + 0, "keeps no gradient"),
        (Once.apply, "once_differentiable|differentiated"),
    ],
)
def test_what_cannot_be_linearised_says_so(function, said):
    one = torch.ones(1, *SHAPE)
    with pytest.raises((ValueError, RuntimeError), match=said):
        Jacobian(function, one)(one)


@pytest.mark.parametrize(
    "A",
    [
        operators.RandomInpainting(SHAPE, keep=0.4, rng=0),
        operators.Downsample(SHAPE, 2),
        operators.GaussianSensing(SHAPE, m=40, rng=0),
    ],
    ids=lambda A: type(A).__name__,
)
def test_a_linear_operator_as_a_function_gives_what_the_linear_route_gives(A, prior, truth):
    y = operators.measure(A, truth, noise=0.05, rng=1)
    images, ratio = 0.5 * truth, torch.tensor([0.0, 10.0, 300.0])
    function = operators.Function(lambda x: A(x), SHAPE, A.shape_out)
    exact = Conditioner(A, prior)
    linearised = LinearisedConditioner(function, prior, tolerance=1e-6, most=200)
    torch.testing.assert_close(linearised(y, images, ratio), exact(y, images, ratio), rtol=0, atol=2e-4)
    torch.testing.assert_close(linearised.noise(y, images, ratio), exact.noise(y, images, ratio), rtol=1e-3, atol=1e-5)


def test_gauss_newton_ends_where_the_posterior_density_is_highest(prior, truth):
    y = quadratic(truth)
    images, ratio = torch.zeros_like(truth), torch.full((3,), 100.0)
    camera = operators.Function(quadratic, SHAPE, (96,))
    condition = LinearisedConditioner(camera, prior, steps=20, tolerance=1e-6, most=300)
    moved = condition(y, images, ratio)
    coefficients = prior.analyse(moved).requires_grad_()
    with torch.enable_grad():
        misfit = (quadratic(prior.synthesise(coefficients)) - y).square().sum()
        cost = misfit + (coefficients.square() / prior.spectrum).sum() / 100
        (slope,) = torch.autograd.grad(cost, coefficients)
    assert (slope * prior.spectrum.sqrt()).abs().max() < 1e-3
    one = LinearisedConditioner(camera, prior, steps=1)(y, images, ratio)
    assert ((quadratic(moved) - y).square().sum()) < (quadratic(one) - y).square().sum()


def test_a_step_that_would_make_it_worse_is_halved_or_left(prior):
    def steep(x):
        return torch.tanh(20 * x).flatten(1)

    camera = operators.Function(steep, SHAPE, (192,))
    images, ratio = torch.full((2, *SHAPE), 0.3), torch.full((2,), 1e4)
    y = steep(torch.full((2, *SHAPE), 0.02))
    condition = LinearisedConditioner(camera, prior)
    before, after = (condition._cost(y, images, d, ratio) for d in (0 * images, condition(y, images, ratio) - images))
    assert (after <= before).all()
    assert torch.isfinite(after).all()


CAMERAS = {
    "exposure": operators.Exposure(SHAPE, 1.5, 0.6),
    "photons": operators.Photons(SHAPE, 40.0, 0.1),
    "jpeg": operators.JPEG(SHAPE, 40),
    "magnitudes": operators.FourierMagnitudes(SHAPE),
    "unknown blur": operators.UnknownBlur(SHAPE),
    "function": quadratic,
}


@pytest.mark.parametrize("name", CAMERAS)
def test_auto_takes_any_camera(G, truth, name):
    A = CAMERAS[name]
    y = operators.measure(A, truth, noise=0.0 if name in ("photons", "jpeg") else 0.02, rng=1)
    settings = Auto(budget=60, samples=2, draws=2, noise=None if name in ("photons", "jpeg") else 0.02)
    result = ilo.recover(G, A, y, rounds=settings, rng=3)
    assert not result.tries.empty
    assert result.images.shape == result.spread.shape == truth.shape
    assert torch.isfinite(result.spread).all()
    mean = G(G.sample(64, 0)).mean(0, keepdim=True).detach().expand_as(truth)
    assert psnr(result.images, truth).mean() > psnr(mean, truth).mean() + 1
    torch.testing.assert_close(result.objective, (A(result.images) - y).square().flatten(1).mean(1))
    alone = ilo.recover(G, A, y[1:2], rounds=settings, rng=3)
    torch.testing.assert_close(alone.images, result.images[1:2], rtol=0, atol=5e-3)
    again = ilo.recover(G, A, y, rounds=settings, rng=3)
    assert torch.equal(again.images, result.images)


def test_a_linear_operator_as_a_plain_function_recovers_what_it_recovers(G, truth):
    A = operators.Blur(SHAPE, sigma=0.8)
    y = operators.measure(A, truth, noise=0.02, rng=1)
    linear = ilo.recover(G, A, y, rounds=FEW, rng=3)
    plain = ilo.recover(G, lambda x: A(x), y, rounds=FEW, rng=3)
    torch.testing.assert_close(plain.images, linear.images, rtol=0, atol=2e-2)
    assert plain.tries["held_out_mse"].to_numpy() == pytest.approx(linear.tries["held_out_mse"].to_numpy(), rel=0.2)


def test_a_camera_that_knows_its_noise_goes_by_it(G, truth):
    photons = operators.Photons(SHAPE, 40.0)
    y = operators.measure(photons, truth, rng=1)
    A, seen, settings = linearise.prepared(G, photons, y, Auto(noise=0.5))
    assert settings.noise == A.deviation
    assert seen.shape == y.shape
    two = operators.chain(photons, operators.JPEG(SHAPE, 50))
    y = operators.measure(two, truth, rng=1)
    assert linearise.prepared(G, two, y, Auto())[2].noise is None, "to be estimated, in steps of the quantiser"
    kept, seen, settings = linearise.prepared(G, two, y, Auto(noise=0.1))
    assert kept is two, "a noise that is given is in units of the measurements"
    assert seen is y
    assert settings.noise == 0.1


def test_a_function_may_say_what_is_measured_together(G, truth):
    class Named:
        units = torch.arange(96) // 2

        def __call__(self, x):
            return quadratic(x)

    A, _, _ = linearise.prepared(G, Named(), quadratic(truth), FEW)
    assert torch.equal(A.units(), Named.units)


def test_what_cannot_be_linearised_warns_and_is_solved_by_default(G, truth):
    with pytest.warns(UserWarning, match="cannot be linearised, so that nothing is held out"):
        result = ilo.recover(G, Once.apply, truth.square(), rounds=FEW)
    assert result.tries.empty
    with (
        pytest.warns(UserWarning, match="keeps no gradient of the images"),
        pytest.raises(ValueError, match="does not depend differentiably"),
    ):
        ilo.recover(G, lambda x: x.detach(), truth, rounds=FEW)
