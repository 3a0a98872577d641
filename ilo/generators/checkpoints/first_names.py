"""State dicts of the first StyleGAN, turned into genforce's names, which `stylegan1` builds from.

    whose                    known by                   what differs from genforce's
    genforce                 synthesis.layer0.…         nothing
    PULSE, lernapparat       …blocks.4x4.…              the names; no noise maps, no mean style; ε
    NVIDIA (TensorFlow)      4x4/Const/StyleMod/…       the names; the layout (in, out), (height, width, in, out)
    rosinality               generator.progression.0.…  the names; the gains, √(2/fan_in) everywhere; the scale's 1 is
                                                        in its bias; a bias before the blur; a doubling that is the mean
                                                        of four kernels, at any size; no noise maps, no mean style; ε

A noise map that a file lacks is drawn from a fixed seed; where a network gives both layers of a size one map
(rosinality), both get the same. Blocks that rosinality's training, which grows the network, has not come to are left
out: those whose noise has the weight 0 that it begins with.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ilo.generators.checkpoints.first_format import Genforce, doubling, doublings, parts
from ilo.generators.checkpoints.names import check_settings
from ilo.generators.fit import Size, Table, numbered, positive
from ilo.generators.stylegan.network import GAIN

# Settings of TensorFlow's networks, and what each must be where one says so.
EXPECTED = {
    **{"use_wscale": True, "use_noise": True, "use_styles": True, "use_instance_norm": True, "use_pixel_norm": False},
    **{"const_input_layer": True, "normalize_latents": True, "nonlinearity": "lrelu", "mapping_nonlinearity": "lrelu"},
    **{"num_channels": 3, "label_size": 0, "blur_filter": [1, 2, 1]},
}


class Port(Genforce):
    """PULSE's names, those of two files taken together, or lernapparat's."""

    what = "this looks like the first StyleGAN, in PULSE's or lernapparat's names"
    epsilon = 1e-5
    lod = ""

    def __init__(self, saved: Mapping[str, Any], settings: Mapping[str, Any]):
        def prefix(*names: str) -> str:
            return next((p for p in names if any(name.startswith(p) for name in saved)), "")

        self.synthesis = prefix("g_synthesis.", "synthesis.")
        self.mapping = prefix("g_mapping.", "mapping.")
        self.noise = "top_epi.noise" if any(".top_epi." in name for name in saved) else "noise"
        if not any(name.startswith(f"{self.mapping}dense") for name in saved):
            raise ValueError(
                f"{self.what}, but it holds no mapping network: PULSE's is a file of its own. Name it too, by "
                "`ilo convert SYNTHESIS TARGET --mapping MAPPING` or ilo.generators.load(SYNTHESIS, mapping=MAPPING)"
            )
        super().__init__(saved, settings)

    def blocks(self) -> int:
        return doublings(self.saved, rf"{re.escape(self.synthesis)}blocks\.(\d{{1,6}})x\1\.", self.what)

    def depth(self) -> int:
        return len(numbered(self.saved, f"{self.mapping}dense"))

    def name(self, ours: str) -> str | None:
        kind, k, part = parts(ours)
        if kind != "synthesis.layer":
            begin = {"mapping.dense": f"{self.mapping}dense{k}", "synthesis.output": f"{self.synthesis}torgb"}.get(kind)
            return begin and f"{begin}.{part}"
        side = 4 << k // 2
        block = f"{self.synthesis}blocks.{side}x{side}"
        conv = ("conv0_up.", "conv1.")[k % 2] if k > 1 else ("", "conv.")[k]
        names = {"apply_noise.noise": None, "apply_noise.weight": f"{block}.epi{1 + k % 2}.{self.noise}.weight"}
        names |= {f"style.{i}": f"{block}.epi{1 + k % 2}.style_mod.lin.{i}" for i in ("weight", "bias")}
        return names.get(part, f"{block}.{conv}{part}")

    def kernels(self) -> Table:
        return {name: (1, 1, 3, 3) for name in self.saved if name.endswith(".conv0_up.intermediate.kernel")}


class Tensorflow(Genforce):
    """NVIDIA's TensorFlow networks; settings: those that they were made with."""

    what = "this looks like NVIDIA's TensorFlow StyleGAN"
    lod = "lod"

    def __init__(self, saved: Mapping[str, Any], settings: Mapping[str, Any]):
        check_settings(settings, EXPECTED, self.what)
        self.fused = settings.get("fused_scale", "auto")
        if self.fused not in ("auto", True, False):
            raise ValueError(f"{self.what}, with fused_scale = {str(self.fused)[:40]}, which it cannot be")
        self.rate = positive(settings, "mapping_lrmul", 0.01)
        super().__init__(saved, settings)

    def blocks(self) -> int:
        return doublings(self.saved, r"synthesis/(\d{1,6})x\1/", self.what)

    def depth(self) -> int:
        return len({name.split("/")[1] for name in self.saved if re.match(r"mapping/Dense\d{1,6}/", name)})

    def name(self, ours: str) -> str | None:
        kind, k, part = parts(ours)
        if kind != "synthesis.layer":
            begin = {"mapping.dense": f"mapping/Dense{k}", "synthesis.output": "synthesis/ToRGB_lod0"}.get(kind)
            return f"{begin}/{part}" if begin else "dlatent_avg"
        side = 4 << k // 2
        conv = ("Conv0_up", "Conv1")[k % 2] if k > 1 else ("Const", "Conv")[k]
        part = {"apply_noise.weight": "Noise/weight"}.get(part, part.replace("style.", "StyleMod/"))
        return f"synthesis/noise{k}" if part == "apply_noise.noise" else f"synthesis/{side}x{side}/{conv}/{part}"

    def laid(self, ours: str, row: tuple[Size, ...]) -> tuple[Size, ...]:
        if not ours.endswith("weight") or len(row) == 1:
            return row
        return (*row[2:], row[1], row[0])

    def kernels(self) -> Table:
        return {}

    def value(self, ours: str, value: Tensor) -> Tensor:
        kind, k, part = parts(ours)
        if kind == "mapping.dense":
            return (value.T if part == "weight" else value) * (self.rate / 0.01)
        if part == "style.weight":
            return value.T
        if part != "weight":
            return value
        weight = value.permute(3, 2, 0, 1)
        if kind == "synthesis.layer" and self.fused != "auto":
            return doubling(weight, k, fused=self.fused)
        return weight


