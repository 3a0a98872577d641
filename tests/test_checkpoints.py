"""Checkpoints of every kind become the same generator; a file that could run code is refused, and runs nothing."""

import _codecs
import argparse
import contextlib
import functools
import io
import operator
import os
import pickle
import runpy
import struct
import subprocess
from collections import OrderedDict
from pathlib import Path

import golden_files
import pytest
import torch
from golden_files import draw, relative_error
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from nvidia_writer import nvidia_pickle
from safetensors.torch import load_file, save_file

from ilo.generators import load
from ilo.generators.biggan_layers import biggan
from ilo.generators.checkpoints.names import from_rosinality
from ilo.generators.checkpoints.nvidia_pickle import LEGACY_TORCH, read_nvidia_pickle
from ilo.generators.checkpoints.read import convert, open_checkpoint, read_checkpoint
from ilo.generators.stylegan.build import stylegan2
from ilo.generators.stylegan.random import random_stylegan2

NVIDIA = "stylegan2_ada_nvidia_32_c3"
SMALL = random_stylegan2(8, channel_base=16, channel_max=3, z_dim=4, w_dim=5, mapping_layers=2)


def small_rosinality() -> dict[str, torch.Tensor]:
    """A state dict in rosinality's names: 16 pixels, 6 channels, styles of 5 numbers; drawn from the names."""
    shapes = {"input.input": (1, 6, 4, 4)}
    for i in range(1, 4):
        shapes |= {f"style.{i}.weight": (5, 5), f"style.{i}.bias": (5,)}
    for layer in ("conv1", "convs.0", "convs.1", "convs.2", "convs.3"):
        shapes |= {
            f"{layer}.conv.weight": (1, 6, 6, 3, 3),
            f"{layer}.conv.modulation.weight": (6, 5),
            f"{layer}.conv.modulation.bias": (6,),
            f"{layer}.noise.weight": (1,),
            f"{layer}.activate.bias": (6,),
        }
    for layer in ("to_rgb1", "to_rgbs.0", "to_rgbs.1"):
        shapes |= {
            f"{layer}.bias": (1, 3, 1, 1),
            f"{layer}.conv.weight": (1, 3, 6, 1, 1),
            f"{layer}.conv.modulation.weight": (6, 5),
            f"{layer}.conv.modulation.bias": (6,),
        }
    for i, side in enumerate([4, 8, 8, 16, 16]):
        shapes[f"noises.noise_{i}"] = (1, 1, side, side)
    weights = {key: draw(key, shape) for key, shape in shapes.items()}
    kernels = ("convs.0.conv.blur", "convs.2.conv.blur", "to_rgbs.0.upsample", "to_rgbs.1.upsample")
    return weights | {f"{key}.kernel": 4 * golden_files.filter_4x4() for key in kernels}


def training_snapshot(weights: dict) -> dict:
    """What rosinality's training script saves."""
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])
    return {
        "g": {key: torch.zeros_like(value) for key, value in weights.items()},
        "d": {"final_conv.bias": torch.zeros(3)},
        "g_ema": OrderedDict(weights),
        "g_optim": optimiser.state_dict(),
        "args": argparse.Namespace(path="ffhq.lmdb", size=16, lr=0.002, distributed=False),
        "ada_aug_p": 0.0,
    }


def same_images(G, expected) -> bool:
    sample = expected.sample(2, 0)
    drawn = G.sample(2, 0)
    return all(torch.equal(drawn[key], sample[key]) for key in sample) and torch.equal(G(drawn), expected(sample))


# --- what is read ---


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_an_nvidia_pickle_gives_the_references_images(tmp_path, protocol):
    path = tmp_path / "network-snapshot.pkl"
    path.write_bytes(nvidia_pickle(golden_files.weights(NVIDIA), protocol=protocol))
    G = open_checkpoint(path, space="z")
    assert G.name == "network-snapshot"
    state = {"latents": draw("z", (2, 64)), "label": torch.eye(3)[[1, 0]]}
    assert relative_error(G(state), golden_files.outputs(NVIDIA)["image"]) < 1e-5


