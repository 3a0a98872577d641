"""A generator is a list of layers: cutting it anywhere changes no bit, and what a sample draws is its own."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ilo import generators
from ilo.assets import fetch
from ilo.generators import FeatureLayer, Generator

# The table in ilo.generators.dcgan: what each layer takes, and the image.
DCGAN_SHAPES = [(100,), (512, 4, 4), (256, 8, 8), (128, 16, 16), (64, 32, 32), (3, 64, 64)]


def toy_model(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Odd sizes, and layers that behave otherwise in training: 6 modules, latents (3,), images (2, 7, 5)."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 11), nn.BatchNorm1d(11), nn.Dropout(0.5), nn.Linear(11, 70), nn.Tanh(), nn.Unflatten(1, (2, 7, 5))
    )
    model[1].running_mean.normal_()
    return model.to(dtype)


def toy() -> Generator:
    return Generator.from_sequential(toy_model(), (1, 4), latent_shape=(3,))


@pytest.fixture(scope="module")
def double() -> Generator:
    return generators.load("dcgan-digiface64", dtype=torch.float64)


@pytest.fixture(params=["float32", "float64", "toy"])
def any_generator(request, dcgan, double) -> Generator:
    return {"float32": dcgan, "float64": double, "toy": toy()}[request.param]


def test_every_split_gives_the_image_bit_for_bit(any_generator):
    G = any_generator
    z = G.sample(3, 0)
    images = G(z)
    for i in range(G.num_layers + 1):
        head, tail = G.split(i)
        state = head(z)
        assert torch.equal(tail(state), images)
        # as well for a state that was saved and read back, which has another memory layout
        assert torch.equal(
            tail({name: t.clone(memory_format=torch.contiguous_format) for name, t in state.items()}), images
        )
        assert torch.equal(tail(state), images)  # running it did not change it


def test_runs_compose(any_generator):
    G = any_generator
    z = G.sample(2, 1)
    for i, j in itertools.combinations_with_replacement(range(G.num_layers + 1), 2):
        (name, expected), *more = G.run(z, 0, j).items()
        assert more == []
        assert torch.equal(G.run(G.run(z, 0, i), i, j)[name], expected)


def test_a_bare_tensor_stands_for_the_features(dcgan):
    z = dcgan.sample(2, 0)
    features = dcgan.run(z, stop=2)["features"]
    assert torch.equal(dcgan(features, start=2), dcgan(z))
    head, tail = dcgan.split(2)
    assert torch.equal(tail(features), dcgan(z))
    assert torch.equal(head(z["features"])["features"], features)


def test_run_leaves_the_state_it_is_given_alone(any_generator):
    z = any_generator.sample(2, 0)
    before = {name: t.clone() for name, t in z.items()}
    any_generator.run(z)
    assert z.keys() == before.keys()
    assert all(torch.equal(z[name], before[name]) for name in z)


def test_the_dcgans_layers_are_those_of_its_table(dcgan):
    z = dcgan.sample(2, 0)
    assert dcgan.name == "dcgan-digiface64"
    assert dcgan.num_layers == len(dcgan.layers) == 5
    assert dcgan.image_shape == (3, 64, 64)
    for i, shape in enumerate(DCGAN_SHAPES):
        assert next(iter(dcgan.run(z, stop=i).values())).shape == (2, *shape)
    assert list(dcgan.run(z)) == ["image"]


def test_the_dcgan_computes_what_its_paper_says(double):
    """Transposed convolution, batch normalisation by stored statistics, ReLU; tanh at the end."""
    w = {k: v.double() if v.is_floating_point() else v for k, v in dcgan_weights().items()}
    z = double.sample(2, 0)["features"]
    x = z.view(2, 100, 1, 1)
    for i in range(0, 12, 3):
        x = F.conv_transpose2d(x, w[f"main.{i}.weight"], stride=1 if i == 0 else 2, padding=0 if i == 0 else 1)
        mean, var, scale, shift = (
            w[f"main.{i + 1}.{name}"].view(1, -1, 1, 1) for name in ("running_mean", "running_var", "weight", "bias")
        )
        x = ((x - mean) / (var + 1e-5).sqrt() * scale + shift).clamp(min=0)
    expected = F.conv_transpose2d(x, w["main.12.weight"], stride=2, padding=1).tanh()
    torch.testing.assert_close(double(z), expected, rtol=1e-12, atol=1e-12)


def dcgan_weights() -> dict:
    return torch.load(fetch("dcgan-digiface64"), map_location="cpu", weights_only=True)["netG_state_dict"]


def test_float64_refines_float32(dcgan, double):
    assert double.dtype == torch.float64
    assert all(t.dtype == torch.float64 for t in double.parameters())
    z, w = dcgan.sample(4, 5)["features"], double.sample(4, 5)["features"]
    assert torch.equal(z, w.float())  # the same draws
    torch.testing.assert_close(dcgan(z).double(), double(w), rtol=0, atol=1e-5)


def test_images_lie_in_range_and_differ(dcgan):
    images = dcgan(dcgan.sample(32, 0))
    assert images.shape == (32, 3, 64, 64)
    assert images.min() >= -1
    assert images.max() <= 1
    assert images.std(0).mean() > 0.2  # 32 faces, not one
    assert images.mean((2, 3)).std() > 0.05


def test_a_generator_is_frozen(any_generator):
    assert not any(p.requires_grad for p in any_generator.parameters())
    assert not any(module.training for module in any_generator.modules())


def test_gradients_reach_the_input_of_every_layer(dcgan):
    z = dcgan.sample(2, 0)
    for i in range(dcgan.num_layers):
        features = dcgan.run(z, stop=i)["features"].detach().requires_grad_()
        dcgan(features, start=i).square().sum().backward()
        assert torch.isfinite(features.grad).all()
        assert (features.grad.flatten(1).abs().amax(1) > 0).all()


def test_weights_run_channels_last_in_every_dtype(dcgan, double):
    """It is what makes a step of the solver as fast as it is."""
    for G in (dcgan, double):
        weights = [p for p in G.parameters() if p.ndim == 4]
        assert len(weights) == 5
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


def test_an_image_does_not_depend_on_its_batch_beyond_rounding(double):
    z = double.sample(5, 0)["features"]
    torch.testing.assert_close(torch.cat([double(row) for row in z.split(1)]), double(z), rtol=0, atol=1e-12)


@given(n=st.integers(1, 6), more=st.integers(0, 5), seed=st.integers(0, 2**62))
@settings(max_examples=25)
def test_a_sample_is_its_own_whatever_the_batch(n, more, seed):
    G = toy()
    few, many = G.sample(n, seed)["features"], G.sample(n + more, seed)["features"]
    assert torch.equal(many[:n], few)
    assert torch.equal(G.sample(n, seed)["features"], few)
    assert len(many.unique(dim=0)) == n + more
    assert not torch.equal(G.sample(n, seed + 1)["features"], few)


def test_samples_are_standard_normal(dcgan):
    z = dcgan.sample(200, 3)["features"]  # 20,000 numbers: the bounds below are five standard errors
    assert abs(z.mean()) < 5 / 20_000**0.5
    assert abs(z.var() - 1) < 5 * (2 / 20_000) ** 0.5
    assert abs((z[:-1] * z[1:]).mean()) < 5 / 20_000**0.5  # neighbours are independent


def test_a_torch_generator_goes_on(dcgan):
    rng = torch.Generator().manual_seed(7)
    first, second = dcgan.sample(2, rng)["features"], dcgan.sample(2, rng)["features"]
    assert not torch.equal(first, second)
    assert torch.equal(dcgan.sample(2, torch.Generator().manual_seed(7))["features"], first)


def test_bad_draws_are_refused(dcgan):
    with pytest.raises(ValueError, match="n must be an integer of at least 1, got 0"):
        dcgan.sample(0, 0)
    with pytest.raises(ValueError, match="non-negative seed, got -1"):
        dcgan.sample(1, -1)
    with pytest.raises(TypeError, match="must be an int or a"):
        dcgan.sample(1, 0.5)


def test_sampling_leaves_torchs_own_randomness_alone(dcgan):
    before = torch.get_rng_state()
    dcgan.sample(3, 0)
    assert torch.equal(torch.get_rng_state(), before)


@given(cuts=st.sets(st.integers(1, 5)), dtype=st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=30)
def test_any_sequential_with_any_cuts(cuts, dtype):
    model = toy_model(dtype)
    G = Generator.from_sequential(model, sorted(cuts), latent_shape=(3,))
    assert G.num_layers == len(cuts) + 1
    assert G.image_shape == (2, 7, 5)
    assert G.dtype == dtype
    z = G.sample(4, 0)
    expected = model.eval()(z["features"])
    for i in range(G.num_layers + 1):
        head, tail = G.split(i)
        assert torch.equal(tail(head(z)), expected)


@pytest.mark.parametrize("cuts", [(0,), (6,), (3, 3), (4, 2), (-1,), (9,)])
def test_cuts_must_make_layers(cuts):
    with pytest.raises(ValueError, match="cuts must increase strictly between 0 and 6"):
        Generator.from_sequential(toy_model(), cuts, latent_shape=(3,))


def test_a_model_that_makes_no_images_is_refused():
    with pytest.raises(ValueError, match=r"must give images \(B, C, H, W\), got shape \(1, 70\)"):
        Generator.from_sequential(toy_model()[:-1], (1,), latent_shape=(3,))


def test_a_state_of_several_tensors():
    """What later layers read travels with the state, so that cutting loses nothing."""

    class Scale(nn.Module):
        def forward(self, state):
            return {"image": state["features"] * state["style"].view(-1, 1, 1, 1)}

    class Grow(nn.Module):
        def forward(self, state):
            return {**state, "features": state["features"].repeat(1, 1, 2, 2)}

    G = Generator(
        [Grow(), Scale()],
        latent_shapes={"features": (1, 2, 3), "style": ()},
        image_shape=(1, 4, 6),
        variables=["features"],
    )
    z = G.sample(2, 0)
    assert {name: tuple(t.shape) for name, t in z.items()} == {"features": (2, 1, 2, 3), "style": (2,)}
    assert G(z).shape == (2, 1, 4, 6)
    for i in range(3):
        head, tail = G.split(i)
        assert torch.equal(tail(head(z)), G(z))
    assert G.variables(z) == ("features",)
    assert torch.equal(G.sample(5, 0)["style"][:2], z["style"])


def test_by_default_all_of_the_state_is_optimised(dcgan):
    assert dcgan.variables(dcgan.sample(1, 0)) == ("features",)


def test_layers_that_do_not_exist_are_refused(dcgan):
    z = dcgan.sample(1, 0)
    for start, stop in ((-1, 2), (3, 2), (0, 6)):
        with pytest.raises(ValueError, match=rf"0 <= start <= stop <= 5, got start={start}, stop={stop}"):
            dcgan.run(z, start, stop)
    for i in (-1, 6):
        with pytest.raises(ValueError, match=rf"the layer must lie in 0 … 5, got {i}"):
            dcgan.split(i)
    with pytest.raises(ValueError, match="at least one layer"):
        Generator([], latent_shapes={"features": (1,)}, image_shape=(1, 1, 1))


def test_feature_layers_name_what_they_read_and_write():
    layer = FeatureLayer(nn.ReLU(), source="style", target="image")
    assert torch.equal(layer({"style": torch.tensor([-1.0, 2.0])})["image"], torch.tensor([0.0, 2.0]))


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown generator 'stylegan7'.*'dcgan-digiface64'"):
        generators.load("stylegan7")


def test_a_device_that_is_not_there_is_explained(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match=r"device 'cuda' was asked for, but torch .* sees 0 GPUs: use 'cpu'"):
        generators.load("dcgan-digiface64", device="cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="device 'cuda:3' was asked for"):
        generators.load("dcgan-digiface64", device=torch.device("cuda", 3))
    with pytest.raises(ValueError, match="torch knows no device 'gpu'"):
        generators.load("dcgan-digiface64", device="gpu")
    with pytest.raises(ValueError, match=r"floating-point dtype such as torch\.float32, got torch\.int64"):
        generators.load("dcgan-digiface64", dtype=torch.int64)


def test_nothing_holds_on_to_the_cpu():
    """torch's device without storage stands in for a GPU: a tensor left on the CPU would not mix with it."""
    G = generators.load("dcgan-digiface64", device="meta")
    z = G.sample(2, 0)
    assert G.device == z["features"].device == torch.device("meta")
    assert G(z).shape == (2, 3, 64, 64)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: torch.cuda.is_available() is False")
