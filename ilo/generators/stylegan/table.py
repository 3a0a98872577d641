"""The tensors of StyleGAN2 in NVIDIA's names, and the sizes that they must share."""

from collections.abc import Mapping, Sequence
from typing import Any

from ilo.generators.fit import MOST_PIXELS, Table, fit, numbered

# A space of styles is measured by 16384 draws, of so many numbers each.
MOST = {"z": 1024, "label+z": 2048, "w": 1024, "label": 1024, "classes": 4096}
MOST |= {"kernel": 3, "filter": 32}  # of StyleGAN3, whose published networks have 1 or 3, and 6
WHAT = "this looks like StyleGAN2"


def resolutions(weights: Mapping[str, Any]) -> list[int]:
    """The sizes of the blocks that a state dict holds: [4, 8, …, R]. ValueError if they are not that."""
    sizes = sorted(numbered(weights, "synthesis.b"))
    if len(sizes) < 2 or sizes != [4 << i for i in range(len(sizes))] or sizes[-1] > MOST_PIXELS:
        raise ValueError(
            f"expected blocks of 4, 8, … pixels, at most {MOST_PIXELS}, under synthesis.b4, synthesis.b8, …, "
            f"got {sizes[:12]}"
        )
    return sizes


def nvidia_table(weights: Mapping[str, Any]) -> Table:
    """The table of a state dict with the blocks and the mapping layers that `weights` has."""
    table: Table = {"synthesis.b4.const": ("4", 4, 4)}
    width = "4"  # of the features that come in: each word is a number of channels
    for size in resolutions(weights):
        block = f"synthesis.b{size}"
        for conv in ("conv1",) if size == 4 else ("conv0", "conv1"):
            table |= modulated(f"{block}.{conv}", f"{size}.{conv}", width, 3)
            table |= {f"{block}.{conv}.noise_strength": (), f"{block}.{conv}.noise_const": (size, size)}
            width = f"{size}.{conv}"
        table |= modulated(f"{block}.torgb", "colours", width, 1)
    return table | mapping_table(weights) | {name: (4, 4) for name in weights if name.endswith("resample_filter")}


def mapping_table(weights: Mapping[str, Any]) -> Table:
    """The mapping network's part of the table, of as many layers as `weights` has."""
    depth = max(1, len(numbered(weights, "mapping.fc")))
    conditional = any(name.startswith("mapping.embed.") for name in weights)
    table = mapping([f"mapping.fc{i}" for i in range(depth)], "label+z" if conditional else "z")
    if conditional:
        table |= {"mapping.embed.weight": ("label", "classes"), "mapping.embed.bias": ("label",)}
    if "mapping.w_avg" in weights:
        table["mapping.w_avg"] = ("w",)
    return table


def modulated(name: str, out: str, width: str, kernel: int) -> Table:
    """The tensors of a modulated convolution from `width` channels to `out`."""
    return {
        f"{name}.weight": (out, width, kernel, kernel),
        f"{name}.bias": (out,),
        f"{name}.affine.weight": (width, "w"),
        f"{name}.affine.bias": (width,),
    }


def mapping(names: Sequence[str], first: str) -> Table:
    """The tensors of fully connected layers, from `first` numbers to a style's "w"."""
    widths = [first, *(f"fc{i}" for i in range(len(names) - 1)), "w"]
    table: Table = {}
    for name, before, after in zip(names, widths[:-1], widths[1:], strict=True):
        table |= {f"{name}.weight": (after, before), f"{name}.bias": (after,)}
    return table


def check(weights: Mapping[str, Any], table: Table, what: str = WHAT) -> None:
    """ValueError naming the first tensor of `weights` that does not fit a StyleGAN's table."""
    sizes = fit(weights, table, what, MOST | {f"fc{i}": MOST["w"] for i in range(len(table))})
    if sizes.get("label+z", 2) <= sizes.get("label", 0):
        raise ValueError(
            f"{what}, but mapping.fc0.weight has the shape {tuple(weights['mapping.fc0.weight'].shape)}: it takes the "
            f"{sizes['label']} numbers that mapping.embed.weight and mapping.embed.bias make, and at least one more"
        )