def test_settings_of_the_modules_are_read(tmp_path):
    path = tmp_path / "g.pkl"
    gains = {f"mapping.fc{i}": {"bias_gain": 0.02} for i in range(2)}
    path.write_bytes(nvidia_pickle(SMALL, {"synthesis.b4.conv1": {"conv_clamp": 1}, **gains}))
    doubled = SMALL | {key: 2 * value for key, value in SMALL.items() if key.startswith("mapping.fc")}
    assert same_images(open_checkpoint(path), stylegan2(doubled, clamp=1.0))
    assert read_checkpoint(path).clamp == 1.0


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapped", ["snapshot", "bare", "parallel"])
def test_rosinalitys_checkpoint(tmp_path, wrapped, zipped):
    weights = small_rosinality()
    content = {
        "snapshot": training_snapshot(weights),
        "bare": weights,
        "parallel": {f"module.{key}": value for key, value in weights.items()},
    }
    torch.save(content[wrapped], tmp_path / "550000.pt", _use_new_zipfile_serialization=zipped)
    assert same_images(open_checkpoint(tmp_path / "550000.pt"), stylegan2(from_rosinality(weights)))


def test_rosinalitys_converted_checkpoint_brings_its_mean_style(tmp_path):
    weights, mean = small_rosinality(), torch.arange(5.0)
    for saved in (mean[None], mean):  # of mean_latent(), and of the converter
        torch.save({"g_ema": weights, "latent_avg": saved}, tmp_path / "g.pt")
        assert torch.equal(read_checkpoint(tmp_path / "g.pt").weights["mapping.w_avg"], mean)
    expected = stylegan2(from_rosinality(weights | {"latent_avg": mean}), truncation=0.5)
    assert same_images(open_checkpoint(tmp_path / "g.pt", truncation=0.5), expected)


def test_old_checkpoints_without_noise_maps_get_the_same_ones_each_time(tmp_path):
    weights = {key: value for key, value in small_rosinality().items() if not key.startswith("noises")}
    torch.save({"g_ema": weights}, tmp_path / "g.pt")
    G = open_checkpoint(tmp_path / "g.pt")
    maps = [v for k, v in G.run(G.sample(1, 0), 0, 1).items() if k.startswith("noise")]
    assert [m.shape[-1] for m in maps] == [4, 8, 8, 16, 16]
    assert all(0.5 < m.std() < 1.5 for m in maps)
    assert same_images(G, open_checkpoint(tmp_path / "g.pt"))


@pytest.mark.parametrize("save", [torch.save, save_file])
def test_nvidias_weights_as_a_state_dict(tmp_path, save):
    weights = golden_files.weights(NVIDIA)  # with resample_filter, as state_dict() has it
    save(weights, tmp_path / "g")
    assert same_images(open_checkpoint(tmp_path / "g", label=2), stylegan2(weights, label=2))


def test_half_precision_is_read_as_float32(tmp_path):
    save_file({key: value.half() for key, value in SMALL.items()}, tmp_path / "g")
    rounded = {key: value.half().float() for key, value in SMALL.items()}
    assert same_images(open_checkpoint(tmp_path / "g"), stylegan2(rounded))


@pytest.mark.parametrize("wrapped", [True, False])
def test_biggan(tmp_path, wrapped):
    weights = golden_files.weights("biggan_64")
    torch.save({"state_dict": weights} if wrapped else weights, tmp_path / "G_ema.pth")
    assert same_images(open_checkpoint(tmp_path / "G_ema.pth", label=4), biggan(weights, label=4))


def test_a_dcgan_of_the_right_shape(tmp_path, dcgan):
    weights = {f"main.{key}": value for key, value in _dcgan_state(dcgan).items()}
    torch.save({"netG_state_dict": weights, "epoch": 3}, tmp_path / "weights.tar")
    assert same_images(open_checkpoint(tmp_path / "weights.tar"), dcgan)
    weights["main.0.weight"] = weights["main.0.weight"][:50]
    torch.save(weights, tmp_path / "weights.tar")
    with pytest.raises(ValueError, match="another shape"):
        open_checkpoint(tmp_path / "weights.tar")


