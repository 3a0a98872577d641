"""StyleGAN3, T and R, opens from NVIDIA's pickle and is what its equations say, at every layer."""

import itertools
import math

import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from golden_files import relative_error
from nvidia_writer import nvidia_pickle, third_attributes
from searches import METHODS, assert_every_split_gives_the_image, assert_gets_nearer, psnr

import ilo
from ilo.generators import convert, economical, load, open_checkpoint, peak_memory, random_stylegan3, stylegan3
from ilo.generators.checkpoints.read import read_checkpoint
from ilo.generators.stylegan.build import SPACES
from ilo.generators.stylegan.filtered import FilteredLReLU
from ilo.generators.stylegan.random import low_pass
from ilo.generators.stylegan.third_table import SETTINGS, third_layers

CONFIGS = ("t", "r")
CLASSES = 3


def random_net(config: str = "t", dtype=torch.float64, size: int = 32, classes: int = 0, **sizes) -> dict:
    """Weights of a small network of which nothing is trivial; no two sizes are equal where they need not be."""
    sizes = {"channel_base": 240, "channel_max": 9, "layers": 5, "z_dim": 7, "w_dim": 11, "rng": 3, **sizes}
    weights = random_stylegan3(size, config=config, **sizes)
    g = torch.Generator().manual_seed(0)
    for name, value in weights.items():
        if name.endswith("magnitude_ema"):
            weights[name] = value * (0.5 + torch.rand((), generator=g))
    # The affine map of the input and the file's own transform turn and enlarge: some waves leave the band.
    weights["synthesis.input.transform"] = torch.tensor([[1.6, -0.9, 0.1], [0.8, 1.7, -0.2], [0, 0, 1]])
    weights["synthesis.input.affine.bias"] = torch.tensor([0.9, 0.4, 0.3, -0.2])
    weights["mapping.w_avg"] = torch.randn(sizes["w_dim"], generator=g)
    if classes:
        weights["mapping.embed.weight"] = torch.randn(sizes["w_dim"], classes, generator=g)
        weights["mapping.embed.bias"] = torch.randn(sizes["w_dim"], generator=g)
        weights["mapping.fc0.weight"] = torch.randn(sizes["w_dim"], sum(sizes[k] for k in ("z_dim", "w_dim"))) / 0.01
    return {name: value.to(dtype) for name, value in weights.items()}


def small(config: str = "t", **options):
    return stylegan3(random_net(config), **options)


# --- the network as its equations read: a sample at a time, matrices, zeros put between samples, dense filters ---


