"""NVIDIA's TensorFlow StyleGAN2 opens to what its equations say, and nothing in its pickle is run."""

import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nvidia_writer import nvidia_pickle
from tensorflow_writer import random_variables, tensorflow_pickle

from ilo.generators.checkpoints.read import convert, open_checkpoint, read_checkpoint


def plain(variables, z):
    """StyleGAN2 as its paper and NVIDIA's TensorFlow code have it, in their layout: one sample z (z,) -> (3, R, R)."""
    v = {name: torch.from_numpy(np.array(value, np.float64)) for name, value in variables.items()}

    def activated(x):
        return F.leaky_relu(x, 0.2) * math.sqrt(2)

    w = z / z.square().mean().add(1e-8).sqrt()
    for i in range(sum(name.startswith("mapping/") for name in v) // 2):
        weight = v[f"mapping/Dense{i}/weight"]
        w = activated(w @ weight * (0.01 / math.sqrt(len(weight))) + 0.01 * v[f"mapping/Dense{i}/bias"])

    def modulated(x, name, demodulate, up=False):
        weight = v[f"{name}/weight"]  # (k, k, in, out)
        k, _, c_in, c_out = weight.shape
        style = w @ v[f"{name}/mod_weight"] / math.sqrt(len(w)) + v[f"{name}/mod_bias"] + 1
        weight = weight / math.sqrt(k * k * c_in) * style[None, None, :, None]
        if demodulate:
            weight = weight / (weight.square().sum((0, 1, 2)) + 1e-8).sqrt()
        side = x.shape[-1]
        if not up:
            return F.conv2d(x[None], weight.permute(3, 2, 0, 1), padding=k // 2)[0]
        # the gradient of a strided convolution with the flipped kernel, then the filter of gain 4
        doubled = torch.zeros(c_out, 2 * side + 1, 2 * side + 1, dtype=x.dtype)
        for i in range(side):
            for j in range(side):
                part = torch.einsum("c,abcd->dab", x[:, i, j], weight.flip(0, 1))
                doubled[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += part
        return blurred(doubled, 1, 1)

    def blurred(x, before, after):
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype)
        kernel = 4 * torch.outer(taps, taps) / 64
        x = F.pad(x, (before, after, before, after))
        return F.conv2d(x[:, None], kernel[None, None])[:, 0]

    def doubled_image(y):
        out = torch.zeros(3, 2 * y.shape[1], 2 * y.shape[2], dtype=y.dtype)
        out[:, ::2, ::2] = y
        return blurred(out, 2, 1)

    x, image, number = v["synthesis/4x4/Const/const"][0], None, 0
    sizes = sorted({int(name.split("/")[1].split("x")[0]) for name in v if "/Conv" in name})
    for size in sizes:
        for conv in ("Conv",) if size == 4 else ("Conv0_up", "Conv1"):
            name = f"synthesis/{size}x{size}/{conv}"
            x = modulated(x, name, demodulate=True, up=conv == "Conv0_up")
            x = x + v[f"synthesis/noise{number}"][0, 0] * v[f"{name}/noise_strength"]
            x = activated(x + v[f"{name}/bias"][:, None, None])
            number += 1
        name = f"synthesis/{size}x{size}/ToRGB"
        colours = modulated(x, name, demodulate=False) + v[f"{name}/bias"][:, None, None]
        image = colours if image is None else doubled_image(image) + colours
    return image


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tensorflow") / "stylegan2-ffhq-config-f.pkl"
    path.write_bytes(tensorflow_pickle(random_variables()))
    return path


@pytest.mark.parametrize("protocol", [3, 4])
def test_its_images_are_those_of_the_equations_at_every_split(tmp_path, protocol):
    variables = random_variables(dtype=np.float64, rng=protocol)
    (tmp_path / "g.pkl").write_bytes(tensorflow_pickle(variables, protocol=protocol))
    G = open_checkpoint(tmp_path / "g.pkl", space="z")
    assert G.dtype == torch.float64
    z = G.sample(3, 0)
    whole = G(z)
    for i, image in enumerate(whole):
        torch.testing.assert_close(image, plain(variables, z["latents"][i]), rtol=1e-10, atol=1e-10)
    for layer in range(1, G.num_layers):
        torch.testing.assert_close(G(G.run(z, 0, layer), layer), whole, rtol=1e-10, atol=1e-10)


def test_it_is_named_and_converts_to_the_same_images(file, tmp_path):
    assert read_checkpoint(file).describe().startswith("StyleGAN2, 16×16 pixels, no classes")
    convert(file, tmp_path / "g.safetensors")
    one, two = open_checkpoint(file), open_checkpoint(tmp_path / "g.safetensors")
    assert torch.equal(one(one.sample(2, 0)), two(two.sample(2, 0)))
    assert "synthesis.b16.conv0.weight" in read_checkpoint(tmp_path / "g.safetensors").weights


def test_the_same_network_in_nvidias_two_formats_gives_the_same_images(file, tmp_path):
    (tmp_path / "ada.pkl").write_bytes(nvidia_pickle(read_checkpoint(file).weights))
    one, two = open_checkpoint(file, space="w+"), open_checkpoint(tmp_path / "ada.pkl", space="w+")
    torch.testing.assert_close(one(one.sample(2, 0)), two(two.sample(2, 0)), rtol=1e-5, atol=1e-5)


def test_arrays_laid_out_by_columns_are_the_same(file, tmp_path):
    variables = {name: np.asfortranarray(value) for name, value in random_variables().items()}
    (tmp_path / "g.pkl").write_bytes(tensorflow_pickle(variables))
    one, two = read_checkpoint(file).weights, read_checkpoint(tmp_path / "g.pkl").weights
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_mapping_networks_rate_is_applied(file, tmp_path):
    (tmp_path / "g.pkl").write_bytes(tensorflow_pickle(random_variables(), {"mapping_lrmul": 0.02}))
    one, two = read_checkpoint(file).weights, read_checkpoint(tmp_path / "g.pkl").weights
    torch.testing.assert_close(two["mapping.fc1.weight"], 2 * one["mapping.fc1.weight"])


REFUSED = {
    "another architecture": ({}, {"architecture": "resnet"}, "architecture = resnet, where only skip is supported"),
    "classes": ({}, {"label_size": 10}, "label_size = 10"),
    "another filter": ({}, {"resample_kernel": [1, 2, 1]}, "resample_kernel"),
    "no rate": ({}, {"mapping_lrmul": -1.0}, "mapping_lrmul is no positive number"),
    "the first one's": ({"synthesis/4x4/Const/StyleMod/weight": np.zeros((9, 12), np.float32)}, {}, "GAN, but syn"),
    "a bias too long": ({"synthesis/8x8/Conv1/bias": np.zeros(8, np.float32)}, {}, r"8x8/Conv1/bias has the shape \(8"),
    "whole numbers": ({"mapping/Dense0/bias": np.zeros(9, np.int64)}, {}, "mapping/Dense0/bias is of torch.int64"),
    "no numbers": ({"mapping/Dense0/bias": np.array(["a"])}, {}, "mapping/Dense0/bias is a numpy's own tensor"),
    "other bytes first": ({"dlatent_avg": np.zeros(9, ">f4")}, {}, "dlatent_avg is a numpy's own tensor"),
    "text": ({"synthesis/4x4/Conv/bias": "text"}, {}, "synthesis/4x4/Conv/bias is a str tensor"),
    "nothing": ({"synthesis/4x4/Conv/bias": None}, {}, "synthesis/4x4/Conv/bias is a NoneType tensor"),
    "NaN": ({"synthesis/noise0": np.full((1, 1, 4, 4), np.nan, np.float32)}, {}, "synthesis/noise0 holds NaN"),
    "a block alone": ({"synthesis/64x64/Conv1/bias": np.zeros(3, np.float32)}, {}, r"its blocks are of \[4, 8, 16, 64"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_named(tmp_path, case):
    changed, settings, message = REFUSED[case]
    (tmp_path / "g.pkl").write_bytes(tensorflow_pickle(random_variables() | changed, settings))
    with pytest.raises(ValueError, match=message):
        open_checkpoint(tmp_path / "g.pkl")


def test_a_missing_variable_is_named(tmp_path):
    variables = random_variables()
    del variables["synthesis/8x8/Conv0_up/mod_bias"]
    (tmp_path / "g.pkl").write_bytes(tensorflow_pickle(variables))
    with pytest.raises(ValueError, match="synthesis/8x8/Conv0_up/mod_bias is missing"):
        open_checkpoint(tmp_path / "g.pkl")


@pytest.mark.parametrize("shape", [(3, 3, 6, 6), (2**40, 2**40, 1, 1)], ids=["longer", "enormous"])
def test_an_array_that_claims_more_than_it_has_is_refused(tmp_path, shape):
    class Lying(np.ndarray):
        def __reduce__(self):
            function, arguments, (version, _, *rest) = np.asarray(self).__reduce__()
            return function, arguments, (version, shape, *rest)

    array = np.zeros((3, 3, 6, 5), np.float32).view(Lying)
    (tmp_path / "g.pkl").write_bytes(tensorflow_pickle(random_variables() | {"synthesis/8x8/Conv0_up/weight": array}))
    with pytest.raises(ValueError, match="more or fewer than its shape"):
        open_checkpoint(tmp_path / "g.pkl")


def test_a_name_that_could_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return eval, ("open('ran', 'w')",)

    (tmp_path / "g.pkl").write_bytes(tensorflow_pickle(random_variables() | {"lod": Evil()}))
    with pytest.raises(ValueError, match=r"builtins\.eval, which could run code"):
        open_checkpoint(tmp_path / "g.pkl")
    with pytest.raises(ModuleNotFoundError, match="dnnlib"):
        pickle.loads(tensorflow_pickle(random_variables()))
