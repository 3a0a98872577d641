"""LPIPS against the equation and published weights, and the classifier on photos whose content is known.

The reference values below were computed once by `oracle_lpips` in float64 (numpy 2.2.6, scipy 1.15.3), which shares
no code with `lpips` or torchvision: convolutions as sums of shifted images, pooling as a maximum of shifted images,
from the weights whose sha256 is pinned. The same files give 0.722 and 0.138 (alex) on the example pair of LPIPS's
authors, which is checked here too where that pair is at hand: see `test_the_authors_example_pair`.
"""

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from ilo.assets import fetch
from ilo.images import astronaut_face
from ilo.perceptual import class_index, imagenet_classifier, load_arrays, lpips_network

# Layer by layer: (kernel, stride, padding) of a convolution, or P for pooling; * marks what is compared.
ALEX = ["11 4 2 *", "P3", "5 1 2 *", "P3", "3 1 1 *", "3 1 1 *", "3 1 1 *"]
TWO, THREE = ["3 1 1", "3 1 1 *"], ["3 1 1", "3 1 1", "3 1 1 *"]
VGG = [*TWO, "P2", *TWO, "P2", *THREE, "P2", *THREE, "P2", *THREE]
PLAN = {"alex": ("AlexNet_0", ALEX), "vgg": ("VGG16_0", VGG)}


def windows(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """(H, W, C) -> (H', W', C, size, size)."""
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))[::stride, ::stride]


def oracle_features(image: np.ndarray, trunk: dict, plan: list[str]) -> list[np.ndarray]:
    """Unit-length features (H, W, C) of an image (H, W, 3) in [−1, 1]."""
    x = (image - np.array([-0.030, -0.088, -0.188])) / np.array([0.458, 0.448, 0.450])
    features, convolutions = [], iter(range(len(trunk)))
    for layer in plan:
        if layer.startswith("P"):
            x = windows(x, int(layer[1:]), 2).max((-2, -1))
            continue
        size, stride, padding = map(int, layer.split()[:3])
        weights = trunk[f"Conv_{next(convolutions)}"]
        x = windows(np.pad(x, ((padding, padding), (padding, padding), (0, 0))), size, stride)
        x = np.tensordot(x, weights["kernel"].astype(float), axes=([2, 3, 4], [2, 0, 1])) + weights["bias"]
        x = np.maximum(x, 0)
        if layer.endswith("*"):
            features.append(x / (np.sqrt((x**2).sum(-1, keepdims=True)) + 1e-10))
    return features


def oracle_lpips(x: Tensor, y: Tensor, net: str) -> float:
    """Zhang et al. 2018, eq. 1: Σ_l mean over positions of Σ_c w_lc · (x̂_lc − ŷ_lc)²."""
    arrays = load_arrays(fetch(f"lpips-{net}"))
    name, plan = PLAN[net]
    a, b = (oracle_features(v[0].permute(1, 2, 0).double().numpy(), arrays[name], plan) for v in (x, y))
    weights = [arrays[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].ravel().astype(float) for i in range(5)]
    return sum(((f - g) ** 2 @ w).mean() for f, g, w in zip(a, b, weights, strict=True))


