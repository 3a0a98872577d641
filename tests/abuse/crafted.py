"""Small files that ask for much: time, memory, depth. Each is to be refused, soon and in little memory."""

import json
import struct
import zipfile
from collections.abc import Callable, Iterator

import torch
from nvidia_writer import nvidia_pickle
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from ilo.generators.biggan_layers import biggan_table
from ilo.generators.checkpoints.names import rosinality_table
from ilo.generators.dcgan_layers import dcgan_table
from ilo.generators.stylegan.first import first_table
from ilo.generators.stylegan.random import random_stylegan2
from ilo.generators.stylegan.table import nvidia_table
from ilo.generators.stylegan.third_table import third_table

from .assemble import (
    BODY,
    FROM_BYTES,
    MEGABYTE,
    ORDERED,
    RECORD,
    TORCH,
    VIEW,
    Entry,
    again,
    archive,
    call,
    data,
    doubled,
    keep,
    legacy,
    module,
    name,
    nested,
    number,
    nvidia,
    state_dict,
    storage_bytes,
    storage_id,
    table,
    text,
    torch_bytes,
    view,
    zeros_deflated,
    zipped,
)

SMALL = random_stylegan2(8, channel_base=16, channel_max=3, z_dim=4, w_dim=5, mapping_layers=2)
GB = 2**30


def files() -> Iterator[tuple[str, bytes]]:
    """(name, content) of every crafted file."""
    for group in (nvidia_modules, claims, nesting, amounts, tensors, zips, older, safetensors, architectures):
        for title, make in group().items():
            yield f"{group.__name__}: {title}", make()


Makers = dict[str, Callable[[], bytes]]


def nvidia_modules() -> Makers:
    modules = text("_modules")

    def tower(levels: int) -> bytes:
        """Each module holds the next by two names."""
        out = module()
        for i in range(levels):
            out = out + keep(i) + b"0" + module((modules, table((text("a"), again(i)), (text("b"), again(i)))))
        return nvidia(out)

    def chain(levels: int, label: str = "a") -> bytes:
        links = (keep(i) + b"0" + module((modules, table((text(label), again(i))))) for i in range(levels))
        return nvidia(module() + b"".join(links))

    def many(children: int) -> bytes:
        """One module under many names."""
        items = [(text(f"m{i}"), again(0)) for i in range(children)]
        return nvidia(module((modules, table(*items))), module() + keep(0))

    def shared(group: str) -> bytes:
        """Many modules with one large dict of what they hold."""
        one = (table(*((text(f"n{i}"), again(1)) for i in range(10_000)))) + keep(0)
        children = [(text(f"m{i}"), module((text(group), again(0)))) for i in range(5_000)]
        return nvidia(module((modules, table(*children))), module() + keep(1) + b"0" + one)

    itself = b"}" + keep(0) + b"0" + RECORD + b"(" + table((text("state"), again(0))) + b"tR" + keep(1)
    itself += b"0" + again(0) + text("_modules") + table((text("child"), again(1))) + b"s0" + again(1)
    return {
        "modules share children": lambda: tower(40),
        "a longer tower": lambda: tower(900),
        "one module by 50,000 names": lambda: many(50_000),
        "a chain of 20,000": lambda: chain(20_000),
        "a chain with long names": lambda: chain(30, "n" * 10**6),
        "one dict of modules for 5,000": lambda: shared("_modules"),
        "one dict of parameters for 5,000": lambda: shared("_parameters"),
        "a module that holds itself": lambda: nvidia(itself),
    }


def claims() -> Makers:
    """Lengths of gigabytes in a few bytes."""
    large = struct.pack("<Q", 8_400_000_000)
    four = struct.pack("<I", 2**32 - 1)
    return {
        "BYTEARRAY8": lambda: b"\x80\x05\x96" + large + b"abc.",
        "BINBYTES8": lambda: BODY + b"\x8e" + large + b".",
        "BINUNICODE8": lambda: BODY + b"\x8d" + large + b".",
        "BINBYTES": lambda: BODY + b"B" + four + b".",
        "BINUNICODE": lambda: BODY + b"X" + four + b".",
        "LONG4": lambda: BODY + b"\x8b" + struct.pack("<i", 2**31 - 1) + b".",
        "FRAME": lambda: BODY + b"\x95" + struct.pack("<Q", 2**62) + b"N.",
        "a memo of two billion": lambda: BODY + b"Nr\xff\xff\xff\x7f.",
        "a memo that is missing": lambda: BODY + b"j\xff\xff\xff\x7f.",
        "BYTEARRAY8 in an archive": lambda: zipped(b"\x96" + large),
        "BINUNICODE in the older format": lambda: legacy(b"X" + four),
        "bytearray(8 GB) in an archive": lambda: zipped(call(name("builtins", "bytearray"), number(8_400_000_000))),
        "Size(range) in an archive": lambda: zipped(call(name("torch", "Size"), number(10**9))),
    }


