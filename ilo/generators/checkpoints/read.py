"""Generators from checkpoint files: the three StyleGANs, BigGAN, DCGAN and ours, recognised by what the file holds.

    file                                              read as
    safetensors                                       tensors, nothing else
    torch.save's, zipped or older (.pt, .pth)         `ilo.generators.checkpoints.torch_file`; its ``g_ema``, or all
    NVIDIA's pickle (.pkl): StyleGAN2-ADA's and 3's   `ilo.generators.checkpoints.nvidia_pickle`; ``G_ema``
        and TensorFlow's StyleGAN and StyleGAN2       the same, by `tensorflow_pickle`'s stand-ins; ``Gs``

Nothing in a file is run. `convert` writes what was read as safetensors, which any program can read safely.
"""

import pickle
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ilo.files import written_atomically
from ilo.generators.base import Generator
from ilo.generators.biggan_layers import biggan, biggan_table, check_biggan
from ilo.generators.checkpoints.first_names import first_stylegan
from ilo.generators.checkpoints.names import ROSINALITY, from_nvidia, from_rosinality, rosinality_table
from ilo.generators.checkpoints.nvidia_pickle import read_nvidia_pickle
from ilo.generators.checkpoints.tensorflow_names import (
    check_tensorflow,
    from_tensorflow,
    is_tensorflow,
    tensorflow_table,
)
from ilo.generators.checkpoints.tensors import Unusable, View, check_room
from ilo.generators.checkpoints.third_names import from_third, third_settings
from ilo.generators.checkpoints.torch_file import LEGACY_TORCH, read_legacy, read_zipped
from ilo.generators.checkpoints.unpickle import Budget
from ilo.generators.dcgan_layers import check_dcgan, dcgan, dcgan_table, is_counter
from ilo.generators.decoder_layers import check_decoder, decoder, decoder_table, is_decoder
from ilo.generators.fit import positive
from ilo.generators.stylegan.build import stylegan2
from ilo.generators.stylegan.first import first_sizes, stylegan1
from ilo.generators.stylegan.table import check, nvidia_table, resolutions
from ilo.generators.stylegan.third import stylegan3
from ilo.generators.stylegan.third_table import check_third, third_layers

