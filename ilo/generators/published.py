"""Published checkpoints by name: where each is kept, under which licence, and the file itself, in the user's cache.

None comes with this package. A file is downloaded only when it is asked for and its licence accepted, by pooch, which
keeps it under its sha256; what a download that breaks off has brought stays, and the next one goes on behind it. Where
no hash is published, the first download's is recorded, and another file under that name is refused from then on.

Addresses, sizes and hashes are those that public indexes state; no such file could be opened where this was written.

Environment:
    ILO_CACHE: folder of the cache; the files lie in its folder ``generators``.
    ILO_ACCEPT_LICENCE: "1" accepts the licences, as ``ilo fetch NAME --accept-licence`` does.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ilo.assets import AssetError, explained, sha256_of
from ilo.files import cache_dir, written_atomically

ACCEPT = "ILO_ACCEPT_LICENCE"
NVIDIA = "NVIDIA Source Code License (research and evaluation only), https://nvlabs.github.io/stylegan2/license.html"
NVIDIA_THIRD = (
    "NVIDIA Source Code License (research and evaluation only), "
    "https://github.com/NVlabs/stylegan3/blob/main/LICENSE.txt"
)
ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained"
NGC = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files"
THIRD = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files"
TENSORFLOW = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks"
LERNAPPARAT = "https://github.com/lernapparat/lernapparat/releases/download/v2019-02-01"
BY_NC = "CC BY-NC 4.0, https://creativecommons.org/licenses/by-nc/4.0/"
CONVERTED = "https://huggingface.co/aaronb/StyleGAN2/resolve/main"


@dataclass(frozen=True)
class Published:
    """A checkpoint that others publish. pixels: of a side; size: in bytes, about, or None; sha256: None if unknown."""

    url: str
    pixels: int
    form: str
    sha256: str | None = None
    size: int | None = None
    licence: str = NVIDIA

    @property
    def file(self) -> str:
        """Its name in the cache: as published, but for what tells two of one name apart."""
        return "-".join(self.url.split("/")[-2:]) if self.url.startswith(CONVERTED) else self.url.rsplit("/", 1)[1]


PUBLISHED = {
    "stylegan2-ffhq-1024": Published(
        f"{ADA}/ffhq.pkl", 1024, "NVIDIA", "a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c", 381624121
    ),
    "stylegan2-ffhq-512": Published(
        f"{NGC}/stylegan2-ffhq-512x512.pkl",
        512,
        "NVIDIA",
        "d2b1c92f41ce8a64c55f7a75ef06c4c0eef9e17b1eb29aae8c10fb37b3e60478",
        364_000_000,
    ),
    "stylegan2-ffhq-256": Published(f"{NGC}/stylegan2-ffhq-256x256.pkl", 256, "NVIDIA"),
    "stylegan2-celebahq-256": Published(
        f"{NGC}/stylegan2-celebahq-256x256.pkl",
        256,
        "NVIDIA",
        "8b385aa564a58cdd97b4818620edcb27aeeb614345881b2ff0be91493b53fccc",
    ),
    "stylegan2-afhqcat-512": Published(
        f"{NGC}/stylegan2-afhqcat-512x512.pkl",
        512,
        "NVIDIA",
        "17a83abee464242f8bb40dc6363d33c2fb087066b68fc0147677fdbf21f7a7a9",
        364_000_000,
    ),
    "stylegan2-afhqdog-512": Published(
        f"{ADA}/afhqdog.pkl",
        512,
        "NVIDIA",
        "f124ff3f23206052473a7212cbc1f4e095a73c231500411e9c3b81a11eac3662",
        364_000_000,
    ),
    "stylegan2-metfaces-1024": Published(
        f"{ADA}/metfaces.pkl",
        1024,
        "NVIDIA",
        "880a460d011a3696c088f58f5844b44271b17903963f2671f96f72dfbce5f76f",
        382_000_000,
    ),
    "stylegan2-ffhq-1024-tf": Published(
        f"{TENSORFLOW}/stylegan2-ffhq-config-f.pkl",
        1024,
        "TensorFlow",
        "adf127ea7bb8a7788c8bdeda3c9937f7310b669b09ecf799ca53a631ff46948d",
        381673535,
    ),
    "stylegan2-car-512-tf": Published(
        f"{TENSORFLOW}/stylegan2-car-config-f.pkl",
        512,
        "TensorFlow",
        "e1618eee2b3ce87c4a3849442f7850ef12a478556bff035c8e09ee7e23b3794c",
        364027523,
    ),
    "stylegan2-cat-256-tf": Published(
        f"{TENSORFLOW}/stylegan2-cat-config-f.pkl",
        256,
        "TensorFlow",
        "08940fd616cfaf6bc7b0286b5d1a0b3f70febb26e136d64716c8d3f5e9bd3883",
        357418027,
    ),
    "stylegan2-church-256-tf": Published(
        f"{TENSORFLOW}/stylegan2-church-config-f.pkl",
        256,
        "TensorFlow",
        "4090c5f83b44b83475c84864188aa39a0fb72694492302b7e6af36aad0d18104",
        357418027,
    ),
    "stylegan2-horse-256-tf": Published(
        f"{TENSORFLOW}/stylegan2-horse-config-f.pkl",
        256,
        "TensorFlow",
        "cbc73372c7d82d095913ca8b4b9f170560777175bd7c3b8a75dd55d70807f32b",
        357418027,
    ),
    "stylegan2-ffhq-1024-pt": Published(
        f"{CONVERTED}/stylegan2-ffhq-config-f.pt",
        1024,
        "rosinality",
        "646c7e7c5e3fc4cf8e83dcfe5dce505cc74b61d8982c09563932aa15c4baf18c",
        132717355,
    ),
    "stylegan2-ada-ffhq-1024-pt": Published(
        f"{CONVERTED}/ada/ffhq.pt",
        1024,
        "rosinality",
        "1a0c25c17013e0bb99bd3de4e80ea52cb3efc2b71224ff902e0a29bafac9c531",
        132719017,
    ),
    "stylegan2-ada-afhqcat-512-pt": Published(
        f"{CONVERTED}/ada/afhqcat.pt",
        512,
        "rosinality",
        "c61fbf6e67a065f40ebcbabe4500abf6a5e2ed057375f51d988fa67d8e163ae1",
        123950925,
    ),
    "stylegan3-t-ffhq-1024": Published(
        f"{THIRD}/stylegan3-t-ffhq-1024x1024.pkl",
        1024,
        "NVIDIA",
        "efd9fa1f967a11b5390399a8ed512dc32e341c245fa2d4dafa6d94e96222085b",
        294775112,
        NVIDIA_THIRD,
    ),
    "stylegan-ffhq-1024-pt": Published(
        f"{LERNAPPARAT}/karras2019stylegan-ffhq-1024x1024.for_g_all.pt", 1024, "lernapparat", licence=BY_NC
    ),
}


def path_of(name: str) -> Path:
    """Where the cache keeps the checkpoint `name`, a key of `PUBLISHED`, whether it is there or not."""
    return cache_dir() / "generators" / PUBLISHED[name].file


def present(name: str) -> bool:
    """Whether the whole file is in the cache. Its hash is looked at when it is opened."""
    return path_of(name).is_file()


def get(name: str, *, accept_licence: bool = False, progress: bool = True) -> Path:
    """Return the verified file of a published checkpoint, downloading it if the cache lacks it.

    Args:
        name: key of `PUBLISHED`.
        accept_licence: that the user has read and accepts the licence of the file, which is downloaded only then;
            the environment's ILO_ACCEPT_LICENCE=1 says the same.
        progress: show a bar on stderr.

    Raises:
        ValueError: no such name.
        AssetError: the licence is not accepted, no network, another file than the one published, a full disk, …; the
            message says what to do. What has come of a broken download stays for the next.
    """
    if name not in PUBLISHED:
        raise ValueError(f"no published generator {name!r}: choose from {', '.join(map(repr, PUBLISHED))}")
    this, path = PUBLISHED[name], path_of(name)
    if not present(name) and not (accept_licence or os.environ.get(ACCEPT) == "1"):
        size = f" ({this.size / 1e6:.0f} MB)" if this.size else ""
        raise AssetError(
            f"{name} is not here. `ilo fetch {name} --accept-licence` downloads it{size} from {this.url}, if you "
            f"accept its licence: {this.licence}"
        )
    with explained(f"write {path}"):
        _retrieve(name, this, path, progress)
        if this.sha256 is None:
            _remember(name, path)
    return path


def _retrieve(name: str, this: Published, path: Path, progress: bool) -> None:
    import logging

    import pooch

    from ilo.generators.resumed import Resumed

    pooch.get_logger().setLevel(logging.WARNING)
    if not present(name):
        print(f"ilo: downloading {name} from {this.url}; licence: {this.licence}", file=sys.stderr, flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    known = this.sha256 or _recorded(path)
    try:
        pooch.retrieve(this.url, known, fname=path.name, path=path.parent, downloader=Resumed(path, progress))
    except ValueError as error:  # pooch's word for another hash; it keeps nothing of the file
        raise AssetError(
            f"what {this.url} sends is not the file that was published there: its sha256 is another than {known}. "
            f"Nothing of it was opened or kept. Get {this.file} from a source that you trust and give its path"
        ) from error


def _remember(name: str, path: Path) -> None:
    if _recorded(path) is None:
        found = sha256_of(path)
        with written_atomically(_record(path)) as temporary:
            Path(temporary).write_text(f"{found}  {path.name}\n", encoding="ascii")
        print(f"ilo: no hash of {name} is published; this one's is recorded: {found}", file=sys.stderr, flush=True)


def _recorded(path: Path) -> str | None:
    record = _record(path)
    return record.read_text(encoding="ascii").split()[0] if record.is_file() else None


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def table() -> list[dict[str, Any]]:
    """A row for every published checkpoint: name, pixels, format, MB, licence, where it is kept, and whether it is."""
    return [
        {
            "name": name,
            "pixels": this.pixels,
            "format": this.form,
            "MB": round(this.size / 1e6) if this.size else None,
            "licence": this.licence.partition(",")[0],
            "path": str(path_of(name)),
            "present": present(name),
        }
        for name, this in PUBLISHED.items()
    ]
