"""A run in small, as `ilo reproduce` leaves one: two notebooks that ran and one that failed."""

import json
from pathlib import Path

import nbformat
import pandas as pd
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

RECORD = {"ilo": "0.1.0", "torch": "2.13.0", "python": "3.11.7"}
TOLERANCES = "file,quantity,absolute,relative,lower,upper,source\n*,psnr,0.3,0,,,made up\n"


def rows(shift: float) -> pd.DataFrame:
    table = [
        {"task": "inpainting", "method": method, "image": i, "psnr": 20.0 + i} for method in "AB" for i in range(16)
    ]
    return pd.DataFrame(table).assign(psnr=lambda t: t["psnr"] + shift * (t["method"] == "B"))


def draw(folder: Path, name: str, colour: str, revision: str, shift: float = 0.0) -> list[str]:
    """Write a figure of one colour, its rows and its record; return the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), colour).save(folder / f"{name}.png")
    rows(shift).to_csv(folder / f"{name}.csv", index=False)
    (folder / f"{name}.json").write_text(json.dumps({"revision": revision}))
    return [f"{name}.{suffix}" for suffix in ("csv", "json", "png")]


def ran(runs: Path, day: str, name: str, seconds: float, error: str | None = None) -> None:
    """What a run leaves of one notebook in its own folder."""
    output = runs / day / f"{name}-output"
    output.mkdir(parents=True, exist_ok=True)
    parameters = {"seed": 0, "levels": [0.1, 0.2], "images": ""}
    record = {"notebook": name, "parameters": parameters, "seconds": seconds, "revision": "0123456789ab", **RECORD}
    (output / "results.json").write_text(json.dumps({**record, "error": error}))
    formula = r"$z^* = \arg\min_z \|A(G(z)) - y\|^2$"
    alone = r"$$m \ge \frac{k}{\gamma}$$"
    printed = new_code_cell("print('<b>')", outputs=[new_output("stream", text="<b>\n")], execution_count=1)
    words = new_markdown_cell(f"# A title\n\nIn the text {formula}, and alone\n\n{alone}\n")
    notebook = new_notebook(cells=[words, printed])
    nbformat.write(notebook, output.with_name(output.name.removesuffix("-output") + ".ipynb"))


def fake_run(place: Path) -> tuple[Path, Path]:
    """Make the run in `place`: its runs/ and the committed figures/, of which one moved, one did not, one is new."""
    runs, figures = place / "runs", place / "figures"
    manifest = {
        "experiments/one": draw(runs / "figures", "moved", "red", "0123456789ab", shift=1.0),
        "theory/two": draw(runs / "figures", "same", "green", "0123456789ab"),
        "experiments/bad": draw(runs / "figures", "new", "blue", "0123456789ab"),
    }
    (runs / "drawn.json").write_text(json.dumps(manifest))
    for name in ("moved", "same"):
        draw(figures, name, "grey", "ba9876543210")
    (figures / "tolerances.csv").write_text(TOLERANCES)
    ran(runs, "2026-01-01-000000", "experiments/one", 11.0)
    ran(runs, "2026-01-01-000000", "theory/two", 2.0)
    ran(runs, "2026-01-02-000000", "experiments/bad", 3.5, error="AssertionError: <the claim> fails")
    return runs, figures
