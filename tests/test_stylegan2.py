"""StyleGAN2 against the reference implementations' own outputs, and what its layers promise to a search."""

import functools
import itertools
import math
from unittest import mock

import golden_files
import pytest
import torch
import torch.nn.functional as F
from golden_files import draw, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from searches import assert_every_split_gives_the_image, psnr

import ilo
from ilo.generators import economical
from ilo.generators.checkpoints.names import from_rosinality
from ilo.generators.stylegan import network
from ilo.generators.stylegan.build import NOISES, SPACES, stylegan2
from ilo.generators.stylegan.network import Affine, ModulatedConv, StyledConv, ToRGB, blur, upsample
from ilo.generators.stylegan.random import random_stylegan2
from ilo.generators.stylegan.spaces import FIT_SAMPLES, MappingNetwork

ROSINALITY = ["stylegan2_rosinality_64", "stylegan2_rosinality_128"]
NVIDIA = ["stylegan2_ada_nvidia_64_c0", "stylegan2_ada_nvidia_32_c3"]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-6}  # NVIDIA's own outputs are float32


@functools.cache
def reference_generator(name: str, dtype: torch.dtype, truncation: float = 1.0):
    weights = golden_files.weights(name, dtype)
    return stylegan2(from_rosinality(weights) if name in ROSINALITY else weights, space="z", truncation=truncation)


def reference(name: str, dtype: torch.dtype, truncation: float = 1.0):
    """The generator on a golden network's weights, the golden input and outputs."""
    G = reference_generator(name, dtype, truncation)
    state = {"latents": draw("z", (2, G.latent_shapes["latents"][0])).to(dtype)}
    if name.endswith("c3"):
        state["label"] = torch.eye(3, dtype=dtype)[[1, 0]]
    golden = golden_files.outputs(name)
    count = 1 if name.endswith("128") else 2  # float64 takes its time
    return G, {k: v[:count] for k, v in state.items()}, {k: v[:count] for k, v in golden.items()}


def small(size: int = 32, *, channels: int = 12, dtype=torch.float32, num_classes: int = 0, **options):
    """A small generator of random weights; z_dim and w_dim differ, and neither is the number of channels."""
    weights = random_stylegan2(
        size, channel_base=8 * channels, channel_max=channels, z_dim=10, w_dim=14, mapping_layers=3,
        num_classes=num_classes, rng=3,
    )  # fmt: skip
    return stylegan2({key: value.to(dtype) for key, value in weights.items()}, **options)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", ROSINALITY + NVIDIA)
def test_every_array_of_the_reference(name, dtype):
    G, state, golden = reference(name, dtype)
    reached = {}
    for i, layer in enumerate(G.layers):
        state = layer(state)
        size = 2 << i
        if "styles" in state:
            reached |= {"ws": state["styles"], "w": state["styles"][:, -1]}
        if "rgb" in state:
            features = state["features"]
            reached |= {f"x{size}": features, f"x{size}_mean": features.mean((2, 3)), f"img{size}": state["rgb"]}
    reached |= {"image": state["image"], "image_every_4th": state["image"][:, :, ::4, ::4]}
    compared = golden.keys() - {"ws_psi0.7"}
    assert len(compared) >= 3
    for key in compared:
        assert relative_error(reached[key], golden[key]) < TOLERANCE[dtype], key


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("name", "size"), [(ROSINALITY[0], 4), *[(n, s) for n in NVIDIA for s in (4, 8, 16)]])
def test_from_the_references_features_and_rgb_on(name, size, dtype):
    G, state, golden = reference(name, dtype)
    layer = int(math.log2(size))  # the one after the block of that size
    state = G.run(state, 0, layer)
    state |= {"features": golden[f"x{size}"].to(dtype), "rgb": golden[f"img{size}"].to(dtype)}
    assert relative_error(G(state, layer), golden["image"]) < TOLERANCE[dtype]


@pytest.mark.parametrize("name", NVIDIA)
def test_truncation_as_the_reference_does_it(name):
    G, state, golden = reference(name, torch.float64, truncation=0.7)
    assert relative_error(G.run(state, 0, 1)["styles"], golden["ws_psi0.7"]) < 1e-6


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_every_split_gives_the_image_bit_for_bit(space, noise, dtype):
    G = small(dtype=dtype, space=space, noise=noise, truncation=0.9, num_classes=3, clamp=4.0)
    sample = G.sample(3, 0)
    images = G(sample)
    assert images.shape == (3, *G.image_shape) == (3, 3, 32, 32)
    assert images.dtype == dtype
    assert_every_split_gives_the_image(G, sample)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("space", SPACES)
