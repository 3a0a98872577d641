"""deepinv both ways: their own table of operators by our dot-test, ours by their test of adjoints, and our solver in
their evaluation. Skipped, with the reason, where the extra `deepinv` is not installed."""

import copy
import importlib.util
import math
import subprocess
import sys

import pytest
import torch
from test_operators import TABLE

import ilo
from ilo.images import astronaut_face
from ilo.operators import Blur, Downsample, Identity, Inpainting, RandomInpainting, dot_test

if importlib.util.find_spec("deepinv") is None:
    pytest.skip("deepinv is not installed: pip install -e '.[deepinv]'", allow_module_level=True)

from ilo.interop.deepinv import Reconstructor, from_physics, measurements, to_physics

import deepinv  # isort: skip  # after ours, which brings torchvision
from deepinv.tests.test_physics import OPERATORS, find_operator  # isort: skip

pytestmark = [  # what they say of themselves is not ours to mend
    pytest.mark.filterwarnings(f"ignore:::{module}") for module in ("deepinv", "mrinufft", "torch.functional")
]
FEW = ilo.Auto(budget=16, samples=2)
SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def faces(dcgan):
    """Two of the generator's and the astronaut, (3, 3, 64, 64) in [0, 1]."""
    with torch.no_grad():
        images = torch.cat([dcgan(dcgan.sample(2, 3, "truth")), astronaut_face(64)])
    return (images + 1) / 2


def linear(name):
    """An operator of deepinv's own table and the shape of its images; skipped where it needs a package of its own."""
    physics, shape, _, _ = find_operator(name, "cpu")
    return physics, shape


# theirs as ours


@pytest.mark.parametrize("name", OPERATORS)
def test_each_of_theirs_is_an_operator_of_ours(name):
    physics, shape = linear(name)
    A = from_physics(physics, shape)
    assert dot_test(A) < 1e-6
    u = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1)).to(A.dtype)
    theirs = physics.A(u if A._images is None else u.to(A._images))
    y = measurements(A, theirs)
    assert y.shape == (3, *A.shape_out)
    assert not y.is_complex()
    scale = y.abs().max()
    assert (y - A(2 * u - 1)).abs().max() < 1e-5 * scale, "y_ours = 2·y_theirs − A(1)"
    assert (A.flat(A.unflat(y)) - y).abs().max() == 0
    assert (A.adjoint(y).isfinite()).all()


@pytest.mark.parametrize("name", ["CS", "inpainting", "MRI", "MultiCoilMRI", "2DParallelBeamCT", "pansharpen_circular"])
def test_norm_rows_and_units_of_theirs(name):
    physics, shape = linear(name)
    A = from_physics(physics, shape)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(2))
    norm = physics.compute_sqnorm(x[:1], max_iter=3000, tol=1e-7, verbose=False).sqrt().item()
    assert A.norm() == pytest.approx(norm, rel=2e-3)
    kept, held = A.split(0.2, rng=0)
    units = A.units()
    assert set(units[kept].tolist()).isdisjoint(units[held].tolist())
    assert len(kept) + len(held) == math.prod(A.shape_out)
    part = A.rows(held)
    assert torch.equal(part(x), A(x)[:, held])
    assert dot_test(part) < 1e-6


def test_zeros_outside_a_mask_are_no_measurements():
    mask = torch.zeros(1, 16, 16)
    mask[:, 3:9, 4:10] = 1
    A = from_physics(deepinv.physics.Inpainting(img_size=SHAPE, mask=mask))
    assert A.shape_out == (3 * 36,)
    x = torch.rand(2, *SHAPE) * 2 - 1
    assert torch.equal(A(x), Inpainting(mask)(x).flatten(1)), "ours, in the same order"
    assert len(A.units().unique()) == 36, "a pixel's channels are held out together"
    black = from_physics(deepinv.physics.Inpainting(img_size=SHAPE, mask=torch.ones(1, 16, 16)))
    assert black.shape_out == (3 * 256,), "black pixels that are seen are measurements"


