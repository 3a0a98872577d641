"""State dicts of StyleGAN2: NVIDIA's names, which `stylegan2` builds from, and rosinality's turned into them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ilo.generators.fit import MOST_PIXELS, Table, numbered, positive
from ilo.generators.stylegan.table import check, mapping
from ilo.rng import stream

ROSINALITY = "this looks like rosinality's StyleGAN2"


def from_nvidia(
    weights: Mapping[str, Tensor], attributes: Mapping[str, Any] | None = None
) -> tuple[dict[str, Tensor], float | None]:
    """Check a state dict in NVIDIA's names, and apply what only the modules' `attributes` tell.

    Returns:
        The weights, scaled as if the mapping network's learning-rate multiplier were 0.01, and the clamp of the
        convolutions (``conv_clamp``) or None.

    Raises:
        ValueError: another filter than [1, 3, 3, 1], an architecture other than "skip", or settings that are none.
    """
    attributes = attributes or {}
    _check_filters({key: 4 * value for key, value in weights.items() if key.endswith("resample_filter")})
    architecture = attributes.get("synthesis.b8.architecture", "skip")
    if architecture != "skip":
        raise ValueError(f"StyleGAN2 of the architecture {architecture!r} is not supported, only 'skip'")
    clamp = positive(attributes, "synthesis.b4.conv1.conv_clamp")
    out = {key: value for key, value in weights.items() if not key.endswith("resample_filter")}
    return with_mapping_rate(out, attributes), clamp


def with_mapping_rate(weights: Mapping[str, Tensor], attributes: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights, scaled as if the mapping network's learning-rate multiplier were 0.01."""
    gain = positive(attributes, "mapping.fc0.bias_gain", 0.01) / 0.01
    return {
        key: value * gain if gain != 1 and key.startswith("mapping.fc") else value for key, value in weights.items()
    }


def check_settings(settings: Mapping[str, Any], expected: Mapping[str, Any], what: str) -> None:
    """ValueError, which begins with `what`, for the first setting that is neither as expected, absent nor None."""
    for name, value in expected.items():
        found = settings.get(name)
        if found is not None and found != value:  # None: the default
            raise ValueError(f"{what}, with {name} = {str(found)[:40]}, where only {value} is supported")


def from_rosinality(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn a state dict of the generator of rosinality/stylegan2-pytorch into NVIDIA's StyleGAN2-ADA names.

    There each 3×3 weight has a run-time gain 1/√fan_in; it is folded in, so that the demodulation's epsilon means the
    same. All other gains agree. Noise maps that old files lack are drawn from a fixed seed.

    Raises:
        ValueError: a tensor is missing or does not fit the others, or another filter than [1, 3, 3, 1].
    """
    check(weights, rosinality_table(weights), ROSINALITY)
    _check_filters({key: value for key, value in weights.items() if key.endswith(".kernel")})
    convs, colours = _layers(weights)
    out = {"synthesis.b4.const": weights["input.input"][0]}
    for i, (theirs, ours) in enumerate(convs):
        weight = weights[f"{theirs}.conv.weight"][0]  # (c_out, c_in, 3, 3)
        side = _side(i)
        noise = weights.get(f"noises.noise_{i}")
        if noise is None:
            noise = torch.randn(side, side, generator=stream(0, "weights", i)).to(weight)
        out |= {
            f"synthesis.{ours}.weight": weight / math.sqrt(weight[0].numel()),
            f"synthesis.{ours}.bias": weights[f"{theirs}.activate.bias"],
            f"synthesis.{ours}.noise_strength": weights[f"{theirs}.noise.weight"][0],
            f"synthesis.{ours}.noise_const": noise.reshape(side, side),
        }
    for theirs, ours in colours:
        out[f"synthesis.{ours}.weight"] = weights[f"{theirs}.conv.weight"][0]
        out[f"synthesis.{ours}.bias"] = weights[f"{theirs}.bias"].flatten()
    for theirs, ours in convs + colours:
        for part in ("weight", "bias"):
            out[f"synthesis.{ours}.affine.{part}"] = weights[f"{theirs}.conv.modulation.{part}"]
    for i in range(len(numbered(weights, "style."))):
        for part in ("weight", "bias"):
            out[f"mapping.fc{i}.{part}"] = weights[f"style.{i + 1}.{part}"]
    if "latent_avg" in weights:
        out["mapping.w_avg"] = weights["latent_avg"].flatten()
    return out


def rosinality_table(weights: Mapping[str, Any]) -> Table:
    """The tensors in rosinality's names, of as many layers as `weights` has."""
    convs, colours = _layers(weights)
    table: Table = {"input.input": (1, "4", 4, 4)}
    width = "4"  # of the features that come in: each word is a number of channels
    for i, (name, out) in enumerate(convs):
        table |= _modulated(name, out, width, 3)
        table |= {f"{name}.noise.weight": (1,), f"{name}.activate.bias": (out,)}
        if f"noises.noise_{i}" in weights:
            table[f"noises.noise_{i}"] = (1, 1, _side(i), _side(i))
        width = out
    for i, (name, _) in enumerate(colours):
        table |= _modulated(name, "colours", convs[2 * i][1], 1) | {f"{name}.bias": (1, "colours", 1, 1)}
    table |= mapping([f"style.{i + 1}" for i in range(max(1, len(numbered(weights, "style."))))], "z")
    if "latent_avg" in weights:  # of the released converter, or as the network's own mean_latent() gives it
        row = len(getattr(weights["latent_avg"], "shape", ())) == 2
        table["latent_avg"] = (1, "w") if row else ("w",)
    return table | {key: (4, 4) for key in weights if key.endswith(".kernel")}


def _modulated(name: str, out: str, width: str, kernel: int) -> Table:
    return {
        f"{name}.conv.weight": (1, out, width, kernel, kernel),
        f"{name}.conv.modulation.weight": (width, "w"),
        f"{name}.conv.modulation.bias": (width,),
    }


def _layers(weights: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The convolutions and the layers to the colours, of as many doublings as there are: (rosinality's name, ours)."""
    doublings = len(numbered(weights, "to_rgbs.") | {i // 2 for i in numbered(weights, "convs.")})
    if not 1 <= doublings <= math.log2(MOST_PIXELS) - 2:
        raise ValueError(f"{ROSINALITY}, but not of 8 to {MOST_PIXELS} pixels: it doubles them {doublings} times")
    convs, colours = [("conv1", "b4.conv1")], [("to_rgb1", "b4.torgb")]
    for i in range(doublings):
        convs += [(f"convs.{2 * i}", f"b{8 << i}.conv0"), (f"convs.{2 * i + 1}", f"b{8 << i}.conv1")]
        colours += [(f"to_rgbs.{i}", f"b{8 << i}.torgb")]
    return convs, colours


def _side(i: int) -> int:
    """Of convolution i's noise map: 4, 8, 8, 16, 16, …"""
    return 4 << (i + 1) // 2


def _check_filters(kernels: Mapping[str, Tensor]) -> None:
    """Each must be the 4×4 filter that doubles an image: [1, 3, 3, 1]/4 along both axes."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    for key, kernel in kernels.items():
        if kernel.shape != (4, 4) or (kernel.cpu().float() - torch.outer(taps, taps)).abs().max() > 1e-6:
            raise ValueError(
                f"{key} is not the filter [1, 3, 3, 1] that StyleGAN2 resamples by; others are not supported"
            )
