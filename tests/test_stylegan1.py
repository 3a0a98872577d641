"""The first StyleGAN opens, from each of five formats, to what its equations say."""

import math

import first_writer
import pytest
import torch
import torch.nn.functional as F
from first_writer import colours_of, features_of, random_net, styles_of
from golden_files import relative_error
from searches import METHODS, assert_every_split_gives_the_image, assert_gets_nearer, psnr
from tensorflow_writer import tensorflow_pickle

import ilo
from ilo.generators import convert, load, open_checkpoint, stylegan1
from ilo.generators.checkpoints.read import read_checkpoint
from ilo.generators.stylegan.build import NOISES, SPACES

FORMATS = ("genforce", "PULSE", "lernapparat", "rosinality", "TensorFlow")
LOW = {"PULSE": 1e-5, "lernapparat": 1e-5, "rosinality": 1e-5}  # ε of the instance norm; elsewhere 1e-8
LARGE = {"sizes": (4, 8, 16, 32, 64, 128), "channels": (6, 5, 4, 3, 3, 2)}


def write(form: str, net, folder, dtype=torch.float64) -> dict:
    """Write a file of this format; return what opens it."""
    path = folder / form
    if form == "TensorFlow":
        variables = {name: torch.from_numpy(v).to(dtype).numpy() for name, v in first_writer.tensorflow(net).items()}
        path.write_bytes(tensorflow_pickle(variables, protocol=3))
        return {"path": path}

    def save(weights, path, key=None):
        weights = {name: value.to(dtype) for name, value in weights.items()}
        torch.save({key: weights} if key else weights, path)

    if form == "PULSE":
        synthesis, mapping = first_writer.pulse(net)
        save(synthesis, path)
        save(mapping, folder / "mapping")
        return {"path": path, "mapping": folder / "mapping"}
    keys = {"genforce": "generator_smooth", "rosinality": "g_running"}
    save(getattr(first_writer, form)(net), path, keys.get(form))
    return {"path": path}


def of(form: str, **sizes):
    """A network as the format can hold it: a doubling layer's bias comes after the blur, but for rosinality."""
    net = random_net(**sizes, epsilon=LOW.get(form, 1e-8))
    if form == "rosinality":
        for layer in net.layers[2::2]:
            layer.early, layer.bias = layer.bias, torch.zeros_like(layer.bias)
        for first, second in zip(net.layers[::2], net.layers[1::2], strict=True):
            second.map = first.map
    return net


def small(**options):
    return stylegan1(first_writer.genforce(random_net()), **options)


@pytest.mark.parametrize("sizes", [{}, LARGE], ids=["16", "128"])
@pytest.mark.parametrize("form", FORMATS)
def test_its_images_are_those_of_the_equations_at_every_split(form, sizes, tmp_path):
    net = of(form, **sizes)
    G = open_checkpoint(**write(form, net, tmp_path), space="z", noise="free")
    assert G.dtype == torch.float64
    count = len(net.layers)
    maps = {f"noise_{k}": layer.map.expand(2, 1, -1, -1) for k, layer in enumerate(net.layers)}
    sample = {**G.sample(2, 0), **maps}
    ws = [styles_of(net, z) for z in sample["latents"]]
    reached = [features_of(net, w.expand(count, -1), [layer.map for layer in net.layers]) for w in ws]
    images = torch.stack([colours_of(net, features[-1]) for features in reached])
    assert images.std() > 0.1
    assert relative_error(G(sample), images) < 1e-10
    for i in range(1, G.num_layers):
        state = G.run(sample, 0, i)
        assert relative_error(state["styles"], torch.stack(ws)[:, None].expand(-1, count, -1)) < 1e-10
        if i > 1:
            features = torch.stack([features[i - 2] for features in reached])
            assert relative_error(state["features"], features) < 1e-10
            state |= {"features": features}
        assert relative_error(G(state, i), images) < 1e-10


@pytest.mark.parametrize("form", ["genforce", "TensorFlow"])
def test_the_noise_maps_of_a_file_are_used(form, tmp_path):
    net = of(form)
    G = open_checkpoint(**write(form, net, tmp_path), space="z")
    z = G.sample(1, 0)
    ws = styles_of(net, z["latents"][0]).expand(len(net.layers), -1)
    expected = colours_of(net, features_of(net, ws, [layer.map for layer in net.layers])[-1])
    assert relative_error(G(z)[0], expected) < 1e-10


