"""Generators from checkpoint files: StyleGAN2, BigGAN and DCGAN, recognised by what the file holds.

    file                                              read as
    safetensors                                       tensors, nothing else
    torch.save's, zipped or older (.pt, .pth)         torch.load(weights_only=True); its ``g_ema``, or all of it
    NVIDIA's StyleGAN2-ADA pickle (.pkl)              `ilo.generators.checkpoints.nvidia_pickle`; ``G_ema``

Nothing in a file is run. `convert` writes what was read as safetensors, which any program can read safely.
"""

import argparse
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ilo.files import written_atomically
from ilo.generators.base import Generator
from ilo.generators.biggan_layers import biggan
from ilo.generators.checkpoints.names import from_nvidia, from_rosinality
from ilo.generators.checkpoints.nvidia_pickle import LEGACY_TORCH, read_nvidia_pickle
from ilo.generators.dcgan_layers import dcgan
from ilo.generators.stylegan.build import resolutions, stylegan2

FORMAT = "ilo-generator-1"


@dataclass(frozen=True)
class Checkpoint:
    """A generator's weights, in the names and scales that its builder takes.

    kind: "stylegan2", "biggan" or "dcgan". weights: name → tensor, floating ones float32 or float64.
    clamp: the bound on StyleGAN2's convolutions that the network was trained with, or None.
    """

    kind: str
    weights: dict[str, Tensor]
    clamp: float | None = None

    def build(self, **options: Any) -> Generator:
        """Build the generator; `options` go to `stylegan2`, `biggan` or `dcgan`.

        Raises:
            ValueError: tensors are missing or do not fit, or an option's value is none of those allowed.
            TypeError: an option that this kind of generator does not have.
        """
        if self.kind == "stylegan2":
            return stylegan2(self.weights, **{"clamp": self.clamp, **options})
        if self.kind == "biggan":
            return biggan(self.weights, **options)
        try:
            return dcgan(self.weights, **options)
        except RuntimeError as error:
            raise ValueError(f"it is a DCGAN of another shape than 100 → 64×64: {error}") from error

    def describe(self) -> str:
        """What it is, in a line: kind, size of its images, classes, parameters and clamp."""
        count, classes = sum(value.numel() for value in self.weights.values()), 0
        if self.kind == "stylegan2":
            size = resolutions(self.weights)[-1]
            embedding = self.weights.get("mapping.embed.weight")
            classes = 0 if embedding is None else embedding.shape[1]
        else:
            size = self.build().image_shape[-1]
            classes = len(self.weights["shared.weight"]) if self.kind == "biggan" else 0
        kind = {"stylegan2": "StyleGAN2", "biggan": "BigGAN", "dcgan": "DCGAN"}[self.kind]
        conditional = f"{classes} classes" if classes else "no classes"
        clamp = "" if self.clamp is None else f", convolutions clamped to ±{self.clamp:g}"
        return f"{kind}, {size}×{size} pixels, {conditional}, {count:,} numbers{clamp}"


def open_checkpoint(path: str | Path, **options: Any) -> Generator:
    """Build the generator of a checkpoint file, called by the file's stem unless the option `name` says otherwise.

    StyleGAN2 has the options space, noise, truncation, label (`stylegan2`), BigGAN has label (`biggan`).

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is refused, is damaged, or holds no generator of these kinds; a wrong option's value.
        TypeError: an option that this kind of generator does not have.
    """
    return read_checkpoint(path).build(**{"name": Path(path).stem, **options})


def convert(source: str | Path, target: str | Path) -> Checkpoint:
    """Write the generator of the checkpoint `source` to `target` as safetensors, atomically; return it.

    StyleGAN2's tensors get NVIDIA's names, whichever the source has.

    Raises:
        FileNotFoundError, ValueError: as `open_checkpoint`.
    """
    checkpoint = read_checkpoint(source)
    checkpoint.build()  # what could not be built is not written
    metadata = {"format": FORMAT} | ({} if checkpoint.clamp is None else {"clamp": repr(checkpoint.clamp)})
    with written_atomically(target) as temporary:
        # clones, because safetensors takes no two names of one memory
        save_file({key: value.clone().contiguous() for key, value in checkpoint.weights.items()}, temporary, metadata)
    return checkpoint


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read the generator's weights from a file.

    Raises:
        FileNotFoundError, ValueError: as `open_checkpoint`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    try:
        with open(path, "rb") as file:
            head = file.read(16)
            file.seek(0)
            if head.startswith((b"PK\x03\x04", LEGACY_TORCH)):
                return _recognised(_read_torch(file))
            if head.startswith(b"\x80"):
                network = read_nvidia_pickle(file)
                return _recognised(network.weights, network.attributes)
        if head[8:9] == b"{":
            return _read_safetensors(path)
    except (pickle.UnpicklingError, SafetensorError, ValueError) as error:
        raise ValueError(f"{path} was refused, and nothing in it was run: {error}") from error
    raise ValueError(
        f"{path} is no checkpoint that ilo reads: expected torch.save's format, safetensors or NVIDIA's pickle"
    )


def _read_safetensors(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        # clones, because a file's tensors lie at odd addresses, where a CPU rounds sums in another order
        weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    checkpoint = _recognised(weights)
    if metadata.get("format") == FORMAT and "clamp" in metadata:
        return replace(checkpoint, clamp=float(metadata["clamp"]))
    return checkpoint


def _read_torch(file: BinaryIO) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # rosinality's training keeps its arguments
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's message advises how to run the code
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {asked[1]}, which could run code" if asked else "it is not a state dict of tensors"
        raise ValueError(reason) from error
    except Exception as error:  # a damaged file can raise any of them
        raise ValueError(f"torch cannot read it ({type(error).__name__}: {error})") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not a state dict")
    keys = ("g_ema", "G_ema", "netG_state_dict", "state_dict")
    weights = next((content[key] for key in keys if isinstance(content.get(key), Mapping)), content)
    weights = {str(key).removeprefix("module."): value for key, value in weights.items()}
    return {**weights, "latent_avg": content["latent_avg"]} if "latent_avg" in content else weights


def _recognised(weights: Mapping[str, Any], attributes: Mapping[str, Any] | None = None) -> Checkpoint:
    weights = {key: value for key, value in weights.items() if isinstance(value, Tensor)}
    for key, value in weights.items():
        if not value.isfinite().all():
            raise ValueError(f"{key} holds NaN or infinite values")
        if value.is_floating_point() and value.dtype != torch.float64:
            weights[key] = value.float()
    if "synthesis.b4.const" in weights:
        return Checkpoint("stylegan2", *from_nvidia(weights, attributes))
    if "conv1.conv.modulation.weight" in weights:
        return Checkpoint("stylegan2", from_rosinality(weights))
    if "blocks.0.0.conv1.weight" in weights:
        return Checkpoint("biggan", weights)
    if "main.0.weight" in weights:
        return Checkpoint("dcgan", weights)
    if any(key.startswith("synthesis.L0_") for key in weights):
        raise ValueError("it is a StyleGAN3, whose layers are not of growing resolution; StyleGAN2 is supported")
    names = ", ".join(sorted(weights)[:5]) or "none"
    raise ValueError(f"it holds no StyleGAN2, BigGAN or DCGAN; its first tensors: {names}")