def plain(weights: dict, ws: torch.Tensor, margin=10, bandwidth=2.0, scale=0.25, clamp=256.0) -> list[torch.Tensor]:
    """Styles (num_ws, w_dim) of one image to what the input and every layer give, the image last."""
    names = sorted({n.split(".")[1] for n in weights if ".L" in n}, key=lambda n: int(n[1:].split("_")[0]))
    sizes = [int(name.split("_")[1]) for name in names]
    rates = [size - 2 * margin for size in sizes[:-2]] + [sizes[-1]] * 2
    part = {name.removeprefix("synthesis.input."): value for name, value in weights.items() if ".input." in name}
    out = [plain_input(part, ws[0], sizes[0], rates[0], bandwidth)]
    for i, name in enumerate(names):
        part = {n.split(".", 2)[2]: value for n, value in weights.items() if n.startswith(f"synthesis.{name}.")}
        last, before = name == names[-1], max(0, i - 1)
        up, down = (1, 1) if last else (2 * rates[i] // rates[before], 2)
        out.append(plain_layer(part, out[-1], ws[i + 1], up, down, sizes[i], clamp, last=last))
    out[-1] = out[-1] * scale
    return out


def plain_input(part: dict, w: torch.Tensor, size: int, rate: int, bandwidth: float) -> torch.Tensor:
    r_c, r_s, t_x, t_y = part["affine.weight"] @ w / math.sqrt(len(w)) + part["affine.bias"]
    length = torch.hypot(r_c, r_s)
    r_c, r_s, t_x, t_y = (v.item() / length.item() for v in (r_c, r_s, t_x, t_y))
    turn = torch.tensor([[r_c, -r_s, 0], [r_s, r_c, 0], [0, 0, 1]], dtype=w.dtype)
    move = torch.tensor([[1, 0, -t_x], [0, 1, -t_y], [0, 0, 1]], dtype=w.dtype)
    whole = turn @ move @ part["transform"]
    waves = []
    for f, phase in zip(part["freqs"], part["phases"], strict=True):
        f, phase = f @ whole[:2, :2], phase + f @ whole[:2, 2]
        at = (torch.arange(size, dtype=w.dtype) - (size - 1) / 2) / rate
        y, x = torch.meshgrid(at, at, indexing="ij")
        damped = 1 - (f.norm() - bandwidth) / (rate / 2 - bandwidth)
        waves.append(torch.sin(2 * math.pi * (f[0] * x + f[1] * y + phase)) * damped.clamp(0, 1))
    return torch.einsum("oi,ihw->ohw", part["weight"], torch.stack(waves)) / math.sqrt(len(waves))


def plain_layer(part: dict, x, w, up: int, down: int, size: int, clamp: float, *, last: bool) -> torch.Tensor:
    style = part["affine.weight"] @ w / math.sqrt(len(w)) + part["affine.bias"]
    weight = part["weight"]
    kernel = weight.shape[-1]
    if last:
        weight = weight * (style / math.sqrt(len(style)))[None, :, None, None]
    else:
        weight = weight / weight.square().mean((1, 2, 3), keepdim=True).sqrt()
        style = style / style.square().mean().sqrt()
        weight = weight * style[None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    x = F.conv2d(x[None], weight / part["magnitude_ema"].sqrt(), padding=kernel - 1)[0]
    x = x + part["bias"][:, None, None]
    if last:
        return x.clamp(-clamp, clamp)
    taps_up, taps_down = len(part["up_filter"]), len(part["down_filter"])
    total = (size - 1) * down + 1 - x.shape[-1] * up + taps_up + taps_down - 2
    low = (total + up) // 2
    zeros = torch.zeros(len(x), *(n * up for n in x.shape[1:]), dtype=x.dtype)
    zeros[:, ::up, ::up] = x
    zeros = F.pad(zeros, (low, total - low) * 2)
    fine = up**2 * plain_filter(zeros, torch.outer(part["up_filter"], part["up_filter"]))
    fine = torch.where(fine > 0, fine, 0.2 * fine) * 2**0.5
    f = part["down_filter"]
    return plain_filter(fine.clamp(-clamp, clamp), f if f.ndim == 2 else torch.outer(f, f))[:, ::down, ::down]


def plain_filter(x: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    """Where the whole filter finds samples: Σ_j f_j x_{i − j}."""
    return F.conv2d(x[:, None], f.flip(0, 1)[None, None])[:, 0]


# --- against these ---


@pytest.mark.parametrize("settings", [{}, {"margin": 6, "bandwidth": 1.3, "scale": 0.7, "clamp": 0.8}])
@pytest.mark.parametrize("config", CONFIGS)
def test_its_images_are_those_of_the_equations_at_every_split(config, settings, tmp_path):
    weights = random_net(config)
    if settings:  # of another margin: the same network, whose layers have other names
        weights = {with_margin(name, -4): value for name, value in weights.items()}
    (tmp_path / "g.pkl").write_bytes(nvidia_pickle(weights, third_attributes(weights, **settings)))
    G = open_checkpoint(tmp_path / "g.pkl", space="w+")
    assert G.dtype == torch.float64
    styles = torch.randn(2, 7, 11, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    reached = list(zip(*(plain(weights, ws, **settings) for ws in styles), strict=True))
    images = torch.stack(reached[-1])
    assert images.std() > 0.02
    assert relative_error(G({"styles": styles}), images) < 1e-10
    for i in range(1, G.num_layers):
        state = G.run({"styles": styles}, 0, i)
        features = torch.stack(reached[i - 1])
        assert relative_error(state["features"], features) < 1e-10
        assert relative_error(G({**state, "features": features}, i), images) < 1e-10


def with_margin(name: str, more: int) -> str:
    """The name of a tensor of a network whose margin is wider by so many samples; the last two layers have none."""
    module, rest = name.removeprefix("synthesis.").split(".", 1)
    if not module.startswith(("L0", "L1", "L2", "L3")):
        return name
    number, size, channels = module.split("_")
    return f"synthesis.{number}_{int(size) + 2 * more}_{channels}.{rest}"


def test_the_mapping_network_is_that_of_the_equations():
    weights = random_net(classes=CLASSES)
    G = stylegan3(weights, space="z", label=1, truncation=0.7)
    z = G.sample(2, 0)["latents"]

    def unit(x):
        return x / (x.square().mean(-1, keepdim=True) + 1e-8).sqrt()

    label = unit(weights["mapping.embed.weight"][:, 1] / math.sqrt(CLASSES) + weights["mapping.embed.bias"])
    x = torch.cat([unit(z), label.expand(2, -1)], 1)
    for i in range(2):
        weight, bias = weights[f"mapping.fc{i}.weight"], weights[f"mapping.fc{i}.bias"]
        x = F.leaky_relu(0.01 * (x @ weight.T / math.sqrt(x.shape[1]) + bias), 0.2) * 2**0.5
    w = weights["mapping.w_avg"] + 0.7 * (x - weights["mapping.w_avg"])
    assert relative_error(G.run(G.sample(2, 0), 0, 1)["styles"], w[:, None].expand(-1, 7, -1)) < 1e-10


def test_a_quarter_turn_of_rs_input_turns_the_image():
    """Exactly, in the corners too: filters, grids and what is cut off are symmetric. T's 3×3 know up from down."""
    apart = {}
    for config in CONFIGS:
        weights = random_net(config)
        weights["synthesis.input.affine.weight"] = torch.zeros(4, 11).double()
        weights["synthesis.input.affine.bias"] = torch.tensor([1.0, 0, 0, 0]).double()
        styles = torch.randn(1, 7, 11, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        images = []
        for turn in ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, -1, 0], [1, 0, 0], [0, 0, 1]]):
            transform = {"synthesis.input.transform": torch.tensor(turn).double()}
            images.append(stylegan3(weights | transform, space="w+")({"styles": styles}))
        apart[config] = min(relative_error(torch.rot90(images[0], k, (2, 3)), images[1]) for k in (1, 3))
    assert apart["r"] < 1e-10
    assert apart["t"] > 0.1


# --- sizes and filters of published networks ---


def test_layers_are_named_as_published_networks_print_theirs():
    """NVIDIA's T of 1024 pixels and R of 128, as its program prints them; sizes, channels, numbers in filters."""
    weights = random_stylegan3(1024, w_dim=2, z_dim=2)
    names = [layer.name.removeprefix("synthesis.") for layer in third_layers(weights)]
    assert names == [
        *("L0_36_512", "L1_36_512", "L2_52_512", "L3_52_512", "L4_84_512", "L5_148_512", "L6_148_512", "L7_276_323"),
        *("L8_276_203", "L9_532_128", "L10_1044_81", "L11_1044_51", "L12_1044_32", "L13_1024_32", "L14_1024_3"),
    ]
    weights = random_stylegan3(128, config="r", w_dim=2, z_dim=2)
    expected = {"L8_84_1024": 157, "L9_148_1024": 169, "L10_148_912": 157, "L11_148_683": 157, "L12_148_512": 25}
    for name, buffers in (expected | {"L13_128_512": 25, "L14_128_3": 1}).items():
        ours = [v for n, v in weights.items() if n.startswith(f"synthesis.{name}.")]
        held = [v for n, v in weights.items() if n.startswith(f"synthesis.{name}.") and n.endswith(("filter", "ema"))]
        assert len(ours) > len(held)
        assert sum(v.numel() for v in held) == buffers


@pytest.mark.parametrize(("taps", "cutoff", "width", "rate"), [(12, 2, 12, 32), (24, 3.1748, 9.6504, 64)])
def test_filters_are_kaisers(taps, cutoff, width, rate):
    """The numbers are those of a published network's third layer and first."""
    expected = scipy.signal.firwin(taps, cutoff, width=width, fs=rate)
    torch.testing.assert_close(low_pass(taps, cutoff, width, rate).numpy(), expected.astype("float32"))
    radial = low_pass(taps, cutoff, width, rate, radial=True)
    assert radial.sum().item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(radial, torch.rot90(radial))
    at = (torch.arange(taps) - (taps - 1) / 2) / rate
    passes = [(radial * torch.outer(torch.cos(2 * math.pi * f * at), torch.ones(taps))).sum() for f in (0, rate / 2.5)]
    assert passes[0] > 0.99
    assert abs(passes[1]) < 0.02


# --- files ---


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("config", CONFIGS)
def test_nvidias_pickle_converts_to_the_same_images(config, protocol, tmp_path):
    weights = random_net(config, torch.float32, classes=CLASSES)
    settings = {"margin": 10, "bandwidth": 1.7, "scale": 0.3, "clamp": 0.9}
    content = nvidia_pickle(weights, third_attributes(weights, **settings), protocol)
    (tmp_path / "g.pkl").write_bytes(content)
    checkpoint = read_checkpoint(tmp_path / "g.pkl")
    assert checkpoint.settings == dict(zip(SETTINGS, settings.values(), strict=True))
    assert checkpoint.describe().startswith("StyleGAN3, 32×32 pixels, 3 classes, ")
    direct = stylegan3(weights, settings=checkpoint.settings)
    G = load(tmp_path / "g.pkl")
    assert (G.name, G.image_shape, G.dtype) == ("g", (3, 32, 32), torch.float32)
    assert torch.equal(G(G.sample(2, 0)), direct(direct.sample(2, 0)))
    assert convert(tmp_path / "g.pkl", tmp_path / "g.safetensors").settings == checkpoint.settings
    again = load(tmp_path / "g.safetensors", label=2, space="w")
    assert read_checkpoint(tmp_path / "g.safetensors").settings == checkpoint.settings
    expected = load(tmp_path / "g.pkl", label=2, space="w")
    assert torch.equal(again(again.sample(2, 0)), expected(expected.sample(2, 0)))


def test_a_bare_state_dict_is_one_with_the_published_settings(tmp_path):
    weights = random_net(dtype=torch.float32)
    torch.save({"G_ema": weights}, tmp_path / "g.pt")
    (tmp_path / "g.pkl").write_bytes(nvidia_pickle(weights, third_attributes(weights)))
    one, two = load(tmp_path / "g.pt"), load(tmp_path / "g.pkl")
    assert torch.equal(one(one.sample(2, 0)), two(two.sample(2, 0)))


def test_no_clamp_and_the_mapping_networks_rate_are_read(tmp_path):
    weights = random_net()
    attributes = third_attributes(weights, clamp=None) | {"mapping.fc0": {"bias_gain": 0.02}}
    (tmp_path / "g.pkl").write_bytes(nvidia_pickle(weights, attributes))
    doubled = {name: 2 * v if name.startswith("mapping.fc") else v for name, v in weights.items()}
    unbounded = read_checkpoint(tmp_path / "g.pkl").settings["synthesis.conv_clamp"]
    assert unbounded > 1e38
    G, expected = load(tmp_path / "g.pkl", dtype=torch.float64), stylegan3(doubled)
    torch.testing.assert_close(G(G.sample(2, 0)), expected(expected.sample(2, 0)), rtol=1e-12, atol=1e-12)


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_checkpoint(path)
    assert "was refused, and nothing in it was run" in str(caught.value)


L2 = "synthesis.L2_52_9"
CHANGED = {
    "a filter of other taps": ({f"{L2}.up_filter": torch.ones(20) / 20}, r"L2_52_9.up_filter has the shape \(20,\)"),
    "a filter of a half": ({f"{L2}.down_filter": torch.ones(12, 2) / 24}, r"down_filter has the shape \(12, 2\)"),
    "a filter that amplifies": ({f"{L2}.down_filter": torch.ones(12)}, "is no low-pass filter: it sums to 12 and"),
    "no filter": ({f"{L2}.up_filter": None}, "L2_52_9.up_filter is missing"),
    "a mean square below 0": ({f"{L2}.magnitude_ema": torch.tensor(-1.0)}, "is no mean square: it is not positive"),
    "a bias of other channels": ({f"{L2}.bias": torch.ones(8)}, r"but synthesis.L2_52_9.bias has the shape \(8,\)"),
    "a kernel of 5×5": ({f"{L2}.weight": torch.ones(9, 9, 5, 5)}, r"L2_52_9.weight has the shape \(9, 9, 5, 5\)"),
    "numbers that are none": ({f"{L2}.bias": torch.full((9,), torch.nan)}, "L2_52_9.bias holds NaN"),
    "two second layers": ({"synthesis.L2_52_8.bias": torch.ones(8)}, "L0, L1, …, each of one size"),
    "a layer left out": ({"synthesis.L7_32_8.bias": torch.ones(8)}, "L0, L1, …, each of one size"),
    "layers that shrink": ({"synthesis.L6_16_3.bias": torch.ones(3)}, "powers of two that do not fall"),
    "waves of two channels": ({"synthesis.input.phases": torch.ones(2)}, r"input.phases has the shape \(2,\)"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_what_does_not_fit_is_said(case, tmp_path):
    changed, message = CHANGED[case]
    weights = random_net(dtype=torch.float32)
    assert f"{L2}.bias" in weights
    weights = {name: value for name, value in (weights | changed).items() if value is not None}
    (tmp_path / "g").write_bytes(nvidia_pickle(weights))
    refused(tmp_path / "g", message)
    torch.save(weights, tmp_path / "g")
    refused(tmp_path / "g", message)


@pytest.mark.parametrize(
    ("module", "setting", "value", "message"),
    [
        ("synthesis", "margin_size", 9, "and but for the last two layers 9 more beyond every edge"),
        ("synthesis", "margin_size", 0.5, "no number of samples"),
        ("synthesis", "margin_size", 10**400, "no positive number"),
        ("synthesis", "output_scale", "much", "no positive number"),
        ("synthesis.input", "bandwidth", 8.5, "more than its input's samples can hold"),
        ("synthesis.input", "sampling_rate", 32, "sampling_rate is 32, where 16 is expected"),
        (L2, "up_factor", 2, "up_factor is 2, where 4 is expected"),
        (L2, "down_factor", 4, "down_factor is 4, where 2 is expected"),
        ("synthesis.L0_36_9", "conv_clamp", -1, "no positive number"),
    ],
)
def test_settings_that_contradict_the_tensors_are_named(module, setting, value, message, tmp_path):
    weights = random_net(dtype=torch.float32)
    attributes = third_attributes(weights)
    attributes[module][setting] = value
    (tmp_path / "g").write_bytes(nvidia_pickle(weights, attributes))
    refused(tmp_path / "g", message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "W+"}, "paper, z, w, w\\+"),
        ({"truncation": math.nan}, "finite"),
        ({"label": 0}, "no classes"),
        ({"settings": {"synthesis.conv_clamp": 0}}, "no positive number"),
    ],
)
def test_wrong_options_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize("options", [{"size": 20}, {"config": "s"}, {"layers": 2}])
def test_random_weights_are_of_what_there_is(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}.* must be|and layers more than"):
        random_stylegan3(**{"size": 16, **options})


# --- spaces, the state, gradients ---


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("config", "dtype"), [("t", torch.float32), ("t", torch.float64), ("r", torch.float32)])
def test_every_split_gives_the_image_bit_for_bit(config, dtype, space):
    G = stylegan3(random_net(config, dtype, classes=CLASSES), space=space, truncation=0.9)
    sample = G.sample(2, 0)
    images = G(sample)
    assert images.shape == (2, 3, 32, 32)
    assert_every_split_gives_the_image(G, sample)