def test_one_network_in_every_format_gives_the_same_images(tmp_path):
    net = random_net(**LARGE)
    for layer in net.layers[2::2]:
        layer.bias = torch.zeros_like(layer.bias)  # the one tensor that rosinality's format cannot hold
    images = []
    for form in FORMATS:
        G = open_checkpoint(**write(form, net, tmp_path, torch.float32), space="z", noise="zero", epsilon=1e-8)
        assert G.dtype == torch.float32
        images.append(G(G.sample(2, 0)))
    for form, other in zip(FORMATS, images, strict=True):
        torch.testing.assert_close(other, images[0], rtol=1e-5, atol=1e-5, msg=lambda m, form=form: f"{form}: {m}")


@pytest.mark.parametrize("form", FORMATS)
def test_it_is_named_and_converts_to_the_same_images(form, tmp_path):
    files = write(form, of(form), tmp_path)
    path, mapping = files["path"], files.get("mapping")
    assert read_checkpoint(path, mapping).describe().startswith("StyleGAN (the first), 16×16 pixels, no classes")
    convert(path, tmp_path / "g.safetensors", mapping)
    one, two = load(path, **({"mapping": mapping} if mapping else {})), load(tmp_path / "g.safetensors")
    assert torch.equal(one(one.sample(2, 0)), two(two.sample(2, 0)))
    assert read_checkpoint(tmp_path / "g.safetensors").epsilon == LOW.get(form, 1e-8)


@pytest.mark.parametrize("fused", [True, False])
def test_rosinalitys_doubling_is_transposed_or_not_at_any_size(fused, tmp_path):
    """The program lets one choose; the file says which."""
    net = of("rosinality", **LARGE)
    net.fused_from = 8 if fused else 4096
    torch.save(first_writer.rosinality(net), tmp_path / "g")
    G = open_checkpoint(tmp_path / "g", space="z", noise="zero")
    z = G.sample(1, 0)
    ws = styles_of(net, z["latents"][0]).expand(len(net.layers), -1)
    assert relative_error(G(z)[0], colours_of(net, features_of(net, ws, None)[-1])) < 1e-10


@pytest.mark.parametrize("fused", [True, False])
def test_tensorflows_doubling_is_what_its_settings_say(fused, tmp_path):
    net = random_net(**LARGE, fused_from=8 if fused else 4096)
    (tmp_path / "g").write_bytes(tensorflow_pickle(first_writer.tensorflow(net), {"fused_scale": fused}))
    G = open_checkpoint(tmp_path / "g", space="z", noise="zero")
    z = G.sample(1, 0)
    ws = styles_of(net, z["latents"][0]).expand(len(net.layers), -1)
    assert relative_error(G(z)[0], colours_of(net, features_of(net, ws, None)[-1])) < 1e-10


def test_blocks_that_rosinalitys_training_has_not_come_to_are_left_out(tmp_path):
    net = of("rosinality", channels=(6, 4, 4))
    torch.save(first_writer.rosinality(net, untrained=3), tmp_path / "longer")
    torch.save(first_writer.rosinality(net), tmp_path / "g")
    one, two = open_checkpoint(tmp_path / "longer"), open_checkpoint(tmp_path / "g")
    assert one.image_shape == (3, 16, 16)
    assert torch.equal(one(one.sample(2, 0)), two(two.sample(2, 0)))


def test_noise_maps_that_a_file_lacks_are_drawn_once_and_for_all(tmp_path):
    for form in ("PULSE", "rosinality"):
        files = write(form, of(form), tmp_path)
        one, two = (open_checkpoint(**files, space="z") for _ in range(2))
        first, second = (G.run(G.sample(1, 0), 0, 1) for G in (one, two))
        assert all(torch.equal(first[f"noise_{k}"], second[f"noise_{k}"]) for k in range(6))
        # rosinality's network gives both layers of a size the same map
        assert torch.equal(first["noise_2"], first["noise_3"]) == (form == "rosinality")
        assert first["noise_4"].std() > 0.5


# --- spaces, truncation, the state ---