def nesting() -> Makers:
    """Depth that ends recursion with the C stack, and what 2^60 ways lead through."""
    deep, deadly, many = nested(20_000), nested(160_000), doubled(60)  # deadly: its hash ends the interpreter
    values = {"a deep tuple": deep, "a doubled tuple": many, "a doubled list": doubled(60, b"e")}
    values["a doubled list"] = b"]" + b"".join(keep(i) + b"0](" + again(i) + again(i) + b"e" for i in range(60))
    lists = b"]" + b"".join(keep(i) + b"0]" + again(i) + b"a" for i in range(30_000))
    dicts = b"}" + b"".join(keep(i) + b"0}" + text("a") + again(i) + b"s" for i in range(30_000))
    made: Makers = {
        "deep lists": lambda: nvidia(lists),
        "deep dicts": lambda: nvidia(dicts),
        "a tuple without end": lambda: BODY + nested(1_000_000) + b".",
        "a deadly tuple, a key": lambda: nvidia(b"}" + deadly + b"Ns"),
        "a deadly tuple, in a set": lambda: nvidia(b"\x8f(" + deadly + b"\x90"),
        "a deadly tuple, in a frozenset": lambda: nvidia(b"(" + deadly + b"\x91"),
        "a deadly tuple, a key in an archive": lambda: zipped(b"}" + deadly + b"Ns"),
        "a deadly tuple, a key in the older format": lambda: legacy(b"}" + deadly + b"Ns"),
    }
    for title, value in values.items():
        uses = {
            "a key": b"}" + value + b"Ns",
            "in a set": b"\x8f(" + value + b"\x90",
            "in a frozenset": b"(" + value + b"\x91",
            "called": value + b")R",
            "a module's name": value + text("x") + b"\x93",
            "an argument of OrderedDict": call(ORDERED, value),
            "the bytes of a storage": call(FROM_BYTES, value),
            "a persistent id": value + b"Q",
            "the shape of a tensor": call(VIEW, b"N", b"K\x00", value, value, b"\x89", b"}"),
        }
        for use, opcodes in uses.items():
            made[f"{title}, {use}"] = lambda opcodes=opcodes: nvidia(opcodes)
        made[f"{title}, a key in an archive"] = lambda value=value: zipped(b"}" + value + b"Ns")
        made[f"{title}, a key in the older format"] = lambda value=value: legacy(b"}" + value + b"Ns")
    types = name("torch._tensor", "_rebuild_from_type_v2")
    tower = b")" + b"".join(keep(i) + b"0(" + types + name("torch", "Tensor") + again(i) + b"Nt" for i in range(20_000))
    made["a tensor's type in its type"] = lambda: zipped(types + tower + b"R")
    return made


def amounts() -> Makers:
    """More objects, or more work per byte, than a network needs."""
    many = b"]" + b"(" + b"K\x00" * 50_000 + b"e" + keep(0) + b"0"
    pairs = b"](" + b"".join(b"K\x01K\x02\x86" for _ in range(40_000)) + b"e" + keep(0) + b"0"
    inner = data(storage_bytes(torch.zeros(4).untyped_storage()))
    return {
        "three million Nones": lambda: BODY + b"N" * 3_000_000 + b".",
        "three million dicts": lambda: BODY + b"}" * 3_000_000 + b".",
        "three million marks": lambda: BODY + b"(" * 3_000_000 + b".",
        "three million opcodes in an archive": lambda: zipped(b"]" * 3_000_000),
        "a million numbers of the memo": lambda: BODY + b"N" + b"".join(keep(i) for i in range(1_000_000)) + b".",
        "a list copied 20,000 times": lambda: nvidia(call(ORDERED, again(0)) * 20_000, pairs + b"N"),
        "a call with 50,000 words, 20,000 times": lambda: nvidia(
            (name("builtins", "set") + again(1) + b"R") * 20_000,
            b"(" + b"K\x00" * 50_000 + b"t" + keep(1) + b"0" + many + b"N",
        ),
        "one storage read 100,000 times": lambda: nvidia((FROM_BYTES + again(0) + b"\x85R") * 100_000, inner + keep(0)),
        "a name of ten megabytes": lambda: BODY + b"c" + b"a" * 10_000_000 + b"\nb\n.",
        "a million digits": lambda: BODY + b"I" + b"9" * 1_000_000 + b"\n.",
        "a number of a megabyte as a size": lambda: nvidia(
            call(VIEW, call(FROM_BYTES, inner), b"K\x00", b"(" + number(1 << 8_000_000) * 6 + b"t", b")", b"\x89", b"}")
        ),
        "a hundred thousand dimensions": lambda: nvidia(
            call(
                VIEW,
                call(FROM_BYTES, inner),
                b"K\x00",
                *(b"(" + b"K\x01" * 100_000 + b"t" for _ in range(2)),
                b"\x89",
                b"}",
            )
        ),
    }