def test_complex_measurements_are_two_numbers_of_one_unit():
    maps = torch.randn(1, 3, 8, 6, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    A = from_physics(deepinv.physics.MultiCoilMRI(coil_maps=maps, img_size=(2, 8, 6)))
    assert len(A.units()) == 2 * len(A.units().unique())
    mask = torch.zeros(8, 6)
    mask[::2] = 1
    A = from_physics(deepinv.physics.MRI(mask=mask, img_size=(2, 8, 6)))
    assert A.shape_out == (2 * 4 * 6,)


def test_lists_of_measurements_become_one_vector():
    blur = deepinv.physics.Blur(filter=deepinv.physics.functional.gaussian_blur(sigma=(1.0, 1.0)), padding="circular")
    both = blur.stack(deepinv.physics.Inpainting(img_size=SHAPE, mask=0.5))
    A = from_physics(both, SHAPE)
    u = torch.rand(2, *SHAPE)
    y = both.A(u)
    assert isinstance(y, deepinv.utils.TensorList)
    again = A.unflat(A.flat(y))
    assert all(torch.equal(a, b) for a, b in zip(again, y, strict=True))


def test_a_copy_measures_the_same():
    physics = deepinv.physics.CompressedSensing(m=20, img_size=SHAPE, rng=torch.Generator().manual_seed(0))
    A = from_physics(physics)
    x = torch.rand(1, *SHAPE)
    assert torch.equal(copy.deepcopy(A)(x), A(x))


def test_it_moves_to_another_dtype():
    A = from_physics(deepinv.physics.BlurFFT(SHAPE, filter=torch.ones(1, 1, 3, 3) / 9))
    x = torch.rand(1, *SHAPE, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"PhysicsOperator is torch\.float32"):
        A(x)
    single, double = A(x.float()), A.double()
    assert A.dtype == torch.float64
    assert (double(x) - single).abs().max() < 1e-5


def test_theirs_that_cannot_be_an_operator_are_refused():
    with pytest.raises(TypeError, match="must be a LinearPhysics"):
        from_physics(deepinv.physics.Haze())
    with pytest.raises(ValueError, match=r"does not know its images' shape: from_physics\(physics, shape\)"):
        from_physics(deepinv.physics.Denoising())
    with pytest.raises(ValueError, match="of a batch of images"):
        from_physics(deepinv.physics.Inpainting(img_size=SHAPE, mask=torch.ones(4, 1, 16, 16)))
    with pytest.raises(ValueError, match="measures nothing"):
        from_physics(deepinv.physics.Inpainting(img_size=SHAPE, mask=torch.zeros(1, 16, 16)))
    with pytest.raises(ValueError, match="is not linear"):
        from_physics(deepinv.physics.LinearPhysics(A=lambda x, **_: x + 1, img_size=SHAPE))
    A = from_physics(deepinv.physics.Denoising(), SHAPE)
    with pytest.raises(ValueError, match=r"measures real \(3, 16, 16\) without the batch, got real \(3, 8, 8\)"):
        measurements(A, torch.rand(1, 3, 8, 8))


# ours as theirs


@pytest.mark.parametrize("make", TABLE.values(), ids=TABLE)
def test_each_of_ours_is_a_physics_of_theirs(make):
    A = make()
    physics = to_physics(A)
    torch.manual_seed(0)
    assert physics.adjointness_test(num_samples=16) < 1e-5
    u = torch.rand(2, *A.shape_in, generator=torch.Generator().manual_seed(3))
    assert torch.equal(physics(u), A(u))
    y = measurements(A, physics(u))
    assert (y - A(2 * u - 1)).abs().max() < 1e-5 * max(1.0, float(y.abs().max()))
    assert from_physics(physics) is A
    v = torch.randn_like(y)
    assert (physics.A_vjp(u, v) - A.adjoint(v)).abs().max() == 0


def test_their_test_of_adjoints_fails_a_wrong_one_of_ours():
    class Wrong(Identity):
        def _adjoint(self, y):
            return 1.01 * y

    torch.manual_seed(0)
    assert to_physics(Wrong(SHAPE)).adjointness_test(num_samples=16) > 1e-3


def test_what_theirs_derive_comes_free():
    u = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(4))
    physics = to_physics(Blur(SHAPE, sigma=0.5))
    assert (physics.A_dagger(physics.A(u)) - u).abs().max() < 1e-2
    near = physics.prox_l2(torch.zeros_like(u), physics.A(u), gamma=1e4)
    assert (near - u).abs().max() < 1e-2
    small = to_physics(Downsample(SHAPE, factor=4))
    assert small.A_adjoint(small.A(u)).shape == u.shape


def test_noise_is_half_of_ours():
    A = RandomInpainting((3, 64, 64), keep=0.5, rng=0)
    physics = to_physics(A, noise=0.2)
    torch.manual_seed(0)
    u = torch.rand(4, 3, 64, 64)
    y = measurements(A, physics(u))
    assert (y - A(2 * u - 1)).std().item() == pytest.approx(0.2, rel=0.02)
    assert torch.equal(to_physics(A)(u), A(u))
    for wrong, error in ((-0.1, ValueError), (math.nan, ValueError), ("loud", TypeError)):
        with pytest.raises(error, match="noise must be"):
            to_physics(A, noise=wrong)
    with pytest.raises(TypeError, match="A must be a LinearOperator"):
        to_physics(lambda x: x)


