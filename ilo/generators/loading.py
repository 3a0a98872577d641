"""Generators by name, or from a checkpoint file."""

from pathlib import Path
from typing import Any

import torch

from ilo.assets import AssetError, fetch, sha256_of
from ilo.checks import check_kind, shown
from ilo.generators.base import Generator
from ilo.generators.checkpoints.read import open_checkpoint
from ilo.generators.dcgan_layers import dcgan
from ilo.generators.published import PUBLISHED, get
from ilo.provenance import checkout, package_folder

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
DEFAULT = "decoder-portraits64"
COMMITTED = {  # the files of data/weights, by their sha256
    "decoder-portraits64": "d0d3e9ea890ed12f0c4c725180f126212f4a7a4694ed76e62ae38e1459264ec1",
    "stylegan2-faces32": "880aaacb46f0c8cd158347763ec57d527938700189f47f016034c380c3875081",
}
NAMES = (*COMMITTED, "dcgan-digiface64")


def load(
    name_or_path: str | Path = DEFAULT,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> Generator:
    """Load a pre-trained generator, frozen; by default on the CPU in float32.

    ``"decoder-portraits64"``, the default: 64×64 faces, five layers, trained on photographs so that every layer can be
    searched (`ilo.generators.decoder_layers`). It comes with the package: data/weights of the repository, which says
    how it was made, for what use, and what it is not good at.

    ``"dcgan-digiface64"``: 64×64 faces, five layers, trained on synthetic faces (`ilo.generators.dcgan`); 13 MB,
    fetched on first use.

    ``"stylegan2-faces32"``: 32×32 faces, five layers, a StyleGAN2 that was trained to draw what that DCGAN draws. It
    comes with the package as well.

    A published checkpoint has a name as well, such as ``"stylegan2-ffhq-1024"`` (`ilo.generators.published`): it is
    downloaded by ``ilo fetch NAME --accept-licence``, never without being asked.

    Anything else is the path of a checkpoint: StyleGAN3 (NVIDIA's .pkl), StyleGAN2 (NVIDIA's .pkl of PyTorch or of
    TensorFlow, rosinality's .pt), the first StyleGAN (PULSE's, lernapparat's, rosinality's, genforce's, NVIDIA's .pkl
    of TensorFlow), BigGAN-PyTorch's .pth, or any of them as safetensors, or a decoder of ours
    (training/searchable), recognised by what the file holds; nothing in it is run (`ilo.generators.checkpoints`).
    PULSE's StyleGAN is two files: mapping=PATH names the second.
    `options` go to its builder: space, truncation (all StyleGANs), noise (`stylegan1`, `stylegan2`), label
    (`stylegan2`, `stylegan3`, `biggan`), truncated, epsilon (`stylegan1`).

    Raises:
        ValueError: no such generator, device or floating-point dtype; a file that is refused or of another kind.
        TypeError: an option that this kind of generator does not have.
        ilo.assets.AssetError: its weights could not be fetched, or are not those of the repository.
    """
    check_device(device)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype in DTYPES):
        raise ValueError(f"a generator computes in a floating-point dtype such as torch.float32, got {shown(dtype)}")
    found = check_name(name_or_path)
    if found in COMMITTED:
        return open_checkpoint(committed(found), **{"name": found, **options}).to(device=device, dtype=dtype)
    if found in PUBLISHED:
        return open_checkpoint(get(found), **{"name": found, **options}).to(device=device, dtype=dtype)
    if isinstance(found, Path):
        return open_checkpoint(found, **options).to(device=device, dtype=dtype)
    weights = torch.load(fetch("dcgan-digiface64"), map_location="cpu", weights_only=True)["netG_state_dict"]
    return dcgan(weights, name="dcgan-digiface64", **options).to(device=device, dtype=dtype)


def weights_folder() -> tuple[Path, str]:
    """Where the files of data/weights lie, and what brings back one that is missing.

    A build puts them beside the modules, in ilo/weights (pyproject.toml); else they are where the checkout has them.
    """
    built, folder = package_folder() / "ilo" / "weights", checkout()
    if folder is None or built.is_dir():
        return built, "install ilo anew"
    return folder / "data" / "weights", "git restore data/weights"


def weights_path(name: str) -> Path:
    """Where the file of the generator `name` of data/weights lies."""
    return weights_folder()[0] / f"{name}.safetensors"


def committed(name: str) -> Path:
    """Return the file of the generator `name` of data/weights, its sha256 compared.

    AssetError: it is missing there, or another file.
    """
    path = weights_path(name)
    if not path.is_file() or sha256_of(path) != COMMITTED[name]:
        raise AssetError(
            f"{path} is missing or another file: {weights_folder()[1]} brings it back; a file that you trained "
            "yourself is loaded by its path, under another name"
        )
    return path


def check_name(name_or_path: str | Path) -> str | Path:
    """Return a name of `NAMES` or `PUBLISHED`, or the whole path of a file; ValueError for anything else."""
    check_kind(name_or_path, (str, Path), "the generator")
    if name_or_path in NAMES or name_or_path in PUBLISHED:
        return name_or_path
    path = Path(name_or_path).expanduser()
    if "\0" in str(path) or not path.is_file():
        names = ", ".join(map(repr, NAMES))
        raise ValueError(
            f"unknown generator {str(name_or_path)!r}: choose {names}, another name that `ilo generators` lists, or "
            "the path of a checkpoint file"
        )
    return path.resolve()


def check_device(device: torch.device | str | None) -> None:
    """Raise ValueError unless torch knows this device, and a GPU is here."""
    try:
        device = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"torch knows no device {shown(device)}: use 'cpu', 'cuda' or 'cuda:1'") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device '{device}' was asked for, but torch {torch.__version__} sees {torch.cuda.device_count()} GPUs: "
            "use 'cpu', or a torch built for CUDA on a machine with a GPU"
        )


def check_computes(device: torch.device | str) -> None:
    """As `check_device`; also ValueError for a device that exists in name alone, such as "meta"."""
    check_device(device)
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, NotImplementedError, AssertionError, ImportError) as error:
        raise ValueError(f"device '{device}' computes nothing here: use 'cpu' or 'cuda'") from error
