"""``ilo generators``: which generators there are by name, and which of them are here."""

import argparse
from typing import Any

DESCRIPTION = """\
List the generators that have a name, the default first: pixels, format, size, licence, and whether the file is here.
`ilo fetch NAME --accept-licence` downloads one; --generator takes a name, or the path of a checkpoint file of your own.
"""


OURS = (("decoder-portraits64", 64, "decoder", 5), ("stylegan2-faces32", 32, "StyleGAN2", 2))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--paths", action="store_true", help="say where each is kept, too")


def run(options: argparse.Namespace) -> int:
    from ilo import assets
    from ilo.generators import published

    part = assets.PARTS["dcgan-digiface64"]
    own = {
        **{"name": "dcgan-digiface64", "pixels": 64, "format": "DCGAN", "MB": round(part.size / 1e6)},
        **{"licence": part.package.licence, "path": str(part.path), "present": part.path.is_file()},
    }
    trained = [_committed(name, *rest) for name, *rest in OURS]
    rows = [trained[0], own, *trained[1:], *published.table()]
    columns = ["name", "pixels", "format", "MB", "present", "licence", *(["path"] if options.paths else [])]
    rows = [{**row, "MB": row["MB"] or "?", "present": "here" if row["present"] else "no"} for row in rows]
    lines = [columns, *([str(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
    return 0


def _committed(name: str, pixels: int, kind: str, megabytes: int) -> dict[str, Any]:
    """The row of a generator that comes with the package."""
    from ilo.generators import loading

    path = loading.weights_path(name)
    return {
        **{"name": name, "pixels": pixels, "format": kind, "MB": megabytes, "licence": "non-commercial research"},
        **{"path": str(path), "present": path.is_file()},
    }