def expanded(rows: dict, **sizes: int) -> dict[str, Tensor]:
    """A tensor for every row of an architecture's table, each one zero, repeated by strides of 0."""
    shapes = {
        key: [n if isinstance(n, int) else sizes.get(n, sizes["other"]) for n in row] for key, row in rows.items()
    }
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


def tensors() -> Makers:
    """Views that are larger than their bytes, and kinds of tensors that are made by what their arguments say."""
    skewed = nvidia_table(SMALL)
    wide = {"colours": 3, "w": 512, "z": 512, "fc0": 512, "other": 16384}
    rosinality = rosinality_table(dict.fromkeys(["to_rgbs.0.conv.weight", "style.1.weight"]))
    blocks = biggan_table(dict.fromkeys(["blocks.1.0.conv1.weight"]))
    first = first_table(dict.fromkeys([*(f"synthesis.layer{k}." for k in range(4)), "mapping.dense0."]))
    wide_first = {key: [n[0] * 16384 if isinstance(n, tuple) else n for n in row] for key, row in first.items()}
    layers = [f"synthesis.L{i}_{size}_16384." for i, size in enumerate((36, 36, 16, 16))]
    table = third_table(dict.fromkeys([*layers, "mapping.fc0."]))
    third = {key: [n[0] * 6 if isinstance(n, tuple) else n for n in row] for key, row in table.items()}
    deep = dict.fromkeys(f"synthesis.b{4 << i}.const" for i in range(11))
    utils = "torch._utils"
    size, no = b"(" + number(2**40) + b"t", b"\x89"
    float32 = name("torch", "float32")
    dense = view(storage_id(1), [1], [1])
    layout = call(name("torch.serialization", "_get_layout"), text("torch.sparse_coo"))
    scheme = b"(" + name("torch", "per_tensor_affine") + b"G?\xf0\x00\x00\x00\x00\x00\x00K\x00t"
    kinds = {
        "sparse": call(name(utils, "_rebuild_sparse_tensor"), layout, b"(" + dense + dense + size + b"\x88t"),
        "quantised": call(
            name(utils, "_rebuild_qtensor"), storage_id(1, "0", "QInt8Storage"), b"K\x00", size, size, scheme, no, b"}"
        ),
        "nested": call(name(utils, "_rebuild_nested_tensor"), dense, dense, dense, dense),
        "meta": call(name(utils, "_rebuild_meta_tensor_no_storage"), float32, size, size, no),
        "wrapped": call(
            name(utils, "_rebuild_wrapper_subclass"),
            name("torch", "Tensor"),
            float32,
            size,
            size,
            b"K\x00",
            b"N",
            b"N",
            no,
        ),
    }

    def one(tensor: bytes) -> bytes:
        return zipped(state_dict(("main.0.weight", tensor)), Entry("data/0", bytes(4)))

    made: Makers = {
        "12 GB in strides of 0, zipped": lambda: one(view(storage_id(1), [3 * GB], [0])),
        "a StyleGAN2 of one number, pickled": lambda: nvidia_pickle(expanded(skewed, **wide)),
        "a StyleGAN2 of one number, zipped": lambda: torch_bytes(expanded(skewed, **wide)),
        "a StyleGAN2 of one number, older": lambda: storage_bytes(expanded(skewed, **wide)),
        "the first StyleGAN of one number": lambda: torch_bytes(expanded(wide_first, **wide)),
        "StyleGAN3 of one number": lambda: torch_bytes(expanded(third, **wide, kernel=3)),
        "rosinality's of one number": lambda: torch_bytes(expanded(rosinality, **wide)),
        "a BigGAN of one number": lambda: torch_bytes(
            expanded(blocks, **wide | {"colours": 3, "class": 128, "chunk": 20, "condition": 148, "seed": 16384 * 16})
        ),
        "a DCGAN of one number": lambda: torch_bytes(expanded(dcgan_table(), other=1)),
        "noise maps of 4096 pixels of one number": lambda: torch_bytes(expanded(nvidia_table(deep), other=1)),
        "2^40 numbers beyond a storage": lambda: one(view(storage_id(1), [2**40], [1])),
        "a product of sizes beyond 64 bits": lambda: one(view(storage_id(1), [2**40] * 4, [0] * 4)),
        "negative strides": lambda: one(view(storage_id(1), [2], [-1], 1)),
        "a negative offset": lambda: one(view(storage_id(1), [1], [1], -1)),
    }
    for kind, opcodes in kinds.items():
        made[f"a {kind} tensor of 2^40"] = lambda opcodes=opcodes: one(opcodes)
    return made


