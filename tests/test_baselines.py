"""The baselines: each against an independent solver, closed form or reference, and what all of them promise."""

import math
import sys
from itertools import pairwise

import numpy as np
import pytest
import pywt
import torch
import torch.nn.functional as F
from first_writer import genforce, random_net
from PIL import Image
from scipy.fft import dctn
from skimage.restoration import denoise_tv_chambolle
from sklearn.linear_model import Lasso
from torch import nn

import ilo
from ilo import baselines, metrics
from ilo.baselines import untrained, weights
from ilo.generators import Generator, random_stylegan2, stylegan1, stylegan2
from ilo.images import astronaut_face
from ilo.operators import (
    Blur,
    Downsample,
    GaussianSensing,
    Grayscale,
    Identity,
    PartialCirculant,
    PartialFourier,
    RandomInpainting,
    matrix,
    measure,
)
from ilo.rng import normal

SHAPE = (3, 10, 13)
OPERATORS = {
    "identity": Identity(SHAPE),
    "inpainting": RandomInpainting(SHAPE, keep=0.4, rng=1),
    "gaussian": GaussianSensing(SHAPE, m=120, rng=1),
    "circulant": PartialCirculant(SHAPE, m=120, rng=1),
    "fourier": PartialFourier(SHAPE, m=30, rng=1),
    "downsample": Downsample(SHAPE, factor=2),
    "blur": Blur(SHAPE, sigma=1.0),
    "grayscale": Grayscale(SHAPE),
    "composition": Grayscale(SHAPE) @ Blur(SHAPE, sigma=0.7),
    "rows": GaussianSensing(SHAPE, m=120, rng=1).rows(range(0, 120, 2)),
}
METHODS = {
    "lasso_dct": baselines.lasso_dct,
    "lasso_wavelet": baselines.lasso_wavelet,
    "total_variation": baselines.total_variation,
    "deep_decoder": baselines.deep_decoder,
}
SHORT = {
    "lasso_dct": {"steps": 20},
    "lasso_wavelet": {"steps": 20, "wavelet": "haar"},
    "total_variation": {"steps": 20},
    "deep_decoder": {"steps": 5, "width": 6, "levels": 2},
}


def images(n=3, shape=SHAPE, dtype=torch.float32):
    """Smooth pictures with an edge, in [−1, 1]."""
    coarse = normal(7, n, (shape[0], 3, 3), purpose="sample", dtype=dtype)
    x = F.interpolate(coarse, size=shape[1:], mode="bilinear").mul(0.6).clamp(-1, 1)
    x[:, :, :, shape[2] // 2 :] *= 0.5
    return x


def face(n=1):
    """The astronaut's face and its mirror image, as many as asked for."""
    x = astronaut_face()
    return torch.cat([x, x.flip(-1), x.flip(1), x.roll(5, -1)])[:n]


# What every method promises


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_every_operator(method, operator, dtype):
    A = OPERATORS[operator].to(dtype)
    y = A(images(dtype=dtype))
    x = METHODS[method](A, y, **SHORT[method])
    OPERATORS[operator].to(torch.float32)
    assert x.shape == (3, *SHAPE)
    assert x.dtype == dtype
    assert not x.requires_grad
    ilo.images.check_images(x)
    assert (x - x.mean((2, 3), keepdim=True)).abs().max() > 0.01, "a blank image is no answer"


@pytest.mark.parametrize("shape", [(1, 7, 9), (3, 1, 8), (2, 16, 6)])
@pytest.mark.parametrize("method", METHODS)
def test_any_shape(method, shape):
    A = RandomInpainting(shape, keep=0.6, rng=0)
    x = METHODS[method](A, A(images(2, (shape[0], max(shape[1], 2), shape[2]))[:, :, : shape[1]]), **SHORT[method])
    assert x.shape == (2, *shape)
    assert torch.isfinite(x).all()


@pytest.mark.parametrize("operator", ["inpainting", "gaussian", "circulant"])
@pytest.mark.parametrize("method", METHODS)
def test_a_problem_does_not_depend_on_its_batch(method, operator):
    A = OPERATORS[operator].to(torch.float64)
    y = A(images(dtype=torch.float64)) * torch.tensor([1.0, 0.1, 0.7], dtype=torch.float64)[:, None, None].view(
        3, *[1] * len(A.shape_out)
    )
    together = METHODS[method](A, y, **SHORT[method])
    alone = torch.cat([METHODS[method](A, part[None], **SHORT[method]) for part in y])
    again = METHODS[method](A, y, **SHORT[method])
    A.to(torch.float32)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)
    assert torch.equal(together, again), "the same call gives the same image"