@pytest.mark.parametrize("space", SPACES)
def test_the_state_is_that_of_the_table(space):
    G = small(space=space)
    sample = G.sample(2, 0)
    styles = "latents" if space == "paper" else "styles"
    first = {"paper": ("latents", (2, 7, 11)), "z": ("latents", (2, 7))}
    key, shape = first.get(space, ("styles", (2, 1 if space == "w" else 7, 11)))
    assert shapes(sample) == {key: shape}
    for i, (channels, side) in enumerate([(9, 36), (9, 36), (9, 36), (9, 52), (8, 52), (8, 32)], 1):
        state = G.run(sample, 0, i)
        assert shapes(state) == {"features": (2, channels, side, side), styles: (2, 7, 11)}
        assert set(G.variables(state)) == set(state)
    assert set(G.run(sample)) == {"image"}
    assert G.num_layers == 7


def shapes(state) -> dict:
    return {key: tuple(value.shape) for key, value in state.items()}


def test_samples_of_a_batch_are_independent():
    for config in CONFIGS:
        G = small(config)
        sample = G.sample(3, 0)["latents"] * torch.tensor([0.01, 1, 5])[:, None, None]  # of scales far apart
        alone = torch.cat([G({"latents": one[None]}) for one in sample])
        torch.testing.assert_close(G({"latents": sample}), alone, rtol=1e-12, atol=1e-12)


