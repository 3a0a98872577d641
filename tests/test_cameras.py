"""Cameras: what they measure, their gradients, their noise and the units in which it is alike; JPEG against libjpeg."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from ilo import operators
from ilo.images import astronaut_face
from ilo.operators import (
    JPEG,
    Camera,
    Exposure,
    FourierMagnitudes,
    Function,
    Photons,
    Speckle,
    UnknownBlur,
    chain,
    measure,
)
from ilo.operators.camera import Weighted
from ilo.operators.sensors import below

SHAPE = (3, 10, 7)


def images(n: int = 2, shape=SHAPE, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return 1.6 * torch.rand(n, *shape, generator=g, dtype=torch.float64) - 0.8


CAMERAS = {
    "exposure": lambda: Exposure(SHAPE, 1.3, 1 / 2.2),
    "photons": lambda: Photons(SHAPE, 20.0, 0.1),
    "roots": lambda: Photons(SHAPE, 20.0).whitened(torch.zeros(1, *SHAPE))[0],
    "speckle": lambda: Speckle(SHAPE, 0.3),
    "logarithms": lambda: Speckle(SHAPE, 0.3).whitened(torch.zeros(1, *SHAPE))[0],
    "magnitudes": lambda: FourierMagnitudes(SHAPE, 2),
    "coefficients": lambda: JPEG(SHAPE, 30).whitened(torch.zeros(1, *SHAPE))[0],
    "chain": lambda: chain(operators.Blur(SHAPE, sigma=1.0), Exposure(SHAPE, 1.5), operators.Grayscale(SHAPE)),
    "function": lambda: Function(lambda x: x.flatten(1)[:, ::2].sin(), SHAPE, (105,)),
}


@pytest.mark.parametrize("name", CAMERAS)
def test_a_camera_has_the_gradient_of_finite_differences(name):
    A, x, d = CAMERAS[name]().double(), images(), images(seed=1)
    x.requires_grad_()
    y = A(x)
    weights = torch.linspace(0, 1, y.numel(), dtype=y.dtype).view_as(y)
    (gradient,) = torch.autograd.grad((weights * y).sum(), x)
    h = 1e-6
    about = (A(x + h * d) - A(x - h * d)) / (2 * h)
    torch.testing.assert_close((gradient * d).sum(), (weights * about).sum(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CAMERAS)
def test_a_camera_measures_each_image_by_itself_and_parts_of_them(name):
    A, x = CAMERAS[name]().double(), images(3)
    y = A(x)
    assert tuple(y.shape[1:]) == A.shape_out
    torch.testing.assert_close(A(x[1:2]), y[1:2])
    kept, held = A.split(0.3, 0)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(math.prod(A.shape_out)))
    assert not set(A.units()[kept].tolist()) & set(A.units()[held].tolist())
    part = A.rows(held)
    assert torch.equal(part(x), y.flatten(1)[:, held])
    assert torch.equal(part.units(), A.units()[held])
    assert torch.equal(part.rows([1, 0])(x), y.flatten(1)[:, held[[1, 0]]])
    assert A.picture(y).shape == x.shape


def test_it_refuses_what_is_no_image_of_its_shape():
    with pytest.raises(ValueError, match=r"Exposure takes images \(B, 3, 10, 7\), got \(3, 10, 7\)"):
        Exposure(SHAPE)(torch.zeros(SHAPE))
    with pytest.raises(ValueError, match="the shape that inner measures"):
        Exposure((3, 4, 4)) @ Exposure(SHAPE)
    with pytest.raises(ValueError, match="below 1"):
        Photons(SHAPE, 3.0, 1.0)
    with pytest.raises(ValueError, match="RGB"):
        JPEG((1, 8, 8))
    with pytest.raises(ValueError, match="at least one part"):
        chain()
    with pytest.raises(ValueError, match="do not fit a batch of 3"):
        Weighted(Exposure(SHAPE), images(2), images(2))(images(3))


@pytest.mark.parametrize("size", [(64, 64), (50, 39)])
@pytest.mark.parametrize("quality", [6, 18, 50, 75, 95])
@pytest.mark.parametrize("subsample", [True, False])
def test_jpeg_is_libjpegs(size, quality, subsample):
    x = astronaut_face(64)[..., : size[0], : size[1]]
    pixels = ((x[0] + 1) * 127.5).round().byte().permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "JPEG", quality=quality, subsampling=2 if subsample else 0)
    read = Image.open(file)
    A = JPEG((3, *size), quality, subsample)
    assert [A.steps[i].flatten().int().tolist() for i in (0, 1)] == [list(read.quantization[i]) for i in (0, 1)]
    theirs = torch.from_numpy(np.array(read)).permute(2, 0, 1).float()
    ours = (A(pixels.permute(2, 0, 1)[None] / 127.5 - 1)[0] + 1) * 127.5
    # Their transforms are of integers: some coefficients round to the other side, of colours at half resolution more.
    assert (ours - theirs).abs().mean() < (1.1 if subsample else 0.7), "of 255 levels"
    assert (ours - ours.round()).abs().max() < 1e-3


def test_jpeg_passes_gradients_and_its_coefficients_are_what_it_rounds():
    A, x = JPEG((3, 16, 16), 20), images(2, (3, 16, 16)).float()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(A(x).sum(), x)
    assert gradient.abs().mean() > 0.1
    y = A(x.detach())
    coefficients, steps, deviation = A.whitened(y)
    assert 0.05 < deviation < 1 / math.sqrt(12)
    assert torch.equal(steps, steps.round())
    apart = coefficients(x.detach()) - steps
    assert apart[:, :256].abs().max() < 0.6, "luma: the truth lies in the bin that was kept"
    assert apart.abs().quantile(0.95) < 0.6


def test_photons_are_poisson_and_their_roots_have_one_noise():
    A = Photons((1, 60, 60), 30.0)
    x = torch.linspace(-0.6, 0.4, 60).expand(1, 1, 60, 60).contiguous()
    drawn = torch.cat([A.draw(x, seed) for seed in range(8)])
    assert (drawn.mean((0, 1, 2)) - A(x)[0, 0, 0]).abs().max() < 0.1
    variance = (drawn.var((0, 1, 2)) / (4 * (x[0, 0, 0] + 1) / 2 / 30)).mean()
    assert variance == pytest.approx(1, abs=0.1)
    roots, seen, deviation = A.whitened(drawn)
    rest = (seen - roots(x)) / deviation
    assert rest.std() == pytest.approx(1, abs=0.05)
    assert rest.mean().abs() < 0.05
    assert rest[..., :10].std() == pytest.approx(float(rest[..., -10:].std()), abs=0.1)


@pytest.mark.parametrize("photons", [0.1, 0.3, 1.0, 2.0, 5.0, 20.0])
def test_the_mean_root_is_that_of_the_poisson_distribution(photons):
    roots = Photons((1, 1, 1), 100.0).whitened(torch.zeros(1, 1, 1, 1))[0]
    n = torch.arange(150, dtype=torch.float64)
    chances = torch.exp(n * math.log(photons) - photons - torch.lgamma(n + 1))
    expected = float((chances * (n + 3 / 8).sqrt()).sum())
    found = roots(torch.full((1, 1, 1, 1), 2 * photons / 100 - 1))
    assert float(found) == pytest.approx(float(roots.scaled(torch.tensor(expected))), abs=0.01 * roots._scale)


def test_what_is_cut_at_white_is_lower_on_average():
    z = 0.9 + 0.2 * torch.randn(200000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = below(torch.tensor(0.9).double(), torch.tensor(0.2).double(), 1.0)
    assert float(z.clamp(max=1).mean()) == pytest.approx(float(expected), abs=2e-3)


def test_dead_pixels_have_no_weight_and_dark_ones_some():
    shape = (3, 32, 32)
    bright = torch.full((2, *shape), 0.5)
    A = Photons(shape, 24.0, 0.3)
    y = A.draw(bright, 1)
    dead = (y == -1).all(1)
    assert dead.float().mean() == pytest.approx(0.3, abs=0.05)
    white, seen, _ = A.whitened(y)
    assert (white.weights[:, 0][dead] < 1e-3).all()
    assert (white.weights[:, 0][~dead] == 1).all()
    camera, unweighted = white.shared(seen)
    assert torch.equal(seen, unweighted * white.weights)
    assert camera(bright[:1]).shape == (1, *shape)
    three = torch.cat([bright, bright, bright])
    torch.testing.assert_close(white(three)[2:4], white(bright))
    dark = torch.full((1, *shape), -0.98)  # a quarter of a photon: none is no sign of death
    weights = A.whitened(A.draw(dark, 1))[0].weights
    assert weights.mean() > 0.5
    assert weights.min() > 0.3


def test_speckle_is_normal_in_logarithms():
    A, x = Speckle((1, 50, 50), 0.4), torch.zeros(2, 1, 50, 50)
    logarithms, seen, deviation = A.whitened(A.draw(x, 0))
    assert deviation == 0.4
    assert (seen - logarithms(x)).std() == pytest.approx(0.4, abs=0.02)


def test_magnitudes_forget_phases_only():
    A, x = FourierMagnitudes(SHAPE, 2).double(), images()
    torch.testing.assert_close(A(x.flip(-1, -2)), A(x))
    whole = torch.fft.fft2((x + 1) / 2, s=A.sides, norm="ortho").abs()
    torch.testing.assert_close(A(x), whole[..., : A.sides[1] // 2 + 1], rtol=1e-6, atol=1e-6)
    units, y = A.units(), A(x).flatten(1)
    for unit in units.unique()[:40]:
        entries = y[0, units == unit].view(3, -1)
        torch.testing.assert_close(entries, entries[:, :1].expand_as(entries))


@pytest.mark.parametrize("make", [lambda: Photons(SHAPE, 9.0, 0.2), lambda: Speckle(SHAPE, 0.2)])
def test_a_sample_draws_the_same_noise_whatever_the_batch(make):
    A, x = make(), images(3).float()
    y = A.draw(x, 5)
    assert torch.equal(A.draw(x[:1], 5), y[:1])
    assert torch.equal(A.draw(x, 5), y)
    assert not torch.equal(A.draw(x, 6), y)
    seeds = measure(A, x, rng=[7, 8, 7])
    assert torch.equal(measure(A, x[:2], rng=[7, 8]), seeds[:2])
    twice = measure(chain(A, A), x[:1], rng=7)
    assert twice.shape == x[:1].shape


def test_a_chain_draws_the_noise_of_all_its_parts_and_hands_on_what_whitens_it():
    blur, photons = operators.Blur(SHAPE, sigma=1.0), Photons(SHAPE, 40.0)
    x = images(2).float()
    A = chain(blur, photons)
    white, _, deviation = A.whitened(A.draw(x, 0))
    assert deviation == photons.whitened(A.draw(x, 0))[2], "the lens has no noise"
    torch.testing.assert_close(white(x), photons.whitened(A.draw(x, 0))[0](blur(x)))
    assert chain(photons, Exposure(SHAPE)).whitened(x)[2] is None
    assert chain(photons, JPEG(SHAPE)).whitened(x)[2] is None, "two noises"
    mask = operators.RandomInpainting(SHAPE, keep=0.5, rng=0)
    masked = mask @ A
    y = masked.draw(x, 3)
    assert y.shape == (2, 3, 35)
    white, seen, deviation = masked.whitened(y)
    whole = A.whitened(mask.adjoint(y + 1) - 1)
    torch.testing.assert_close(seen, whole[1].flatten(1)[:, mask.index])
    torch.testing.assert_close(white(x), whole[0](x).flatten(1)[:, mask.index])
    assert deviation == whole[2]


def test_one_seed_per_sample():
    with pytest.raises(ValueError, match="2 seeds for 3 samples"):
        Photons(SHAPE, 3.0).draw(images(3), [1, 2])
    assert isinstance(chain(Exposure(SHAPE)), Camera)


@pytest.mark.parametrize("width", [1.0, 2.0])
def test_the_width_of_a_blur_is_found_problem_by_problem(width):
    shape = (3, 64, 64)
    x = torch.cat([astronaut_face(64), astronaut_face(64).flip(-1).roll(9, -1)])
    y = measure(operators.Blur(shape, sigma=width), x, noise=0.02, rng=0)
    A = UnknownBlur(shape)
    assert A.widths(y) == pytest.approx(torch.full((2,), width).double(), rel=0.15)
    assert torch.equal(A.widths(y[1:]), A.widths(y)[1:])
    found, seen, deviation = A.whitened(y)
    assert seen is y
    assert deviation is None
    for i, sigma in enumerate(found.sigmas):
        torch.testing.assert_close(found(x)[i], operators.Blur(shape, sigma=sigma)(x)[i])
    assert torch.equal(found(torch.cat([x, x]))[2:], found(x))
    part = found.rows([5, 3])
    anything, same = part.shared(y)
    assert same is y
    assert anything(x[:1]).shape == (1, 2), "a batch of any size, for what is fitted to samples"
    with pytest.raises(ValueError, match="do not fit a batch of 3"):
        found(torch.zeros(3, *shape))
    with pytest.raises(ValueError, match="least must be below most"):
        UnknownBlur(shape, 2.0, 1.0)
