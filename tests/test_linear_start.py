"""The linear estimate of the latent: exact where everything is linear, and near on faces."""

import pytest
import torch
from torch import nn

from ilo import operators
from ilo.generators.base import FeatureLayer, Generator
from ilo.solver.copies import Copies
from ilo.solver.inputs import drawn_states
from ilo.solver.linear_start import linear_images, linear_model, linear_starts

SHAPE = (1, 4, 4)


def linear_generator(latent=5):
    """A generator that is a matrix, and that matrix (16, latent)."""
    layer = nn.Linear(latent, 16, bias=False)
    with torch.no_grad():
        layer.weight.copy_(0.1 * torch.randn(16, latent, generator=torch.Generator().manual_seed(0)))
    matrix = layer.weight.detach().double()
    module = nn.Sequential(layer, nn.Unflatten(1, SHAPE))
    G = Generator([FeatureLayer(module, target="image")], latent_shapes={"features": (latent,)}, image_shape=SHAPE)
    return G, matrix


def test_where_all_is_linear_it_is_the_posterior_mean():
    """Bayes' rule for y = M z + e: ẑ = Mᵀ(M Mᵀ + noise²·I)⁻¹ y, but for the sampling error of N = 3000."""
    G, matrix = linear_generator()
    A, noise = operators.Identity(SHAPE), 0.1
    y = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(3))
    exact = y.flatten(1).double() @ torch.linalg.inv(matrix @ matrix.T + noise**2 * torch.eye(16)).T @ matrix
    found = linear_model(G, A, noise=noise, samples=3000, batch=3000).estimate(y)
    assert (found - exact).norm() < 0.06 * exact.norm()


def test_the_linear_estimate_of_the_image_is_the_generators_where_that_is_linear():
    G, _ = linear_generator()
    y = 0.1 * torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(3))
    for A in (operators.Identity(SHAPE), operators.RandomInpainting(SHAPE, keep=0.5)):
        model = linear_model(G, A, noise=0.1, samples=200)
        measured = A(y)
        expected = G({"features": model.estimate(measured)}).clamp(-1, 1)
        torch.testing.assert_close(linear_images(G, model, measured), expected, rtol=1e-3, atol=1e-4)


def test_more_noise_draws_it_to_the_mean():
    G, _ = linear_generator()
    y = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(3))
    sizes = [linear_model(G, operators.Identity(SHAPE), noise=s).estimate(y).norm().item() for s in (0.0, 1.0, 100.0)]
    assert sizes[0] > 1.5 * sizes[1]
    assert sizes[2] < 0.1


def test_the_first_copy_is_the_estimate_and_the_others_lie_about_it():
    G, _ = linear_generator()
    y = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(3))
    model = linear_model(G, operators.Identity(SHAPE))
    draws = drawn_states(G, [0], Copies(3, 2))
    starts = linear_starts(G, model, y, draws, spread=0.5)["features"]
    estimate = model.estimate(y)
    torch.testing.assert_close(starts[:2], estimate)
    moved = starts.view(3, 2, -1) - estimate
    expected = 0.5 * (draws["features"].view(3, 2, -1) - model.latent_mean)
    torch.testing.assert_close(moved[1:], expected[1:])


def test_a_problem_starts_alike_alone_and_in_a_batch():
    G, _ = linear_generator()
    y = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(3))
    model = linear_model(G, operators.Identity(SHAPE))
    together = linear_starts(G, model, y, drawn_states(G, [0], Copies(2, 3)))["features"].view(2, 3, -1)
    alone = linear_starts(G, model, y[2:], drawn_states(G, [0], Copies(2, 1)))["features"].view(2, 1, -1)
    torch.testing.assert_close(alone, together[:, 2:])


def test_the_same_seed_gives_the_same_model_whatever_the_batch():
    G, _ = linear_generator()
    y = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(3))
    A = operators.Identity(SHAPE)
    torch.testing.assert_close(
        linear_model(G, A, rng=4).estimate(y), linear_model(G, A, rng=4, batch=100).estimate(y), rtol=1e-4, atol=1e-5
    )
    assert not torch.equal(linear_model(G, A, rng=4).estimate(y), linear_model(G, A, rng=5).estimate(y))


def test_an_operator_that_is_not_linear_will_do():
    G, _ = linear_generator()
    z = G.sample(4, 0, "truth")
    y = (3 * G(z)).tanh()
    found = linear_model(G, lambda x: (3 * x).tanh()).estimate(y)
    assert (found - z["features"]).square().mean() < 0.25 * z["features"].square().mean()


@torch.no_grad()
def test_on_faces_it_is_nearer_the_truth_than_the_mean_image(dcgan):
    truth = dcgan(dcgan.sample(8, 0, "truth"))
    A = operators.RandomInpainting(dcgan.image_shape, keep=0.1, rng=0)
    model = linear_model(dcgan, A, samples=512)
    found = dcgan(model.estimate(A(truth)).view(8, *dcgan.latent_shapes["features"]))
    mean = dcgan(dcgan.sample(256, 0)).mean(0)
    gained = 10 * ((truth - mean).square().mean() / (truth - found).square().mean()).log10()
    assert gained > 1.0


def test_one_sample_is_not_enough():
    G, _ = linear_generator()
    with pytest.raises(ValueError, match="samples must be an integer of at least 2"):
        linear_model(G, operators.Identity(SHAPE), samples=1)