def test_truncation_moves_the_first_eight_styles():
    net = random_net(sizes=(4, 8, 16, 32, 64), channels=(3,) * 5)
    weights = first_writer.genforce(net)
    z, w, wplus, paper = (stylegan1(weights, space=space, truncation=0.7) for space in ("z", "w", "w+", "paper"))
    whole = styles_of(net, z.sample(1, 0)["latents"][0])
    pulled = net.w_avg + 0.7 * (whole - net.w_avg)
    expected = torch.stack([pulled] * 8 + [whole] * 2)
    for G in (z, w, wplus):
        assert relative_error(G.run(G.sample(1, 0), 0, 1)["styles"][0], expected) < 1e-10
    maps = [layer.map for layer in net.layers]
    assert relative_error(z(z.sample(1, 0))[0], colours_of(net, features_of(net, expected, maps)[-1])) < 1e-10
    latents = paper.sample(1, 0)
    styles = stylegan1(weights, space="paper").layers[1].to_w(latents["latents"])[0]
    styles = torch.cat([net.w_avg + 0.7 * (styles[:8] - net.w_avg), styles[8:]])
    assert relative_error(paper(latents)[0], colours_of(net, features_of(net, styles, maps)[-1])) < 1e-10
    all_of_them = stylegan1(weights, space="z", truncation=0.7, truncated=99)
    assert relative_error(all_of_them.run(z.sample(1, 0), 0, 1)["styles"][0], pulled.expand(10, -1)) < 1e-10


def test_the_papers_space_is_pulses():
    """PULSE undoes the mapping network's last leaky ReLU (slope 0.2, by one of slope 5) and fits a Gaussian."""
    net = random_net()
    z = torch.randn(200_000, 7, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for weight, bias in net.mapping:
        x = F.leaky_relu(x @ weight.T + bias, 0.2)
    before = F.leaky_relu(x, 5.0)
    G = stylegan1(first_writer.genforce(net))
    latents = G.sample(3, 0)["latents"]
    assert latents.shape == (3, 6, 9)
    styles = G.layers[1].to_w(latents)
    expected = F.leaky_relu(before.std(0) * latents + before.mean(0), 0.2)
    # 16,384 samples fix mean and standard deviation to about a hundredth of the latter
    assert (styles - expected).std() < 0.02 * expected.std()


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_every_split_gives_the_image_bit_for_bit(space, noise, dtype):
    weights = {name: value.to(dtype) for name, value in first_writer.genforce(random_net()).items()}
    G = stylegan1(weights, space=space, noise=noise, truncation=0.9)
    sample = G.sample(3, 0)
    images = G(sample)
    assert images.shape == (3, 3, 16, 16)
    assert_every_split_gives_the_image(G, sample)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("space", SPACES)
def test_the_state_is_that_of_the_table(space, noise):
    G = small(space=space, noise=noise)
    sample = G.sample(2, 0)
    styles = "latents" if space == "paper" else "styles"
    first = {"paper": ("latents", (2, 6, 9)), "z": ("latents", (2, 7))}
    key, shape = first.get(space, ("styles", (2, 1 if space == "w" else 6, 9)))
    maps = {f"noise_{i}": (2, 1, side, side) for i, side in enumerate([4, 4, 8, 8, 16, 16])}
    assert shapes(sample) == {key: shape} | (maps if noise == "free" else {})
    for i in range(1, G.num_layers):
        state = G.run(sample, 0, i)
        side = 4 if i == 1 else 2**i
        expected = {"features": (2, {4: 6, 8: 5}[side], side, side), styles: (2, 6, 9)}
        if noise != "zero":
            expected |= {k: v for k, v in maps.items() if int(k[6:]) >= 2 * i - 2}
        assert shapes(state) == expected
        free = {k for k in state if k.startswith("noise")} if noise == "free" else set()
        assert set(G.variables(state)) == {"features", styles} | free


def shapes(state) -> dict:
    return {key: tuple(value.shape) for key, value in state.items()}


@pytest.mark.parametrize("space", SPACES)
def test_gradients_reach_everything_a_round_may_optimise(space):
    G = small(space=space, noise="free")
    sample = G.sample(2, 0)
    for i in range(G.num_layers):
        state = {k: v.clone().requires_grad_() for k, v in G.run(sample, 0, i).items()}
        G(state, i).square().sum().backward()
        for key, value in state.items():
            assert value.grad is not None and value.grad.abs().max() > 0, (i, key)  # noqa: PT018 (one claim)
        assert all(p.grad is None for p in G.parameters())


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own, forward mode
def test_the_gradient_is_the_derivative_both_ways():
    G = stylegan1(first_writer.genforce(random_net((4, 8), (3, 2), z=3, w=4)), noise="free")
    state = {k: v.clone().requires_grad_() for k, v in G.run(G.sample(2, 0), 0, 1).items()}
    names = list(state)

    def image(*values):
        return G(dict(zip(names, values, strict=True)), 1)

    assert torch.autograd.gradcheck(image, tuple(state.values()), check_forward_ad=True)


def test_a_network_of_1024_pixels():
    sizes = tuple(4 << i for i in range(9))
    net = random_net(sizes, (3,) * 9, z=5, w=5, depth=2)
    G = stylegan1({k: v.float() for k, v in first_writer.genforce(net).items()}, space="paper")
    assert (G.num_layers, G.latent_shapes["latents"]) == (10, (18, 5))
    images = G(G.sample(1, 0))
    assert images.shape == (1, 3, 1024, 1024)
    assert images.isfinite().all()


@pytest.mark.parametrize("options", [{"half": True}, {"checkpointing": True}])
def test_the_economical_one_gives_nearly_the_same(options):
    G = stylegan1({k: v.float() for k, v in first_writer.genforce(random_net()).items()})
    sample = G.sample(2, 0)
    other = ilo.generators.economical(G, **{"checkpointing": False, **options})(sample)
    assert (other - G(sample)).std() < (0.05 if "half" in options else 1e-9) * G(sample).std()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "W+"}, "paper, z, w, w\\+"),
        ({"noise": "none"}, "fixed, free, zero"),
        ({"truncation": math.nan}, "finite"),
        ({"epsilon": 0.0}, "epsilon must be a positive number"),
        ({"truncated": -1}, "truncated must be a number of styles"),
    ],
)
def test_wrong_options_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