@pytest.mark.parametrize("method", METHODS)
def test_callers_need_not_turn_gradients_off_or_on(method):
    A = OPERATORS["inpainting"]
    y = A(images())
    expected = METHODS[method](A, y, **SHORT[method])
    with torch.no_grad():
        assert torch.equal(METHODS[method](A, y, **SHORT[method]), expected)


@pytest.mark.parametrize("method", METHODS)
def test_bad_input_is_named(method):
    A = OPERATORS["inpainting"]
    y = A(images())
    solve = METHODS[method]
    with pytest.raises(ValueError, match="NaN or infinite"):
        solve(A, y * torch.inf)
    with pytest.raises(ValueError, match="batch first"):
        solve(A, y[:0])
    with pytest.raises(TypeError, match="floating point"):
        solve(A, (y * 100).int())
    with pytest.raises(TypeError, match=r"torch\.Tensor"):
        solve(A, y.numpy())
    with pytest.raises(ValueError, match="steps must be an integer of at least 1"):
        solve(A, y, steps=0)
    with pytest.raises(ValueError, match="steps must be an integer of at least 1"):
        solve(A, y, steps=True)
    with pytest.raises(ValueError, match="shape"):
        solve(A, y[:, :, 1:])


@pytest.mark.parametrize("method", METHODS)
def test_counts_may_be_numpys(method):
    A = OPERATORS["inpainting"]
    y = A(images())
    short = {name: np.int64(n) if isinstance(n, int) else n for name, n in SHORT[method].items()}
    assert torch.equal(METHODS[method](A, y, **short), METHODS[method](A, y, **SHORT[method]))


@pytest.mark.parametrize("method", ["lasso_dct", "lasso_wavelet", "total_variation"])
def test_bad_weights_and_operators_are_named(method):
    A = OPERATORS["inpainting"]
    y = A(images())
    solve = METHODS[method]
    with pytest.raises(ValueError, match="weight must be finite and at least 0"):
        solve(A, y, weight=-1.0)
    with pytest.raises(ValueError, match="one per problem"):
        solve(A, y, weight=torch.ones(2))
    with pytest.raises(ValueError, match="noise"):
        solve(A, y, noise=-0.1)
    with pytest.raises(TypeError, match="linear operator"):
        solve(torch.sigmoid, y)


@pytest.mark.parametrize("method", ["lasso_dct", "lasso_wavelet", "total_variation"])
def test_a_weight_a_problem(method):
    A = OPERATORS["inpainting"].to(torch.float64)
    y = A(images(dtype=torch.float64))
    each = [0.0, 0.01, 0.3]
    together = METHODS[method](A, y, weight=torch.tensor(each, dtype=torch.float64), **SHORT[method])
    alone = torch.cat([METHODS[method](A, y[i : i + 1], weight=w, **SHORT[method]) for i, w in enumerate(each)])
    A.to(torch.float32)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


# The rule for weights


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_column_scale_is_the_frobenius_norms(operator):
    A = OPERATORS[operator]
    expected = matrix(A).norm().item() / math.sqrt(math.prod(SHAPE))
    assert baselines.column_scale(A) == pytest.approx(expected, rel=0.1)