def test_a_gpu_computes_the_same(double):
    G = generators.load("dcgan-digiface64", device="cuda", dtype=torch.float64)
    z = G.sample(3, 0)
    assert torch.equal(z["features"].cpu(), double.sample(3, 0)["features"])
    torch.testing.assert_close(G(z).cpu(), double(double.sample(3, 0)), rtol=0, atol=1e-10)
    for i in range(G.num_layers + 1):
        head, tail = G.split(i)
        assert torch.equal(tail(head(z)), G(z))


def test_a_cut_before_an_in_place_activation_leaves_the_state_alone():
    model = nn.Sequential(nn.Linear(3, 12), nn.ReLU(inplace=True), nn.Tanh(), nn.Unflatten(1, (3, 2, 2)))
    G = Generator.from_sequential(model, cuts=(1,), latent_shape=(3,))
    state = G.run(G.sample(2, 0), 0, 1)
    before = state["features"].clone()
    G(state, 1)
    assert torch.equal(state["features"], before)
    state["features"].requires_grad_()
    G(state, 1).sum().backward()


def test_a_model_in_another_range_is_refused():
    model = nn.Sequential(nn.Linear(3, 12), nn.Unflatten(1, (3, 2, 2)))
    nn.init.constant_(model[0].bias, 128.0)
    with pytest.raises(ValueError, match=r"not images in \[−1, 1\]"):
        Generator.from_sequential(model, cuts=(), latent_shape=(3,))
