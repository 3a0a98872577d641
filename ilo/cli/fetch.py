"""``ilo fetch``: the pre-trained parts, into the cache."""

import argparse

DESCRIPTION = """\
Download the pre-trained parts into the per-user cache (ILO_CACHE overrides), verified by their sha256. With
ILO_ASSETS=FOLDER already-downloaded files are used and nothing is downloaded.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(options: argparse.Namespace) -> int:
    from ilo import assets

    for name, path in assets.fetch_all().items():
        print(f"{name}: {path}")
    return 0
