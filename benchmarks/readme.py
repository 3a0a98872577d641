"""The table of README.md, from the reference rows: what stands between its markers, which a test compares.

    python -m benchmarks readme            (--write: into README.md)

Means over the 32 CelebA images on which nothing was chosen, and one standard error; problems that every column has rows
for.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ilo.files import written_atomically
from ilo.provenance import checkout
from ilo.study.record import JUDGES

BEGIN, END = "<!-- celeba -->", "<!-- end -->"
KEY = ["task", "level"]
SHOWN = {  # (task, level) -> how README calls it
    ("inpainting", 0.05): "5 % of the pixels",
    ("inpainting", 0.1): "10 %",
    ("inpainting", 0.2): "20 %",
    ("Gaussian", 0.05): "5 % Gaussian",
    ("Gaussian", 0.1): "10 %",
    ("super-resolution", 4.0): "super-resolution ×4",
    ("super-resolution", 8.0): "×8",
    ("denoising", 0.3): "noise of 0.3",
    ("colourisation", 0.0): "colour from grey",
    ("deblurring", 2.0): "blur of 2 pixels",
    ("eyes missing", None): "eyes missing",
    ("mouth missing", None): "mouth missing",
    ("half missing", None): "half a face missing",
}
COLUMNS = {  # heading -> methods, of which the best is shown, by name where there are several
    "in the range": ("CSGM", "CSGM (Adam)", "PULSE"),
    "no generator": ("TV", "LASSO (DCT)", "LASSO (wavelet)", "Deep decoder", "Bicubic"),
    "Smooth field": ("Smooth field",),
    "ILO": ("ILO",),
    "ILO (whitened)": ("ILO (whitened)",),
    "ILO auto": ("ILO auto",),
    "ILO auto, sharp": ("ILO auto, sharp",),
}


def rows() -> pd.DataFrame:
    """The reference rows of the images that judge."""
    folder = checkout() / "data" / "reference"
    both = pd.concat([pd.read_csv(folder / name) for name in ("celeba.csv", "auto.csv")], ignore_index=True)
    return both[both["image"].isin(JUDGES)]


def table(found: pd.DataFrame, metric: str, digits: int, best: str) -> str:
    """One Markdown table of a metric: a line per problem, a column per heading that has rows; best: "max" or "min"."""
    cells = found.groupby([*KEY, "method"])[metric].agg(["mean", "sem"])
    columns = {title: names for title, names in COLUMNS.items() if found["method"].isin(names).any()}
    lines = [f"| {metric.upper()} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for (task, level), title in SHOWN.items():
        part = found[(found["task"] == task) & ((found["level"] == level) | (level is None))]
        if part.empty:
            continue
        here = cells.loc[(task, part["level"].iloc[0])]
        chosen = {heading: _best(here, names, best) for heading, names in columns.items()}
        if None in chosen.values():  # not every method has rows of this problem yet
            continue
        first = getattr(pd.Series({h: here.loc[name, "mean"] for h, name in chosen.items()}), f"idx{best}")()
        texts = [
            _text(here.loc[name], name if len(columns[heading]) > 1 else "", digits, bold=heading == first)
            for heading, name in chosen.items()
        ]
        lines.append(f"| {title} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def block() -> str:
    """What stands between the markers."""
    found = rows()
    return "\n\n".join([table(found, "psnr", 1, "max"), table(found, "lpips", 3, "min")])


def _best(here: pd.DataFrame, names: Sequence[str], best: str) -> str | None:
    there = here.loc[here.index.isin(names), "mean"]
    return getattr(there, f"idx{best}")() if len(there) else None


def _text(cell: pd.Series, name: str, digits: int, *, bold: bool) -> str:
    number = f"{cell['mean']:.{digits}f}"
    number = f"**{number}**" if bold else number
    return f"{number} ± {cell['sem']:.{digits}f}" + (f" ({name})" if name else "")


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks readme", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put it into README.md")
    options = parser.parse_args(arguments)
    if options.write:
        path = checkout() / "README.md"
        text = path.read_text(encoding="utf-8")
        with written_atomically(path) as temporary:
            Path(temporary).write_text(replaced(text), encoding="utf-8")
    else:
        print(block())


def replaced(text: str) -> str:
    """README's text with the tables as the rows have them."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{block()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    main()