# --- what is refused ---


def refused(path, message, **options):
    with pytest.raises(ValueError, match=message) as caught:
        open_checkpoint(path, **options)
    assert "was refused, and nothing in it was run" in str(caught.value)


@pytest.mark.parametrize("form", FORMATS)
def test_a_tensor_of_a_wrong_shape_is_named(form, tmp_path):
    """A style's weight, in which the number of channels is doubled, and the kernel of a doubling."""
    found = {
        "genforce": ("synthesis.layer2.style.bias", "synthesis.layer4.weight"),
        "PULSE": ("blocks.8x8.epi1.style_mod.lin.bias", "blocks.16x16.conv0_up.weight"),
        "lernapparat": ("g_synthesis.blocks.8x8.epi1.style_mod.lin.bias", "g_synthesis.blocks.16x16.conv0_up.weight"),
        "rosinality": (
            "generator.progression.1.adain1.style.linear.bias",
            "generator.progression.2.conv1.1.conv.weight_orig",
        ),
        "TensorFlow": ("synthesis/8x8/Conv0_up/StyleMod/bias", "synthesis/16x16/Conv0_up/weight"),
    }
    for name in found[form]:
        files = write(form, of(form), tmp_path)
        path = files.pop("path")
        if form == "TensorFlow":
            variables = first_writer.tensorflow(of(form))
            variables[name] = variables[name][:-1]
            path.write_bytes(tensorflow_pickle(variables))
        else:
            content = torch.load(path)
            weights = next((value for value in content.values() if isinstance(value, dict)), content)
            weights[name] = weights[name][:-1]
            torch.save(content, path)
        refused(path, rf"but {name} has the shape \(.*expected \(", **files)


def test_a_network_in_two_files_needs_both(tmp_path):
    files = write("PULSE", of("PULSE"), tmp_path)
    refused(files["path"], "holds no mapping network: PULSE's is a file of its own.*--mapping MAPPING")
    refused(files["mapping"], "mapping network of a StyleGAN alone: open the file of the synthesis network")
    refused(files["path"], "the file named as its mapping network holds none", mapping=files["path"])
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file at .*absent"):
        open_checkpoint(files["path"], mapping=tmp_path / "absent")
    other = write("TensorFlow", of("TensorFlow"), tmp_path)["path"]
    refused(other, "a mapping network of its own goes with a file of torch.save's", mapping=files["mapping"])
    assert load(**{"name_or_path": files["path"], "mapping": files["mapping"]}).image_shape == (3, 16, 16)