def zips() -> Makers:
    """Archives whose directory lies, or whose entries are compressed beyond measure."""
    deflated, count = zipfile.ZIP_DEFLATED, 13 * GB // 4
    bomb = Entry("data/0", zeros_deflated(13 * GB), size=13 * GB, method=deflated)
    honest = {k: torch.zeros(()).expand(v.shape) for k, v in SMALL.items()}

    def one(storage: bytes, shape: int, *entries: Entry) -> bytes:
        return zipped(state_dict(("main.0.weight", view(storage, [shape], [1]))), *entries)

    def whole(*entries: Entry) -> bytes:
        """A complete DCGAN whose tensors lie in one storage of 13 GB."""
        views = []
        for key, row in dcgan_table().items():
            strides = [int(torch.Size(row[i + 1 :]).numel()) for i in range(len(row))]
            views.append((key, view(storage_id(count), row, strides)))
        return zipped(state_dict(*views), *entries)

    def overlapping() -> bytes:
        """A thousand storages that are the same bytes of the file."""
        content = bytes(4 * MEGABYTE)
        entries = [Entry(f"data/{i}", content, shared=True) for i in range(1000)]
        views = [(f"k{i}", view(storage_id(MEGABYTE, str(i)), [MEGABYTE], [1])) for i in range(1000)]
        return zipped(state_dict(*views), *entries)

    def script() -> bytes:
        return archive(
            Entry("data.pkl", TORCH + b"}."), Entry("constants.pkl", TORCH + b")."), Entry("code/g.py", b"pass")
        )

    return {
        "13 GB deflated": lambda: whole(bomb),
        "4 GB deflated, one tensor": lambda: one(
            storage_id(GB), GB, Entry("data/0", zeros_deflated(GB), size=4 * GB, method=deflated)
        ),
        "a GB deflated that claims to be a kilobyte": lambda: whole(
            Entry("data/0", zeros_deflated(GB), size=1024, method=deflated)
        ),
        "a kilobyte that claims to be 13 GB": lambda: whole(Entry("data/0", bytes(1024), size=13 * GB)),
        "packed 13 GB that are not there": lambda: whole(Entry("data/0", bytes(1024), size=13 * GB, packed=13 * GB)),
        "a deflated kilobyte that claims to be 13 GB": lambda: whole(
            Entry("data/0", zeros_deflated(MEGABYTE), size=13 * GB, method=deflated)
        ),
        "a pickle of 2 GB, deflated": lambda: archive(
            Entry("data.pkl", zeros_deflated(2 * GB), size=2 * GB, method=deflated)
        ),
        "a pickle that claims 8 bytes": lambda: archive(Entry("data.pkl", zeros_deflated(GB), size=8, method=deflated)),
        "an order of bytes of 2 GB": lambda: archive(
            Entry("data.pkl", TORCH + b"}."), Entry("byteorder", zeros_deflated(2 * GB), size=2 * GB, method=deflated)
        ),
        "overlapping entries": overlapping,
        "a directory of 60,000": lambda: archive(*(Entry(f"data/{i}", b"", shared=True) for i in range(60_000))),
        "an encrypted entry": lambda: whole(Entry("data/0", bytes(64), size=13 * GB, flags=1)),
        "an encrypted pickle": lambda: archive(Entry("data.pkl", TORCH + b"}.", flags=1)),
        "a pickle by bzip2": lambda: archive(Entry("data.pkl", bytes(64), size=GB, method=zipfile.ZIP_BZIP2)),
        "a pickle by LZMA": lambda: archive(Entry("data.pkl", bytes(64), size=64, method=zipfile.ZIP_LZMA)),
        "deflated garbage": lambda: archive(Entry("data.pkl", b"\xff" * 64, size=64, method=deflated)),
        "no pickle": lambda: archive(Entry("data/0", bytes(64))),
        "two pickles": lambda: archive(Entry("data.pkl", TORCH + b"}."), Entry("data.pkl", TORCH + b"N.")),
        "a TorchScript archive": script,
        "a storage that is missing": lambda: one(storage_id(4, "9"), 4),
        "a storage of 2^60": lambda: one(storage_id(2**60), 4, Entry("data/0", bytes(16))),
        "a negative storage": lambda: one(storage_id(-4), 4, Entry("data/0", bytes(16))),
        "no end": lambda: torch_bytes(honest)[:-30],
        "a comment of 60 kB": lambda: torch_bytes(honest)[:-2] + struct.pack("<H", 60_000) + b"PK\x05\x06" * 15_000,
    }