def photo(name: str, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
    levels = np.array(getattr(skimage.data, name)()[rows, columns])
    return (torch.from_numpy(levels).permute(2, 0, 1).unsqueeze(0) / 127.5 - 1).float()


def pairs() -> dict[str, tuple[Tensor, Tensor]]:
    face, cat = astronaut_face(64), photo("chelsea", slice(20, 84), slice(100, 164))
    grid = torch.linspace(-1, 1, 64)
    ramp = torch.stack([grid.expand(64, 64), grid[:, None].expand(64, 64), torch.zeros(64, 64)]).unsqueeze(0)
    return {
        "face, cat": (face, cat),
        "face, darker": (face, 0.5 * face - 0.5),
        "face, shifted": (face, face.roll(3, dims=-1)),
        "face, ramp": (face, ramp),
        "odd sides": (face[..., :37, :53], cat[..., :37, :53]),
    }


REFERENCE = {
    "alex": {
        "face, cat": 0.59112123,
        "face, darker": 0.10383306,
        "face, shifted": 0.04734671,
        "face, ramp": 0.71960127,
        "odd sides": 0.35128600,
    },
    "vgg": {
        "face, cat": 0.71406900,
        "face, darker": 0.07469636,
        "face, shifted": 0.18574691,
        "face, ramp": 0.93254713,
        "odd sides": 0.63192721,
    },
}


@pytest.fixture(scope="module", params=["alex", "vgg"])
def net(request) -> str:
    return request.param


@pytest.mark.parametrize("name", pairs())
def test_lpips_equals_the_equation(net, name):
    x, y = pairs()[name]
    expected = oracle_lpips(x, y, net)
    assert expected == pytest.approx(REFERENCE[net][name], rel=1e-6)  # else the photos or the weights have changed
    assert lpips_network(net)(x, y).item() == pytest.approx(expected, rel=1e-5)
    assert lpips_network(net).double()(x.double(), y.double()).item() == pytest.approx(expected, rel=1e-6)


def test_the_authors_example_pair():
    """0.722 and 0.138 are what the README of LPIPS prints for the images in its folder imgs/ (alex, version 0.1)."""
    folder = os.environ.get("ILO_LPIPS_EXAMPLE")
    if not folder:
        pytest.skip(
            "the images are their authors': set ILO_LPIPS_EXAMPLE to the folder imgs/ of "
            "https://github.com/richzhang/PerceptualSimilarity to compare with the values printed there"
        )
    ref, p0, p1 = (
        torch.from_numpy(np.array(Image.open(Path(folder) / f"ex_{name}.png").convert("RGB"))).permute(2, 0, 1)[None]
        / 127.5
        - 1
        for name in ("ref", "p0", "p1")
    )
    network = lpips_network("alex")
    assert round(network(ref, p0).item(), 3) == 0.722
    assert round(network(ref, p1).item(), 3) == 0.138


def test_lpips_weighs_layers_as_the_lpips_package_does(net):
    import lpips

    shipped = torch.load(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth", map_location="cpu")
    ours = lpips_network(net).state_dict()
    assert len(shipped) == 5
    assert all(torch.equal(ours[name], weight) for name, weight in shipped.items())


def test_lpips_is_frozen_quiet_and_draws_nothing(net, capfd):
    from ilo import perceptual

    perceptual._lpips.cache_clear()
    before = torch.get_rng_state()
    network = lpips_network(net)
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert not any(t.is_meta for t in network.state_dict().values())


def test_each_caller_has_a_network_of_its_own():
    first = lpips_network("alex").double()
    assert lpips_network("alex").scaling_layer.shift.dtype == torch.float32
    assert first.scaling_layer.shift.dtype == torch.float64
    assert imagenet_classifier().double() is not imagenet_classifier()
    assert imagenet_classifier().means.dtype == torch.float32


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_lpips_gradients_are_finite_even_on_constant_images(net, level):
    x = torch.full((1, 3, 64, 64), level, requires_grad=True)
    lpips_network(net)(x, astronaut_face(64)).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 0


def test_an_unknown_trunk_is_refused():
    with pytest.raises(ValueError, match="net must be 'alex' or 'vgg', got 'squeeze'"):
        lpips_network("squeeze")


CATS = [class_index("tabby"), class_index("tiger cat"), class_index("Egyptian cat")]


def test_class_index():
    assert CATS == [281, 282, 285]
    assert class_index("espresso") == 967
    assert class_index("bullfrog") == 30
    with pytest.raises(ValueError, match="no ImageNet class is called 'Lion'; near: sea lion, lion"):
        class_index("Lion")
    with pytest.raises(ValueError, match=r"no ImageNet class is called 'nothing'$"):
        class_index("nothing")


def square(x: Tensor) -> Tensor:
    side = min(x.shape[-2:])
    top, left = (x.shape[-2] - side) // 2, (x.shape[-1] - side) // 2
    return x[..., top : top + side, left : left + side]


@torch.no_grad()
def test_the_classifier_knows_a_cat_and_a_coffee():
    classifier = imagenet_classifier()
    cat, coffee = square(photo("chelsea")), square(photo("coffee"))
    assert classifier(cat).argmax(1).item() in CATS
    assert classifier(cat).softmax(1)[0, CATS].sum() > 0.95
    assert classifier(coffee).argmax(1).item() == 967
    assert classifier(coffee).softmax(1)[0, 967] > 0.95
    # what it was trained on: each of these mistakes would cost it certainty
    for mistake in (coffee.flip(1), coffee / 2 + 0.5, coffee.flip(-2)):
        assert classifier(mistake).softmax(1)[0, 967] < 0.95


def test_the_classifier_takes_any_size_and_dtype_and_gives_gradients():
    classifier = imagenet_classifier()
    coffee = square(photo("coffee"))
    small = torch.nn.functional.interpolate(coffee, size=(64, 80), mode="bilinear", antialias=True)
    batch = torch.cat([small, -small]).requires_grad_()
    logits = classifier(batch)
    assert logits.shape == (2, 1000)
    logits[:, 967].sum().backward()
    assert torch.isfinite(batch.grad).all()
    assert (batch.grad.flatten(1).abs().amax(1) > 0).all()
    exact = classifier.double()(batch.detach().double())
    torch.testing.assert_close(logits.detach().double(), exact, rtol=1e-4, atol=1e-4)
    assert not any(p.requires_grad for p in classifier.parameters())


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)


@pytest.mark.slow
def test_torchvision_is_imported_only_when_asked_for_and_without_a_warning():
    done = run_python(
        "import sys, ilo, ilo.perceptual\n"
        "assert 'torchvision' not in sys.modules and 'lpips' not in sys.modules\n"
        "print(ilo.perceptual.class_index('bullfrog'))"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "30\n", "")


@pytest.mark.slow
def test_operators_that_are_declared_already_are_left_alone():
    """As beside a CUDA torch, whose torchvision declares them itself: there it does, here we do in its place."""
    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    declared = f"for name in ('nms', 'qnms'): torch.library.define('torchvision::' + name, {signature!r})\n"
    if torch.version.cuda:
        declared = "import torchvision\n"
    done = run_python(f"import torch, ilo.perceptual\n{declared}print(ilo.perceptual.class_index('bullfrog'))")
    assert (done.returncode, done.stdout, done.stderr) == (0, "30\n", "")


def test_another_failure_of_torchvision_is_not_hidden(monkeypatch):
    import builtins

    from ilo import perceptual

    def broken(name, *args, **kwargs):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::roi_align is broken")
        return original(name, *args, **kwargs)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", broken)
    perceptual.import_torchvision.cache_clear()
    with pytest.raises(RuntimeError, match="roi_align is broken"):
        perceptual.import_torchvision()


def test_only_lpips_own_deprecation_warnings_are_silenced(monkeypatch):
    import lpips

    from ilo import perceptual

    def warns(**_):
        warnings.warn("something else", UserWarning, stacklevel=1)

    perceptual._lpips.cache_clear()
    monkeypatch.setattr(lpips, "LPIPS", warns)
    with pytest.raises(UserWarning, match="something else"):
        lpips_network("alex")
    perceptual._lpips.cache_clear()


# The published pickles, and others.


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_come_back_as_they_were(protocol, tmp_path):
    numbers = np.random.default_rng(0).normal(size=(3, 4, 5))
    arrays = [numbers, numbers.astype(">f4"), np.asfortranarray(numbers), np.arange(4), np.array(2.5), np.zeros((0, 2))]
    tree = {"layer": {"kernel": arrays}, "list": [("text", 1, 2.5, None, True)]}
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps(tree, protocol))
    back = load_arrays(path)
    assert back["list"] == tree["list"]
    for found, array in zip(back["layer"]["kernel"], arrays, strict=True):
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, array.astype(array.dtype.newbyteorder("=")), strict=True)


