"""One table of operators drives every test of what all promise; what is particular to one has its own below it."""

import inspect
import math
from functools import partial

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from PIL import Image

from ilo import operators
from ilo.images import astronaut_face
from ilo.operators import (
    Blur,
    Composition,
    Downsample,
    Entries,
    GaussianSensing,
    Grayscale,
    Identity,
    Inpainting,
    LinearOperator,
    PartialCirculant,
    PartialFourier,
    RandomInpainting,
    Rows,
    Separable,
    dot_test,
    gaussian_kernel,
    matrix,
    measure,
    motion_kernel,
    spectral_norm,
)
from ilo.operators import sensing as sensing_module
from ilo.operators.separable import cosine_matrix
from ilo.operators.tasks import TASKS
from ilo.rng import normal

RGB, GREY = (3, 13, 17), (1, 9, 8)  # neither square nor even


def mask_of(height, width):
    return torch.rand(height, width, generator=torch.Generator().manual_seed(5), dtype=torch.float32) < 0.4


class Differences(LinearOperator):
    """An operator of a user: only `_forward`; the adjoint is automatic differentiation's."""

    def __init__(self, shape):
        super().__init__(shape, (shape[0], shape[1], shape[2] - 1))

    def _forward(self, x):
        return x[..., 1:] - x[..., :-1]


TABLE = {
    "identity": lambda: Identity(RGB),
    "entries": lambda: Entries(RGB, [5, 0, 600, 17]),
    "inpainting": lambda: Inpainting(mask_of(13, 17)),
    "inpainting grey": lambda: Inpainting(mask_of(9, 8), channels=1),
    "random inpainting": lambda: RandomInpainting(RGB, keep=0.1, rng=1),
    "grayscale": lambda: Grayscale(RGB),
    "bicubic": lambda: Downsample(RGB, factor=4),
    "bicubic grey": lambda: Downsample(GREY, factor=3),
    "bicubic to a pixel": lambda: Downsample(GREY, factor=20),
    "box": lambda: Downsample(RGB, factor=4, kernel="box"),
    "box that divides": lambda: Downsample((3, 12, 16), factor=4, kernel="box"),
    "gaussian blur": lambda: Blur(RGB, sigma=1.5),
    "wide blur": lambda: Blur(GREY, sigma=6.0),  # reaches beyond the image and its mirror image
    "motion blur": lambda: Blur(RGB, kernel=motion_kernel(7, 30)),
    "separable": lambda: Separable((2, 4, 5), torch.ones(2, 3, 4).cumsum(1), torch.ones(2, 6, 5).cumsum(0)),
    "gaussian": lambda: GaussianSensing(RGB, m=60, rng=2),
    "gaussian drawn anew": lambda: GaussianSensing(GREY, m=100, rng=2, stored=False),  # m > n
    "circulant": lambda: PartialCirculant(RGB, m=60, rng=3),
    "circulant whole": lambda: PartialCirculant(GREY, m=72, rng=3),
    "fourier": lambda: PartialFourier(RGB, m=40, rng=4, center=7),
    "fourier whole": lambda: PartialFourier(GREY, m=37, rng=4),
    "fourier even": lambda: PartialFourier((2, 6, 8), m=26, rng=4),  # all four frequencies that are their own mirror
    "composition": lambda: Downsample((1, 13, 17), factor=2) @ Grayscale(RGB),
    "composition of three": lambda: GaussianSensing(RGB, m=30, rng=5) @ Blur(RGB, sigma=1) @ Identity(RGB),
    "rows": lambda: Downsample(RGB, factor=4).rows([3, 0, 35]),
    "rows of rows": lambda: Blur(RGB, sigma=1).rows(range(0, 600, 7)).rows([9, 3]),
    "rows of gaussian": lambda: GaussianSensing(RGB, m=60, rng=2).rows([50, 3, 17]),
    "rows of gaussian drawn anew": lambda: GaussianSensing(RGB, m=60, rng=2, stored=False).rows([50, 3, 17]),
    "rows of composition": lambda: (PartialCirculant(GREY, m=30) @ Grayscale((3, 9, 8))).rows([2, 29]),
    "a user's own": lambda: Differences(RGB),
}
TABLE |= {f"task {name}": partial(task.operator(), RGB, rng=6) for name, task in TASKS.items()}
ALL = pytest.mark.parametrize("make", TABLE.values(), ids=TABLE.keys())