def test_weights_grow_with_noise_and_measurements():
    A = OPERATORS["inpainting"]
    assert baselines.column_scale(A) == pytest.approx(math.sqrt(0.4), rel=1e-6)  # orthogonal columns: exact
    low, high = (baselines.default_weight("total_variation", A, s) for s in (0.1, 0.3))
    assert high == pytest.approx(3 * low)
    assert baselines.default_weight("lasso_dct", A, 0.0) > 0
    for method, scale in (("total_variation", 0.4), ("lasso_dct", math.sqrt(0.4))):  # ‖A‖ = 1
        expected = weights.FACTORS[method] * 0.1 * scale
        assert baselines.default_weight(method, A, 0.1) == pytest.approx(expected, rel=1e-3)
    with pytest.raises(ValueError, match="method must be one of"):
        baselines.default_weight("csgm", A, 0.1)
    for method, solve in METHODS.items():
        if method in weights.FACTORS:
            y = A(images())
            expected = solve(A, y, weight=baselines.default_weight(method, A, 0.3), **SHORT[method])
            assert torch.equal(solve(A, y, noise=0.3, **SHORT[method]), expected)


# LASSO


@pytest.mark.parametrize("shape", [(8, 8), (5, 9), (1, 6)])
def test_the_cosine_transform_is_scipys(shape):
    analysis, synthesis = baselines.cosine_transform(*shape)
    x = normal(0, 2, (3, *shape), purpose="sample", dtype=torch.float64)
    np.testing.assert_allclose(analysis(x).numpy(), dctn(x.numpy(), axes=(2, 3), norm="ortho"), atol=1e-12)
    torch.testing.assert_close(synthesis(analysis(x)), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("wavelet", "levels"), [("haar", 5), ("db2", 4), ("db4", 3)])
def test_the_wavelet_transform_is_pywavelets(wavelet, levels):
    """Level by level with `dwt2`, as deep as sides of 32 are no shorter than the filter."""
    analysis, synthesis = baselines.wavelet_transform(32, 32, wavelet)
    x = normal(0, 2, (3, 32, 32), purpose="sample", dtype=torch.float64)
    expected = x.numpy().copy()
    for level in range(levels):
        side = 32 >> level
        corner = expected[..., :side, :side]
        coarse, (rows, columns, both) = pywt.dwt2(corner.copy(), wavelet, mode="periodization", axes=(2, 3))
        corner[...] = np.block([[coarse, columns], [rows, both]])  # `rows`: details down, smooth across
    before = x.clone()
    np.testing.assert_allclose(analysis(x).numpy(), expected, atol=1e-10)
    torch.testing.assert_close(synthesis(analysis(x)), x, rtol=0, atol=1e-10)
    assert torch.equal(x, before), "what is given is left alone"


@pytest.mark.parametrize("shape", [(8, 8), (16, 12), (8, 7), (5, 9), (32, 8)])
@pytest.mark.parametrize("wavelet", ["haar", "db4", "sym4"])
def test_the_wavelet_basis_is_orthonormal(wavelet, shape):
    analysis, synthesis = baselines.wavelet_transform(*shape, wavelet)
    n = math.prod(shape)
    basis = torch.eye(n, dtype=torch.float64).view(n, 1, *shape)
    psi = analysis(basis).view(n, n)
    torch.testing.assert_close(psi @ psi.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-10)
    torch.testing.assert_close(synthesis(basis).view(n, n), psi.T, rtol=0, atol=1e-10)


@pytest.mark.parametrize("wavelet", ["bior2.2", "nonsense", "mexh"])
def test_wavelets_without_an_orthonormal_basis_are_refused(wavelet):
    A = Identity((1, 8, 8))
    with pytest.raises(ValueError, match="wavelet"):
        baselines.lasso_wavelet(A, torch.zeros(1, 1, 8, 8), wavelet=wavelet)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pywt", None)
    with pytest.raises(ImportError, match=r"ilo\[experiments\]"):
        baselines.lasso_wavelet(Identity((1, 22, 22)), torch.zeros(1, 1, 22, 22))
    assert baselines.lasso_dct(Identity((1, 4, 4)), torch.zeros(1, 1, 4, 4)).shape == (1, 1, 4, 4)


