"""Lipschitz constants against dense singular values, small networks whose constant is known, and the DCGAN's layers."""

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ilo.generators import FeatureLayer, Generator
from ilo.theory import lipschitz_lower_bound, lipschitz_upper_bound, operator_norm
from ilo.theory.digits import train_digits

ABOVE = 2e-6  # relative excess that a certified norm may have


def one_layer(*modules, latent_shape, dtype=torch.float64) -> Generator:
    """A generator whose only layer is these modules; its image need not be one."""
    layer = FeatureLayer(nn.Sequential(*modules), target="image")
    return Generator([layer], latent_shapes={"features": latent_shape}, image_shape=(1, 1, 1)).to(dtype)


def dense_norm(module: nn.Module, shape) -> float:
    """Largest singular value of the linear part of `module`, column by column: the oracle."""
    basis = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    with torch.no_grad():
        columns = (module(basis) - module(torch.zeros_like(basis[:1]))).flatten(1)
    return float(torch.linalg.matrix_norm(columns, 2))


# Hand calculations.


def linear(*rows) -> nn.Linear:
    module = nn.Linear(len(rows[0]), len(rows), bias=False)
    return module.requires_grad_(False).double().apply(lambda m: m.weight.copy_(torch.tensor(rows)))


def test_the_upper_bound_of_a_network_worked_out_by_hand():
    # [[3, 4], [4, −3]]ᵀ[[3, 4], [4, −3]] = 25·I: norm 5. The ReLU's slope is 1 and the sigmoid's 1/4.
    # [[1, 1]] has norm √2. Together 5·1·1/4·√2 = 1.76776695297
    modules = linear([3.0, 4.0], [4.0, -3.0]), nn.ReLU(), nn.Sigmoid(), linear([1.0, 1.0])
    assert lipschitz_upper_bound(one_layer(*modules, latent_shape=(2,))) == pytest.approx(1.76776695297, rel=2 * ABOVE)


def test_the_norm_of_a_padded_convolution_worked_out_by_hand():
    # The kernel (1, 1) on a row (a, b) with a zero at either side gives (a, a + b, b): AᵀA = [[2, 1], [1, 2]], whose
    # eigenvalues are 1 and 3. The norm is √3 = 1.73205080757; on an endless row it would be 2.
    module = nn.Conv2d(1, 1, (1, 2), padding=(0, 1), bias=False).double()
    nn.init.ones_(module.weight)
    bound = lipschitz_upper_bound(one_layer(module, latent_shape=(1, 1, 2)))
    assert bound == pytest.approx(1.73205080757, rel=ABOVE)


def test_the_lower_bound_worked_out_by_hand():
    # G(z) = tanh(5·R z), R a rotation. At z = 0 the Jacobian is 5·R: 5. At z = (0.12, 0.16) = 0.2·(3, 4)/5 the product
    # with [[3, 4], [4, −3]] is (1, 0): slopes 1 − tanh²(1) = 0.419974341614 and 1, so the largest is still 5;
    # at z = (0.2·(3, 4) + 0.2·(4, −3))/5 it is (1, 1): both slopes are that, and 5·0.419974341614 = 2.09987170807
    G = one_layer(linear([3.0, 4.0], [4.0, -3.0]), nn.Tanh(), latent_shape=(2,))
    for point, value in (((0.0, 0.0), 5), ((0.12, 0.16), 5), ((0.28, 0.04), 2.09987170807)):
        points = {"features": torch.tensor([point], dtype=torch.float64)}
        assert lipschitz_lower_bound(G, points=points, iterations=100) == pytest.approx(value, rel=1e-9)


convolutions = st.fixed_dictionaries(
    dict(
        transposed=st.booleans(),
        kernel=st.tuples(st.integers(1, 5), st.integers(1, 4)),
        stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        dilation=st.integers(1, 2),
        padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
        groups=st.integers(1, 2),
        channels=st.tuples(st.integers(1, 2), st.integers(1, 2)),
        size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
        bias=st.booleans(),
        seed=st.integers(0, 1000),
    )
)


def convolution(drawn) -> nn.Module | None:
    """A random convolution, or None where torch knows none of that size."""
    kind = nn.ConvTranspose2d if drawn["transposed"] else nn.Conv2d
    c_in, c_out = (c * drawn["groups"] for c in drawn["channels"])
    options = {name: drawn[name] for name in ("stride", "padding", "dilation", "groups", "bias")}
    torch.manual_seed(drawn["seed"])
    module = kind(c_in, c_out, drawn["kernel"], **options).double().requires_grad_(False)
    try:
        return module if module(torch.zeros(1, c_in, *drawn["size"], dtype=torch.float64)).numel() else None
    except RuntimeError:
        return None


