"""Writes pickles of TensorFlow networks as NVIDIA's StyleGAN and StyleGAN2 are published: (G, D, Gs).

A network is an instance of dnnlib.tflib.network.Network, whose state is its settings, its components, the source that
NVIDIA's loader executes, and a list of (name, array).
"""

import io
import math
import pickle
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

SOURCE = "raise RuntimeError('the source in the pickle was executed')\n"
MODULES = ("dnnlib", "dnnlib.tflib", "dnnlib.tflib.network")


class Network:
    """What is pickled under the name of NVIDIA's class."""

    def __init__(self, name: str, settings: dict, components: dict, variables: list):
        self.state = {
            "version": 4,
            "name": name,
            "static_kwargs": settings,
            "components": components,
            "build_module_src": SOURCE,
            "build_func_name": "G_main",
            "variables": variables,
        }

    def __getstate__(self):
        return self.state


def tensorflow_pickle(variables: Mapping[str, Any], settings: dict | None = None, protocol: int = 4) -> bytes:
    """The bytes of (G, D, Gs), whose Gs has the `variables` "mapping/…", "synthesis/…" and others of its own."""
    parts: dict[str, list] = {"": [], "mapping": [], "synthesis": []}
    for name, value in variables.items():
        part, _, rest = name.partition("/")
        parts[part if part in parts else ""].append((rest if part in parts else name, value))
    components = {part: Network(part, {}, {}, parts[part]) for part in ("mapping", "synthesis")}
    Gs = Network("Gs", {"num_channels": 3, "label_size": 0} | (settings or {}), components, parts[""])
    other = [("4x4/Conv/weight", np.zeros((3, 3, 2, 2), np.float32))]
    snapshot = (Network("G", {}, {}, other), Network("D", {}, {}, other), Gs)
    modules = {name: ModuleType(name) for name in MODULES}
    modules[MODULES[-1]].Network = Network
    was = Network.__module__, Network.__qualname__
    assert not modules.keys() & sys.modules.keys()
    Network.__module__, Network.__qualname__ = MODULES[-1], "Network"
    sys.modules.update(modules)
    try:
        file = io.BytesIO()
        pickle.dump(snapshot, file, protocol=protocol)
    finally:
        Network.__module__, Network.__qualname__ = was
        for name in MODULES:
            del sys.modules[name]
    return file.getvalue()


def random_variables(sizes=(4, 8, 16), channels=(6, 5, 4), z=7, w=9, depth=3, rng=0, dtype=np.float32) -> dict:
    """Variables of a small StyleGAN2 as TensorFlow lays them out; all are different from what training starts at."""
    random = np.random.default_rng(rng)

    def normal(*shape):
        return np.asarray(random.standard_normal(shape), dtype)

    out = {"dlatent_avg": 0.1 * normal(w), "lod": np.zeros((), dtype)}
    for i in range(depth):
        out[f"mapping/Dense{i}/weight"] = 100 * normal(z if i == 0 else w, w)
        out[f"mapping/Dense{i}/bias"] = 10 * normal(w)
    out["synthesis/4x4/Const/const"] = normal(1, channels[0], 4, 4)
    width, number = channels[0], 0
    for size, count in zip(sizes, channels, strict=True):
        for conv in ("Conv",) if size == 4 else ("Conv0_up", "Conv1"):
            name = f"synthesis/{size}x{size}/{conv}"
            out |= {f"{name}/weight": normal(3, 3, width, count), f"{name}/bias": 0.3 * normal(count)}
            out |= {f"{name}/mod_weight": normal(w, width), f"{name}/mod_bias": 0.2 * normal(width)}
            out |= {f"{name}/noise_strength": 0.2 * normal(), f"synthesis/noise{number}": normal(1, 1, size, size)}
            width, number = count, number + 1
        name = f"synthesis/{size}x{size}/ToRGB"
        out |= {f"{name}/weight": 0.3 * normal(1, 1, width, 3) / math.sqrt(len(sizes)), f"{name}/bias": normal(3) / 9}
        out |= {f"{name}/mod_weight": normal(w, width), f"{name}/mod_bias": 0.2 * normal(width)}
    return out