@pytest.mark.parametrize("weight", [0.3, 0.02])
@pytest.mark.parametrize("operator", ["gaussian", "inpainting", "circulant"])
def test_fista_finds_what_scikit_learn_finds(operator, weight):
    """Coordinate descent on the explicit matrix, one image at a time: another algorithm on the same problem."""
    A = OPERATORS[operator].to(torch.float64)
    x = images(2, dtype=torch.float64)
    y = A(x) + 0.05 * normal(3, 2, A.shape_out, purpose="sample", dtype=torch.float64)
    analysis, synthesis = baselines.cosine_transform(*SHAPE[1:])
    found = baselines.fista(A, y, analysis, synthesis, weight=weight, steps=3000)
    n, dense = math.prod(SHAPE), matrix(A).double()
    A.to(torch.float32)
    psi = analysis(torch.eye(n, dtype=torch.float64).view(n, *SHAPE)).view(n, n)  # row i: Ψ of pixel i
    design = (dense @ psi).numpy()  # A Ψᵀ, of the coefficients
    m = len(design)
    for i in range(2):
        lasso = Lasso(alpha=weight / m, fit_intercept=False, tol=1e-12, max_iter=200_000)
        expected = lasso.fit(design, y[i].flatten().numpy()).coef_

        def objective(c, i=i):
            return 0.5 * ((design @ c - y[i].flatten().numpy()) ** 2).sum() + weight * np.abs(c).sum()

        c = analysis(found[i : i + 1]).flatten().numpy()
        assert objective(c) == pytest.approx(objective(expected), rel=1e-6)
        np.testing.assert_allclose(
            design @ c, design @ expected, atol=2e-3
        )  # unique, where the coefficients may not be


def test_fista_meets_the_optimality_conditions():
    """0 ∈ Ψ Aᵀ(A x − y) + weight·∂‖Ψ x‖₁: |gradient| ≤ weight everywhere, and = −weight·sign where c ≠ 0."""
    A = GaussianSensing((1, 16, 16), m=100, rng=2).to(torch.float64)
    y = A(images(2, (1, 16, 16), torch.float64))
    analysis, synthesis = baselines.wavelet_transform(16, 16, "db4")
    weight = 0.05
    x = baselines.fista(A, y, analysis, synthesis, weight=weight, steps=4000)
    c, gradient = analysis(x), analysis(A.adjoint(A(x) - y))
    assert gradient.abs().max() <= weight * (1 + 1e-4)
    active = c.abs() > 1e-6
    assert 10 < active.sum() < c.numel() / 2, "a test on no or all coefficients shows nothing"
    torch.testing.assert_close(gradient[active], -weight * c[active].sign(), rtol=0, atol=1e-4 * weight)


def test_the_default_steps_are_enough():
    """At a tenth of the measurements, what 150 steps give is within 1 % of the least objective."""
    shape = (1, 32, 32)
    A = GaussianSensing(shape, m=102, rng=0)
    y = measure(A, face(2).mean(1, keepdim=True)[:, :, ::2, ::2], noise=0.02)
    analysis, synthesis = baselines.cosine_transform(32, 32)
    weight = baselines.default_weight("lasso_dct", A, 0.02)

    def objective(steps):
        x = baselines.fista(A, y, analysis, synthesis, weight=weight, steps=steps)
        return 0.5 * (A(x) - y).square().sum(1) + weight * analysis(x).abs().sum((1, 2, 3))

    assert (objective(150) <= 1.01 * objective(5000)).all()


@pytest.mark.parametrize("basis", ["cosine", "wavelet"])
def test_a_sparse_image_is_recovered_from_enough_measurements(basis):
    """12 of 256 coefficients from 128 noiseless Gaussian measurements: what compressed sensing promises."""
    shape = (1, 16, 16)
    _, synthesis = (
        baselines.cosine_transform(16, 16) if basis == "cosine" else baselines.wavelet_transform(16, 16, "db4")
    )
    c = torch.zeros(2, 256, dtype=torch.float64)
    for i in range(2):
        where = torch.randperm(256, generator=torch.Generator().manual_seed(i))[:12]
        c[i, where] = normal(i, 1, (12,), purpose="sample", dtype=torch.float64)[0]
    x = synthesis(c.view(2, *shape))
    x = x / x.abs().max()
    A = GaussianSensing(shape, m=128, rng=0).to(torch.float64)
    method = baselines.lasso_dct if basis == "cosine" else baselines.lasso_wavelet
    found = method(A, A(x), weight=1e-4, steps=1000)
    assert (found - x).norm() < 0.01 * x.norm()
    other = baselines.lasso_wavelet if basis == "cosine" else baselines.lasso_dct
    assert (other(A, A(x), weight=1e-4, steps=1000) - x).norm() > 0.1 * x.norm(), "in the other basis it is not sparse"