@settings(deadline=None, max_examples=60)
@given(convolutions)
def test_the_certified_norm_of_a_convolution_is_its_largest_singular_value(drawn):
    module = convolution(drawn)
    if module is None:
        return
    shape = (module.in_channels, *drawn["size"])
    exact = dense_norm(module, shape)
    bound = lipschitz_upper_bound(one_layer(module, latent_shape=shape))
    assert exact * (1 - 1e-12) <= bound <= exact * (1 + ABOVE) + 1e-100


def test_output_padding_is_part_of_the_layer():
    torch.manual_seed(0)
    module = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1).double()
    exact = dense_norm(module, (2, 5, 4))
    assert lipschitz_upper_bound(one_layer(module, latent_shape=(2, 5, 4))) == pytest.approx(exact, rel=ABOVE)


@pytest.mark.parametrize(("width", "out"), [(1, 1), (3, 40), (40, 3), (64, 64)])
def test_the_norm_of_a_linear_layer(width, out):
    torch.manual_seed(0)
    module = nn.Linear(width, out).double()
    exact = float(torch.linalg.matrix_norm(module.weight.detach(), 2))
    assert exact <= lipschitz_upper_bound(one_layer(module, latent_shape=(width,))) <= exact * (1 + ABOVE)


def test_normalisation_is_folded_into_the_layer_before():
    torch.manual_seed(0)
    convolution, normalisation = nn.Conv2d(2, 3, 3, padding=1).double(), nn.BatchNorm2d(3).double().eval()
    with torch.no_grad():
        normalisation.weight.copy_(torch.tensor([3.0, -1.0, 0.1]))
        normalisation.running_var.copy_(torch.tensor([4.0, 0.25, 1.0]))
    together = dense_norm(nn.Sequential(convolution, normalisation), (2, 6, 5))
    apart = dense_norm(convolution, (2, 6, 5)) * 2  # largest |weight|/√(variance + eps): 1/0.5
    bound = lipschitz_upper_bound(one_layer(convolution, normalisation, latent_shape=(2, 6, 5)))
    assert bound == pytest.approx(together, rel=ABOVE)
    assert bound < 0.95 * apart
    alone = lipschitz_upper_bound(one_layer(nn.Identity(), normalisation, latent_shape=(3, 6, 5)))
    assert alone == pytest.approx(1 / math.sqrt(0.25 + 1e-5))  # the eps of batch normalisation


@pytest.mark.parametrize(
    ("module", "slope"),
    [
        (nn.ReLU(), 1),
        (nn.Tanh(), 1),
        (nn.Sigmoid(), 0.25),
        (nn.LeakyReLU(0.2), 1),
        (nn.LeakyReLU(3.0), 3),
        (nn.LeakyReLU(-2.0), 2),
        (nn.Dropout(0.5), 1),
        (nn.Upsample(scale_factor=3), 3),
        (nn.PixelShuffle(2), 1),
    ],
    ids=repr,
)
def test_the_slopes_of_activations(module, slope):
    G = one_layer(module, latent_shape=(4, 3, 3))
    assert lipschitz_upper_bound(G) == pytest.approx(slope, rel=1e-12)
    points = {"features": torch.randn(64, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))}
    points["features"][0] = 0  # where the sigmoid and tanh are steepest
    assert lipschitz_lower_bound(G, points=points, iterations=60) == pytest.approx(slope, rel=1e-3)


def test_the_bound_of_several_layers_is_the_product_and_of_none_is_one():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 36), nn.ReLU(), nn.Unflatten(1, (4, 3, 3)), nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Tanh()
    )
    G = Generator.from_sequential(model, cuts=(2, 4), latent_shape=(5,))
    parts = [lipschitz_upper_bound(G, i, i + 1) for i in range(3)]
    assert lipschitz_upper_bound(G) == pytest.approx(math.prod(parts), rel=1e-12)
    assert lipschitz_upper_bound(G, 1, 1) == 1


def test_a_missed_singular_value_makes_the_bound_loose_never_low(monkeypatch):
    torch.manual_seed(0)
    module = nn.Conv2d(2, 2, 3, padding=1).double()
    exact = dense_norm(module, (2, 6, 6))
    monkeypatch.setattr(operator_norm, "_largest_singular_value", lambda taps: 0.6 * exact)
    assert lipschitz_upper_bound(one_layer(module, latent_shape=(2, 6, 6))) >= exact


def test_the_certificate_is_refused_just_below_the_norm():
    torch.manual_seed(0)
    module = nn.ConvTranspose2d(3, 2, 4, 2, 1).double()
    exact = dense_norm(module, (3, 7, 5))
    taps = operator_norm.linear_taps(module, (1, 3, 7, 5), (1, 2, 14, 10))
    for gram in (operator_norm._Gram(taps), operator_norm._Gram(taps.adjoint)):
        assert gram.is_below(exact * (1 + 1e-9))
        assert not gram.is_below(exact * (1 - 1e-9))


