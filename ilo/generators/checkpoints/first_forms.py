"""Five formats of StyleGAN, the first: what tells each, and the tensors that are read of it.

format        told by                             what differs
TensorFlow    synthesis/4x4/Const/StyleMod/…      dense layers (in, out), convolutions (height, width, in, out)
genforce      synthesis.layer0.const              as TensorFlow's, in torch's layout
PULSE         blocks.4x4.const                    two files, epsilon 1e-5, no noise maps
lernapparat   g_synthesis.blocks.4x4.const        PULSE's in one file; the noise's strength is elsewhere
rosinality    generator.progression.0.…           other gains, the bias before the blur, one noise map for a block
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from ilo.generators.fit import MOST_PIXELS

FUSED = 128  # pixels from which on a transposed convolution doubles the features
HWIO, TURNED = (3, 2, 0, 1), (1, 0)  # TensorFlow's axes in torch's order


class Row(NamedTuple):
    """A tensor: our word for it, its name in the file, its shape there, and the axes that make it torch's, if any."""

    ours: str
    name: str
    shape: tuple[int | str, ...]
    axes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Form:
    """A format, and the numbers that tell it from others.

    blocks, dense: patterns of the names that number its blocks and its mapping layers; sizes: whether a block's number
    is its pixels; share: how many of these numbers are one block's. epsilon: of the normalisation. equal: whether every
    layer has the gain √(2/fan_in). bias_first: whether the bias comes before the blur. prefixes: of the names of the
    mapping and the synthesis network.
    """

    title: str
    blocks: str
    dense: str
    sizes: bool = True
    share: int = 1
    epsilon: float = 1e-8
    equal: bool = False
    bias_first: bool = False
    prefixes: tuple[str, str] = field(default=("", ""))

    @property
    def what(self) -> str:
        return f"this looks like {self.title} StyleGAN"

    def counts(self, weights: Mapping[str, Any]) -> tuple[int, int]:
        """How many blocks and how many mapping layers there are."""
        found = {int(match[1]) // self.share for match in (re.match(self.blocks, name) for name in weights) if match}
        count = len(found)
        expected = {4 << i if self.sizes else i for i in range(count)}
        if not 2 <= count <= math.log2(MOST_PIXELS) - 1 or found != expected:
            raise ValueError(f"{self.what}, but not of 8 to {MOST_PIXELS} pixels: its blocks are {sorted(found)[:12]}")
        dense = {match[1] for match in (re.match(self.dense, name) for name in weights) if match}
        return count, max(1, len(dense))


TENSORFLOW = Form("NVIDIA's TensorFlow", r"synthesis/(\d{1,6})x\1/", r"mapping/Dense(\d{1,6})/")
GENFORCE = Form("genforce's", r"synthesis\.layer(\d{1,6})\.", r"mapping\.dense(\d{1,6})\.", sizes=False, share=2)
PULSE = Form("PULSE's", r"blocks\.(\d{1,6})x\1\.", r"dense(\d{1,6})\.", epsilon=1e-5)
LERNAPPARAT = Form(
    "lernapparat's",
    r"g_synthesis\.blocks\.(\d{1,6})x\1\.",
    r"g_mapping\.dense(\d{1,6})\.",
    epsilon=1e-5,
    prefixes=("g_mapping.", "g_synthesis."),
)
ROSINALITY = Form(
    "rosinality's",
    r"generator\.progression\.(\d{1,6})\.",
    r"style\.(\d{1,6})\.linear\.",
    sizes=False,
    epsilon=1e-5,
    equal=True,
    bias_first=True,
)


def form_of(names: Mapping[str, Any]) -> Form | None:
    """The format of a state dict; None if it is none of these."""
    told = {
        "synthesis/4x4/Const/StyleMod/weight": TENSORFLOW,
        "synthesis.layer0.const": GENFORCE,
        "blocks.4x4.const": PULSE,
        "g_synthesis.blocks.4x4.const": LERNAPPARAT,
        "generator.progression.0.conv1.input": ROSINALITY,
    }
    return next((form for name, form in told.items() if name in names), None)


def rows(form: Form, weights: Mapping[str, Any]) -> Iterator[Row]:
    """Every tensor that is read of a state dict, in the order of the arithmetic."""
    count, depth = form.counts(weights)
    words = ["z", *(f"fc{i}" for i in range(depth - 1)), "w"]
    make = {"NVIDIA's TensorFlow": _tensorflow, "genforce's": _genforce, "rosinality's": _rosinality}
    yield from make.get(form.title, _pulse)(form, weights, count, words)


def _convolutions(count: int) -> Iterator[tuple[int, int, str, str]]:
    """(k, pixels, the word for the channels that come in, and for those that leave)."""
    for k in range(2 * count):
        yield k, 4 << k // 2, f"conv{max(0, k - 1)}", f"conv{k}"


def _tensorflow(form: Form, weights: Mapping[str, Any], count: int, words: list[str]) -> Iterator[Row]:
    for i, (before, after) in enumerate(pairwise(words)):
        yield Row(f"dense{i}.weight", f"mapping/Dense{i}/weight", (before, after), TURNED)
        yield Row(f"dense{i}.bias", f"mapping/Dense{i}/bias", (after,))
    if "dlatent_avg" in weights:
        yield Row("mean", "dlatent_avg", ("w",))
    for k, size, before, after in _convolutions(count):
        kind = ("Const", "Conv")[k] if k < 2 else ("Conv0_up", "Conv1")[k % 2]
        name = f"synthesis/{size}x{size}/{kind}"
        if k == 0:
            yield Row("const", f"{name}/const", (1, after, 4, 4))
        else:
            yield Row(f"{k}.weight", f"{name}/weight", (3, 3, before, after), HWIO)
        yield Row(f"{k}.bias", f"{name}/bias", (after,))
        yield Row(f"{k}.noise", f"{name}/Noise/weight", (after,))
        yield Row(f"{k}.map", f"synthesis/noise{k}", (1, 1, size, size))
        yield Row(f"{k}.style.weight", f"{name}/StyleMod/weight", ("w", f"2 {after}"), TURNED)
        yield Row(f"{k}.style.bias", f"{name}/StyleMod/bias", (f"2 {after}",))
    yield Row("rgb.weight", "synthesis/ToRGB_lod0/weight", (1, 1, f"conv{2 * count - 1}", "colours"), HWIO)
    yield Row("rgb.bias", "synthesis/ToRGB_lod0/bias", ("colours",))


def _genforce(form: Form, weights: Mapping[str, Any], count: int, words: list[str]) -> Iterator[Row]:
    yield from _dense("mapping.dense{}", words)
    if "truncation.w_avg" in weights:
        yield Row("mean", "truncation.w_avg", ("w",))
    for k, size, before, after in _convolutions(count):
        name = f"synthesis.layer{k}"
        if k == 0:
            yield Row("const", f"{name}.const", (1, after, 4, 4))
        else:
            yield Row(f"{k}.weight", f"{name}.weight", (after, before, 3, 3))
        yield Row(f"{k}.bias", f"{name}.bias", (after,))
        yield Row(f"{k}.noise", f"{name}.apply_noise.weight", (after,))
        yield Row(f"{k}.map", f"{name}.apply_noise.noise", (1, 1, size, size))
        yield from _style(k, f"{name}.style", after)
    yield from _colours(f"synthesis.output{count - 1}", count)


def _pulse(form: Form, weights: Mapping[str, Any], count: int, words: list[str]) -> Iterator[Row]:
    mapping, synthesis = form.prefixes
    yield from _dense(mapping + "dense{}", words)
    for k, size, before, after in _convolutions(count):
        block = f"{synthesis}blocks.{size}x{size}"
        name = f"{block}.{('const', 'conv')[k] if k < 2 else ('conv0_up', 'conv1')[k % 2]}"
        if k == 0:
            yield Row("const", name, (1, after, 4, 4))
            yield Row("0.bias", f"{block}.bias", (after,))
        else:
            yield Row(f"{k}.weight", f"{name}.weight", (after, before, 3, 3))
            yield Row(f"{k}.bias", f"{name}.bias", (after,))
        epilogue = f"{block}.epi{1 + k % 2}"
        yield Row(f"{k}.noise", f"{epilogue}.{'top_epi.' if mapping else ''}noise.weight", (after,))
        yield from _style(k, f"{epilogue}.style_mod.lin", after)
    yield from _colours(f"{synthesis}torgb", count)


def _rosinality(form: Form, weights: Mapping[str, Any], count: int, words: list[str]) -> Iterator[Row]:
    for i, (before, after) in enumerate(pairwise(words)):
        yield Row(f"dense{i}.weight", f"style.{2 * i + 1}.linear.weight_orig", (after, before))
        yield Row(f"dense{i}.bias", f"style.{2 * i + 1}.linear.bias", (after,))
    for k, size, before, after in _convolutions(count):
        block, i = f"generator.progression.{k // 2}", 1 + k % 2
        if k == 0:
            yield Row("const", f"{block}.conv1.input", (1, after, 4, 4))
        elif i == 1 and size >= FUSED:  # stored (in, out)
            yield Row(f"{k}.weight", f"{block}.conv1.0.weight", (before, after, 3, 3), (1, 0, 2, 3))
            yield Row(f"{k}.bias", f"{block}.conv1.0.bias", (after,))
        else:
            name = f"{block}.conv{i}{'.1' if i == 1 else ''}.conv"
            yield Row(f"{k}.weight", f"{name}.weight_orig", (after, before, 3, 3))
            yield Row(f"{k}.bias", f"{name}.bias", (after,))
        yield Row(f"{k}.noise", f"{block}.noise{i}.weight_orig", (1, after, 1, 1))
        yield Row(f"{k}.style.weight", f"{block}.adain{i}.style.linear.weight_orig", (f"2 {after}", "w"))
        yield Row(f"{k}.style.bias", f"{block}.adain{i}.style.linear.bias", (f"2 {after}",))
    name = f"generator.to_rgb.{count - 1}.conv"
    yield Row("rgb.weight", f"{name}.weight_orig", ("colours", f"conv{2 * count - 1}", 1, 1))
    yield Row("rgb.bias", f"{name}.bias", ("colours",))


def _dense(name: str, words: list[str]) -> Iterator[Row]:
    for i, (before, after) in enumerate(pairwise(words)):
        yield Row(f"dense{i}.weight", f"{name.format(i)}.weight", (after, before))
        yield Row(f"dense{i}.bias", f"{name.format(i)}.bias", (after,))


def _style(k: int, name: str, after: str) -> Iterator[Row]:
    yield Row(f"{k}.style.weight", f"{name}.weight", (f"2 {after}", "w"))
    yield Row(f"{k}.style.bias", f"{name}.bias", (f"2 {after}",))


def _colours(name: str, count: int) -> Iterator[Row]:
    yield Row("rgb.weight", f"{name}.weight", ("colours", f"conv{2 * count - 1}", 1, 1))
    yield Row("rgb.bias", f"{name}.bias", ("colours",))