def test_a_large_weight_leaves_nothing():
    A = OPERATORS["gaussian"]
    assert (baselines.lasso_dct(A, A(images()), weight=1e6) == 0).all()


# Total variation


def test_total_variation_of_a_step_is_what_the_formula_gives():
    """ROF of a step of height h between n_1 and n_2 columns: the sides move by weight/n_1 and weight/n_2 towards
    each other. (With C equal channels the coupled TV of a row is √C·h, so the sides move by 1/√C of it.)"""
    for channels in (1, 3):
        x = torch.full((1, channels, 6, 10), -0.5, dtype=torch.float64)
        x[..., 4:] = 0.7
        weight = 0.3
        found = baselines.total_variation(Identity(x.shape[1:]), x, weight=weight, steps=3000)
        expected = x.clone()
        expected[..., :4] += weight / 4 / math.sqrt(channels)
        expected[..., 4:] -= weight / 6 / math.sqrt(channels)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        assert baselines.variation(x).item() == pytest.approx(6 * 1.2 * math.sqrt(channels))


@pytest.mark.parametrize("weight", [0.05, 0.3])
def test_total_variation_is_as_low_as_scikit_images(weight):
    """The same objective, by Chambolle's projection method, run long."""
    x = face(1).double().mean(1, keepdim=True)
    y = (x + 0.1 * normal(0, 1, x.shape[1:], purpose="sample", dtype=torch.float64)).clamp(-1, 1)
    found = baselines.total_variation(Identity(x.shape[1:]), y, weight=weight, steps=2000)
    expected = denoise_tv_chambolle(y[0, 0].numpy(), weight=weight, eps=1e-12, max_num_iter=3000)

    def objective(u):
        return (0.5 * (u - y).square().sum() + weight * baselines.variation(u)[0]).item()

    expected = torch.from_numpy(expected)[None, None]
    assert objective(found) <= objective(expected) * (1 + 1e-5)
    assert (found - expected).abs().max() < 0.02
    assert (found - y).abs().max() > 0.03, "the weight does something"


@pytest.mark.parametrize("operator", ["inpainting", "gaussian", "downsample", "grayscale"])
def test_total_variation_is_at_its_minimum(operator):
    """The objective is convex: no small move to any other image of the box lowers it."""
    A = OPERATORS[operator].to(torch.float64)
    x = images(2, dtype=torch.float64)
    y = A(x)
    weight = 0.05
    found = baselines.total_variation(A, y, weight=weight, steps=5000)

    def objective(u):
        return 0.5 * (A(u) - y).square().flatten(1).sum(1) + weight * baselines.variation(u)

    value = objective(found)
    others = [
        x,
        torch.zeros_like(x),
        A.adjoint(y).clamp(-1, 1),
        *(normal(s, 2, SHAPE, purpose="sample").double().clamp(-1, 1) for s in range(8)),
    ]
    for other in others:
        for share in (1e-3, 1e-2, 1.0):
            assert (objective(found + share * (other - found)) >= value - 1e-6 * value).all()
    A.to(torch.float32)


def test_total_variation_stays_in_the_box_and_uses_it():
    """Where measurements lie outside [−1, 1], the best image inside is not the clipped best image."""
    A = Blur((1, 1, 12), sigma=1.0)
    y = A(torch.where(torch.arange(12) < 6, -1.0, 1.0).view(1, 1, 1, 12)) * 1.3
    found = baselines.total_variation(A, y, weight=1e-3, steps=2000)
    assert found.abs().max() <= 1


# Deep decoder