def test_all_spaces_make_the_same_image_of_the_same_style():
    z, w, wplus = (small(space=space, truncation=0.8) for space in ("z", "w", "w+"))
    images = z(z.sample(3, 7))
    assert torch.equal(w(w.sample(3, 7)), images)
    assert torch.equal(wplus(wplus.sample(3, 7)), images)


@pytest.mark.parametrize("space", SPACES)
def test_gradients_reach_everything_a_round_may_optimise(space):
    G = small(space=space)
    sample = G.sample(2, 0)
    for i in range(G.num_layers):
        state = {k: v.clone().requires_grad_() for k, v in G.run(sample, 0, i).items()}
        G(state, i).square().sum().backward()
        for key, value in state.items():
            assert value.grad is not None and value.grad.abs().max() > 0, (i, key)  # noqa: PT018 (one claim)
        assert all(p.grad is None for p in G.parameters())


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own, forward mode
@pytest.mark.parametrize("radial", [False, True])
def test_the_written_backward_pass_is_the_derivative_both_ways_and_twice(radial):
    """With values on all three slopes."""
    g = torch.Generator().manual_seed(0)
    up, down = torch.rand(12, generator=g).double(), torch.rand(*((6, 6) if radial else (6,)), generator=g).double()
    layer = FilteredLReLU(up / up.sum(), down / down.sum(), up=4, down=2, crop=5, clamp=0.5)
    x = torch.randn(2, 2, 4, 4, generator=g, dtype=torch.float64, requires_grad=True)
    fine = layer(x)
    assert fine.shape == (2, 2, 5, 5)
    assert fine.abs().max() <= 0.5
    assert torch.autograd.gradcheck(layer, (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own, within jvp
def test_forward_mode_works_too():
    """ilo.theory multiplies by Jacobians both ways."""
    G = small()
    latents = G.sample(1, 0)["latents"]
    direction = torch.ones_like(latents)
    _, tangent = torch.func.jvp(lambda z: G({"latents": z}), (latents,), (direction,))
    step = 1e-6
    difference = (G({"latents": latents + step}) - G({"latents": latents - step})) / (2 * step)
    torch.testing.assert_close(tangent, difference, rtol=1e-5, atol=1e-6)
    asked = latents.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((G({"latents": asked}) * tangent).sum(), asked)
    assert (gradient * direction).sum().item() == pytest.approx(tangent.square().sum().item(), rel=1e-9)


# --- memory ---


@pytest.mark.parametrize("config", CONFIGS)
def test_the_economical_one_gives_nearly_the_same_for_less(config):
    G = stylegan3(random_net(config, torch.float32))
    sample = G.sample(2, 0)
    images = G(sample)
    assert torch.equal(economical(G)(sample), images)
    half = economical(G, checkpointing=False, half=True)
    assert 1e-5 < (half(sample) - images).square().mean().sqrt() / images.std() < 0.05
    assert max(peak_memory(economical(G)), peak_memory(half)) < peak_memory(G)
    gradients = []
    for generator in (G, economical(G), half):
        state = {name: value.clone().requires_grad_() for name, value in sample.items()}
        generator(state).square().sum().backward()
        gradients.append(state["latents"].grad)
    assert torch.equal(gradients[1], gradients[0])
    assert (gradients[2] - gradients[0]).std() < 0.1 * gradients[0].std()


# --- searched by ilo.recover ---


@pytest.fixture(scope="module")
def searched():
    """A generator of 32 pixels, and two images of its range."""
    weights = random_net(dtype=torch.float32, channel_base=1024, channel_max=16, z_dim=16, w_dim=16)
    weights["synthesis.input.transform"] = torch.eye(3)
    G = stylegan3(weights)
    truth = G.sample(2, 1)["latents"]
    return G, G({"latents": truth}), truth


def test_ilo_inverts_an_image_of_its_range(searched):
    G, images, truth = searched
    direction = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    start = {"latents": truth + 0.2 * direction}
    assert psnr(G(start), images).max() < 30
    rounds = [ilo.Round(layer, steps=30, lr=0.03) for layer in (0, 1, 3, 5)]
    result = ilo.recover(G, ilo.operators.Identity(G.image_shape), images, rounds=rounds, start=start, progress=False)
    assert psnr(result.images, images).min() > 35
    assert torch.equal(result.render(G), result.images)
    objective = [r.objective for r in result.rounds]
    assert all((after < before).all() for before, after in itertools.pairwise(objective))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_searches_it_and_gets_nearer(searched, method):
    G, images, _ = searched
    assert_gets_nearer(G, images, method)