def test_a_layer_of_zeros_has_a_bound():
    module = nn.Conv2d(1, 1, 3)
    nn.init.zeros_(module.weight)
    assert 0 <= lipschitz_upper_bound(one_layer(module, latent_shape=(1, 5, 5))) < 1e-100


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 12), min_size=2, max_size=5))
def test_upper_is_never_below_lower(seed, widths):
    torch.manual_seed(seed)
    modules = []
    for a, b in itertools.pairwise(widths):
        modules += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
    G = one_layer(*modules, latent_shape=widths[:1])
    assert lipschitz_lower_bound(G, n=4, rng=seed) <= lipschitz_upper_bound(G) * (1 + 1e-9)


def test_the_lower_bound_of_a_linear_network_is_the_norm_of_the_product():
    torch.manual_seed(0)
    one, two = nn.Linear(20, 30).double(), nn.Linear(30, 10).double()
    exact = dense_norm(nn.Sequential(one, two), (20,))
    G = one_layer(one, two, latent_shape=(20,))
    found = lipschitz_lower_bound(G, n=1, iterations=300)
    assert found == pytest.approx(exact, rel=1e-4)
    assert found <= exact * (1 + 1e-12)
    assert exact < 0.9 * lipschitz_upper_bound(G)


def test_the_lower_bound_finds_the_jacobians_largest_singular_value():
    torch.manual_seed(0)
    G = one_layer(nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 8), latent_shape=(6,))
    points = G.sample(5, 3, "probe")
    jacobians = [torch.autograd.functional.jacobian(lambda z: G(z[None])[0], point) for point in points["features"]]
    largest = max(float(torch.linalg.matrix_norm(J, 2)) for J in jacobians)
    assert lipschitz_lower_bound(G, points=points, iterations=400) == pytest.approx(largest, rel=1e-5)
    assert lipschitz_lower_bound(G, n=5, rng=3, iterations=400) == pytest.approx(largest, rel=1e-5)


def test_what_has_no_certified_norm_is_named():
    with pytest.raises(TypeError, match=r"no certified norm is known for Softmax"):
        lipschitz_upper_bound(one_layer(nn.Linear(3, 3), nn.Softmax(1), latent_shape=(3,)))
    with pytest.raises(TypeError, match=r"Bilinear|Upsample"):
        lipschitz_upper_bound(one_layer(nn.Upsample(scale_factor=2, mode="bilinear"), latent_shape=(1, 3, 3)))
    with pytest.raises(ValueError, match=r"zero padding"):
        lipschitz_upper_bound(one_layer(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), latent_shape=(1, 5, 5)))

    class Styled(nn.Module):
        def forward(self, state):
            return {"image": state["features"] * state["style"]}

    shapes = {"features": (1, 2, 2), "style": (1, 1, 1)}
    G = Generator([Styled()], latent_shapes=shapes, image_shape=(1, 2, 2))
    with pytest.raises(TypeError, match="one tensor"):
        lipschitz_upper_bound(G)
    assert lipschitz_lower_bound(G) > 0

    G = Generator([Styled()], latent_shapes={"features": (1, 2, 2)}, image_shape=(1, 2, 2))
    with pytest.raises(TypeError, match="Styled"):
        lipschitz_upper_bound(G)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"iterations": 0}])
def test_wrong_arguments_of_the_lower_bound_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        lipschitz_lower_bound(one_layer(nn.Tanh(), latent_shape=(2,)), **wrong)


@pytest.mark.slow
@pytest.mark.parametrize("layer", range(5))
def test_every_real_layer_is_certified_above_what_is_found(dcgan, layer):
    upper = lipschitz_upper_bound(dcgan, layer, layer + 1)
    lower = lipschitz_lower_bound(dcgan, layer, layer + 1, n=2)
    assert lower <= upper * (1 + 1e-5)  # found in float32
    assert upper < 20 * lower  # and it is no empty promise


def test_every_cut_of_the_digits_decoder_is_certified_above_what_is_found():
    G = train_digits(epochs=5)
    for start, stop in itertools.combinations(range(G.num_layers + 1), 2):
        assert lipschitz_lower_bound(G, start, stop) <= lipschitz_upper_bound(G, start, stop) * (1 + 1e-5)


def test_the_first_layer_of_the_faces_against_its_dense_matrix(dcgan):
    linear = copy.deepcopy(dcgan.layers[0].module[:3]).double()  # unflatten, convolution, normalisation
    exact = dense_norm(linear, (100,))
    assert lipschitz_upper_bound(dcgan, 0, 1) == pytest.approx(exact, rel=1e-5)
