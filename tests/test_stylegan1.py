"""StyleGAN, the first: every format against its equations, at every split, and the searches on it."""

import first_stylegan as plain
import pytest
import torch
from tensorflow_writer import tensorflow_pickle

import ilo
from ilo import baselines
from ilo.generators.checkpoints.read import read_checkpoint

FORMATS = [*plain.EPSILON]
DRAWN = ("PULSE", "lernapparat", "rosinality")  # their files have no noise maps


def write(net, form: str, folder, dtype=torch.float64):
    """A file of this format, to be given to `load`."""
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in plain.stored(net, form).items()}
    path = folder / f"{form}.pt"
    if form == "TensorFlow":
        path = folder / "karras2019stylegan.pkl"
        numbers = {torch.float64: "float64", torch.float32: "float32"}[dtype]
        path.write_bytes(tensorflow_pickle(plain.arrays(tensors, numbers)))
    elif form == "PULSE":
        path = folder / "synthesis.pt"
        torch.save({n: t for n, t in tensors.items() if not n.startswith("dense")}, path)
        torch.save({n: t for n, t in tensors.items() if n.startswith("dense")}, folder / "mapping.pt")
    else:
        key = {"genforce": "generator_smooth", "rosinality": "g_running"}.get(form)
        torch.save({key: tensors, "other": {}} if key else tensors, path)
    return path