def _dcgan_state(dcgan) -> dict:
    modules = [m for layer in dcgan.layers for m in layer.module if not isinstance(m, torch.nn.Unflatten)]
    return torch.nn.Sequential(*modules).state_dict()


@pytest.mark.parametrize("name", ["photo.png", "network", "g.safetensors", "g.pt", "g.pkl"])
def test_the_name_does_not_matter(tmp_path, name):
    expected = stylegan2(SMALL)
    path = tmp_path / name
    for write in (
        lambda: path.write_bytes(nvidia_pickle(SMALL)),
        lambda: torch.save(SMALL, path),
        lambda: save_file(SMALL, path),
    ):
        write()
        assert same_images(open_checkpoint(path), expected)


def test_load_takes_a_path_and_options(tmp_path):
    save_file(SMALL, tmp_path / "g.safetensors")
    for path in (tmp_path / "g.safetensors", str(tmp_path / "g.safetensors")):
        G = load(path, dtype=torch.float64, space="w+", noise="zero", truncation=0.5)
        assert (G.dtype, G.name) == (torch.float64, "g")
        expected = stylegan2(SMALL, space="w+", noise="zero", truncation=0.5).double()
        assert same_images(G, expected)
    with pytest.raises(ValueError, match="or the path of a checkpoint file"):
        load(tmp_path / "missing.pkl")
    with pytest.raises(TypeError, match="space"):
        load("dcgan-digiface64", space="w")


def test_convert_keeps_weights_images_and_clamp(tmp_path):
    source, target = tmp_path / "in.pkl", tmp_path / "sub" / "out.safetensors"
    source.write_bytes(nvidia_pickle(SMALL, {"synthesis.b4.conv1": {"conv_clamp": 0.25}}))
    checkpoint = convert(source, target)
    assert checkpoint.kind == "stylegan2"
    written = load_file(target)
    assert written.keys() == SMALL.keys()
    assert all(torch.equal(written[key], SMALL[key]) for key in SMALL)
    assert read_checkpoint(target).clamp == 0.25
    assert same_images(open_checkpoint(target), open_checkpoint(source))
    again = convert(target, tmp_path / "again")
    assert again.clamp == 0.25
    rewritten = load_file(tmp_path / "again")  # not the bytes: safetensors orders its metadata at random
    assert all(torch.equal(rewritten[key], SMALL[key]) for key in SMALL)


def test_a_checkpoint_describes_itself(tmp_path):
    torch.save(golden_files.weights("biggan_64"), tmp_path / "G.pth")
    assert read_checkpoint(tmp_path / "G.pth").describe().startswith("BigGAN, 64×64 pixels, ")
    torch.save(SMALL, tmp_path / "g.pt")
    numbers = sum(value.numel() for value in SMALL.values())
    assert read_checkpoint(tmp_path / "g.pt").describe() == f"StyleGAN2, 8×8 pixels, no classes, {numbers:,} numbers"


def test_convert_of_tensors_that_share_memory(tmp_path):
    weights = golden_files.weights("biggan_64")
    weights["blocks.0.0.bn2.stored_mean"] = weights["blocks.0.0.bn1.stored_mean"]
    torch.save(weights, tmp_path / "G.pth")
    convert(tmp_path / "G.pth", tmp_path / "G.safetensors")
    assert same_images(open_checkpoint(tmp_path / "G.safetensors"), biggan(weights))