def test_the_state_is_that_of_the_table(space, noise):
    G = small(space=space, noise=noise, num_classes=2)
    sample = G.sample(2, 0)
    styles = {"paper": "latents"}.get(space, "styles")
    first = {"paper": ("latents", (2, 8, 14)), "z": ("latents", (2, 10))}
    key, shape = first.get(space, ("styles", (2, 1 if space == "w" else 8, 14)))
    maps = {f"noise_{i}": (2, 1, side, side) for i, side in enumerate([4, 8, 8, 16, 16, 32, 32])}
    label = {"label": (2, 2)} if space == "z" else {}
    assert shapes(sample) == {key: shape} | label | (maps if noise == "free" else {})
    assert set(G.variables(sample)) == {key} | (set(maps) if noise == "free" else set())
    for i in range(1, G.num_layers):
        state = G.run(sample, 0, i)
        side = 4 if i == 1 else 2**i
        expected = {"features": (2, 12 if side < 16 else 96 // side, side, side), styles: (2, 8, 14)}
        if i > 1:
            expected["rgb"] = (2, 3, side, side)
        if noise != "zero":
            expected |= {k: v for k, v in maps.items() if int(k[6:]) >= 2 * i - 3}
        assert shapes(state) == expected
        free = {k for k in state if k.startswith("noise")} if noise == "free" else set()
        assert set(G.variables(state)) == {"features", styles} | free


def shapes(state) -> dict:
    return {key: tuple(value.shape) for key, value in state.items()}


def test_the_running_rgb_image_is_kept_and_matters():
    G = small()
    sample = G.sample(2, 0)
    for i in range(2, G.num_layers):
        state = G.run(sample, 0, i)
        without = G({**state, "rgb": torch.zeros_like(state["rgb"])}, i)
        expected = state["rgb"]
        for _ in range(i, G.num_layers):
            expected = upsample(expected)
        torch.testing.assert_close(G(sample) - without, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_gradients_reach_everything_a_round_may_optimise(space):
    G = small(dtype=torch.float64, space=space, noise="free", num_classes=2)
    sample = G.sample(2, 0)
    for i in range(G.num_layers):
        state = {k: v.clone().requires_grad_() for k, v in G.run(sample, 0, i).items()}
        G(state, i).square().sum().backward()
        for key, value in state.items():
            assert value.grad is not None and value.grad.abs().max() > 0, (i, key)  # noqa: PT018 (one claim)
        assert all(p.grad is None for p in G.parameters())


def test_the_gradient_is_the_derivative():
    G = small(8, channels=5, dtype=torch.float64, noise="free")
    state = {k: v.clone().requires_grad_() for k, v in G.run(G.sample(2, 0), 0, 1).items()}
    names = list(state)
    assert torch.autograd.gradcheck(lambda *v: G(dict(zip(names, v, strict=True)), 1), tuple(state.values()))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own, within jvp
def test_forward_mode_works_too():
    """ilo.theory multiplies by Jacobians both ways."""
    G = small(16, dtype=torch.float64)
    latents = G.sample(1, 0)["latents"]
    images, tangent = torch.func.jvp(lambda z: G({"latents": z}), (latents,), (torch.ones_like(latents),))
    step = 1e-6
    difference = (G({"latents": latents + step}) - G({"latents": latents - step})) / (2 * step)
    torch.testing.assert_close(tangent, difference, rtol=1e-6, atol=1e-7)
    assert images.shape == (1, 3, 16, 16)


def test_samples_of_a_batch_are_independent():
    G = small(dtype=torch.float64)
    sample = G.sample(4, 0)
    alone = torch.cat([G({k: v[i : i + 1] for k, v in sample.items()}) for i in range(4)])
    torch.testing.assert_close(G(sample), alone, rtol=1e-12, atol=1e-12)


def test_the_papers_space_is_pulses():
    """PULSE inverts the last leaky ReLU of the mapping network (slope 0.2 by one of slope 5) and fits a Gaussian."""
    weights = random_stylegan2(32, channel_base=64, channel_max=8, z_dim=10, w_dim=14, mapping_layers=3)
    z = torch.randn(200_000, 10, generator=torch.Generator().manual_seed(5))
    before = F.leaky_relu(MappingNetwork(weights)(z), 5.0)
    G = stylegan2(weights, space="paper")
    latents = G.sample(5, 0)["latents"]
    expected = F.leaky_relu(before.std(0) * latents + before.mean(0), 0.2)
    wplus = stylegan2(weights, space="w+")
    images = wplus({"styles": expected})
    # 16,384 samples fix mean and standard deviation to about a hundredth of the latter
    assert (G({"latents": latents}) - images).std() < 0.02 * images.std()


def test_all_spaces_make_the_same_image_of_the_same_style():
    z, w, wplus = (small(space=space, num_classes=3, label=2, truncation=0.8) for space in ("z", "w", "w+"))
    images = z(z.sample(3, 7))
    assert torch.equal(w(w.sample(3, 7)), images)
    assert torch.equal(wplus(wplus.sample(3, 7)), images)


@pytest.mark.parametrize("space", SPACES)
def test_full_truncation_leaves_one_image_halfway_moves_styles_halfway(space):
    whole, half, none = (small(space=space, truncation=psi) for psi in (1.0, 0.5, 0.0))
    sample = whole.sample(3, 0)
    images = none(sample)
    torch.testing.assert_close(images, images[:1].expand(3, -1, -1, -1), rtol=1e-5, atol=1e-6)
    assert whole(sample).std(0).mean() > 0.01
    if space != "paper":
        styles = [G.run(sample, 0, 1)["styles"] for G in (none, half, whole)]
        torch.testing.assert_close(styles[1], (styles[0] + styles[2]) / 2)


def test_noise_fixed_free_and_zero():
    weights = random_stylegan2(32, channel_base=64, channel_max=8, z_dim=10, w_dim=14, mapping_layers=3)
    fixed, free, zero = (stylegan2(weights, noise=noise) for noise in NOISES)
    latents = fixed.sample(2, 0)["latents"]
    drawn = free.sample(2, 0)
    assert torch.equal(drawn["latents"], latents)  # the noise is drawn after them
    maps = {k: v for k, v in fixed.run({"latents": latents}, 0, 1).items() if k.startswith("noise")}
    assert torch.equal(free({"latents": latents, **maps}), fixed({"latents": latents}))
    silent = {k: torch.zeros_like(v) for k, v in maps.items()}
    torch.testing.assert_close(free({"latents": latents, **silent}), zero({"latents": latents}))
    assert (free(drawn) - fixed({"latents": latents})).abs().max() > 0.01


def test_the_label_chooses_the_class():
    by_index = small(space="z", num_classes=3, label=1)
    by_weight = small(space="z", num_classes=3, label=[0.0, 1.0, 0.0])
    other, mean = small(space="z", num_classes=3, label=2), small(space="z", num_classes=3)
    sample = by_index.sample(2, 0)
    assert torch.equal(by_index(sample), by_weight(by_weight.sample(2, 0)))
    assert (other(other.sample(2, 0)) - by_index(sample)).abs().max() > 0.01
    torch.testing.assert_close(mean.sample(2, 0)["label"], torch.full((2, 3), 1 / 3))
    paper = [small(num_classes=3, label=label) for label in (0, 1, None)]
    images = [G(paper[0].sample(2, 0)) for G in paper]
    assert (images[0] - images[1]).abs().max() > 0.01
    assert (images[0] - images[2]).abs().max() > 0.01


def test_the_mean_style_is_measured_when_the_checkpoint_has_none():
    weights = random_stylegan2(32, channel_base=64, channel_max=8, z_dim=10, w_dim=14, mapping_layers=3)
    mapping = MappingNetwork(weights)
    w = mapping(torch.randn(200_000, 10, generator=torch.Generator().manual_seed(5)))
    apart = (mapping.w_avg - w.mean(0)) / (w.std(0) / FIT_SAMPLES**0.5)  # in standard errors of what was measured
    assert apart.abs().max() < 4, "of 14 entries hardly one is four standard errors off by chance"


def test_a_clamp_bounds_features():
    G = small(clamp=0.5)
    for i in range(2, G.num_layers):
        assert G.run(G.sample(2, 0), 0, i)["features"].abs().max() == 0.5
    loose, none = small(clamp=1e6), small()
    assert torch.equal(loose(loose.sample(2, 0)), none(none.sample(2, 0)))


@settings(max_examples=20)
@given(
    batch=st.integers(1, 3), c_in=st.integers(1, 6), c_out=st.integers(1, 6), h=st.integers(1, 7), w=st.integers(1, 7),
    up=st.booleans(), seed=st.integers(0, 999),
)  # fmt: skip
def test_a_styled_convolution_is_the_papers(batch, c_in, c_out, h, w, up, seed):
    """Against weights modulated and demodulated for each sample (eqs. 1 and 3), odd shapes, float64."""
    g = torch.Generator().manual_seed(seed)
    weight, bias, A, b, x, style = (
        torch.randn(shape, generator=g, dtype=torch.float64)
        for shape in [(c_out, c_in, 3, 3), (c_out,), (c_in, 4), (c_in,), (batch, c_in, h, w), (batch, 4)]
    )
    layer = StyledConv(weight, bias, Affine(A, b), torch.tensor(0.3, dtype=torch.float64), up=up)
    scale = 2 if up else 1
    noise = torch.randn(batch, 1, scale * h, scale * w, generator=g, dtype=torch.float64)
    expected = []
    for i in range(batch):
        s = A @ style[i] / 2 + b
        modulated = weight * s[None, :, None, None]
        modulated = modulated / (modulated.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            wide = F.conv_transpose2d(x[i : i + 1], modulated.transpose(0, 1), stride=2)
            kernel = 4 * golden_files.filter_4x4().double().expand(c_out, 1, 4, 4)
            y = F.conv2d(F.pad(wide, (1, 1, 1, 1)), kernel, groups=c_out)
        else:
            y = F.conv2d(x[i : i + 1], modulated, padding=1)
        y = y + 0.3 * noise[i] + bias[:, None, None]
        expected.append(torch.where(y > 0, y, 0.2 * y) * 2**0.5)
    torch.testing.assert_close(layer(x, style, noise), torch.cat(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.parametrize("up", [True, False])
def test_the_written_backward_pass_is_the_derivative_in_both_modes_and_twice(up, noisy):
    g = torch.Generator().manual_seed(0)
    x, s, d, weight, bias, noise = (
        torch.randn(shape, generator=g, dtype=torch.float64)
        for shape in [(2, 3, 4, 5), (2, 3), (2, 4), (4, 3, 3, 3), (4, 1, 1), (2, 1, 8, 10) if up else (2, 1, 4, 5)]
    )
    inputs = [t.requires_grad_() for t in (x, s, d.abs() + 0.5, *([noise] if noisy else []))]

    def convolve(x, s, d, noise=None):
        return ModulatedConv.apply(x, s, d, noise, weight.transpose(0, 1) if up else weight, bias, up)

    assert torch.autograd.gradcheck(convolve, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(convolve, inputs)


@given(
    numbers=st.integers(1, 200), h=st.integers(1, 9), w=st.integers(1, 9), last=st.booleans(), seed=st.integers(0, 999)
)
def test_a_sum_over_pixels_is_the_same_in_any_number_of_strips(numbers, h, w, last, seed):
    g = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(2, 3, h, w, generator=g, dtype=torch.float64) for _ in range(2))
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    with mock.patch.object(network, "STRIP", numbers):
        torch.testing.assert_close(network._dot(x, y), (x * y).sum((2, 3)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("noise", ["fixed", "zero"])
def test_under_autocast_maps_meet_nothing_wider(noise):
    """Were a bias or a noise map wider than the map that it is added to, the step would take twice as long."""
    seen = []

    def apply(*inputs):
        seen.append({t.dtype for t in inputs if isinstance(t, torch.Tensor) and t is not inputs[4]})
        return original(*inputs)

    G = small(noise=noise)
    original = ModulatedConv.apply
    with mock.patch.object(ModulatedConv, "apply", apply):
        economical(G, checkpointing=False, half=True)(G.sample(2, 0))
        G.double()({name: t.double() for name, t in G.sample(2, 0).items()})
    half = len(seen) // 2
    assert seen == [{torch.bfloat16}] * half + [{torch.float64}] * half
    assert half == 7


@settings(max_examples=20)
@given(batch=st.integers(1, 3), c=st.integers(1, 6), h=st.integers(1, 7), w=st.integers(1, 7), seed=st.integers(0, 999))
def test_to_rgb_is_a_modulated_1x1_convolution_without_demodulation(batch, c, h, w, seed):
    g = torch.Generator().manual_seed(seed)
    weight, bias, A, b, x, style = (
        torch.randn(shape, generator=g, dtype=torch.float64)
        for shape in [(3, c, 1, 1), (3,), (c, 4), (c,), (batch, c, h, w), (batch, 4)]
    )
    gain = 1 / math.sqrt(c)
    expected = torch.stack(
        [F.conv2d(x[i], weight * ((A @ style[i] / 2 + b) * gain)[:, None, None], bias) for i in range(batch)]
    )
    torch.testing.assert_close(ToRGB(weight, bias, Affine(A, b, gain))(x, style), expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=20)
@given(c=st.integers(1, 4), h=st.integers(1, 9), w=st.integers(1, 9), seed=st.integers(0, 999))
def test_doubling_is_zeros_between_pixels_then_the_filter(c, h, w, seed):
    x = torch.randn(2, c, h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    zeros = x.new_zeros(2, c, 2 * h, 2 * w)
    zeros[:, :, ::2, ::2] = x
    kernel = 4 * golden_files.filter_4x4().double().expand(c, 1, 4, 4)
    expected = F.conv2d(F.pad(zeros, (2, 1, 2, 1)), kernel, groups=c)
    torch.testing.assert_close(upsample(x), expected, rtol=1e-12, atol=1e-12)
    assert blur(torch.ones(1, c, 9, 11))[0, 0, 4, 5] == 4  # away from the border: the doubled image's gain, 2 × 2


@pytest.mark.parametrize("size", [8, 32, 256, 1024])
def test_any_size_and_channel_base(size):
    weights = random_stylegan2(size, channel_base=size * 2, channel_max=6, z_dim=5, w_dim=5, mapping_layers=2)
    G = stylegan2(weights)
    assert G.num_layers == math.log2(size)
    with torch.no_grad():
        images = G(G.sample(1, 0))
    assert images.shape == (1, 3, size, size)
    assert images.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "W+"}, "paper, z, w, w\\+"),
        ({"noise": "none"}, "fixed, free, zero"),
        ({"truncation": math.nan}, "finite"),
        ({"label": 0}, "no classes"),
    ],
)
def test_wrong_options_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_a_missing_tensor_or_block_is_named():
    weights = random_stylegan2(32, channel_base=64, channel_max=8, z_dim=5, w_dim=5)
    partial = {k: v for k, v in weights.items() if not k.startswith("synthesis.b16")}
    with pytest.raises(ValueError, match=r"\[4, 8, 32\]"):
        stylegan2(partial)
    with pytest.raises(ValueError, match=r"synthesis.b8.conv0.affine.bias"):
        stylegan2({k: v for k, v in weights.items() if k != "synthesis.b8.conv0.affine.bias"})
    rosinality = golden_files.weights("stylegan2_rosinality_64")
    del rosinality["convs.1.activate.bias"]
    with pytest.raises(ValueError, match=r"convs.1.activate.bias"):
        from_rosinality(rosinality)


# --- searched by ilo.recover ---


@pytest.fixture(scope="module")
def searched():
    """A 64-pixel generator, two images of its range, and latents that start 20 % away from theirs."""
    G = stylegan2(random_stylegan2(64, channel_base=1024, channel_max=16, z_dim=16, w_dim=16, mapping_layers=4))
    truth = G.sample(2, 1)["latents"]
    direction = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    length = [t.flatten(1).norm(dim=1).view(-1, 1, 1) for t in (truth, direction)]
    return G, G({"latents": truth}), {"latents": truth + 0.2 * direction * length[0] / length[1]}


def assert_no_jumps(result) -> None:
    """Each round starts at the objective that the one before ended with, to rounding."""
    first = result.history.query("step == 0").pivot(index="round", columns="problem", values="objective")
    for i, ended in enumerate(result.rounds[:-1]):
        assert (torch.tensor(first.loc[i + 1].values) <= ended.objective * (1 + 1e-5)).all()


def test_ilo_inverts_an_image_of_its_range(searched):
    G, images, start = searched
    assert psnr(G(start), images).max() < 30
    rounds = [ilo.Round(layer, steps=40, lr=0.05) for layer in range(4)]
    result = ilo.recover(G, ilo.operators.Identity(G.image_shape), images, rounds=rounds, start=start, progress=False)
    assert psnr(result.images, images).min() > 35
    assert_no_jumps(result)
    assert torch.equal(result.render(G), result.images)


def test_ilo_fits_a_fifth_of_the_pixels_inside_its_radii(searched):
    G, images, start = searched
    A = ilo.operators.RandomInpainting(G.image_shape, keep=0.2, rng=0)
    radius = {"features": 10.0, "latents": 5.0}
    rounds = [ilo.Round(0, steps=40, lr=0.05), *(ilo.Round(i, steps=40, lr=0.03, radius=radius) for i in (1, 2, 3))]
    result = ilo.recover(G, A, A(images), rounds=rounds, start=start, progress=False)
    assert_no_jumps(result)
    objective = [r.objective for r in result.rounds]
    assert all((after < before).all() for before, after in itertools.pairwise(objective))
    assert psnr(A(result.images), A(images)).min() > 35  # it fits what it sees
    for before, after in itertools.pairwise(result.rounds):
        began = G.run(before.state, before.layer, after.layer)
        for name, limit in radius.items():
            moved = (after.state[name].double() - began[name].double()).flatten(1).abs().sum(1)
            assert (moved <= limit * (1 + 1e-5)).all()
            assert (moved > 0).all()
        assert torch.equal(after.state["rgb"], began["rgb"]) if "rgb" in began else after.layer == 1
