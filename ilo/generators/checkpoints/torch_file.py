"""Read what torch.save wrote, zipped or in the older format, without running anything that the file holds.

    zipped     NAME/data.pkl, and the bytes of storage KEY in NAME/data/KEY
    legacy     five pickles (a magic number, a version, facts of the system, the content, the storages' keys), then
               each storage: its count of numbers, int64, and its bytes

torch.load(weights_only=True) runs nothing either, but takes whatever memory the file asks for, ends with the
interpreter on a deeply nested file, and its refusals advise to load without it.
"""

import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ilo.generators.checkpoints.tensors import NAMES, Storage
from ilo.generators.checkpoints.unpickle import Budget, unpickle

# How torch.save(…, _use_new_zipfile_serialization=False) begins: the number that marks the format, pickled.
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LARGEST_DIRECTORY = 4 * 2**20  # bytes; 40,000 entries
LARGEST_PICKLE = 32 * 2**20


def read_zipped(file: BinaryIO, size: int) -> Any:
    """The content of a zipped file of `size` bytes, its tensors as `ilo.generators.checkpoints.tensors.View`.

    Raises:
        UnpicklingError: it holds something else.
        Exception: of any other kind, as a damaged file brings it about.
    """
    # ZipFile reads the directory in one piece, and makes an object of each entry
    entries = {entry.filename: entry for entry in zipfile.ZipFile(_Directory(file)).infolist()}
    tops = [name.removesuffix("data.pkl") for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(tops) != 1:
        raise UnpicklingError("it is a zip archive, but not one that torch.save makes")
    if f"{tops[0]}constants.pkl" in entries:
        raise UnpicklingError(
            "it is a TorchScript archive, which holds code: save the network's state_dict() with torch.save instead"
        )

    def content(name: str, most: int) -> bytes:
        entry = entries[tops[0] + name]
        if entry.file_size > most:
            raise UnpicklingError(f"its {name} has {entry.file_size:,} bytes, which no checkpoint's has")
        out = torch.empty(entry.file_size, dtype=torch.uint8)
        _fill(file, size, entry, out)
        return out.numpy().tobytes()

    order = content("byteorder", 8).decode() if f"{tops[0]}byteorder" in entries else "little"
    storages: dict[str, Storage] = {}

    def load(identity: Any) -> Storage:
        dtype, key, _, count = _storage_id(identity, 5)
        if key not in storages:
            entry = entries.get(f"{tops[0]}data/{key}")
            nbytes = count * dtype.itemsize
            if entry is None or entry.file_size < nbytes:
                raise UnpicklingError("a tensor whose bytes are missing from the archive")

            def read(out: Tensor) -> None:
                _fill(file, size, entry, out)
                if order != sys.byteorder:
                    numbers = out.numpy().reshape(-1, dtype.itemsize)
                    numbers[:] = numbers[:, ::-1].copy()

            storages[key] = Storage(dtype, nbytes, read)
        return storages[key]

    data = content("data.pkl", LARGEST_PICKLE)
    return unpickle(io.BytesIO(data), len(data), NAMES, Budget(), load)


def read_legacy(file: BinaryIO, size: int, budget: Budget, names: Mapping[tuple[str, str], Any] = NAMES) -> Any:
    """The content of a file of `size` bytes in the older format; arguments and errors as of `unpickle`."""
    storages: dict[str, Storage] = {}
    views: dict[str, Storage] = {}

    def load(identity: Any) -> Storage:
        dtype, key, _, count, part = _storage_id(identity, 6)
        storage = storages.setdefault(key, Storage(dtype, count * dtype.itemsize))
        return storage if part is None else _part(storage, part, views)

    for _ in range(3):
        unpickle(file, size, {}, budget)
    content = unpickle(file, size, names, budget, load)
    keys = unpickle(file, size, {}, budget)
    place = file.tell()
    for key in keys:
        storage = storages[key]
        file.seek(place)
        (count,) = struct.unpack("<q", file.read(8))
        if count * storage.dtype.itemsize != storage.nbytes or place + 8 + storage.nbytes > size:
            raise UnpicklingError("a tensor whose bytes are missing from the file")
        storage.read = _reader(file, place + 8)
        place += 8 + storage.nbytes
    return content


def _storage_id(identity: Any, length: int) -> tuple:
    """(dtype, key, location, count, …) of a storage's persistent id of `length` words."""
    if not isinstance(identity, tuple) or len(identity) != length or identity[0] != "storage":
        raise UnpicklingError("it asks for a persistent object that is no storage of numbers")
    dtype, key, _, count, *_ = identity[1:]
    known = isinstance(dtype, torch.dtype) and isinstance(key, str) and isinstance(count, int)
    if not known or not 0 <= count < 2**48:
        raise UnpicklingError("it asks for a storage of no known kind")
    return identity[1:]


def _part(storage: Storage, part: Any, known: dict[str, Storage]) -> Storage:
    """A part of a storage, as the first versions of torch wrote them: (key, first number, count of numbers)."""
    key, first, count = part
    if key not in known:
        start, nbytes = first * storage.dtype.itemsize, count * storage.dtype.itemsize
        if not 0 <= start <= start + nbytes <= storage.nbytes:
            raise UnpicklingError("a part of a storage that lies outside it")

        def read(out: Tensor) -> None:
            out.copy_(storage.content()[start : start + nbytes])

        known[key] = Storage(storage.dtype, nbytes, read)
    return known[key]


def _reader(file: BinaryIO, place: int) -> Callable[[Tensor], None]:
    def read(out: Tensor) -> None:
        _read_at(file, place, out)

    return read


def _read_at(file: BinaryIO, place: int, out: Tensor) -> None:
    file.seek(place)
    if len(out) and file.readinto(memoryview(out.numpy())) != len(out):
        raise UnpicklingError("a tensor whose bytes are missing from the file")


class _Directory:
    """A file as ZipFile reads its directory; one of unusual size is refused."""

    def __init__(self, file: BinaryIO):
        self.seek, self.tell, self.seekable, self._file = file.seek, file.tell, file.seekable, file

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(min(count, LARGEST_DIRECTORY + 1) if count >= 0 else LARGEST_DIRECTORY + 1)
        if len(data) > LARGEST_DIRECTORY:
            raise UnpicklingError(f"its directory has more than {LARGEST_DIRECTORY:,} bytes, which no checkpoint's has")
        return data


def _fill(file: BinaryIO, size: int, entry: zipfile.ZipInfo, out: Tensor) -> None:
    """Read the first bytes of a zip archive's entry into `out`, (n,) uint8.

    Checksums are not compared: torch.save may be told to leave them out, and torch.load never looks at them.
    """
    file.seek(entry.header_offset)
    head = file.read(30)
    if len(head) < 30 or head[:4] != b"PK\x03\x04" or entry.flag_bits & 1:
        raise UnpicklingError("an archive with an entry that is damaged or encrypted")
    place = entry.header_offset + 30 + sum(struct.unpack("<HH", head[26:]))
    if place + entry.compress_size > size:
        raise UnpicklingError("an archive with an entry that reaches beyond the file")
    if entry.compress_type == zipfile.ZIP_STORED:
        if entry.compress_size < len(out):
            raise UnpicklingError("an archive with an entry shorter than it says")
        _read_at(file, place, out)
    elif entry.compress_type == zipfile.ZIP_DEFLATED:
        file.seek(place)
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(entry.compress_size), max(1, len(out)))
        except zlib.error as error:
            raise UnpicklingError(f"an archive that is damaged ({error})") from error
        if len(data) < len(out):
            raise UnpicklingError("an archive with an entry shorter than it says")
        out.numpy()[:] = np.frombuffer(data, np.uint8, len(out))
    else:
        raise UnpicklingError("an archive that is compressed in another way than torch reads")