def test_the_decoder_has_the_weights_that_are_counted():
    features, weights = untrained._begin(torch.zeros(2, 5), 3, (8, 8), 32, 3, 0)
    assert features.shape == (2, 32, 8, 8)
    count = sum(w[0].numel() for w in weights)
    assert count == baselines.weights_of((3, 64, 64), 32, 3) == 4448
    assert count < 3 * 64 * 64, "under-parameterised, as in the paper"


def test_the_enlargement_is_bilinear_interpolation():
    x = normal(0, 2, (3, 4, 5), purpose="sample", dtype=torch.float64)
    down, across = untrained._enlarge(4, 7), untrained._enlarge(5, 10)
    expected = F.interpolate(x, size=(7, 10), mode="bilinear", align_corners=False)
    torch.testing.assert_close(down @ x @ across.T, expected)


def test_the_batched_decoder_is_the_network_of_the_paper():
    """Against plain modules: 1×1 convolution, up-sampling, ReLU, batch normalisation of one image; tanh at the end."""
    features, weights = untrained._begin(torch.zeros(2, 1, dtype=torch.float64), 3, (4, 4), 6, 2, [5, 6])
    for w in weights:
        w.data += 0.1 * normal(9, 2, w.shape[1:], purpose="sample", dtype=torch.float64)
    enlarge = [[untrained._enlarge(4 * 2**i, 8 * 2**i)] * 2 for i in range(2)]
    found = untrained._decode(features, weights, enlarge)
    for i in range(2):
        x = features[i : i + 1]
        for level in range(3):
            mix, scale, shift = (w[i] for w in weights[3 * level : 3 * level + 3])
            x = F.conv2d(x, mix[:, :, None, None])
            x = F.relu(x if level == 2 else F.interpolate(x, scale_factor=2, mode="bilinear"))
            x = F.batch_norm(x, None, None, scale[:, 0], shift[:, 0], training=True)
        expected = torch.tanh(F.conv2d(x, weights[-1][i][:, :, None, None]))
        torch.testing.assert_close(found[i : i + 1], expected)


def test_the_deep_decoder_denoises():
    """What it gives is nearer to the face than the noisy measurements, by 3 dB and more."""
    x = face(1)
    A = Identity(x.shape[1:])
    y = measure(A, x, noise=0.3)
    found = baselines.deep_decoder(A, y, steps=150, width=16)
    noisy = metrics.psnr(y.clamp(-1, 1), x)
    assert (metrics.psnr(found, x) > noisy + 3).all()


def test_the_deep_decoder_takes_operators_that_are_not_linear():
    x = images(1)
    y = (2 * x).tanh()
    with pytest.raises(ValueError, match="give shape"):
        baselines.deep_decoder(lambda u: (2 * u).tanh(), y)
    found = baselines.deep_decoder(lambda u: (2 * u).tanh(), y, shape=SHAPE, width=12, levels=2, steps=150)
    assert ((2 * found).tanh() - y).square().mean() < 0.1 * y.square().mean()


def test_the_deep_decoders_seeds():
    A = OPERATORS["inpainting"]
    y = A(images())
    short = SHORT["deep_decoder"]
    one, other = (baselines.deep_decoder(A, y, rng=seed, **short) for seed in (0, 1))
    assert not torch.equal(one, other)
    mixed = baselines.deep_decoder(A, y, rng=[0, 1, 0], **short)
    torch.testing.assert_close(mixed, torch.stack([one[0], other[1], one[2]]))
    with pytest.raises(ValueError, match="2 seeds for 3 problems"):
        baselines.deep_decoder(A, y, rng=[0, 1], **short)


def test_more_steps_never_fit_worse():
    A = OPERATORS["gaussian"]
    y = A(images())
    errors = [
        (A(baselines.deep_decoder(A, y, steps=n, width=6, levels=2)) - y).square().mean(1) for n in (1, 5, 20, 60)
    ]
    assert all((b <= a * (1 + 1e-4)).all() for a, b in pairwise(errors))


# Bicubic interpolation