# the solver


@pytest.mark.slow
def test_their_evaluation_takes_our_solver(dcgan, faces, capsys):
    physics = to_physics(RandomInpainting((3, 64, 64), keep=0.2, rng=0), noise=0.02)
    torch.manual_seed(0)
    y = physics(faces)
    pairs = torch.utils.data.TensorDataset(faces, y)
    loader = torch.utils.data.DataLoader(pairs, batch_size=3)
    model = Reconstructor(dcgan, rounds=FEW, rng=1)
    metrics = deepinv.loss.metric.PSNR()
    said = deepinv.test(model, loader, physics, metrics=metrics, verbose=False, show_progress_bar=False)
    known = ilo.Auto(16, 2, noise=2 * physics.noise_model.sigma.item())  # 0.02 in float32
    direct = ilo.recover(
        dcgan, physics.operator, measurements(physics.operator, y), rounds=known, rng=1, progress=False
    )
    assert torch.equal(model.result.images, direct.images)
    images = ((direct.images + 1) / 2).clamp(0, 1)
    assert said["PSNR"] == pytest.approx(metrics(images, faces).mean().item(), abs=1e-3)
    assert said["PSNR"] > said["PSNR no learning"]


ROUNDS = [ilo.Round(0, 40, 0.1), ilo.Round(1, 20, 0.05, radius=1000.0)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "rounds"),
    [
        (
            lambda shape: deepinv.physics.Inpainting(img_size=shape, mask=0.1).stack(
                deepinv.physics.Downsampling(img_size=shape, factor=8, filter="bicubic")
            ),
            ilo.Auto(budget=60, samples=2),
        ),
        (lambda shape: deepinv.physics.Tomography(angles=10, img_width=64), ROUNDS),
        (lambda shape: deepinv.physics.CompressedSensing(m=600, img_size=shape), ROUNDS),
    ],
    ids=["two stacked, auto", "tomography", "compressed sensing"],
)
def test_our_solver_on_their_physics(dcgan, faces, make, rounds):
    """Whatever the measurements' form, better than the generator's mean image."""
    shape, face = dcgan.image_shape, faces[:1]
    torch.manual_seed(0)
    physics = make(shape)
    physics.set_noise_model(deepinv.physics.GaussianNoise(0.01))
    y = physics(face)
    with torch.no_grad():
        mean = (dcgan(dcgan.sample(64, 0)).mean(0, keepdim=True) + 1) / 2
    found = Reconstructor(dcgan, rounds=rounds)(y, physics)
    assert found.shape == (1, *shape)
    assert 0 <= found.min() <= found.max() <= 1
    assert (found - face).square().mean() < 0.7 * (mean - face).square().mean()


@pytest.mark.parametrize(
    ("model", "noise"),
    [
        (deepinv.physics.GaussianNoise(0.1), 0.2),
        (deepinv.physics.ZeroNoise(), 0.0),
        (deepinv.physics.PoissonNoise(0.1), None),
        (deepinv.physics.GaussianNoise(torch.tensor([0.1, 0.2])), None),
    ],
    ids=["Gaussian", "none", "Poisson", "one each"],
)
def test_auto_is_told_the_noise_that_the_physics_knows(dcgan, monkeypatch, model, noise):
    seen = {}
    monkeypatch.setattr(
        "ilo.interop.deepinv.recover", lambda G, A, y, rounds, **_: seen.update(rounds=rounds) or _stop()
    )
    physics = deepinv.physics.Denoising(model)
    with pytest.raises(StopIteration):
        Reconstructor(dcgan)(torch.rand(1, 3, 64, 64), physics)
    assert seen["rounds"].noise == (None if noise is None else pytest.approx(noise))


def _stop():
    raise StopIteration


def test_a_physics_of_other_images_is_refused(dcgan):
    with pytest.raises(ValueError, match="measures images of shape"):
        Reconstructor(dcgan, rounds=FEW)(torch.rand(1, 3, 16, 16), to_physics(Identity(SHAPE)))


@pytest.mark.slow
def test_without_deepinv_it_says_what_to_install():
    code = (
        "import sys; sys.modules['deepinv'] = None\n"
        "try: import ilo.interop.deepinv\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs deepinv: pip install -e '.[deepinv]'" in done.stdout