def images(A, n=3, seed=0, dtype=torch.float32):
    x = torch.rand(n, *A.shape_in, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * x - 1).to(dtype)


def measurements(A, n=3, seed=1, dtype=torch.float32):
    y = torch.randn(n, *A.shape_out, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return y.to(dtype)


# What all promise


@ALL
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_dot_test(make, dtype, limit):
    A = make().to(dtype)
    for rng in range(3):
        assert dot_test(A, rng, dtype) < limit


@ALL
def test_adjoint_is_the_gradient_and_twice_the_operator(make):
    A = make().double()
    x = images(A, dtype=torch.float64).requires_grad_()
    y = measurements(A, dtype=torch.float64).requires_grad_()
    (pulled,) = torch.autograd.grad(A(x), x, y.detach())
    torch.testing.assert_close(pulled, A.adjoint(y.detach()), rtol=1e-12, atol=1e-12)
    (pushed,) = torch.autograd.grad(A.adjoint(y), y, x.detach())
    torch.testing.assert_close(pushed, A(x.detach()), rtol=1e-12, atol=1e-12)


@ALL
def test_shapes_linearity_and_batches(make):
    A = make().double()
    x, z = images(A, dtype=torch.float64), images(A, seed=7, dtype=torch.float64)
    y = A(x)
    assert y.shape == (3, *A.shape_out)
    assert A.adjoint(y).shape == x.shape
    torch.testing.assert_close(A(2 * x - 3 * z), 2 * y - 3 * A(z), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.cat([A(one[None]) for one in x]), y, rtol=1e-12, atol=1e-12)
    dense = matrix(A)
    assert dense.shape == (math.prod(A.shape_out), math.prod(A.shape_in))
    dense = dense.double()
    torch.testing.assert_close(x.flatten(1) @ dense.T, y.flatten(1), rtol=1e-6, atol=1e-6)


@ALL
def test_norm_is_the_largest_singular_value(make):
    A = make()
    want = float(torch.linalg.matrix_norm(matrix(A).double(), 2))
    assert A.norm() == pytest.approx(want, rel=1e-4)
    assert spectral_norm(A) == pytest.approx(want, rel=1e-4)  # also where `norm` has a closed form
    assert A.norm() is A.norm()


@ALL
def test_rows_are_a_choice_of_the_measurements(make):
    A = make()
    size = math.prod(A.shape_out)
    index = torch.randperm(size, generator=torch.Generator().manual_seed(0))[: max(1, size // 3)]
    part = A.rows(index)
    assert part.shape_in == A.shape_in
    assert part.shape_out == (len(index),)
    x = images(A)
    torch.testing.assert_close(part(x), A(x).flatten(1)[:, index])
    assert torch.equal(part.units(), A.units()[index])
    assert dot_test(part, 0) < 1e-5


@ALL
def test_split_takes_whole_units_at_random(make):
    A = make()
    units = A.units()
    assert units.shape == (math.prod(A.shape_out),)
    if len(units.unique()) < 2:
        with pytest.raises(ValueError, match="at least 2"):
            A.split(0.5, rng=0)
        return
    for fraction in (0.001, 0.3, 0.999):
        kept, held = A.split(fraction, rng=3)
        assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(len(units)))
        assert not set(units[kept].tolist()) & set(units[held].tolist())
        want = min(max(1, round(fraction * len(units.unique()))), len(units.unique()) - 1)
        assert len(units[held].unique()) == want
        assert torch.equal(A.split(fraction, rng=3)[1], held)
    if len(units.unique()) > 5:
        assert any(not torch.equal(A.split(0.3, rng=s)[1], A.split(0.3, rng=3)[1]) for s in range(3))


@ALL
def test_picture_is_an_image(make):
    A = make()
    for y in (A(images(A)), 100 * measurements(A), torch.zeros(2, *A.shape_out)):
        picture = A.picture(y)
        assert picture.shape == (len(y), *A.shape_in)
        assert picture.abs().max() <= 1


@ALL
def test_dtype_moves_and_numbers_stay(make):
    A = make()
    x = images(A)
    y = A(x)
    assert y.dtype == torch.float32
    double = A.double()(x.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), y, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(A.float()(x), y, rtol=0, atol=0)
    if any(b.is_floating_point() for b in A.buffers()):
        with pytest.raises(ValueError, match=r"use A\.to\(torch\.float64\)"):
            A(x.double())
        with pytest.raises(ValueError, match=r"measurements are torch\.float64"):
            A.adjoint(y.double())


@ALL
def test_any_memory_layout(make):
    A = make()
    x, y = images(A), measurements(A)
    for other in (x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        torch.testing.assert_close(A(other), A(x))
        if hasattr(A, "fill"):
            assert torch.equal(A.fill(y, other), A.fill(y, x))
    other = torch.stack([y, y], -1)[..., 0]
    torch.testing.assert_close(A.adjoint(other), A.adjoint(y))
    torch.testing.assert_close(A.picture(other), A.picture(y))
    one = torch.full((1, 1, 1, 1), 0.5).expand(2, *A.shape_in)  # as a constant image often comes
    torch.testing.assert_close(A(one), A(one.contiguous()))


@ALL
def test_the_default_dtype_changes_nothing(make):
    A = make()
    torch.set_default_dtype(torch.float64)
    try:
        other = make()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(other(images(A)), A(images(A)))


@ALL
def test_device_moves(make):
    """To the meta device, which every machine has: it computes shapes, and refuses tensors from elsewhere."""
    A = make()
    x, y = images(A).to("meta"), measurements(A).to("meta")
    if any(True for _ in A.buffers()):
        with pytest.raises(ValueError, match=r"use A\.to\(x\.device\)"):
            A(x)
    A = A.to("meta")
    assert A(x).is_meta
    assert A(x).shape == y.shape
    assert A.adjoint(y).is_meta
    assert A.adjoint(y).shape == x.shape


@ALL
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_the_same(make):
    A = make()
    x, y = images(A), measurements(A)
    index = [0] if math.prod(A.shape_out) == 1 else [1, 0]
    here, back, part, norm = A(x), A.adjoint(y), A.rows(index)(x), A.norm()
    A = A.to("cuda")
    for got, want in ((A(x.cuda()), here), (A.adjoint(y.cuda()), back), (A.rows(index)(x.cuda()), part)):
        assert got.is_cuda
        torch.testing.assert_close(got.cpu(), want, rtol=1e-4, atol=1e-5)
    assert A.picture(y.cuda()).is_cuda
    assert spectral_norm(A) == pytest.approx(norm, rel=1e-4)


@ALL
def test_the_same_seed_makes_the_same_operator(make):
    assert torch.equal(make()(images(make())), make()(images(make())))


@ALL
def test_wrong_input_is_refused(make):
    A = make()
    x = images(A)
    with pytest.raises(ValueError, match=r"batch axis: x\[None\]"):
        A(x[0])
    with pytest.raises(ValueError, match="takes images of shape"):
        A(x[..., :-1])
    with pytest.raises(ValueError, match="takes measurements of shape"):
        A.adjoint(measurements(A).flatten(1)[:, :-1])
    with pytest.raises(ValueError, match="floating-point"):
        A(x.byte())
    with pytest.raises(TypeError, match=r"torch\.Tensor"):
        A(x.numpy())
    for index in ([], [0, 0], [-1], [10**6], [0.5], torch.tensor([True])):
        with pytest.raises(ValueError, match="row"):
            A.rows(index)
    for fraction in (0, 1, -0.1, math.nan):
        with pytest.raises(ValueError, match="strictly between"):
            A.split(fraction, 0)


# That the tests above are not vacuous


def test_every_operator_is_in_the_table():
    exported = {getattr(operators, name) for name in operators.__all__}
    classes = {c for c in exported if inspect.isclass(c) and issubclass(c, LinearOperator)} - {LinearOperator}
    seen = {type(m) for make in TABLE.values() for m in make().modules()}
    assert classes <= seen
    defined = {c for c in vars(operators).values() if inspect.isclass(c) and issubclass(c, LinearOperator)}
    assert defined - {LinearOperator} == classes


@pytest.mark.parametrize("wrong", [lambda y: 1.001 * y, lambda y: y.flip(-1), lambda y: 0 * y, lambda y: y + 0.01])
def test_the_dot_test_fails_a_wrong_adjoint(wrong):
    class Wrong(Identity):
        def _adjoint(self, y):
            return wrong(y)

    assert dot_test(Wrong(RGB), 0) > 1e-5
    assert dot_test(Wrong(RGB).double(), 0, torch.float64) > 1e-5


# Inpainting


def test_inpainting_measures_observed_pixels_alone_and_black_is_not_missing():
    mask = mask_of(13, 17)
    A = Inpainting(mask)
    x = images(A)
    x[:, :, 4:9] = -1.0  # black
    y = A(x)
    assert y.shape == (3, 3, int(mask.sum()))
    assert torch.equal(y, x[:, :, mask])
    back = A.adjoint(y)
    assert torch.equal(back[:, :, mask], x[:, :, mask])
    assert (back[:, :, ~mask] == 0).all()
    assert torch.equal(A.mask, mask)


def test_fill_takes_observed_entries_from_the_measurements():
    for A in (Inpainting(mask_of(13, 17)), Inpainting(mask_of(13, 17)).rows([4, 100, 7])):
        x, y = images(A).requires_grad_(), measurements(A)
        filled = A.fill(y, x)
        seen = A.adjoint(torch.ones_like(y)).bool()
        assert torch.equal(A(filled), y)
        assert torch.equal(filled[~seen], x[~seen])
        filled.sum().backward()
        assert torch.equal(x.grad, (~seen).float())


@pytest.mark.parametrize(
    "mask", [[[0, 1], [1, 0]], torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), np.array([[0, 1], [1, 0]])]
)
def test_masks_of_any_type(mask):
    A = Inpainting(mask)
    assert A.shape_in == (3, 2, 2)
    assert torch.equal(A.mask, torch.tensor([[False, True], [True, False]]))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.full((4, 4), 255), "0 .missing. and 1 .observed."),
        (torch.full((4, 4), 0.5), "0 .missing. and 1 .observed."),
        (torch.full((4, 4), math.nan), "0 .missing. and 1 .observed."),
        (torch.zeros(4, 4), "no pixel"),
        (torch.ones(3, 4, 4), "shared by the channels"),
        (torch.ones(4), "shape"),
    ],
)
def test_bad_masks_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        Inpainting(mask)