class Rosinality(Genforce):
    """rosinality/style-based-gan-pytorch, as its last versions are."""

    what = "this looks like rosinality's StyleGAN, the first"
    epsilon = 1e-5
    lod = ""

    def blocks(self) -> int:
        return max(numbered(self.saved, "generator.progression."), default=0) + 1

    def depth(self) -> int:
        return len(numbered(self.saved, "style."))

    def outputs(self, sizes: int) -> range:
        return range(1, sizes)

    def has_early_bias(self, k: int) -> bool:
        return k > 0 and k % 2 == 0

    def fused(self, k: int) -> bool:
        return f"generator.progression.{k // 2}.conv1.0.weight" in self.saved

    def name(self, ours: str) -> str | None:
        kind, k, part = parts(ours)
        begin = {"mapping.dense": f"style.{2 * k + 1}.linear", "synthesis.output": f"generator.to_rgb.{k}.conv"}
        if kind != "synthesis.layer":
            return f"{begin[kind]}.{part.replace('weight', 'weight_orig')}" if kind in begin else None
        block, number = f"generator.progression.{k // 2}", 1 + k % 2
        conv = f"{block}.conv2.conv" if k % 2 else f"{block}.conv1.0" if self.fused(k) else f"{block}.conv1.1.conv"
        return {
            "const": f"{block}.conv1.input",
            "weight": f"{conv}.weight" if k % 2 == 0 and self.fused(k) else f"{conv}.weight_orig",
            "bias": f"{conv}.bias" if k % 2 else None,
            "early_bias": f"{conv}.bias",
            "apply_noise.noise": None,
            "apply_noise.weight": f"{block}.noise{number}.weight_orig",
            "style.weight": f"{block}.adain{number}.style.linear.weight_orig",
            "style.bias": f"{block}.adain{number}.style.linear.bias",
        }[part]

    def laid(self, ours: str, row: tuple[Size, ...]) -> tuple[Size, ...]:
        kind, k, part = parts(ours)
        if part == "apply_noise.weight":
            return (1, *row, 1, 1)
        transposed = kind == "synthesis.layer" and part == "weight" and k % 2 == 0 and self.fused(k)
        return (row[1], row[0], 3, 3) if transposed else row

    def kernels(self) -> Table:
        blocks = range(1, self.blocks())
        return {
            f"generator.progression.{i}.conv1.{1 if self.fused(2 * i) else 2}.weight": (str(2 * i), 1, 3, 3)
            for i in blocks
        }

    def value(self, ours: str, value: Tensor) -> Tensor:
        kind, k, part = parts(ours)
        if kind == "mapping.dense":
            return value / 0.01  # ours are stored divided by the learning rate
        if kind == "synthesis.output":
            return value * GAIN if part == "weight" else value
        if part == "style.weight":
            return value * GAIN
        if part == "style.bias":
            return torch.cat([value[: len(value) // 2] - 1, value[len(value) // 2 :]])
        if part == "apply_noise.weight":
            return value.flatten() * math.sqrt(2 / value.numel())
        if part == "weight" and k % 2 == 0:
            weight = value.transpose(0, 1) / 4 if self.fused(k) else value
            return doubling(weight, k, fused=self.fused(k))
        return value

    def converted(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out = super().converted(weights)
        last = self.blocks() - 1
        while last > 1 and not any(out[f"synthesis.layer{2 * last + i}.apply_noise.weight"].any() for i in (0, 1)):
            last -= 1
        kept = {"synthesis.layer": range(2 * last + 2), "synthesis.output": (last,)}
        return {ours: value for ours, value in out.items() if (p := parts(ours))[1] in kept.get(p[0], (p[1],))}

    def seed(self, k: int) -> int:
        return k // 2


def first_stylegan(saved: Mapping[str, Any], settings: Mapping[str, Any]) -> Genforce | None:
    """What the file of these tensors is read as, or None if it holds no StyleGAN of the first kind.

    Raises:
        ValueError: it holds one of another architecture, or a part of one.
    """
    known = {
        "synthesis.layer": Genforce,
        **dict.fromkeys(("blocks.4x4.", "synthesis.blocks.4x4.", "g_synthesis.blocks.4x4."), Port),
        "synthesis/4x4/Const/StyleMod/": Tensorflow,
        "generator.progression.": Rosinality,
    }
    for beginning, kind in known.items():
        if any(name.startswith(beginning) for name in saved):
            return kind(saved, settings)
    if "dense0.weight" in saved or "g_mapping.dense0.weight" in saved:
        raise ValueError(
            "it holds the mapping network of a StyleGAN alone: open the file of the synthesis network, and name this "
            "one as its mapping network, by `ilo convert SYNTHESIS TARGET --mapping MAPPING` or "
            "ilo.generators.load(SYNTHESIS, mapping=MAPPING)"
        )
    return None