def older() -> Makers:
    """The format before archives."""
    part = b"(" + text("p") + number(0) + number(2**40) + b"t"
    tar = bytearray(storage_bytes({"a": torch.zeros(1)}))

    def tape() -> bytes:
        """A tape archive whose first member's name is the older format's beginning."""
        import io
        import tarfile

        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as out:
            out.addfile(tarfile.TarInfo("x" * 40))
        content = bytearray(file.getvalue())
        content[:19] = tar[:19]
        content[148:156] = b" " * 8
        content[148:156] = f"{sum(content[:512]):06o}\0 ".encode()
        return bytes(content)

    return {
        "a storage of 2^40": lambda: legacy(
            table((text("a"), view(storage_id(2**40, "0", "FloatStorage", b"N"), [1], [1]))),
            b"]" + text("0") + b"a",
            struct.pack("<q", 2**40),
        ),
        "a storage that says 2^40 where it lies": lambda: legacy(
            table((text("a"), view(storage_id(1, "0", "FloatStorage", b"N"), [1], [1]))),
            b"]" + text("0") + b"a",
            struct.pack("<q", 2**40),
        ),
        "200,000 times one key": lambda: legacy(
            table((text("main.0.weight"), view(storage_id(0, "0", "FloatStorage", b"N"), [0], [1]))),
            b"](" + (text("0") + keep(0) + again(0) * 200_000) + b"e",
            bytes(8 * 200_000),
        ),
        "a key that is no storage's": lambda: legacy(b"}", b"]" + text("7") + b"a"),
        "no keys": lambda: legacy(
            table((text("main.0.weight"), view(storage_id(1, "0", "FloatStorage", b"N"), [1], [1]))), b"N"
        ),
        "a part that lies outside": lambda: legacy(
            table((text("a"), view(storage_id(1, "0", "FloatStorage", part), [1], [1])))
        ),
        "a tape archive": tape,
        "a whole module": lambda: legacy(b"(" + text("module") + b"NNNtQ"),
        "half of its first facts": lambda: storage_bytes({"a": torch.zeros(1)})[:60],
    }


