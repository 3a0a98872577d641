"""State dicts of StyleGAN2: NVIDIA's names, which `stylegan2` builds from, and rosinality's turned into them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ilo.rng import generator


def from_nvidia(
    weights: Mapping[str, Tensor], attributes: Mapping[str, Any] | None = None
) -> tuple[dict[str, Tensor], float | None]:
    """Check a state dict in NVIDIA's names, and apply what only the modules' `attributes` tell.

    Returns:
        The weights, scaled as if the mapping network's learning-rate multiplier were 0.01, and the clamp of the
        convolutions (``conv_clamp``) or None.

    Raises:
        ValueError: another filter than [1, 3, 3, 1], or an architecture other than "skip".
    """
    attributes = attributes or {}
    _check_filters({key: 4 * value for key, value in weights.items() if key.endswith("resample_filter")})
    architecture = attributes.get("synthesis.b8.architecture", "skip")
    if architecture != "skip":
        raise ValueError(f"StyleGAN2 of the architecture {architecture!r} is not supported, only 'skip'")
    clamp = attributes.get("synthesis.b4.conv1.conv_clamp")
    gain = float(attributes.get("mapping.fc0.bias_gain", 0.01)) / 0.01
    out = {key: value for key, value in weights.items() if not key.endswith("resample_filter")}
    if gain != 1:
        out |= {key: value * gain for key, value in out.items() if key.startswith("mapping.fc")}
    return out, None if clamp is None else float(clamp)


def from_rosinality(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn a state dict of the generator of rosinality/stylegan2-pytorch into NVIDIA's StyleGAN2-ADA names.

    There each 3×3 weight has a run-time gain 1/√fan_in; it is folded in, so that the demodulation's epsilon means the
    same. All other gains agree. Noise maps that old files lack are drawn from a fixed seed.

    Raises:
        ValueError: a tensor is missing, or another filter than [1, 3, 3, 1].
    """
    _check_filters({key: value for key, value in weights.items() if key.endswith(".kernel")})
    try:
        return _from_rosinality(weights)
    except KeyError as error:
        raise ValueError(f"this looks like rosinality's StyleGAN2, but {error} is missing from it") from error


def _from_rosinality(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    doublings = _count(weights, "to_rgbs.", ".conv.weight")
    convs, colours = [("conv1", "b4.conv1")], [("to_rgb1", "b4.torgb")]
    for i in range(doublings):
        convs += [(f"convs.{2 * i}", f"b{8 << i}.conv0"), (f"convs.{2 * i + 1}", f"b{8 << i}.conv1")]
        colours += [(f"to_rgbs.{i}", f"b{8 << i}.torgb")]
    out = {"synthesis.b4.const": weights["input.input"][0]}
    for i, (theirs, ours) in enumerate(convs):
        weight = weights[f"{theirs}.conv.weight"][0]  # (c_out, c_in, 3, 3)
        side = 4 << (i + 1) // 2
        noise = torch.randn(side, side, generator=generator(0, i)).to(weight)
        out |= {
            f"synthesis.{ours}.weight": weight / math.sqrt(weight[0].numel()),
            f"synthesis.{ours}.bias": weights[f"{theirs}.activate.bias"],
            f"synthesis.{ours}.noise_strength": weights[f"{theirs}.noise.weight"][0],
            f"synthesis.{ours}.noise_const": weights.get(f"noises.noise_{i}", noise).reshape(side, side),
        }
    for theirs, ours in colours:
        out[f"synthesis.{ours}.weight"] = weights[f"{theirs}.conv.weight"][0]
        out[f"synthesis.{ours}.bias"] = weights[f"{theirs}.bias"].flatten()
    for theirs, ours in convs + colours:
        for part in ("weight", "bias"):
            out[f"synthesis.{ours}.affine.{part}"] = weights[f"{theirs}.conv.modulation.{part}"]
    for i in range(_count(weights, "style.", ".weight")):
        for part in ("weight", "bias"):
            out[f"mapping.fc{i}.{part}"] = weights[f"style.{i + 1}.{part}"]
    if "latent_avg" in weights:
        out["mapping.w_avg"] = weights["latent_avg"]
    return out


def _check_filters(kernels: Mapping[str, Tensor]) -> None:
    """Each must be the 4×4 filter that doubles an image: [1, 3, 3, 1]/4 along both axes."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    for key, kernel in kernels.items():
        if kernel.shape != (4, 4) or (kernel.cpu().float() - torch.outer(taps, taps)).abs().max() > 1e-6:
            raise ValueError(
                f"{key} is not the filter [1, 3, 3, 1] that StyleGAN2 resamples by; others are not supported"
            )


def _count(weights: Mapping[str, Tensor], prefix: str, suffix: str) -> int:
    return sum(key.startswith(prefix) and key.endswith(suffix) for key in weights)
