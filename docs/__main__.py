"""Build the site: gather its sources, let Sphinx render them, check every internal link.

    python -m docs [--to site]

The sources are gathered in build/site, laid out as the repository is, so that a link which works in the repository
works on the site: the pages of docs/, README.md and data/ (which pages include), figures/, the notebooks with their
stored outputs, and what is written here from them, a page for every figure and for every module. Nothing is executed
and nothing is fetched. Exit code 1: a warning of Sphinx, or a link that leads nowhere.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sphinx.cmd.build import build_main

from docs.gallery import write_gallery
from docs.links import broken
from docs.reference import write_reference
from ilo.provenance import checkout

# What the repository links and the site has elsewhere: a folder is a page of the host, and data/README.md part of one.
ELSEWHERE = {
    "](figures)": "](gallery/index.md)",
    "](../figures)": "](../gallery/index.md)",
    "](data/reference)": "](data.md)",
    "](../../data/README.md)": "](../../data.md)",
    "](../../data/reference)": "](../../data.md)",
}


def main(arguments: Sequence[str] | None = None) -> int:
    home = checkout()
    parser = argparse.ArgumentParser(prog="python -m docs", description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=home / "site", help="folder of the site (default: %(default)s)")
    site = parser.parse_args(arguments).to
    began = time.perf_counter()
    sources = home / "build" / "site"
    gather(home, sources)
    built = sources.with_name("html")  # here, since myst-nb writes beside it
    shutil.rmtree(built, ignore_errors=True)
    flags = ["-q", "-W", "--keep-going", "-E", "-j", "auto", "-b", "html", "-d", str(sources.with_name("doctrees"))]
    if code := build_main([*flags, "-c", str(home / "docs"), str(sources), str(built)]):
        return code
    if wrong := broken(built):
        print(*wrong, sep="\n", file=sys.stderr)
        return 1
    shutil.rmtree(site, ignore_errors=True)
    shutil.move(built, site)
    pages = len(list(site.rglob("*.html")))
    print(f"{pages} pages in {site}, all internal links good, {time.perf_counter() - began:.0f} s")
    return 0


def gather(home: Path, sources: Path) -> None:
    """Write the sources of the site into the folder `sources`, anew."""
    shutil.rmtree(sources, ignore_errors=True)
    unwanted = shutil.ignore_patterns(
        "*.py", "__pycache__", ".ipynb_checkpoints", "README.md", "reference", "weights", "*.zip"
    )
    for folder in ("docs", "figures", "notebooks", "data"):
        to = sources if folder == "docs" else sources / folder
        shutil.copytree(home / folder, to, ignore=unwanted, dirs_exist_ok=True)
    pages = [sources / name for name in ("README.md", "data/README.md", "data/weights/README.md")]
    for path in (*pages, *sources.glob("notebooks/**/*.ipynb")):
        text = (home / path.relative_to(sources)).read_text(encoding="utf-8")
        for old, new in ELSEWHERE.items():
            text = text.replace(old, new)
        if path.parent.name == "data":  # included by data.md, which lies one folder higher
            text = text.replace("](../", "](")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    write_gallery(home, sources / "gallery")
    write_reference(sources / "api")


if __name__ == "__main__":
    sys.exit(main())