def safetensors() -> Makers:
    def file(header: bytes, content: bytes = b"", claim: int | None = None) -> bytes:
        return struct.pack("<Q", len(header) if claim is None else claim) + header + content

    def one(shape: list[int], begin: int, end: int, dtype: str = "F32", content: bytes = bytes(16)) -> bytes:
        row = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        return file(json.dumps({"main.0.weight": row}).encode(), content)

    rows = ",".join(f'"k{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(200_000))
    good = safetensors_bytes(SMALL, {"format": "ilo-generator-1", "clamp": "nan"})
    return {
        "a header of 2^60": lambda: file(b"{", claim=2**60),
        "a header that is longer than the file": lambda: file(b"{}", claim=1000),
        "a header of 200,000 tensors": lambda: file(f"{{{rows}}}".encode()),
        "a header of 30 MB of words": lambda: file(b'{"__metadata__":{"a":"' + b"x" * 30_000_000 + b'"}}'),
        "nested words": lambda: file(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "a shape beyond 64 bits": lambda: one([2**40, 2**40], 0, 16),
        "bytes beyond the file": lambda: one([2**40], 0, 2**42),
        "bytes that end before they begin": lambda: one([4], 16, 0),
        "a shape of another size": lambda: one([5], 0, 16),
        "numbers of eight bits": lambda: one([16], 0, 16, "F8_E4M3"),
        "numbers of a kind unknown": lambda: one([16], 0, 16, "F7"),
        "a clamp that is no number": lambda: good,
        "no tensors": lambda: file(b"{}"),
    }


def architectures() -> Makers:
    """State dicts of a generator whose building would take more than the file."""
    style = {
        f"style.{i + 1}.{part}": torch.zeros(1, 1)[: 2 - j].squeeze(j) for i in range(2) for j, part in enumerate(())
    }

    def filled(rows: dict, **sizes: int) -> bytes:
        words = {"other": 1} | sizes
        return torch_bytes({k: v.contiguous() for k, v in expanded(rows, **words).items()})

    def doublings(count: int) -> dict:
        return dict.fromkeys([*(f"to_rgbs.{i}.conv.weight" for i in range(count)), "style.1.weight"])

    one = torch.ones(1)
    small = nvidia_table(SMALL)
    classes = nvidia_table({**SMALL, "mapping.embed.weight": one})
    return {
        "rosinality's of 131072 pixels": lambda: torch_bytes(
            {f"to_rgbs.{i}.conv.weight": one for i in range(15)} | {"conv1.conv.modulation.weight": one} | style
        ),
        "the first StyleGAN of layers without end": lambda: torch_bytes(
            {f"synthesis.layer{k}.bias": one for k in (0, "9" * 4000)}
        ),
        "the first StyleGAN of a million layers": lambda: torch_bytes(
            {f"synthesis.layer{k}.bias": one for k in (0, 999_999)}
        ),
        "lernapparat's of 2^60 pixels": lambda: torch_bytes(
            {f"g_synthesis.blocks.{4 << i}x{4 << i}.conv1.bias": one for i in range(59)}
            | {"g_mapping.dense0.bias": one}
        ),
        "rosinality's first of a million blocks": lambda: torch_bytes(
            {f"generator.progression.{i}.noise1.weight_orig": one for i in (0, 999_999)}
        ),
        "StyleGAN2 of 2^60 pixels": lambda: torch_bytes({f"synthesis.b{4 << i}.const": one for i in range(59)}),
        "StyleGAN3 of layers without end": lambda: torch_bytes(
            {f"synthesis.L{i}_36_3.bias": one for i in (0, 1, 2, "9" * 4000)}
        ),
        "StyleGAN3 of 65536 pixels": lambda: torch_bytes({f"synthesis.L{i}_65536_3.bias": one for i in range(4)}),
        "StyleGAN2 of blocks without end": lambda: torch_bytes(
            {"synthesis.b4.const": one, f"synthesis.b{'9' * 4000}.const": one}
        ),
        "a BigGAN of a billion blocks": lambda: torch_bytes(
            {"blocks.0.0.conv1.weight": one, "blocks.999999999.0.conv1.weight": one}
        ),
        "a BigGAN of 9999 blocks": lambda: torch_bytes(
            {"blocks.0.0.conv1.weight": one, "blocks.9998.0.conv1.weight": one}
        ),
        "a BigGAN of 40 blocks": lambda: filled(
            {k: v for k, v in biggan_table(dict.fromkeys(["blocks.9.0.conv1.weight"])).items()}
            | {"blocks.39.0.conv1.weight": (1, 1, 3, 3)},
            condition=2,
            seed=16,
        ),
        "a BigGAN that begins with 1000 pixels": lambda: filled(
            biggan_table(dict.fromkeys(["blocks.3.0.conv1.weight"])), condition=2, seed=10**6
        ),
        "latents of a million numbers": lambda: filled(small, z=10**6),
        "styles of 100,000 numbers": lambda: filled(small, w=100_000),
        "layers of 100,000 numbers": lambda: filled(small, fc0=100_000),
        "100,000 classes": lambda: filled(classes, classes=100_000, **{"label+z": 2}),
        "5,000 mapping layers": lambda: torch_bytes(
            {"synthesis.b4.const": one, "synthesis.b8.const": one}
            | {f"mapping.fc{i}.weight": one for i in range(5_000)}
        ),
        "the name of a tensor in colours": lambda: torch_bytes({"\x1b[31m\x07\n" * 1000: one}),
    }