def test_convert_writes_nothing_when_it_fails(tmp_path):
    weights = {key: value for key, value in SMALL.items() if key != "synthesis.b8.torgb.bias"}
    torch.save(weights, tmp_path / "g.pt")
    with pytest.raises(ValueError, match=r"synthesis.b8.torgb.bias"):
        convert(tmp_path / "g.pt", tmp_path / "out.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["g.pt"]


# --- what is refused ---


class Call:
    """Pickles as a call of `function`, which unpickling makes."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def touch(path: Path) -> str:
    return f"import pathlib; pathlib.Path({str(path)!r}).touch()"


def mark(module: str, name: str, *, stack: bool = True) -> bytes:
    """The opcodes that push module.name; the older GLOBAL takes dotted names since protocol 4 as well."""
    if not stack:
        return b"c" + module.encode() + b"\n" + name.encode() + b"\n"
    return text(module) + text(name) + b"\x93"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def calls(path: Path) -> dict[str, object]:
    """Objects whose unpickling would run code that makes a file at `path`."""
    code = touch(path)
    return {
        "os.system": Call(os.system, f"touch {path}"),
        "subprocess": Call(subprocess.check_call, ["touch", str(path)]),
        "eval": Call(eval, f"exec({code!r})"),
        "exec": Call(exec, code),
        "import": Call(__import__, "this"),
        "getattr chain": Call(getattr, Call(getattr, Call(__import__, "os.path"), "path"), "join"),
        "partial": Call(functools.partial, exec, code),
        "attrgetter": Call(operator.attrgetter, "system"),
        "builtins by getattr": Call(getattr, Call(__import__, "builtins"), "exec"),
        "runpy": Call(runpy.run_path, str(path)),
        "torch.load": Call(torch.load, str(path)),
        "torch storage": Call(torch.storage._load_from_bytes, pickle.dumps(Call(exec, code))),
        "nested in torch's format": Call(torch.storage._load_from_bytes, _torch_bytes(Call(exec, code), zipped=False)),
        "nested in torch's zip": Call(torch.storage._load_from_bytes, _torch_bytes(Call(exec, code), zipped=True)),
        "after torch's magic number": Call(
            torch.storage._load_from_bytes, LEGACY_TORCH + pickle.dumps(1001) + pickle.dumps(Call(exec, code)) * 3
        ),
        "open": Call(open, str(path), "w"),
        "pickle.loads": Call(pickle.loads, pickle.dumps(Call(exec, code))),
        "codecs": Call(_codecs.lookup, "x"),
    }


def _torch_bytes(content, *, zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


CALLS = sorted(calls(Path("x")))


@pytest.mark.parametrize("name", ["os.system", "subprocess", "eval", "exec", "torch storage", "pickle.loads"])
def test_plain_unpickling_would_run_them(tmp_path, name):
    with contextlib.suppress(RuntimeError):  # torch's, after the fact
        pickle.loads(pickle.dumps(calls(tmp_path / "owned")[name]))
    assert (tmp_path / "owned").exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", CALLS)
def test_a_pickle_that_calls_something_is_refused_and_calls_nothing(tmp_path, name, protocol):
    target = tmp_path / "owned"
    path = tmp_path / "g.pkl"
    content = {"G_ema": calls(target)[name], "G": 0}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(ValueError, match="was refused, and nothing in it was run"):
        open_checkpoint(path)
    assert not target.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", CALLS)
def test_a_torch_file_that_calls_something_is_refused_and_calls_nothing(tmp_path, name, zipped):
    target = tmp_path / "owned"
    path = tmp_path / "g.pt"
    torch.save({"g_ema": calls(target)[name]}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="was refused, and nothing in it was run") as caught:
        open_checkpoint(path)
    assert "weights_only" not in str(caught.value)  # torch's advice is to run it
    assert not target.exists()


OPCODES = {
    "GLOBAL with a dotted name": (mark("torch", "os.system", stack=False), "torch.os.system"),
    "STACK_GLOBAL with a dotted name": (mark("torch", "os.system"), "torch.os.system"),
    "attribute of an allowed name": (mark("collections", "OrderedDict.__init__"), "OrderedDict.__init__"),
    "globals of an allowed name": (
        mark("torch_utils.persistence", "_reconstruct_persistent_obj.__globals__"),
        "__globals__",
    ),
    "a module of an allowed function": (mark("torch._utils", "torch"), "torch._utils.torch"),
    "reconstructor of copyreg": (mark("copyreg", "_reconstructor"), "copyreg._reconstructor"),
    "newobj of copyreg": (mark("copyreg", "__newobj__"), "copyreg.__newobj__"),
    "registry of copyreg": (mark("copyreg", "add_extension"), "copyreg.add_extension"),
    "extension code": (b"\x82\x01", "opcode EXT1"),
    "numpy's loader": (mark("numpy", "load"), "numpy.load"),
    "INST": (b"(ios\nsystem\n", "opcode INST"),
    "OBJ": (b"(" + mark("os", "system") + text("true") + b"o", "os.system"),
    "persistent id": (text("storage") + b"Q", "persistent"),
    "persistent id in text": (b"Pstorage\n", "opcode PERSID"),
    "NEWOBJ of an allowed function": (mark("torch._utils", "_rebuild_parameter") + b")\x81", "damaged"),
    "call of a dict": (b"}(tR", "damaged"),
    "BUILD that sets what a dict's methods are": (
        mark("collections", "OrderedDict") + b")R}" + text("get") + mark("torch.storage", "_load_from_bytes") + b"sb",
        "no generator",
    ),
    "BUILD of a module's attributes": (
        mark("torch_utils.persistence", "_reconstruct_persistent_obj")
        + b"}" + text("state") + b"}s\x85R}" + text("state") + b"K\x00sb",
        "no StyleGAN, BigGAN",
    ),
    "module without attributes": (
        mark("torch_utils.persistence", "_reconstruct_persistent_obj") + b"}\x85R",
        "without a dict of attributes",
    ),
    "tensor without a storage": (
        mark("torch._utils", "_rebuild_tensor_v2") + b"(K\x00K\x00)K\x00tR",
        "without its bytes",
    ),
    "nothing": (b"N", "no generator"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPCODES)
def test_a_crafted_pickle_is_refused_and_says_why(tmp_path, name):
    body, message = OPCODES[name]
    path = tmp_path / "g.pkl"
    path.write_bytes(b"\x80\x04" + body + b".")
    with pytest.raises(ValueError, match=rf"g.pkl was refused, and nothing in it was run: .*{message}"):
        open_checkpoint(path)


def test_the_source_that_a_pickle_holds_is_not_run():
    """nvidia_writer's source raises; this one would show."""
    data = nvidia_pickle(SMALL)
    assert b"was executed" in data
    assert read_nvidia_pickle(io.BytesIO(data)).weights.keys() == SMALL.keys()


def test_a_module_that_holds_itself_is_refused(tmp_path):
    body = (
        mark("torch_utils.persistence", "_reconstruct_persistent_obj")
        + b"}" + text("state") + b"}\x94" + text("_modules") + b"}\x94ss\x85R\x94"  # memo: state, modules, itself
        + b"0h\x01" + text("child") + b"h\x02s0h\x02"
    )  # fmt: skip
    (tmp_path / "g.pkl").write_bytes(b"\x80\x04" + body + b".")
    with pytest.raises(ValueError, match="its modules hold one another"):
        open_checkpoint(tmp_path / "g.pkl")


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((4, 4), (4, 1), 4), ((16,), (2,), 0), ((17,), (1,), 0), ((4,), (-1,), 3), ((1,), (1,), -1), ((2,), (10**30,), 0)],
)
def test_a_tensor_that_reaches_beyond_its_bytes_is_refused(tmp_path, size, stride, offset):
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(16).untyped_storage(), dtype=torch.float32, _internal=True
    )
    tensor = Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())
    (tmp_path / "g.pkl").write_bytes(pickle.dumps({"G_ema": tensor}))
    with pytest.raises(ValueError, match=r"reaches beyond its bytes|whose shape or place is none"):
        open_checkpoint(tmp_path / "g.pkl")


