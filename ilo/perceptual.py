"""Networks that look at images: LPIPS (Zhang et al. 2018) and an ImageNet classifier (SqueezeNet 1.1).

The architectures are those of `lpips` and `torchvision`; the weights come from `ilo.assets`. Both take images
(B, 3, H, W) in [−1, 1], are frozen and in evaluation mode, and let gradients through to the images.
"""

import copy
import pickle
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.assets import fetch


def lpips_network(net: str = "alex") -> nn.Module:
    """Return LPIPS version 0.1 with the trunk "alex" or "vgg": (x, y) -> distances (B, 1, 1, 1).

    Source: Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric" (CVPR 2018).
    "alex" is what its authors report as a metric, "vgg" what they advise as a loss. Images need at least 31 (alex)
    or 16 (vgg) pixels a side. The weights are read once per process; every call returns a copy of its own, on the CPU
    in float32, for the caller to move.
    """
    if net not in ("alex", "vgg"):
        raise ValueError(f"net must be 'alex' or 'vgg', got {net!r}")
    return copy.deepcopy(_lpips(net))


def imagenet_classifier() -> nn.Module:
    """Return SqueezeNet 1.1 trained on ImageNet: images (B, 3, H, W) of any size -> logits (B, 1000).

    Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters" (2016), version 1.1. The
    weights are read once per process; every call returns a copy of its own, on the CPU in float32.
    """
    return copy.deepcopy(_classifier())


def class_index(name: str) -> int:
    """Return the index among the 1000 ImageNet classes of `name`, as torchvision spells it ("bullfrog" → 30)."""
    import_torchvision()
    from torchvision.models import SqueezeNet1_1_Weights

    names = SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["categories"]
    if name not in names:
        near = [other for other in names if name.lower() in other.lower()]
        raise ValueError(f"no ImageNet class is called {name!r}" + (f"; near: {', '.join(near)}" if near else ""))
    return names.index(name)


def load_arrays(path: str | Path) -> Any:
    """Return what the pickle at `path` holds: dicts, lists and numbers, and numpy arrays in them.

    Unpickling calls whatever the file names. Here it can name three things, what numpy writes for an array, and asking
    for any other ends it before that is imported. numpy's own constructors trust what they are given: this is for
    files whose sha256 is known, as `ilo.assets.fetch` hands them out.

    Raises:
        pickle.UnpicklingError: the file asks for another name.
    """
    with open(path, "rb") as file:
        return _ArrayUnpickler(file).load()


class Classifier(nn.Module):
    """`network` behind the preparation it was trained with: 227×227, BGR, 0–255 minus the mean of each channel."""

    side = 227
    bgr_means = (103.939, 116.779, 123.68)

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.register_buffer("means", torch.tensor(self.bgr_means).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        x = F.interpolate(images, size=(self.side, self.side), mode="bilinear", antialias=True)
        return self.network((127.5 * (x + 1)).flip(1) - self.means)  # (B, 1000)


_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ARRAY_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,  # as numpy 2 calls it
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")
        return _ARRAY_NAMES[module, name]


@cache
def _lpips(net: str) -> nn.Module:
    import_torchvision()
    import lpips

    # Built without storage: what would be drawn at random is replaced, and 138 million numbers take their time.
    with torch.device("meta"), warnings.catch_warnings():
        for message in ("The parameter 'pretrained' is deprecated", "Arguments other than a weight enum"):
            warnings.filterwarnings("ignore", message, UserWarning)  # lpips calls torchvision in an older way
        network = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    arrays = load_arrays(fetch(f"lpips-{net}"))
    trunk = arrays["AlexNet_0" if net == "alex" else "VGG16_0"]
    convolutions = [name for name, module in network.net.named_modules() if isinstance(module, nn.Conv2d)]
    state = {name: value for name, value in network.state_dict().items() if not value.is_meta}
    for i, name in enumerate(convolutions):
        state[f"net.{name}.weight"] = _oihw(trunk[f"Conv_{i}"]["kernel"])
        state[f"net.{name}.bias"] = torch.tensor(trunk[f"Conv_{i}"]["bias"])
    for i in range(network.L):
        weight = _oihw(arrays[f"NetLinLayer_{i}"]["Conv_0"]["kernel"])
        state[f"lin{i}.model.1.weight"] = state[f"lins.{i}.model.1.weight"] = weight
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


@cache
def _classifier() -> nn.Module:
    import_torchvision()
    from torchvision.models import squeezenet1_1

    with torch.device("meta"):
        network = squeezenet1_1()
    arrays = load_arrays(fetch("squeezenet-imagenet"))
    parts = ("squeeze1x1", "expand1x1", "expand3x3")
    layers = ["conv1", *(f"fire{i}/{part}" for i in range(2, 10) for part in parts), "conv10"]
    convolutions = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    state = {}
    for name, layer in zip(convolutions, layers, strict=True):
        kernel, bias = arrays[layer]
        state[f"{name}.weight"], state[f"{name}.bias"] = _oihw(kernel), torch.tensor(bias)
    network.load_state_dict(state, assign=True)
    network.to(memory_format=torch.channels_last)  # 1.35 times as fast on a CPU, forward and backward
    return Classifier(network).eval().requires_grad_(False)


def _oihw(kernel: np.ndarray) -> Tensor:
    """A convolution's weights as torch wants them, from TensorFlow's and JAX's (height, width, in, out); a copy."""
    return torch.from_numpy(kernel).permute(3, 2, 0, 1).clone(memory_format=torch.contiguous_format)


@cache
def import_torchvision() -> None:
    """Import torchvision, also beside a torch that cannot load its compiled operators.

    torchvision's wheel is compiled against a CUDA torch. Beside a CPU one its binary does not load, and the import
    stops at the declaration of two operators (non-maximum suppression) that only detection models call: declaring
    them is enough for the models used here.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