FORMAT = "ilo-generator-1"
LARGEST_HEADER = 4 * 2**20  # bytes of a safetensors file's; StyleGAN2-1024's has 20,000
LONGEST_REASON = 500  # letters, of which some are the file's
DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Checkpoint:
    """A generator's weights, in the names and scales that its builder takes.

    kind: "stylegan1", "stylegan2", "stylegan3", "biggan", "dcgan" or "decoder". weights: name → tensor, the floating
    ones all float32 or all float64. clamp: the bound that StyleGAN2's convolutions were trained with, or None.
    epsilon: of the first StyleGAN's instance norm, or None. settings: StyleGAN3's (`stylegan3`), or None.
    """

    kind: str
    weights: dict[str, Tensor]
    clamp: float | None = None
    epsilon: float | None = None
    settings: dict[str, float] | None = None

    def build(self, **options: Any) -> Generator:
        """Build the generator; `options` go to `stylegan1`, `stylegan2`, `stylegan3`, `biggan`, `dcgan` or `decoder`.

        Raises:
            ValueError: tensors are missing or do not fit, or an option's value is none of those allowed.
            TypeError: an option that this kind of generator does not have.
        """
        if self.kind == "stylegan3":
            return stylegan3(self.weights, **{"settings": self.settings, **options})
        if self.kind == "stylegan2":
            return stylegan2(self.weights, **{"clamp": self.clamp, **options})
        if self.kind == "stylegan1":
            return stylegan1(self.weights, **{"epsilon": self.epsilon, **options})
        builders = {"biggan": biggan, "dcgan": dcgan, "decoder": decoder}
        return builders[self.kind](self.weights, **options)

    def describe(self) -> str:
        """What it is, in a line: kind, size of its images, classes, parameters and clamp."""
        count, classes = sum(value.numel() for value in self.weights.values()), 0
        if self.kind in ("stylegan2", "stylegan3"):
            third = self.kind == "stylegan3"
            size = third_layers(self.weights, self.settings)[-1].size if third else resolutions(self.weights)[-1]
            classes = self.weights["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in self.weights else 0
        elif self.kind == "stylegan1":
            size = first_sizes(self.weights)[-1]
        else:
            size = self.build().image_shape[-1]
            classes = len(self.weights["shared.weight"]) if self.kind == "biggan" else 0
        kinds = {"stylegan1": "StyleGAN (the first)", "stylegan2": "StyleGAN2", "stylegan3": "StyleGAN3"}
        kinds |= {"biggan": "BigGAN", "dcgan": "DCGAN"}
        conditional = f"{classes} classes" if classes else "no classes"
        clamp = "" if self.clamp is None else f", convolutions clamped to ±{self.clamp:g}"
        return f"{kinds.get(self.kind, self.kind)}, {size}×{size} pixels, {conditional}, {count:,} numbers{clamp}"


def open_checkpoint(path: str | Path, *, mapping: str | Path | None = None, **options: Any) -> Generator:
    """Build the generator of a checkpoint file, called by the file's stem unless the option `name` says otherwise.

    The StyleGANs have the options space and truncation, the first two noise; StyleGAN2 (`stylegan2`), StyleGAN3
    (`stylegan3`) and BigGAN (`biggan`) have label.
    `mapping` is the file of the mapping network, where that is not in `path`: PULSE's StyleGAN is two files.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is refused, is damaged, or holds no generator of these kinds; a wrong option's value.
        TypeError: an option that this kind of generator does not have.
    """
    return read_checkpoint(path, mapping).build(**{"name": Path(path).stem, **options})


def convert(source: str | Path, target: str | Path, mapping: str | Path | None = None) -> Checkpoint:
    """Write the generator of the checkpoint `source` to `target` as safetensors, atomically; return it.

    StyleGAN2's tensors and StyleGAN3's get the names of NVIDIA's PyTorch networks, the first StyleGAN's those of
    genforce's, whichever the source has. `mapping` as of `open_checkpoint`.

    Raises:
        FileNotFoundError, ValueError: as `open_checkpoint`.
    """
    checkpoint = read_checkpoint(source, mapping)
    checkpoint.build()  # what could not be built is not written
    numbers = {"clamp": checkpoint.clamp, "epsilon": checkpoint.epsilon, **(checkpoint.settings or {})}
    metadata = {"format": FORMAT} | {key: repr(value) for key, value in numbers.items() if value is not None}
    with written_atomically(target) as temporary:
        # clones, because safetensors takes no two names of one memory
        save_file({key: value.clone().contiguous() for key, value in checkpoint.weights.items()}, temporary, metadata)
    return checkpoint


def read_checkpoint(path: str | Path, mapping: str | Path | None = None) -> Checkpoint:
    """Read the generator's weights from a file; `mapping` as of `open_checkpoint`.

    Every tensor's name, shape and dtype is held against the architecture, and what they take in memory against the
    file's size, before the first of them is read.

    Raises:
        FileNotFoundError, ValueError: as `open_checkpoint`.
    """
    path, others = Path(path), [] if mapping is None else [Path(mapping)]
    for given in (path, *others):
        if not given.is_file():
            raise FileNotFoundError(f"no checkpoint file at {given}")
    try:
        with open(path, "rb") as file, ExitStack() as opened:
            others = [(other, opened.enter_context(open(other, "rb"))) for other in others]
            size = path.stat().st_size
            head = file.read(16)
            file.seek(0)
            if head.startswith((b"PK\x03\x04", LEGACY_TORCH)):
                saved = _read_torch(file, size)
                for other, more in others:
                    saved |= _read_mapping(more, other.stat().st_size)
                    size += other.stat().st_size
                return _recognised(saved, size)
            if others:
                raise ValueError("a mapping network of its own goes with a file of torch.save's, which this is not")
            header = int.from_bytes(head[:8], "little")  # of safetensors; it may begin with a pickle's byte
            if head[8:9] == b"{" and not (head.startswith(b"\x80") and header > LARGEST_HEADER):
                return _read_safetensors(path, size, header)
            if head.startswith(b"\x80"):
                network = read_nvidia_pickle(file)
                return _recognised(network.weights, size, network.attributes)
    except (pickle.UnpicklingError, SafetensorError, ValueError) as error:
        reason = "".join(letter if letter.isprintable() else "?" for letter in str(error)[:LONGEST_REASON])
        raise ValueError(f"{path} was refused, and nothing in it was run: {reason}") from error
    raise ValueError(
        f"{path} is no checkpoint that ilo reads: expected torch.save's format, safetensors or NVIDIA's pickle"
    )


@dataclass(frozen=True)
class _Saved:
    """A tensor of a safetensors file; `dtype` is torch's, or safetensors' word for it."""

    file: Any
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | str

    def tensor(self) -> Tensor:
        # a clone, because a file's tensors lie at odd addresses, where a CPU rounds sums in another order
        return self.file.get_tensor(self.name).clone()


def _read_safetensors(path: Path, size: int, header: int) -> Checkpoint:
    if header > LARGEST_HEADER:
        raise ValueError(f"its header has {header:,} bytes, which no generator's has")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        metadata = metadata if metadata.get("format") == FORMAT else {}
        saved: dict[str, _Saved] = {}
        for name in file.keys():  # noqa: SIM118 (not a dict)
            part = file.get_slice(name)
            saved[name] = _Saved(file, name, tuple(part.get_shape()), DTYPES.get(part.get_dtype(), part.get_dtype()))
        checkpoint = _recognised(saved, size, metadata)
    if "clamp" in metadata:
        return replace(checkpoint, clamp=positive(metadata, "clamp"))
    if "epsilon" in metadata and checkpoint.kind == "stylegan1":
        return replace(checkpoint, epsilon=positive(metadata, "epsilon"))
    return checkpoint


def _read_mapping(file: BinaryIO, size: int) -> dict[str, Any]:
    """The tensors of a mapping network's own file."""
    found = _read_torch(file, size)
    found = {name: value for name, value in found.items() if name.startswith(("dense", "g_mapping.dense"))}
    if not found:
        raise ValueError("the file named as its mapping network holds none: dense0.weight, … are expected")
    return found


def _read_torch(file: BinaryIO, size: int) -> dict[str, Any]:
    try:
        zipped = file.read(1) == b"P"
        file.seek(0)
        content = read_zipped(file, size) if zipped else read_legacy(file, size, Budget())
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a damaged file can raise any of them
        raise ValueError(f"it is damaged ({type(error).__name__}: {error})") from error
    if not isinstance(content, dict):
        kind = {View: "a tensor", list: "a list", tuple: "a tuple"}.get(type(content), "something else")
        raise ValueError(f"it holds {kind}, not a state dict")
    content = content["models"] if isinstance(content.get("models"), dict) else content  # genforce's training
    keys = ("g_ema", "G_ema", "g_running", "generator_smooth", "generator", "netG_state_dict", "state_dict")
    weights = next((content[key] for key in keys if isinstance(content.get(key), dict)), content)
    weights = {key.removeprefix("module."): value for key, value in weights.items() if isinstance(key, str)}
    return {**weights, "latent_avg": content["latent_avg"]} if "latent_avg" in content else weights


def _recognised(saved: Mapping[str, Any], size: int, attributes: Mapping[str, Any] | None = None) -> Checkpoint:
    """Find the kind of generator, check its tensors, and only then read them."""

    def has(*beginnings: str) -> bool:
        return any(name.startswith(beginnings) for name in saved)

    if (first := first_stylegan(saved, attributes or {})) is not None:
        table = first.table()
        check(saved, table, first.what)
        return Checkpoint("stylegan1", first.converted(_tensors(saved, table, size)), epsilon=first.epsilon)
    if is_tensorflow(saved):
        check_tensorflow(saved, attributes or {})
        return Checkpoint(
            "stylegan2", from_tensorflow(_tensors(saved, tensorflow_table(saved), size), attributes or {})
        )
    if has("synthesis.L0_"):
        settings = third_settings(saved, attributes or {})
        weights = from_third(_tensors(saved, check_third(saved, settings), size), attributes or {})
        return Checkpoint("stylegan3", weights, settings=settings)
    if has("synthesis.b"):
        table = nvidia_table(saved)
        check(saved, table)
        return Checkpoint("stylegan2", *from_nvidia(_tensors(saved, table, size), attributes))
    if has("conv1.conv.modulation.", "to_rgb1."):
        table = rosinality_table(saved)
        check(saved, table, ROSINALITY)
        return Checkpoint("stylegan2", from_rosinality(_tensors(saved, table, size)))
    if has("blocks.0.0.conv1.", "blocks.0.0.bn1."):
        table = biggan_table(saved)
        check_biggan(saved, table)
        return Checkpoint("biggan", _tensors(saved, table, size))
    if has("main.0.", "main.1."):
        check_dcgan(saved)
        names = [name for name, value in saved.items() if name in dcgan_table() or is_counter(name, value)]
        return Checkpoint("dcgan", _tensors(saved, names, size))
    if is_decoder(saved):
        check_decoder(saved)
        return Checkpoint("decoder", _tensors(saved, decoder_table(), size))
    tensors = sorted(name[:50] for name, value in saved.items() if isinstance(value, (View, Unusable, _Saved)))
    raise ValueError(f"it holds no StyleGAN, BigGAN or DCGAN; its first tensors: {', '.join(tensors[:5]) or 'none'}")


def _tensors(saved: Mapping[str, Any], names: Iterable[str], size: int) -> dict[str, Tensor]:
    """The tensors of these names: in float64 if all of them are, in float32 otherwise; counters stay."""
    wanted = {name: saved[name] for name in names}
    check_room((value for value in wanted.values() if isinstance(value, View)), size)
    floats = {value.dtype for value in wanted.values() if value.dtype.is_floating_point}
    dtype = torch.float64 if floats == {torch.float64} else torch.float32
    out: dict[str, Tensor] = {}
    for name, value in wanted.items():
        tensor = value.tensor()
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values")
        if name.endswith(("stored_var", "running_var")) and tensor.min() < 0:
            raise ValueError(f"{name} holds variances that are negative")
        out[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return out