def with_drawn_maps(net, path):
    """The network with the noise maps that are drawn where a file has none."""
    weights = read_checkpoint(path).weights
    maps = {
        f"{k}.map": weights[f"synthesis.b{4 << k // 2}.conv{k % 2}.noise_const"]
        for k in range(len(net) // 1)
        if f"{k}.map" in net
    }
    return net | maps


@pytest.fixture(scope="module", params=[(4, 8, 16), (4, 8, 16, 32, 64, 128)], ids=["16 px", "128 px"])
def net(request):
    count = len(request.param)
    return plain.effective(request.param, (6, 5, 4, 3, 3, 2)[:count])


def expected(net, form, ws):
    const = {k: v for k, v in net.items()}
    if form == "rosinality":  # its constant has no bias
        const["0.bias"] = torch.zeros_like(net["0.bias"])
    return plain.synthesis(const, ws, plain.EPSILON[form], bias_first=form == "rosinality")


def far(found, truth) -> float:
    return ((found - truth).norm() / truth.norm()).item()


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_at_every_split_is_what_the_equations_say(net, form, tmp_path):
    path = write(net, form, tmp_path)
    net = with_drawn_maps(net, path)
    G = ilo.generators.load(str(path), space="z")
    z = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    w = plain.styles(net, z)
    truth = expected(net, form, w[:, None].repeat(1, len([n for n in net if n.endswith(".map")]), 1))
    assert G.image_shape == truth.shape[1:]
    assert truth.std() > 0.1
    for layer in range(G.num_layers):
        state = G.run({"latents": z}, 0, layer)
        assert far(G(state, layer), truth) < 1e-10
    assert far(G.run({"latents": z}, 0, 1)["styles"][:, 0], w) < 1e-10


@pytest.mark.parametrize("form", FORMATS)
def test_styles_of_their_own_go_where_they_belong(net, form, tmp_path):
    path = write(net, form, tmp_path)
    net = with_drawn_maps(net, path)
    count = len([n for n in net if n.endswith(".map")])
    ws = torch.randn(2, count, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    G = ilo.generators.load(str(path), space="w+")
    assert far(G({"styles": ws}), expected(net, form, ws)) < 1e-10


def test_all_formats_of_one_network_open_to_the_same_images(tmp_path):
    """But for what their programs do differently: the normalisation's epsilon, and two biases (here 0)."""
    net = plain.effective()
    net |= {f"{k}.bias": torch.zeros_like(net[f"{k}.bias"]) for k in (0, 2, 4)}
    state = {"latents": torch.randn(2, 7, generator=torch.Generator().manual_seed(3))}
    images = {}
    for form, epsilon in plain.EPSILON.items():
        weights = read_checkpoint(write(net, form, tmp_path, torch.float32)).weights
        assert weights["synthesis.epsilon"].item() == pytest.approx(epsilon)
        weights["synthesis.epsilon"] = torch.tensor(1e-8)
        images[form] = ilo.generators.stylegan1(weights, space="z", noise="zero")(state)
        assert images[form].dtype == torch.float32
    assert all(far(found, images["TensorFlow"]) < 1e-5 for found in images.values())


def test_converted_it_is_the_same_and_safetensors(tmp_path):
    path = write(plain.effective(), "lernapparat", tmp_path)
    ilo.generators.convert(path, tmp_path / "g.safetensors")
    one, other = (ilo.generators.load(str(p)) for p in (path, tmp_path / "g.safetensors"))
    state = one.sample(2, 0)
    assert torch.equal(one(state), other(state))


def test_pulse_is_asked_for_both_of_its_files(tmp_path):
    path = write(plain.effective(), "PULSE", tmp_path)
    (tmp_path / "mapping.pt").unlink()
    with pytest.raises(ValueError, match=r"mapping network beside it.*mapping\.pt"):
        ilo.generators.load(str(path))


@pytest.mark.parametrize("form", FORMATS)
def test_the_tensor_that_does_not_fit_is_named(form, tmp_path):
    stored = plain.stored(plain.effective(), form)
    shift = {"TensorFlow": "synthesis/8x8/Conv1/StyleMod/bias", "genforce": "synthesis.layer3.style.bias"}
    shift |= {
        "PULSE": "blocks.8x8.epi2.style_mod.lin.bias",
        "rosinality": "generator.progression.1.adain2.style.linear.bias",
    }
    shift["lernapparat"] = "g_synthesis." + shift["PULSE"]
    for change in ("missing", "shape"):
        tensors = {name: tensor.clone() for name, tensor in stored.items()}
        tensors[shift[form]] = tensors[shift[form]][:-1]
        if change == "missing":
            del tensors[shift[form]]
        if form == "TensorFlow":
            path = tmp_path / "g.pkl"
            path.write_bytes(tensorflow_pickle(plain.arrays(tensors)))
        else:
            path = tmp_path / "synthesis.pt"
            torch.save(tensors, path)
        with pytest.raises(ValueError, match=rf"StyleGAN, but {shift[form]}".replace(".", r"\.")):
            ilo.generators.load(str(path))


@pytest.mark.parametrize("settings", [{"blur_filter": None, "fused_scale": True}, {"use_instance_norm": False}])
def test_tensorflows_settings_are_looked_at(settings, tmp_path):
    path = tmp_path / "g.pkl"
    path.write_bytes(tensorflow_pickle(plain.arrays(plain.stored(plain.effective(), "TensorFlow")), settings))
    with pytest.raises(ValueError, match="where only"):
        ilo.generators.load(str(path))


def test_a_network_that_is_no_stylegan1_is_refused_by_the_builder():
    with pytest.raises(ValueError, match=r"looks like StyleGAN, but synthesis\.b4"):
        ilo.generators.stylegan1({"synthesis.b4.x": torch.zeros(1), "synthesis.b8.x": torch.zeros(1)})


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stylegan1")
    return ilo.generators.load(str(write(plain.effective(), "lernapparat", folder, torch.float32)))


def test_its_gaussian_is_that_of_the_mapping_network(small):
    """PULSE's: mean and standard deviation of LeakyReLU_5(mapping(z)), which undoes the last leaky ReLU."""
    net = plain.effective()
    w = plain.styles(net, torch.randn(100_000, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(4)))
    inner = torch.where(w > 0, w, 5 * w)
    paper = small.layers[1].to_w[0]
    torch.testing.assert_close(paper.mean.double(), inner.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(paper.std.double(), inner.std(0), atol=0.02, rtol=0)


def test_the_state_carries_features_styles_and_noise(small):
    state = small.sample(2, 0)
    assert state["latents"].shape == (2, 6, 9)
    second = small.run(state, 0, 2)
    assert set(second) == {"features", "latents", "noise_2", "noise_3", "noise_4", "noise_5"}
    assert second["features"].shape == (2, 6, 4, 4)


@pytest.mark.parametrize("how", ["CSGM", "ILO", "PULSE", "auto"])
def test_it_is_searched(small, how):
    truth = small(small.sample(1, 5, purpose="truth")).detach()
    A = ilo.operators.RandomInpainting(small.image_shape, keep=0.5, rng=0)
    y = ilo.operators.measure(A, truth, noise=0.01, rng=0)
    if how == "PULSE":
        found = baselines.pulse(small, A, y, steps=60, rng=0, progress=False)
        radius = small.sample(1, 0, purpose="start")["latents"].norm(dim=2)
        torch.testing.assert_close(found.state["latents"].norm(dim=2), radius, rtol=1e-4, atol=1e-4)
    elif how == "auto":
        found = ilo.recover(small, A, y, rounds=ilo.Auto(budget=60, noise=0.01), rng=0, progress=False)
    else:
        rounds = [ilo.Round(0, 80, 0.1)]
        if how == "ILO":
            rounds += [ilo.Round(1, 30, 0.02, radius=20.0), ilo.Round(2, 30, 0.02, radius=20.0)]
        found = ilo.recover(small, A, y, rounds=rounds, rng=0, progress=False)
    begun = A(small(small.sample(1, 0, purpose="start"))) - y
    assert (A(found.images) - y).norm() < 0.8 * begun.norm()