@pytest.mark.parametrize("kernel", ["bicubic", "box"])
def test_bicubic_is_pillows(kernel):
    """Pillow's cubic convolution has a = −0.5 and the same pixel centres."""
    A = Downsample((1, 64, 48), factor=4, kernel=kernel)
    y = A(face(1).mean(1, keepdim=True)[..., :48]) * 0.8
    found = baselines.bicubic(A, y)
    expected = np.asarray(Image.fromarray(y[0, 0].numpy()).resize((48, 64), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-5)


def test_bicubic_keeps_plane_images_where_factor_does_not_divide():
    A = Downsample((1, 30, 43), factor=4).to(torch.float64)
    plane = (torch.arange(43, dtype=torch.float64) / 43 + torch.arange(30, dtype=torch.float64)[:, None] / 60 - 0.7)[
        None, None
    ]
    found = baselines.bicubic(A, A(plane))
    assert found.shape == (1, 1, 30, 43)
    torch.testing.assert_close(found[..., 10:-10, 10:-10], plane[..., 10:-10, 10:-10], rtol=0, atol=1e-3)


def test_bicubic_is_for_super_resolution():
    A = OPERATORS["inpainting"]
    with pytest.raises(ValueError, match="Downsample"):
        baselines.bicubic(A, A(images()))
    A = OPERATORS["downsample"]
    with pytest.raises(ValueError, match="shape"):
        baselines.bicubic(A, images())
    with pytest.raises(ValueError, match="NaN"):
        baselines.bicubic(A, A(images()) * torch.nan)


# CSGM and PULSE


def latent_generator(dtype=torch.float32):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(4, 30), nn.LeakyReLU(0.2), nn.Linear(30, math.prod(SHAPE)), nn.Tanh(), nn.Unflatten(1, SHAPE)
        )
    return Generator.from_sequential(model, cuts=(2,), latent_shape=(4,)).to(dtype)


def test_csgm_is_one_round_of_the_solver():
    G = latent_generator()
    A = OPERATORS["gaussian"]
    y = A(G(G.sample(3, 11)))
    found = baselines.csgm(G, A, y, steps=40, progress=False)
    penalty = 0.001 * ilo.SquaredNorm()
    round_ = ilo.Round(0, 40, 0.1, penalty=penalty, schedule=ilo.constant)
    expected = ilo.recover(G, A, y, rounds=[round_], restarts=2, progress=False)
    assert torch.equal(found.images, expected.images)
    assert found.history["restart"].nunique() == 2
    assert (found.history["lr"].iloc[:10] == 0.1).all()


def test_csgms_penalty_is_a_mean_squared_error_against_a_sum_of_squares():
    """On a linear generator the minimiser has a closed form: (MᵀM/m + λ)⁻¹ Mᵀy/m."""
    weight = 0.2 * normal(0, 1, (4, math.prod(SHAPE)), purpose="sample", dtype=torch.float64)[0]  # (4, n)
    model = nn.Sequential(
        nn.Linear(4, 4, bias=False), nn.Linear(4, weight.shape[1], bias=False), nn.Unflatten(1, SHAPE)
    )
    model[0].weight.data = torch.eye(4, dtype=torch.float64)
    model[1].weight.data = weight.T
    G = Generator.from_sequential(model.double(), cuts=(1,), latent_shape=(4,))
    A = OPERATORS["gaussian"].to(torch.float64)
    y = A(G(G.sample(1, 3)))
    found = baselines.csgm(G, A, y, steps=600, restarts=1, penalty=0.05, progress=False)
    M = A(G({"features": torch.eye(4, dtype=torch.float64)})).T  # (m, 4)
    A.to(torch.float32)
    m = len(M)
    expected = torch.linalg.solve(M.T @ M / m + 0.05 * torch.eye(4, dtype=torch.float64), M.T @ y[0] / m)
    torch.testing.assert_close(found.state["features"][0], expected, rtol=0, atol=1e-3)
    free = baselines.csgm(G, A.to(torch.float64), y, steps=600, restarts=1, penalty=0, progress=False)
    A.to(torch.float32)
    assert free.state["features"].norm() > 1.02 * expected.norm(), "the penalty binds"


