"""Pickles and zip archives byte by byte, as no program writes them."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch

MEGABYTE = 2**20
BODY = b"\x80\x04"  # PROTO 4, as NVIDIA's pickles
TORCH = b"\x80\x02"  # PROTO 2, as torch's


def text(value: str | bytes) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return b"X" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return (b"\x8a" + bytes([len(data)]) if len(data) < 256 else b"\x8b" + struct.pack("<i", len(data))) + data


def data(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def name(module: str, attribute: str) -> bytes:
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def table(*items: tuple[bytes, bytes]) -> bytes:
    return b"}(" + b"".join(key + value for key, value in items) + b"u"


def keep(place: int) -> bytes:
    """Remember what lies on the stack; `again` puts it there once more."""
    return b"r" + struct.pack("<I", place)


def again(place: int) -> bytes:
    return b"j" + struct.pack("<I", place)


RECORD = name("torch_utils.persistence", "_reconstruct_persistent_obj")
ORDERED = name("collections", "OrderedDict")
VIEW = name("torch._utils", "_rebuild_tensor_v2")
FROM_BYTES = name("torch.storage", "_load_from_bytes")


def module(*state: tuple[bytes, bytes]) -> bytes:
    return call(RECORD, table((text("state"), table(*state))))


def nvidia(G_ema: bytes, before: bytes = b"") -> bytes:
    """A pickle {"G_ema": …}; `before` is a value that is made first, and dropped."""
    return BODY + (before + b"0" if before else b"") + table((text("G_ema"), G_ema)) + b"."


def nested(depth: int) -> bytes:
    """((((…)))): a tuple of tuples."""
    return b")" + b"\x85" * depth


def doubled(times: int, join: bytes = b"\x86") -> bytes:
    """t = (t, t) so many times: through few objects lead 2^times ways."""
    return b")" + b"".join(keep(i) + again(i) + join for i in range(times))


def storage_bytes(content: object) -> bytes:
    """What torch.save writes in the older format."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def torch_bytes(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def zeros_deflated(size: int) -> bytes:
    """`size` zeros, compressed a thousandfold, without compressing more than a megabyte."""
    maker = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = maker.compress(bytes(MEGABYTE)) + maker.flush(zlib.Z_FULL_FLUSH)
    return block * (size // MEGABYTE) + maker.flush()


def archive(*entries: "Entry") -> bytes:
    """A zip archive of these entries, whose directory says what each entry says of itself, true or not."""
    local, directory = bytearray(), bytearray()
    places: dict[bytes, int] = {}
    for entry in entries:
        head = struct.pack("<5H3I", 45, entry.flags, entry.method, 0, 0, 0, 0, 0)
        if entry.content not in places or not entry.shared:
            places[entry.content] = len(local)
            local += b"PK\x03\x04" + head + struct.pack("<2H", len(entry.name), 0) + entry.name + entry.content
        # sizes and place as zip64's extra field has them
        wide = struct.pack("<2H3Q", 1, 24, entry.size, entry.packed, places[entry.content])
        head = head[:14] + struct.pack("<2I", 2**32 - 1, 2**32 - 1)
        directory += b"PK\x01\x02" + struct.pack("<H", 45) + head
        directory += struct.pack("<5H2I", len(entry.name), len(wide), 0, 0, 0, 0, 2**32 - 1) + entry.name + wide
    end = struct.pack("<Q2H2I4Q", 44, 45, 45, 0, 0, len(entries), len(entries), len(directory), len(local))
    locator = struct.pack("<IQI", 0, len(local) + len(directory), 1)
    last = struct.pack("<4H2IH", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
    return bytes(local + directory) + b"PK\x06\x06" + end + b"PK\x06\x07" + locator + b"PK\x05\x06" + last


class Entry:
    """An archive's entry; `size` and `packed` are what it claims to have, by default the truth."""

    def __init__(
        self,
        name: str,
        content: bytes,
        *,
        size: int | None = None,
        packed: int | None = None,
        method: int = zipfile.ZIP_STORED,
        flags: int = 0,
        shared: bool = False,
    ):
        self.name, self.content, self.method, self.flags, self.shared = (
            f"g/{name}".encode(),
            content,
            method,
            flags,
            shared,
        )
        self.size = len(content) if size is None else size
        self.packed = len(content) if packed is None else packed


def storage_id(count: int, key: str = "0", kind: str = "FloatStorage", *more: bytes) -> bytes:
    """A persistent storage of `count` numbers."""
    parts = text("storage") + name("torch", kind) + text(key) + text("cpu") + number(count)
    return b"(" + parts + b"".join(more) + b"tQ"


def view(storage: bytes, shape: Sequence[int], stride: Sequence[int], offset: int = 0) -> bytes:
    sizes = (b"(" + b"".join(number(n) for n in numbers) + b"t" for numbers in (shape, stride))
    return call(VIEW, storage, number(offset), *sizes, b"\x89", call(ORDERED))


def zipped(pickle: bytes, *entries: Entry) -> bytes:
    """An archive as torch's; `pickle` are opcodes."""
    return archive(Entry("data.pkl", TORCH + pickle + b"."), Entry("version", b"3\n"), *entries)


def state_dict(*items: tuple[str, bytes]) -> bytes:
    return table(*((text(key), value) for key, value in items))


def legacy(pickle: bytes, keys: bytes = b"]", tail: bytes = b"") -> bytes:
    """The older format: `pickle` and `keys` are opcodes, and `tail` the storages."""
    whole = storage_bytes(torch.zeros(1))
    stops = [0, *_stops(whole)]
    head = b"".join(whole[a:b] for a, b in list(pairwise(stops))[:3])
    return head + TORCH + pickle + b"." + TORCH + keys + b"." + tail


def _stops(whole: bytes) -> Iterator[int]:
    import pickletools

    file = io.BytesIO(whole)
    for _ in range(4):
        for _ in pickletools.genops(file):
            pass
        yield file.tell()
