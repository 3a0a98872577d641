"""Take out of the committed notebooks what changes without meaning: times, the language's version, and the numbers of
widgets, which are nobody's once the kernel is gone (their words stay)."""

from pathlib import Path

import nbformat

WIDGET = "application/vnd.jupyter.widget-view+json"
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def main() -> None:
    for path in sorted(NOTEBOOKS.rglob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                output.get("data", {}).pop(WIDGET, None)
            cell.metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