def test_pulse_stays_on_the_sphere_and_gets_nearer():
    G = latent_generator()
    A = OPERATORS["downsample"]
    y = A(G(G.sample(3, 11)))
    norms = []
    found = baselines.pulse(G, A, y, rng=5, progress=False)
    norms = found.state["features"].norm(dim=1)
    assert norms == pytest.approx([G.sample(1, 5, "start")["features"].norm().item()] * 3, rel=1e-5)
    first = found.history.groupby("problem")["objective"].first().to_numpy()
    assert (found.objective.numpy() < 0.5 * first).all()
    error = (A(found.images) - y).square().flatten(1).mean(1)
    torch.testing.assert_close(found.objective, 25 * error, rtol=1e-4, atol=1e-7)


def test_pulse_answers_where_nothing_fits():
    """The authors' program refuses beyond an error of 0.002; this one gives its best."""
    G = latent_generator()
    A = OPERATORS["downsample"]
    y = torch.where(torch.arange(A.shape_out[-1]) % 2 == 0, 1.0, -1.0).expand(1, *A.shape_out)
    found = baselines.pulse(G, A, y, steps=20, progress=False)
    assert (A(found.images) - y).square().mean() / 4 > 0.002
    ilo.images.check_images(found.images)


@pytest.mark.parametrize("number", [1, 2])
def test_pulse_keeps_every_style_on_its_own_sphere_and_near_the_others(number):
    """On a StyleGAN with a style a layer: geocross lowers itself, and costs measurement error."""
    if number == 1:
        net = random_net((4, 8, 16), (16, 16, 16), z=8, w=8, depth=2)
        G = stylegan1({name: value.float() for name, value in genforce(net).items()})
    else:
        G = stylegan2(random_stylegan2(16, channel_base=256, channel_max=16, z_dim=8, w_dim=8, mapping_layers=2))
    A = Downsample(G.image_shape, factor=2)
    y = A(G(G.sample(1, 3)))
    results = [baselines.pulse(G, A, y, steps=15, geocross=w, progress=False) for w in (0.0, 50.0)]
    start = G.sample(1, 0, "start")["latents"]
    assert start.shape[1] > 1
    for result in results:
        torch.testing.assert_close(result.state["latents"].norm(dim=2), start.norm(dim=2), rtol=1e-4, atol=0)
    geocross = ilo.GeoCross("styles")  # of what the generator's own blocks take, not of what is searched
    plain, crossed = ({"styles": G.layers[1].to_w(found.state["latents"])} for found in results)
    assert geocross(None, crossed) < 0.8 * geocross(None, plain)
    value = 25 * (A(results[1].images) - y).square().mean() + 50 * geocross(None, crossed)
    torch.testing.assert_close(results[1].objective, value, rtol=1e-4, atol=0)


def test_pulse_searches_the_first_five_noise_maps():
    net = random_net((4, 8, 16, 32), (4, 4, 4, 4), z=8, w=8, depth=2)
    G = stylegan1({name: value.float() for name, value in genforce(net).items()}, noise="free")
    A = Downsample(G.image_shape, factor=2)
    found = baselines.pulse(G, A, A(G(G.sample(1, 3))), steps=3, progress=False)
    start = G.sample(1, 0, "start")
    moved = [not torch.equal(found.state[f"noise_{k}"], start[f"noise_{k}"]) for k in range(8)]
    assert moved == [True] * 5 + [False] * 3
    for k in range(5):
        assert found.state[f"noise_{k}"].norm() == pytest.approx(start[f"noise_{k}"].norm().item(), rel=1e-5)


def test_pulses_learning_rate_goes_up_down_and_drops():
    times = [0.0, 0.225, 0.45, 0.675, 0.9, 0.95, 1.0]
    expected = [0.1, 0.55, 1.0, 0.55, 0.1, 0.0505, 0.001]
    assert [baselines.one_cycle_drop(t) for t in times] == pytest.approx(expected)


def test_negative_weights_of_the_generative_methods_are_refused():
    G = latent_generator()
    A = OPERATORS["gaussian"]
    y = A(images(1))
    with pytest.raises(ValueError, match="penalty"):
        baselines.csgm(G, A, y, penalty=-1.0)
    with pytest.raises(ValueError, match="geocross"):
        baselines.pulse(G, A, y, geocross=-1.0)
