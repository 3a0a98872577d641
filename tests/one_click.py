"""Write into every tutorial, and the README, what opens it in Colab or Binder by one click.

    python tests/one_click.py

The address is the `Repository` of pyproject.toml: where the project is published or forked, change it there and run
this. A tutorial's first cell gets links under its title; its first code cell installs `ilo` where it is missing. Links
are words, no badges: a badge is a picture from somebody else's server. Outputs stay as they are.
"""

import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import nbformat

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = ROOT / "notebooks" / "tutorials"
EXTRAS = {"09_paint_a_mask": "widget", "10_deepinv": "deepinv"}  # what a tutorial needs beside the experiments' extra
LINKS = re.compile(r"\*Open in \[Colab\].*")
TAG = "install"
INSTALL = """\
# Where ilo is missing, in Colab say, this installs it (some minutes); elsewhere it does nothing.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("ilo") is None:
    what = "ilo[{extras}] @ git+{address}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", what], check=True)
"""


def address() -> str:
    """The repository's, https://github.com/OWNER/NAME."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"]


def links(path: str) -> str:
    """The two links of a notebook, by its path in the repository."""
    place = urlsplit(address()).path.strip("/")
    colab = f"https://colab.research.google.com/github/{place}/blob/main/{path}"
    binder = f"https://mybinder.org/v2/gh/{place}/main?urlpath=lab/tree/{path}"
    return f"*Open in [Colab]({colab}) or [Binder]({binder}).*"


def install_cell(name: str) -> str:
    extras = ",".join(filter(None, ("experiments", EXTRAS.get(name))))
    return INSTALL.format(extras=extras, address=address()).rstrip("\n")


def with_one_click(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Put links and install cell into a tutorial, in place of what it has of them."""
    first = notebook.cells[0]
    title, *rest = [part for part in first.source.split("\n\n") if not LINKS.match(part)]
    first.source = "\n\n".join([title, links(f"notebooks/tutorials/{name}.ipynb"), *rest])
    cells = [cell for cell in notebook.cells[1:] if TAG not in cell.metadata.get("tags", [])]
    cell = nbformat.v4.new_code_cell(install_cell(name), id="install", metadata={"tags": [TAG]})
    notebook.cells = [first, cell, *cells]
    if any(cell.execution_count for cell in cells if cell.cell_type == "code"):  # it has been run, and counts move on
        for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
            cell.execution_count = count
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count
    return notebook


def readme_with_links(text: str) -> str:
    """README's text with the links of the quickstart in place of those that it has."""
    return LINKS.sub(links("notebooks/tutorials/00_quickstart.ipynb"), text)


def main() -> None:
    for path in sorted(TUTORIALS.glob("*.ipynb")):
        nbformat.write(with_one_click(nbformat.read(path, as_version=4), path.stem), path)
    readme = ROOT / "README.md"
    readme.write_text(readme_with_links(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
