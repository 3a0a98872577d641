"""Writes pickles as NVIDIA's StyleGAN2-ADA and StyleGAN3 do, from a state dict in its names.

Its networks are instances of classes whose __reduce__ gives torch_utils.persistence._reconstruct_persistent_obj and
(meta,), where meta holds the source of the module that defines the class, which NVIDIA's loader executes, and the
instance's __dict__ as `state`. Attributes are those that its modules keep: plain numbers, numpy scalars, EasyDicts.
"""

import io
import pickle
import sys
from collections import OrderedDict
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

BUFFERS = ("noise_const", "resample_filter", "w_avg", "transform", "freqs", "phases", "magnitude_ema")
BUFFERS += ("up_filter", "down_filter")
SOURCE = "raise RuntimeError('the source in the pickle was executed')\n"


def nvidia_pickle(
    weights: dict[str, Tensor],
    attributes: dict | None = None,
    protocol: int = 4,
    beside: dict[str, Tensor] | None = None,
) -> bytes:
    """The bytes of a snapshot {G, D, G_ema, training_set_kwargs, augment_pipe} whose G_ema holds `weights`.

    `attributes`: name of a module (``synthesis.b4.conv1``) → further attributes of it. `beside`: what G and D hold.
    """
    with _nvidias_modules() as (Module, EasyDict):
        G_ema = _network(weights, attributes or {}, Module, EasyDict)
        D = _network(beside or {"b4.fc.weight": torch.zeros(2, 3)}, {}, Module, EasyDict)
        content = {
            "training_set_kwargs": EasyDict(class_name="training.dataset.ImageFolderDataset", xflip=False),
            "G": _network(
                {name: t + 7 for name, t in (beside or {"mapping.w_avg": torch.zeros(3)}).items()}, {}, Module, EasyDict
            ),
            "D": D,
            "G_ema": G_ema,
            "augment_pipe": _network({"p": torch.tensor(0.3)}, {}, Module, EasyDict),
        }
        file = io.BytesIO()
        pickle.dump(content, file, protocol=protocol)
    return file.getvalue()


def third_attributes(weights: dict[str, Tensor], margin: int = 10, bandwidth: float = 2.0, scale: float = 0.25,
                     clamp: float | None = 256) -> dict:  # fmt: skip
    """What the modules of a StyleGAN3 of these tensors keep beside them, of NVIDIA's kinds: its numpy's, and lists."""
    layers = sorted(
        {name.split(".")[1] for name in weights if ".L" in name}, key=lambda name: int(name[1:3].strip("_"))
    )
    sizes = [int(name.split("_")[1]) for name in layers]
    rates = [size - 2 * margin for size in sizes[:-2]] + sizes[-2:]
    out = {
        "synthesis": {"margin_size": margin, "output_scale": scale, "img_resolution": sizes[-1], "num_critical": 2},
        "synthesis.input": {
            "bandwidth": np.float64(bandwidth),
            "sampling_rate": np.float64(rates[0]),
            "size": np.broadcast_to(np.asarray(sizes[0]), [2]),
        },
        "mapping": {"num_ws": len(layers) + 1, "embed": None},
    }
    for i, name in enumerate(layers):
        last, before = i == len(layers) - 1, rates[max(0, i - 1)]
        out[f"synthesis.{name}"] = {
            "is_torgb": last,
            "up_factor": 1 if last else 2 * rates[i] // before,
            "down_factor": 1 if last else 2,
            "conv_clamp": clamp,
            "in_cutoff": np.float64(2.5),
            "out_size": np.broadcast_to(np.asarray(sizes[i]), [2]),
            "padding": [9, 8, 9, 8],
        }
    return out


def _network(weights: dict[str, Tensor], attributes: dict, Module: type, EasyDict: type):
    root = Module(EasyDict)
    for name, tensor in weights.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            module = module._modules.setdefault(part, Module(EasyDict))
        if leaf in BUFFERS:
            module._buffers[leaf] = tensor
        else:
            module._parameters[leaf] = torch.nn.Parameter(tensor, requires_grad=tensor.is_floating_point())
    for name, values in attributes.items():
        module = root
        for part in name.split("."):
            module = module._modules[part]
        vars(module).update(values)
    return root


@contextmanager
def _nvidias_modules():
    """Importable stand-ins for torch_utils.persistence and dnnlib.util, while pickling."""
    persistence, util = ModuleType("torch_utils.persistence"), ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta):
        exec(meta["module_src"])

    class EasyDict(dict):
        def __getattr__(self, name):
            try:
                return self[name]
            except KeyError as error:
                raise AttributeError(name) from error

    class Module:
        def __init__(self, easy_dict: type):
            self.training = False
            self._parameters, self._buffers, self._modules = OrderedDict(), OrderedDict(), OrderedDict()
            self._non_persistent_buffers_set = set()
            self._backward_hooks, self._is_full_backward_hook = OrderedDict(), None
            self._init_args, self._init_kwargs = (), easy_dict(synthesis_kwargs=easy_dict(channel_base=16384))
            self.act_gain, self.weight_gain = np.sqrt(2), np.float32(0.5)

        def __reduce__(self):
            meta = {
                "type": "class",
                "version": 6,
                "module_src": SOURCE,
                "class_name": "Module",
                "state": vars(self),
            }
            return _reconstruct_persistent_obj, (meta,)

    for module, thing in [(persistence, _reconstruct_persistent_obj), (util, EasyDict)]:
        thing.__module__, thing.__qualname__ = module.__name__, thing.__name__
        setattr(module, thing.__name__, thing)
    added = {"torch_utils": ModuleType("torch_utils"), persistence.__name__: persistence}
    added |= {"dnnlib": ModuleType("dnnlib"), util.__name__: util}
    assert not added.keys() & sys.modules.keys()
    sys.modules.update(added)
    try:
        yield Module, EasyDict
    finally:
        for name in added:
            del sys.modules[name]
