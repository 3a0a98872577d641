"""What NVIDIA's StyleGAN3 pickles keep beside the tensors: the settings that `stylegan3` takes, and what must agree."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ilo.generators.checkpoints.names import with_mapping_rate
from ilo.generators.stylegan.third_table import DOWN, SETTINGS, WHAT, check_numbers, settings_of, third_layers

UNBOUNDED = torch.finfo(torch.float32).max  # in place of no clamp


def third_settings(names: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, float]:
    """The settings of a network of these tensors, from the attributes of its modules or what `convert` wrote.

    Raises:
        ValueError: a setting that is no number or that the sizes of the layers contradict, or another oversampling of
            the leaky ReLU than by 2.
    """
    given = {name: attributes[name] for name in SETTINGS if name in attributes}
    layers = third_layers(names, settings_of(given))
    clamp = f"{layers[0].name}.conv_clamp"
    if clamp in attributes:
        given["synthesis.conv_clamp"] = UNBOUNDED if attributes[clamp] is None else attributes[clamp]
    expected = {"synthesis.input.sampling_rate": layers[0].taken}
    for layer in layers[:-1]:
        expected |= {f"{layer.name}.up_factor": layer.up, f"{layer.name}.down_factor": DOWN}
    for name, value in expected.items():
        if name in attributes and attributes[name] != value:
            raise ValueError(f"{WHAT}, but its setting {name} is {attributes[name]}, where {value} is expected")
    return settings_of(given)


def from_third(weights: Mapping[str, Tensor], attributes: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights that `stylegan3` takes: the mapping network's rate applied (`with_mapping_rate`), numbers checked."""
    check_numbers(weights, third_settings(weights, attributes))
    return with_mapping_rate(weights, attributes)
