"""A state dict of the first StyleGAN, and how it becomes one in genforce's names, which `stylegan1` builds from."""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ilo.generators.fit import MOST_PIXELS, Size, Table, numbered
from ilo.generators.stylegan.first import FUSED, WHAT, first_table
from ilo.rng import stream

LABELS = ("mapping.label_weight", "mapping/LabelConcat/weight")


class Genforce:
    """A file in genforce's names; the other formats say what is different."""

    what = WHAT
    epsilon = 1e-8  # of the instance norm, of the program whose names these are
    lod = "synthesis.lod"  # how many doublings the network had still to grow

    def __init__(self, saved: Mapping[str, Any], settings: Mapping[str, Any]):
        self.saved, self.settings = saved, settings
        for name in LABELS:
            if name in saved:
                raise ValueError(f"{self.what}, with classes ({name}): only those without are supported")
        sizes, depth = self.blocks(), max(1, self.depth())
        if not 2 <= sizes <= math.log2(MOST_PIXELS) - 1:
            raise ValueError(f"{self.what}, but not of 8 to {MOST_PIXELS} pixels: it has blocks of {sizes} sizes")
        ours = [f"synthesis.layer{k}." for k in range(2 * sizes)] + [f"mapping.dense{i}." for i in range(depth)]
        ours += ["truncation.w_avg"] if self.name("truncation.w_avg") in saved else []
        ours += [f"synthesis.layer{k}.early_bias" for k in range(2 * sizes) if self.has_early_bias(k)]
        self.rows = first_table(dict.fromkeys(ours))
        self.rows |= {
            f"synthesis.output{i}.{part}": row
            for i in self.outputs(sizes)
            for part, row in (("weight", ("colours", str(2 * i + 1), 1, 1)), ("bias", ("colours",)))
        }

    def table(self) -> Table:
        """The tensors that the file must hold, in its own names and layout."""
        named = {self.name(ours): self.laid(ours, row) for ours, row in self.rows.items()}
        named |= {self.lod: ()} if self.lod in self.saved else {}
        return {name: row for name, row in {**named, **self.kernels()}.items() if name}

    def converted(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`weights`, which fit the table, in genforce's names and layout."""
        if self.lod in weights and weights[self.lod].item() != 0:
            raise ValueError(
                f"{self.what}, saved before it had grown to its size ({self.lod} = {weights[self.lod].item():g}); "
                "networks that are done with growing are supported"
            )
        for name in self.kernels():
            taps = torch.tensor([1.0, 2.0, 1.0]) / 4
            if (weights[name].float() - torch.outer(taps, taps)).abs().max() > 1e-6:
                raise ValueError(f"{name} is not the filter [1, 2, 1] that StyleGAN blurs by; others are not supported")
        out = {}
        for ours in self.rows:
            name = self.name(ours)
            out[ours] = self.missing(ours, weights) if name is None else self.value(ours, weights[name])
        return {ours: value.contiguous() for ours, value in out.items()}

    # What formats differ in. `ours` is a name of genforce's.

    def blocks(self) -> int:
        return (max(numbered(self.saved, "synthesis.layer"), default=0) + 1) // 2

    def depth(self) -> int:
        return len(numbered(self.saved, "mapping.dense"))

    def name(self, ours: str) -> str | None:
        """The file's name for a tensor, or None if the format lacks it."""
        return ours

    def outputs(self, sizes: int) -> range:
        """The blocks whose layer to the colours is read."""
        return range(sizes - 1, sizes)

    def has_early_bias(self, k: int) -> bool:
        return f"synthesis.layer{k}.early_bias" in self.saved

    def laid(self, ours: str, row: tuple[Size, ...]) -> tuple[Size, ...]:
        """The file's shape for a tensor whose shape is `row` here."""
        return row

    def kernels(self) -> Table:
        """The filters that the file holds, or must hold."""
        found = (re.fullmatch(r"synthesis\.layer(\d{1,6})\.blur\.kernel", name) for name in self.saved)
        return {match[0]: (match[1], 1, 3, 3) for match in found if match}

    def value(self, ours: str, value: Tensor) -> Tensor:
        return value

    def missing(self, ours: str, weights: Mapping[str, Tensor]) -> Tensor:
        """In place of a tensor that the format lacks: noise, or no bias."""
        like = weights[self.name("synthesis.layer0.const")]
        if ours.endswith("noise"):
            side = 4 << parts(ours)[1] // 2
            return torch.randn(1, 1, side, side, generator=stream(0, "weights", self.seed(parts(ours)[1]))).to(like)
        return like.new_zeros(len(weights[self.name(ours.replace(".bias", ".apply_noise.weight"))].flatten()))

    def seed(self, k: int) -> int:
        return k


def doubling(weight: Tensor, k: int, *, fused: bool) -> Tensor:
    """The kernel (c_out, c_in, 3, 3) of layer k, for a layer that doubles as ours of that size do, by flipping it."""
    doubles = k > 0 and k % 2 == 0
    return weight.flip(2, 3) if doubles and fused != ((4 << k // 2) >= FUSED) else weight


def doublings(saved: Mapping[str, Any], pattern: str, what: str) -> int:
    """How many sizes there are: 4, 8, …; ValueError if one is left out."""
    found = (re.match(pattern, name) for name in saved)
    sizes = sorted({int(match[1]) for match in found if match})
    if sizes != [4 << i for i in range(len(sizes))]:
        raise ValueError(f"{what}, but its blocks are of {sizes[:12]} pixels, where 4, 8, 16, … are expected")
    return len(sizes)


def parts(ours: str) -> tuple[str, int, str]:
    """("synthesis.layer", 3, "style.weight") of "synthesis.layer3.style.weight"; "truncation.w_avg" has no number."""
    match = re.match(r"(synthesis\.layer|synthesis\.output|mapping\.dense)(\d+)\.(.*)", ours)
    return (match[1], int(match[2]), match[3]) if match else (ours, 0, "")