TINY = nvidia_pickle({"synthesis.b4.const": torch.zeros(1, 4, 4), "mapping.w_avg": torch.zeros(2)})


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.integers(0, len(TINY) - 1), new=st.binary(max_size=6), cut=st.integers(0, 6))
@example(place=2, new=b"r\xff\xff\xff\x7f", cut=0)  # a memo index of two billion
def test_a_damaged_pickle_is_read_or_refused_and_nothing_else(place, new, cut):
    data = TINY[:place] + new + TINY[place + cut :]
    try:
        read_nvidia_pickle(io.BytesIO(data))
    except pickle.UnpicklingError as error:
        assert str(error)  # noqa: PT017 (either outcome is right)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["pickle", "zip", "legacy", "safetensors"])
def test_a_truncated_file_is_refused(tmp_path, kind, fraction):
    path = tmp_path / "g"
    if kind == "pickle":
        path.write_bytes(nvidia_pickle(SMALL))
    elif kind == "safetensors":
        save_file(SMALL, path)
    else:
        torch.save(SMALL, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(ValueError, match=r"was refused|no checkpoint that ilo reads"):
        open_checkpoint(path)


def test_a_safetensors_file_may_begin_as_a_pickle_does(tmp_path):
    """With the length of its header, whose lowest byte is a pickle's first in one file of 32."""
    begins = set()
    for letters in range(0, 256, 8):
        save_file(SMALL, tmp_path / "g", {"note": "x" * letters})
        begins.add((tmp_path / "g").read_bytes()[:1])
        assert read_checkpoint(tmp_path / "g").weights.keys() == SMALL.keys()
    assert b"\x80" in begins


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"hello, this is text", b"PK\x03\x04 but no zip"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "g").write_bytes(content)
    with pytest.raises(ValueError, match=r"no checkpoint that ilo reads|it is damaged"):
        open_checkpoint(tmp_path / "g")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list"),
        ({"epoch": 3}, "its first tensors: none"),
        ({"conv.weight": torch.zeros(2), "conv.bias": torch.zeros(2)}, "conv.bias, conv.weight"),
        ({"synthesis.L0_36_512.weight": torch.zeros(2)}, "StyleGAN3"),
        (
            SMALL | {"synthesis.b8.conv0.weight": torch.full((2, 3, 3, 3), torch.nan)},
            r"synthesis.b8.conv0.weight holds NaN",
        ),
        (SMALL | {"synthesis.b8.resample_filter": torch.ones(4, 4)}, "resample_filter is not the filter"),
        (golden_files.weights(NVIDIA) | {"synthesis.b4.const": "text"}, "synthesis.b4.const is a str"),
    ],
)
def test_a_state_dict_of_something_else_is_explained(tmp_path, content, message):
    torch.save(content, tmp_path / "g.pt")
    with pytest.raises(ValueError, match=message):
        open_checkpoint(tmp_path / "g.pt")


def test_a_tensorflow_network_without_variables_is_none(tmp_path):
    body = mark("dnnlib.tflib.network", "Network") + b")R"
    (tmp_path / "stylegan2-ffhq-config-f.pkl").write_bytes(b"\x80\x04" + body + b".")
    with pytest.raises(ValueError, match="it holds no StyleGAN, BigGAN or DCGAN"):
        open_checkpoint(tmp_path / "stylegan2-ffhq-config-f.pkl")


def test_another_architecture_is_refused(tmp_path):
    (tmp_path / "g.pkl").write_bytes(nvidia_pickle(SMALL, {"synthesis.b8": {"architecture": "resnet"}}))
    with pytest.raises(ValueError, match="'resnet' is not supported"):
        open_checkpoint(tmp_path / "g.pkl")


def test_a_missing_file_and_wrong_options(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint file"):
        open_checkpoint(tmp_path / "nothing.pkl")
    torch.save(golden_files.weights("biggan_64"), tmp_path / "g.pth")
    with pytest.raises(TypeError, match="space"):
        open_checkpoint(tmp_path / "g.pth", space="z")