CHANGED = {
    "classes": ("genforce", {"mapping.label_weight": torch.zeros(3, 7)}, "with classes"),
    "still growing": ("genforce", {"synthesis.lod": torch.tensor(1.5)}, r"before it had grown .*synthesis.lod = 1.5"),
    "a layer left out": ("genforce", {"synthesis.layer9.bias": torch.zeros(4)}, r"layer6.weight is missing"),
    "another blur": (
        "genforce",
        {"synthesis.layer2.blur.kernel": torch.ones(5, 1, 3, 3) / 9},
        r"synthesis.layer2.blur.kernel is not the filter \[1, 2, 1\]",
    ),
    "a blur of another kind": (
        "lernapparat",
        {"g_synthesis.blocks.8x8.conv0_up.intermediate.kernel": None},
        "NoneType",
    ),
    "a size left out": ("lernapparat", {"g_synthesis.blocks.64x64.conv1.bias": torch.zeros(4)}, r"of \[4, 8, 16, 64\]"),
    "too many pixels": (
        "rosinality",
        {"generator.progression.12.noise1.weight_orig": torch.ones(1)},
        "not of 8 to 4096",
    ),
    "an early version's": ("rosinality", {"generator.progression.1.conv1.2.weight": None}, "conv1.2.weight"),
    "numbers that are none": ("rosinality", {"style.3.linear.bias": torch.full((9,), torch.nan)}, "holds NaN"),
    "a sparse tensor": ("rosinality", {"style.3.linear.bias": torch.ones(9).to_sparse()}, "style.3.linear.bias is"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_what_does_not_fit_is_said(case, tmp_path):
    form, changed, message = CHANGED[case]
    torch.save(getattr(first_writer, form)(of(form)) | changed, tmp_path / "g")
    refused(tmp_path / "g", message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blur_filter": [1, 3, 3, 1]}, r"blur_filter = \[1, 3, 3, 1\], where only \[1, 2, 1\] is supported"),
        ({"use_instance_norm": False}, "use_instance_norm = False"),
        ({"use_pixel_norm": True}, "use_pixel_norm = True"),
        ({"label_size": 3}, "label_size = 3"),
        ({"fused_scale": "sometimes"}, "fused_scale = sometimes, which it cannot be"),
        ({"mapping_lrmul": 0.0}, "mapping_lrmul is no positive number"),
    ],
)
def test_tensorflows_settings_that_are_not_supported_are_named(settings, message, tmp_path):
    (tmp_path / "g").write_bytes(tensorflow_pickle(first_writer.tensorflow(random_net()), settings))
    refused(tmp_path / "g", message)


def test_a_name_that_could_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return eval, ("open('ran', 'w')",)

    variables = first_writer.tensorflow(random_net())
    (tmp_path / "g").write_bytes(tensorflow_pickle(variables | {"synthesis/noise0": Evil()}))
    refused(tmp_path / "g", r"builtin(s|__)\.eval, which could run code")
    torch.save(first_writer.lernapparat(random_net()) | {"g_mapping.dense0.bias": Evil()}, tmp_path / "g")
    refused(tmp_path / "g", r"builtin(s|__)\.eval, which could run code")


def test_the_mapping_networks_rate_is_applied(tmp_path):
    variables = first_writer.tensorflow(random_net())
    images = []
    for rate, factor in ((0.01, 1.0), (0.02, 0.5)):
        changed = {name: factor * value if name.startswith("mapping/") else value for name, value in variables.items()}
        (tmp_path / "g").write_bytes(tensorflow_pickle(changed, {"mapping_lrmul": rate}))
        G = open_checkpoint(tmp_path / "g", space="z")
        images.append(G(G.sample(2, 0)))
    torch.testing.assert_close(*images, rtol=1e-10, atol=1e-10)


# --- searched by ilo.recover ---


@pytest.fixture(scope="module")
def searched():
    """A generator of 32 pixels, and two images of its range."""
    net = random_net((4, 8, 16, 32), (16, 16, 16, 16), z=16, w=16, depth=4)
    G = stylegan1({name: value.float() for name, value in first_writer.genforce(net).items()})
    truth = G.sample(2, 1)["latents"]
    return G, G({"latents": truth}), truth


def test_ilo_inverts_an_image_of_its_range(searched):
    G, images, truth = searched
    direction = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    start = {"latents": truth + 0.2 * direction}
    assert psnr(G(start), images).max() < 30
    rounds = [ilo.Round(layer, steps=40, lr=0.05) for layer in range(4)]
    result = ilo.recover(G, ilo.operators.Identity(G.image_shape), images, rounds=rounds, start=start, progress=False)
    assert psnr(result.images, images).min() > 35
    assert torch.equal(result.render(G), result.images)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_searches_it_and_gets_nearer(searched, method):
    G, images, _ = searched
    assert_gets_nearer(G, images, method)
