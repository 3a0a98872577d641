"""``ilo fetch``: the pre-trained parts, and published generators, into the cache."""

import argparse

DESCRIPTION = """\
Download the pre-trained parts into the per-user cache (ILO_CACHE overrides), verified by their sha256. With
ILO_ASSETS=FOLDER already-downloaded files are used and nothing is downloaded. With NAMEs: these parts, or published
generators (`ilo generators` lists them), whose licence you accept by --accept-licence. A download that breaks off goes
on where it was.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to fetch (default: all parts, 82 MB)")
    parser.add_argument(
        "--accept-licence",
        action="store_true",
        help="you have read and accept the licence of the generators named (or set ILO_ACCEPT_LICENCE=1)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    from ilo import assets
    from ilo.generators import published

    known = [*assets.PARTS, *published.PUBLISHED]
    if unknown := [name for name in options.names if name not in known]:
        raise ValueError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    for name in options.names or assets.PARTS:
        if name in assets.PARTS:
            path = assets.fetch(name)
        else:
            path = published.get(name, accept_licence=options.accept_licence, progress=not options.quiet)
        print(f"{name}: {path}")
    return 0