@pytest.mark.parametrize(("keep", "pixels"), [(0.1, 22), (1, 221), (1e-9, 1), (0.5, 110)])
def test_random_inpainting_observes_exactly_the_fraction(keep, pixels):
    A = RandomInpainting(RGB, keep=keep, rng=0)
    assert A.shape_out == (3, pixels)
    assert int(A.mask.sum()) == pixels


def test_random_inpainting_is_uniform():
    """Every pixel as often as every other: counts of 2000 draws within 5 standard deviations."""
    rng = torch.Generator().manual_seed(0)
    counts = sum(RandomInpainting((1, 4, 5), keep=0.25, rng=rng).mask.int() for _ in range(2000))
    assert ((counts - 500).abs() < 5 * math.sqrt(2000 * 0.25 * 0.75)).all()


def test_held_out_units_of_inpainting_are_pixels():
    A = RandomInpainting(RGB, keep=0.5, rng=0)
    kept, _ = A.split(0.2, 0)
    seen = A.rows(kept).adjoint(torch.ones(1, len(kept)))[0].bool()
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])
    assert (seen[0] <= A.mask).all()


# Down-sampling and blur


@pytest.mark.parametrize("shape", [(3, 64, 64), RGB, GREY, (1, 37, 50)])
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 7])
def test_bicubic_is_torchs(shape, factor):
    A = Downsample(shape, factor=factor)
    x = images(A)
    want = F.interpolate(x, size=A.shape_out[1:], mode="bicubic", antialias=True, align_corners=False)
    assert A.shape_out[1:] == (shape[1] // factor, shape[2] // factor)
    torch.testing.assert_close(A(x), want, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("kernel", "resample"), [("bicubic", Image.Resampling.BICUBIC), ("box", Image.Resampling.BOX)])
def test_downsampling_is_pillows(kernel, resample):
    A = Downsample((1, 24, 36), factor=3, kernel=kernel)
    x = images(A, n=1)
    want = Image.fromarray(x[0, 0].numpy(), mode=None).resize((12, 8), resample)
    np.testing.assert_allclose(A(x)[0, 0].numpy(), np.asarray(want), atol=2e-6)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_bicubic_differs_from_padding_by_reflection_at_the_border_alone(factor):
    """The ILO authors' way: reflect the image, then convolve with the kernel of 4·factor taps."""
    A, n = Downsample((1, 64, 64), factor=factor), 4 * factor
    t = np.abs(np.arange(n) + 0.5 - n / 2) / factor
    taps = np.where(t <= 1, 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2)
    kernel = torch.from_numpy(np.outer(taps, taps) / taps.sum() ** 2).float()[None, None]
    x = astronaut_face(64)[:, :1]
    theirs = F.conv2d(F.pad(x, [(n - factor) // 2] * 4, mode="reflect"), kernel, stride=factor)
    apart = (A(x) - theirs).abs()
    assert apart[..., 2:-2, 2:-2].max() < 1e-6
    assert 0.01 < apart.max() < 0.12


def test_box_is_the_mean_of_a_cell():
    A = Downsample((3, 12, 16), factor=4, kernel="box")
    x = images(A)
    torch.testing.assert_close(A(x), F.avg_pool2d(x, 4))


@pytest.mark.parametrize("kernel", ["bicubic", "box"])
def test_downsampling_keeps_a_constant_and_covers_the_image(kernel):
    for factor in (1, 2, 4, 5, 9, 30):
        A = Downsample(RGB, factor=factor, kernel=kernel).double()
        torch.testing.assert_close(
            A(torch.ones(1, *RGB).double()), torch.ones(1, *A.shape_out).double(), rtol=1e-6, atol=0
        )
        assert (matrix(A).abs().sum(0) > 0).all() or kernel == "bicubic"
    stretched = matrix(Downsample((1, 1, 10), factor=4, kernel="box"))  # 2 pixels of 5, not of 4
    torch.testing.assert_close(stretched, torch.tensor([[0.2] * 5 + [0.0] * 5, [0.0] * 5 + [0.2] * 5]))
    shared = matrix(Downsample((1, 1, 5), factor=2, kernel="box"))  # the middle pixel is shared
    torch.testing.assert_close(shared, torch.tensor([[0.4, 0.4, 0.2, 0, 0], [0, 0, 0.2, 0.4, 0.4]]))


@pytest.mark.parametrize("kernel", [gaussian_kernel(0.8), motion_kernel(5, 30), motion_kernel(9, 90), torch.rand(3, 7)])
def test_blur_is_a_convolution_of_the_mirrored_image(kernel):
    A = Blur(RGB, kernel=kernel)
    x = images(A)
    kh, kw = kernel.shape
    padded = F.pad(x, (kw // 2, kw // 2, kh // 2, kh // 2), mode="reflect").flatten(0, 1)[:, None]
    want = F.conv2d(padded, kernel.flip(0, 1).float()[None, None]).view_as(x)
    torch.testing.assert_close(A(x), want, rtol=1e-5, atol=2e-6)
    also = scipy.ndimage.convolve(x[0, 0].double().numpy(), kernel.double().numpy(), mode="mirror")
    np.testing.assert_allclose(A(x)[0, 0].numpy(), also, atol=2e-6)


def test_gaussian_blur_is_scipys_even_when_wider_than_the_image():
    for sigma in (0.5, 2.0, 7.0):
        A = Blur(GREY, sigma=sigma)
        x = images(A)
        radius = math.ceil(4 * sigma)
        want = scipy.ndimage.gaussian_filter(x[0, 0].double().numpy(), sigma, mode="mirror", radius=radius)
        np.testing.assert_allclose(A(x)[0, 0].numpy(), want, atol=2e-6)


def test_kernels():
    for kernel in (gaussian_kernel(1.3), motion_kernel(1), motion_kernel(6.5, 20), motion_kernel(9, 200)):
        assert float(kernel.sum()) == pytest.approx(1, abs=1e-12)
        assert (kernel >= 0).all()
        assert kernel.shape[0] % 2 == 1
        torch.testing.assert_close(kernel, kernel.flip(0, 1))  # symmetric about its centre
    assert motion_kernel(1, 45).shape == (1, 1)
    across, up = motion_kernel(9, 0), motion_kernel(9, 90)
    torch.testing.assert_close(across.T, up)
    assert across[4].sum() == pytest.approx(1)
    rising = motion_kernel(9, 45)  # counter-clockwise: the first row is the top
    assert rising[:4, 5:].sum() > 0.3
    assert rising[:4, :4].sum() < 1e-12


def test_bad_downsampling_and_blur_are_refused():
    for factor in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="factor"):
            Downsample(RGB, factor=factor)
    with pytest.raises(ValueError, match="bicubic"):
        Downsample(RGB, kernel="lanczos")
    with pytest.raises(ValueError, match="one of them"):
        Blur(RGB)
    with pytest.raises(ValueError, match="one of them"):
        Blur(RGB, kernel=torch.ones(3, 3), sigma=1)
    with pytest.raises(ValueError, match="odd"):
        Blur(RGB, kernel=torch.ones(4, 3))
    with pytest.raises(ValueError, match="not all 0"):
        Blur(RGB, kernel=torch.zeros(3, 3))
    for sigma in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="positive"):
            Blur(RGB, sigma=sigma)
    with pytest.raises(ValueError, match="length"):
        motion_kernel(0.5)
    for right in (torch.ones(1, 2, 5), torch.ones(2, 2, 4), torch.ones(2, 4)):
        with pytest.raises(ValueError, match="fit"):
            Separable((1, 4, 4), torch.ones(1, 2, 4), right)
    with pytest.raises(ValueError, match=r"RGB images \(3, H, W\)"):
        Grayscale((1, 4, 4))
    for shape in ((64, 64), (3, 0, 4), (3, 4.0, 4)):
        with pytest.raises(ValueError, match=r"\(C, H, W\)|C, H and W"):
            Identity(shape)


# Compressed sensing


def test_gaussian_drawn_anew_is_the_stored_one(monkeypatch):
    monkeypatch.setattr(sensing_module, "BLOCK_ENTRIES", 1000)  # several blocks, the last one in part
    stored, anew = (GaussianSensing(GREY, m=50, rng=8, stored=s) for s in (True, False))
    assert not list(anew.buffers())
    assert torch.linalg.matrix_rank(stored.matrix) == 50  # no block repeats another
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(matrix(stored.to(dtype)).to(dtype), stored.matrix)
        x, y = images(stored, dtype=dtype), measurements(stored, dtype=dtype)
        tolerance = {"rtol": 0, "atol": 50 * torch.finfo(dtype).eps}
        torch.testing.assert_close(anew(x), stored(x), **tolerance)
        torch.testing.assert_close(anew.adjoint(y), stored.adjoint(y), **tolerance)
    index = [49, 0, 13, 14, 27]
    torch.testing.assert_close(matrix(anew.rows(index)), matrix(stored.rows(index).float()), rtol=0, atol=0)


def test_gaussian_drawn_anew_keeps_no_matrix_for_the_gradient(monkeypatch):
    monkeypatch.setattr(sensing_module, "BLOCK_ENTRIES", 1000)
    A = GaussianSensing(GREY, m=200, rng=8, stored=False)
    x = images(A).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        y = A(x).square().sum()
    assert max(kept) < 72 * 200 / 4
    (grad,) = torch.autograd.grad(y, x)
    torch.testing.assert_close(grad, 2 * A.adjoint(A(x.detach())))


def test_gaussian_rows_do_not_depend_on_their_number():
    """More measurements with the same seed add rows: a sweep over m measures nested sets."""
    few, many = GaussianSensing(RGB, m=10, rng=1), GaussianSensing(RGB, m=40, rng=1)
    torch.testing.assert_close(few.matrix * math.sqrt(10), many.matrix[:10] * math.sqrt(40))


@pytest.mark.parametrize("make", [GaussianSensing, PartialCirculant])
def test_entries_are_normal_with_variance_one_over_m(make):
    entries = torch.cat([matrix(make((1, 16, 16), m=64, rng=s)).flatten() for s in range(40)]) * 8
    n = 40 * 256  # independent ones: a circulant matrix holds one filter
    assert abs(float(entries.mean())) < 5 / math.sqrt(n)
    assert float(entries.var()) == pytest.approx(1, abs=5 * math.sqrt(2 / n))
    assert float(entries.pow(4).mean()) == pytest.approx(3, abs=5 * math.sqrt(96 / n))
    x = images(make((1, 16, 16), m=64))
    energy = torch.stack([make((1, 16, 16), m=64, rng=s)(x).square().sum(1) for s in range(200)]).mean(0)
    torch.testing.assert_close(energy, x.square().flatten(1).sum(1), rtol=0.1, atol=0)  # E‖A x‖² = ‖x‖²


def test_circulant_equals_its_dense_matrix():
    A = PartialCirculant(RGB, m=100, rng=3).double()
    n = math.prod(RGB)
    shifts = (torch.arange(n)[:, None] - torch.arange(n)) % n
    dense = (A.filter[shifts] * A.signs)[A.index]
    assert len(A.index.unique()) == 100
    assert set(A.signs.tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(matrix(A), dense, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [RGB, GREY, (1, 6, 8), (1, 7, 5), (1, 1, 4), (1, 1, 1)])
def test_fourier_whole_is_orthogonal(shape):
    """All frequencies together: n real numbers a channel, and a matrix with A Aᵀ = Aᵀ A = 1."""
    _, height, width = shape
    own_mirror = (2 - height % 2) * (2 - width % 2)
    A = PartialFourier(shape, m=(height * width + own_mirror) // 2).double()
    dense = matrix(A)
    assert dense.shape == (math.prod(shape),) * 2
    torch.testing.assert_close(dense @ dense.T, torch.eye(len(dense), dtype=torch.float64), rtol=0, atol=1e-7)
    with pytest.raises(ValueError, match="frequencies"):
        PartialFourier(shape, m=(height * width + own_mirror) // 2 + 1)


def test_fourier_measures_the_transform_and_keeps_the_centre():
    A = PartialFourier(RGB, m=40, rng=4, center=9)
    x = images(A)
    spectrum = np.fft.fft2(x.numpy(), norm="ortho").reshape(3, 3, -1)
    y = A(x).numpy()
    frequency, imaginary = A.index.numpy() // 2, A.index.numpy() % 2
    scale = np.where(frequency == 0, 1, math.sqrt(2))  # 13 and 17 are odd: only the mean is its own mirror
    want = np.where(imaginary, spectrum[:, :, frequency].imag, spectrum[:, :, frequency].real) * scale
    np.testing.assert_allclose(y, want, atol=1e-5)
    ky, kx = np.divmod(np.unique(frequency), 17)
    measured = np.hypot(np.minimum(ky, 13 - ky) / 13, np.minimum(kx, 17 - kx) / 17)
    ky, kx = np.divmod(np.arange(221), 17)
    every = np.sort(np.hypot(np.minimum(ky, 13 - ky) / 13, np.minimum(kx, 17 - kx) / 17))
    np.testing.assert_allclose(np.sort(measured)[:9], every[[0, *range(1, 17, 2)]])  # each and its mirror
    assert len(measured) == 40
    assert len(A.units().unique()) == 40  # a unit is a frequency: both parts, all channels
    assert A.units().tolist() == frequency.tolist() * 3
    for center in (-1, 41):
        with pytest.raises(ValueError, match="center"):
            PartialFourier(RGB, m=40, center=center)


@pytest.mark.parametrize("make", [GaussianSensing, PartialCirculant, PartialFourier])
def test_bad_numbers_of_measurements_are_refused(make):
    for m in (0, -3, 2.5, True):
        with pytest.raises(ValueError, match="m must be"):
            make(RGB, m=m)
    assert make(RGB, m=np.int64(4)).shape_out[-1] in (4, 7, 8)
    if make is not GaussianSensing:
        with pytest.raises(ValueError, match="more than"):
            make(RGB, m=10**4)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_the_cosine_matrix_is_its_formula_and_orthonormal(n):
    k, position = np.arange(n)[:, None], np.arange(n) + 0.5
    want = np.sqrt(np.where(k == 0, 1, 2) / n) * np.cos(np.pi * k * position / n)
    C = cosine_matrix(n)
    np.testing.assert_allclose(C.numpy(), want, atol=2e-14)
    torch.testing.assert_close(C @ C.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-14)


def test_operators_noise_and_latents_of_one_seed_are_independent():
    """The filter of a circulant, the noise and the latents are different numbers, though all have seed 0."""
    n = 500
    draws = [
        PartialCirculant(RGB, m=1, rng=0).filter[:n],
        GaussianSensing(RGB, m=1, rng=0).matrix[0, :n],
        measure(Identity(RGB), torch.zeros(1, *RGB), 1.0, rng=0).flatten()[:n],
        normal(0, 1, (n,), purpose="start")[0],
    ]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(4)
    assert correlation.abs().max() < 5 / math.sqrt(n)


# Composition


def test_composition_is_one_after_the_other():
    outer, inner = Downsample((1, 13, 17), factor=4, kernel="box"), Grayscale(RGB)
    A = outer @ inner
    x = images(A)
    assert isinstance(A, Composition)
    assert torch.equal(A(x), outer(inner(x)))
    torch.testing.assert_close(matrix(A), matrix(outer) @ matrix(inner))
    assert torch.equal(A.picture(A(x)), inner.picture(outer.picture(A(x))))
    with pytest.raises(ValueError, match="outer @ inner"):
        inner @ outer
    with pytest.raises(TypeError):
        inner @ 3


def test_rows_of_a_composition_measure_with_few_rows_of_the_outer():
    A = GaussianSensing(RGB, m=40, rng=0) @ Blur(RGB, sigma=1)
    assert A.rows([3]).outer.matrix.shape == (1, math.prod(RGB))
    assert isinstance(Downsample(RGB, 4).rows([1, 2, 3]).rows([0]).full, Downsample)
    assert isinstance(Downsample(RGB, 4).rows([1]), Rows)


# Pictures of measurements


def test_pictures():
    x = images(Identity(RGB))
    A = Inpainting(mask_of(13, 17))
    picture = A.picture(A(x))
    assert torch.equal(picture[:, :, A.mask], x[:, :, A.mask])
    assert (picture[:, :, ~A.mask] == 0).all()
    A = Downsample((3, 12, 16), factor=4)
    y = A(images(A))
    torch.testing.assert_close(A.picture(y), y.repeat_interleave(4, 2).repeat_interleave(4, 3).clamp(-1, 1))
    A = Grayscale(RGB)
    assert torch.equal(A.picture(A(x)), A(x).expand(-1, 3, -1, -1))
    A = GaussianSensing(RGB, m=30)
    picture, back = A.picture(A(x)), A.adjoint(A(x))
    torch.testing.assert_close(picture.abs().amax((1, 2, 3)), torch.ones(3))
    torch.testing.assert_close(F.cosine_similarity(picture.flatten(1), back.flatten(1)), torch.ones(3))


# Taking measurements


def test_measure_adds_noise_of_the_given_size_that_belongs_to_the_sample():
    A = Downsample((3, 64, 64), factor=2)
    x = images(A, n=4)
    assert torch.equal(measure(A, x), A(x))
    assert measure(Identity(A.shape_in), x).data_ptr() != x.data_ptr()  # writing into measurements leaves the truth
    noise = measure(A, x, noise=0.3, rng=5) - A(x)
    assert (torch.corrcoef(noise.flatten(1)) - torch.eye(4)).abs().max() < 5 / math.sqrt(noise[0].numel())
    n = noise.numel()
    assert float(noise.mean()) == pytest.approx(0, abs=5 * 0.3 / math.sqrt(n))
    assert float(noise.std()) == pytest.approx(0.3, rel=5 / math.sqrt(2 * n))
    torch.testing.assert_close(measure(A, x[:2], noise=0.3, rng=5), measure(A, x, noise=0.3, rng=5)[:2])
    alone = [measure(A, x[i : i + 1], 0.3, rng=[s]) for i, s in enumerate((9, 2, 2, 4))]
    torch.testing.assert_close(torch.cat(alone), measure(A, x, 0.3, rng=[9, 2, 2, 4]))
    torch.testing.assert_close(measure(A, x[:1], 0.3, rng=9), alone[0])
    double = measure(A.double(), x.double(), noise=0.3, rng=5)
    torch.testing.assert_close(double.float(), measure(A.float(), x, noise=0.3, rng=5), rtol=1e-5, atol=1e-5)


def test_noise_lies_on_observed_pixels_alone():
    A = Inpainting(mask_of(13, 17))
    y = measure(A, images(A), noise=0.1, rng=0)
    assert y.shape == (3, *A.shape_out)
    assert (A.adjoint(y)[:, :, ~A.mask] == 0).all()


def test_measure_takes_any_callable():
    """Phaseless Gaussian measurements and a saturating sensor: neither is linear, both are differentiable."""
    A = GaussianSensing(RGB, m=50, rng=0)
    x = images(A).requires_grad_()
    for nonlinear in (lambda x: A(x).abs(), lambda x: (2 * x).clamp(-1, 1), torch.nn.Sequential(A, torch.nn.Tanh())):
        y = measure(nonlinear, x, noise=0.01, rng=1)
        assert not y.requires_grad
        assert len(y) == 3
        assert 0 < float((y - nonlinear(x).detach()).std()) < 0.012
        (grad,) = torch.autograd.grad((nonlinear(x) - y).square().sum(), x)
        assert grad.abs().max() > 0


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((1, *RGB), 255.0), r"127\.5"),
        (torch.full((1, *RGB), math.nan), "NaN"),
        (torch.zeros(RGB), "unsqueeze"),
    ],
)
def test_measure_refuses_what_is_no_image(x, message):
    with pytest.raises(ValueError, match=message):
        measure(Identity(RGB), x)


@pytest.mark.parametrize("noise", [-0.1, math.nan, math.inf])
def test_measure_refuses_bad_noise(noise):
    with pytest.raises(ValueError, match="noise"):
        measure(Identity(RGB), torch.zeros(1, *RGB), noise=noise)