@pytest.mark.parametrize("name", ["lpips-alex", "lpips-vgg", "squeezenet-imagenet"])
def test_the_published_pickles_hold_finite_float32_arrays(name):
    def leaves(tree):
        if isinstance(tree, np.ndarray):
            return [tree]
        return [leaf for part in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(part)]

    found = leaves(load_arrays(fetch(name)))
    assert len(found) in (15, 31, 52)  # AlexNet: 5 kernels and biases, 5 weights; VGG16: 13 and 5; SqueezeNet: 26
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in found)


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


HOSTILE = {
    "system": pickle.dumps(Call(os.system, "touch ran")),
    "eval": pickle.dumps(Call(eval, "__import__('os').mkdir('ran')")),
    "in a dict": pickle.dumps({"kernel": [Call(exec, "import os; os.mkdir('ran')")]}),
    "as a key": pickle.dumps({Call(os.mkdir, "ran"): 1}),
    "in an array": pickle.dumps(np.array([Call(os.mkdir, "ran")], dtype=object), 3),
    "import by an operator": b"cbuiltins\n__import__\n(Vos\ntR.",
    "old instance opcode": b"(S'touch ran'\nios\nsystem\n.",
    "protocol 4": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.",
    "through a numpy module": b"\x80\x04\x8c\x05numpy\x8c\x0ef2py.os.system\x93\x8c\x09touch ran\x85R.",
    "numpy's own loader": b"\x80\x04\x8c\x05numpy\x8c\x04load\x93\x8c\x03ran\x85R.",
    "numpy's memory map": b"\x80\x04\x8c\x05numpy\x8c\x06memmap\x93\x8c\x03ran\x85R.",
    "a file": b"cio\nopen\n(Vran\nVw\ntR.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_that_names_anything_else_is_refused_and_not_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("hostile.pkl").write_bytes(HOSTILE[name])
    with pytest.raises(pickle.UnpicklingError, match="which could run code"):
        load_arrays("hostile.pkl")
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["system", "eval", "in a dict", "as a key", "in an array", "protocol 4", "a file"])
def test_the_hostile_pickles_would_have_run(name, tmp_path, monkeypatch):
    """Else the test above would show nothing."""
    monkeypatch.chdir(tmp_path)
    opened = pickle.loads(HOSTILE[name])
    if name == "a file":
        opened.close()
    assert Path("ran").exists()
