"""The tensors of StyleGAN3 in NVIDIA's names, and what must fit together: shapes, sizes, filters, settings."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor

from ilo.generators.fit import MOST_PIXELS, Table, positive
from ilo.generators.stylegan.table import check, mapping_table

WHAT = "this looks like StyleGAN3"
# What the tensors of a network do not tell, in the names of NVIDIA's attributes, and its value in published networks.
SETTINGS = {
    "synthesis.margin_size": 10.0,
    "synthesis.input.bandwidth": 2.0,
    "synthesis.output_scale": 0.25,
    "synthesis.conv_clamp": 256.0,
}
DOWN = 2  # times as fine as what leaves a layer is the grid of its leaky ReLU


class Layer(NamedTuple):
    """A layer, by its name in a state dict. width, room, taken: channels that enter, their size, and how many of their
    samples a side are the image's. channels, size, rate: the same of what leaves."""

    name: str
    width: int
    room: int
    taken: int
    channels: int
    size: int
    rate: int

    @property
    def up(self) -> int:
        """How many times as fine as what enters the grid of its leaky ReLU is."""
        return DOWN * self.rate // self.taken


def settings_of(given: Mapping[str, Any]) -> dict[str, float]:
    """`SETTINGS`, with what of it is given; ValueError for no positive number, or no number of samples."""
    settings = {name: positive(given, name, default) for name, default in SETTINGS.items()}
    if settings["synthesis.margin_size"] % 1:
        raise ValueError("its setting synthesis.margin_size is no number of samples")
    return settings


def third_layers(names: Mapping[str, Any], settings: Mapping[str, float] = SETTINGS) -> list[Layer]:
    """The layers L0, L1, … that the names of a state dict tell; ValueError if they make no network."""
    found = (re.match(r"synthesis\.(L(\d{1,2})_(\d{1,5})_(\d{1,6}))\.", name) for name in names)
    parts = sorted({(int(m[2]), int(m[3]), int(m[4]), m[1]) for m in found if m})
    if [number for number, *_ in parts] != list(range(max(3, len(parts)))):
        named = ", ".join(name for *_, name in parts[:5])
        raise ValueError(f"{WHAT}, but its layers are {named}: expected three or more, L0, L1, …, each of one size")
    _, sizes, channels, titles = zip(*parts, strict=True)
    margin = int(settings["synthesis.margin_size"])
    rates = [*(size - 2 * margin for size in sizes[:-2]), *sizes[-2:]]  # the last two end at the image's edges
    grow = all(a <= b for a, b in pairwise(rates)) and rates[-2] == rates[-1] <= MOST_PIXELS
    if not grow or any(rate < 4 or rate & (rate - 1) for rate in rates):
        raise ValueError(
            f"{WHAT}, but its layers have {list(sizes)} samples a side: expected are powers of two that do not fall, "
            f"from 4 to {MOST_PIXELS}, and but for the last two layers {margin} more beyond every edge"
        )
    sides = list(zip(channels, sizes, rates, strict=True))
    entering = [sides[0], *sides[:-1]]  # the input is as the first layer is
    return [Layer(f"synthesis.{titles[i]}", *entering[i], *sides[i]) for i in range(len(sides))]


def third_table(weights: Mapping[str, Any], settings: Mapping[str, float] = SETTINGS) -> Table:
    """The table of a state dict with the layers that `weights` names."""
    layers = third_layers(weights, settings)
    width = layers[0].width
    table: Table = {
        "synthesis.input.weight": (width, width),
        "synthesis.input.affine.weight": (4, "w"),
        "synthesis.input.affine.bias": (4,),
        "synthesis.input.transform": (3, 3),
        "synthesis.input.freqs": (width, 2),
        "synthesis.input.phases": (width,),
    }
    for layer in layers:
        name, last = layer.name, layer is layers[-1]
        kernel = 1 if last else "kernel"
        table |= {
            f"{name}.weight": (layer.channels, layer.width, kernel, kernel),
            f"{name}.bias": (layer.channels,),
            f"{name}.affine.weight": (layer.width, "w"),
            f"{name}.affine.bias": (layer.width,),
            f"{name}.magnitude_ema": (),
        }
        if not last:
            axes = len(getattr(weights.get(f"{name}.down_filter"), "shape", ()))
            table[f"{name}.up_filter"] = ((layer.up, "filter"),)
            table[f"{name}.down_filter"] = ((DOWN, "filter"),) * (2 if axes == 2 else 1)
    return table | mapping_table(weights)


def check_third(weights: Mapping[str, Any], settings: Mapping[str, float] = SETTINGS) -> Table:
    """The table, if every tensor's shape fits it; no number is looked at. ValueError naming the first that does not."""
    table = third_table(weights, settings)
    check(weights, table, WHAT)
    layers = third_layers(weights, settings)
    if settings["synthesis.input.bandwidth"] >= layers[0].taken / 2:
        raise ValueError(f"{WHAT}, but its setting synthesis.input.bandwidth is more than its input's samples can hold")
    for layer in layers[:-1]:
        if crop(weights, layer) < 0:
            raise ValueError(f"{WHAT}, but {layer.name}.up_filter is too short")
    return table


def check_numbers(weights: Mapping[str, Tensor], settings: Mapping[str, float] = SETTINGS) -> None:
    """ValueError for a filter that is no low-pass filter, or a mean square that is none; they are named."""
    for layer in third_layers(weights, settings):
        if not weights[f"{layer.name}.magnitude_ema"].item() > 0:
            raise ValueError(f"{WHAT}, but {layer.name}.magnitude_ema is no mean square: it is not positive")
    for layer in third_layers(weights, settings)[:-1]:
        for name in (f"{layer.name}.up_filter", f"{layer.name}.down_filter"):
            total = weights[name].double().sum().item()
            if not abs(total - 1) < 0.1:  # half precision rounds
                raise ValueError(f"{WHAT}, but {name} is no low-pass filter: it sums to {total:.3g} and not to 1")


def crop(weights: Mapping[str, Any], layer: Layer) -> int:
    """Values to cut off every edge of a layer's fine grid, so that what leaves has the layer's size.

    The n = room + k − 1 values that a full convolution gives become (n − 1)·up + taps; (size − 1)·2 + taps' are needed.
    The difference is even, as factors and numbers of taps are, and cut off alike on both sides (appendix C.3).
    """
    kernel, taps, needed = (weights[f"{layer.name}.{p}"].shape[-1] for p in ("weight", "up_filter", "down_filter"))
    return ((layer.room + kernel - 2) * layer.up + taps - (layer.size - 1) * DOWN - needed) // 2
