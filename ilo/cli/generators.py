"""``ilo generators``: which generators there are by name, and which of them are here."""

import argparse

DESCRIPTION = """\
List the generators that have a name: pixels, format, size, licence, and whether the file is here. `ilo fetch NAME
--accept-licence` downloads one; --generator takes a name, or the path of a checkpoint file of your own.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--paths", action="store_true", help="say where each is kept, too")


def run(options: argparse.Namespace) -> int:
    from ilo import assets
    from ilo.generators import loading, published

    part = assets.PARTS["dcgan-digiface64"]
    own = {
        **{"name": "dcgan-digiface64", "pixels": 64, "format": "DCGAN", "MB": round(part.size / 1e6)},
        **{"licence": part.package.licence, "path": str(part.path), "present": part.path.is_file()},
    }
    path = loading.weights_path("stylegan2-faces32")
    trained = {
        "name": "stylegan2-faces32",
        "pixels": 32,
        "format": "StyleGAN2",
        "MB": 2,
        "licence": "non-commercial research",
        "path": str(path or "in a checkout of the repository"),
        "present": path is not None and path.is_file(),
    }
    rows = [own, trained, *published.table()]
    columns = ["name", "pixels", "format", "MB", "present", "licence", *(["path"] if options.paths else [])]
    rows = [{**row, "MB": row["MB"] or "?", "present": "here" if row["present"] else "no"} for row in rows]
    lines = [columns, *([str(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
    return 0
