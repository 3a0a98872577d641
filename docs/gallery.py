"""The gallery: a page for every committed figure, with the notebook that draws it, its rows and its record."""

import ast
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd

from ilo.profiles import Job, plan

SHOWN = 40  # rows of a figure's table; the others are in the file
HASHES = ("cell",)  # columns that tell a reader nothing
SPELT = {"celeba": "CelebA", "lpips": "LPIPS", "psnr": "PSNR"}
UNRECORDED = "UNRECORDED.txt"


@dataclass(frozen=True)
class Figure:
    """A committed figure. path: of its .png, beside which its .csv, .json and .pdf lie. job: the run of a notebook
    that draws it. section: the heading of the notebook's section that does. record: what its .json says. reason: why
    its revision is no clean commit of the history, where it is none."""

    path: Path
    job: Job
    section: str
    record: dict[str, Any]
    reason: str = ""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def title(self) -> str:
        words = [SPELT.get(word, word) for word in self.name.split("_")]
        return words[0][0].upper() + " ".join(words)[1:]


def figures(home: Path) -> list[Figure]:
    """Every figure of `home`/figures, in the order of the notebooks that draw them.

    Raises:
        ValueError: a figure that no run of the quick profile draws, or that two do; a file that it lacks.
    """
    drawn: dict[str, tuple[Job, str]] = {}
    for job in plan("quick", notebooks=home / "notebooks"):
        for name, section in saved(job):
            if name in drawn:
                raise ValueError(f"{name} is drawn by {drawn[name][0].name} and by {job.name}")
            drawn[name] = (job, section)
    folder = home / "figures"
    found = {path.stem: path for path in folder.glob("*.png")}
    if stray := sorted(set(found) - set(drawn)):
        raise ValueError(f"no notebook of the quick profile saves a figure of these names: {', '.join(stray)}")
    reasons = _reasons(folder / UNRECORDED)
    listed = []
    for name, (job, section) in drawn.items():
        if name not in found:  # not recorded yet
            continue
        path = found[name]
        if lacking := [s for s in (".csv", ".json", ".pdf") if not path.with_suffix(s).is_file()]:
            raise ValueError(f"{path} lacks its {', '.join(lacking)}")
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        listed.append(Figure(path, job, section, record, reasons.get(f"figures/{name}.json", "")))
    return listed


def saved(job: Job) -> Iterator[tuple[str, str]]:
    """The figures that a run saves: the name of each, and the heading that its cell stands under.

    The name is the fourth argument of `plots.save_figure`, an expression of the notebook's parameters.
    """
    heading = ""
    for cell in nbformat.read(job.path, as_version=4).cells:
        if cell.cell_type == "markdown":
            heading = [heading, *re.findall(r"^##? (.+)$", cell.source, re.MULTILINE)][-1]
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "plots.save_figure":
                expression = ast.unparse(node.args[3])
                try:
                    yield eval(expression, {}, dict(job.parameters)), heading
                except NameError as error:
                    raise ValueError(
                        f"{job.name} names a figure {expression}, which its parameters alone do not tell: {error}"
                    ) from None


def _reasons(path: Path) -> dict[str, str]:
    """What a list of unrecorded files says: file -> why."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return dict(re.split(r"  +", line, maxsplit=1) for line in lines if line and not line.startswith("#"))


def write_gallery(home: Path, folder: Path) -> list[Figure]:
    """Write a page for every figure of `home`, and one of them all, into `folder`: beside copies of notebooks/ and
    figures/, as they lie in `home`."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = figures(home)
    for figure in listed:
        (folder / f"{figure.name}.md").write_text(page(figure), encoding="utf-8")
    (folder / "index.md").write_text(index(listed), encoding="utf-8")
    return listed


def page(figure: Figure) -> str:
    """The page of one figure, in Markdown."""
    name, record = figure.name, figure.record
    rows = pd.read_csv(figure.path.with_suffix(".csv"))
    what = f"the first {SHOWN} of {len(rows)} rows" if len(rows) > SHOWN else f"{len(rows)} rows"
    notebook = f"../notebooks/{figure.job.path.parent.name}/{figure.job.path.name}"
    drawn_by = f"[{figure.job.path.parent.name}/{figure.job.path.stem}]({notebook})"
    then = record.get("notebook", "")
    moved = f" When it was recorded, that notebook was called {then}." if then not in _names(figure.job) else ""
    warning = f"\n```{{warning}}\nThe revision cannot be found again: {figure.reason}.\n```\n" if figure.reason else ""
    return f"""# {figure.title}

![{figure.title}](../figures/{name}.png)

Drawn by {drawn_by}, section *{figure.section}*.{moved}
Files: {{download}}`rows <../figures/{name}.csv>` (CSV), {{download}}`record <../figures/{name}.json>` (JSON),
{{download}}`drawing <../figures/{name}.pdf>` (PDF). To draw it again: `ilo reproduce --only {figure.job.name}`.

## Revision
{warning}
{table(record, sort=True)}

## Parameters

Those of the quick profile, as the notebook has them today; at the revision above they may have been others.

{table({key: value for key, value in figure.job.parameters.items() if key != "output"})}

## Rows

{what[0].upper()}{what[1:]}; {{download}}`all of them, in full precision <../figures/{name}.csv>`.

{rows_as_html(rows)}
"""


def _names(job: Job) -> tuple[str, str]:
    """What a record calls the notebook: the run's name or the notebook's own."""
    return job.name, f"{job.path.parent.name}/{job.path.stem}"


def table(values: dict[str, Any], sort: bool = False) -> str:
    """Names and values as a table."""
    lines = [f"| `{key}` | `{value if value not in ('', []) else '—'}` |" for key, value in values.items()]
    return "\n".join(["| name | value |", "|---|---|", *(sorted(lines) if sort else lines)])


def rows_as_html(rows: pd.DataFrame) -> str:
    """The first rows as a table that scrolls by itself."""
    shown = rows.drop(columns=[name for name in HASHES if name in rows]).head(SHOWN)
    markup = shown.to_html(index=False, border=0, na_rep="", float_format="{:.4g}".format, classes="table")
    return f'```{{raw}} html\n<div class="rows" tabindex="0">\n{markup}\n</div>\n```'


def index(listed: list[Figure]) -> str:
    """The page of all figures, in Markdown: by notebook, a small picture of each."""
    parts = [
        "# Gallery",
        "Every figure of the repository. Its page has the notebook that draws it, its numbers, and what made it.",
    ]
    for notebook, group in groupby(listed, key=lambda figure: figure.job.path):
        cards = "\n".join(
            f'<a href="{figure.name}.html"><img src="../_images/{figure.name}.png" alt="" loading="lazy">'
            f"<span>{html.escape(figure.title)}</span></a>"
            for figure in group
        )
        parts += [f"## {heading(notebook)}", f'```{{raw}} html\n<div class="cards">\n{cards}\n</div>\n```']
    names = "\n".join(figure.name for figure in listed)
    parts += [
        "## The names of the methods",
        '```{include} ../README.md\n:start-after: "<!-- names -->"\n:end-before: "<!-- end names -->"\n```',
        f"```{{toctree}}\n:hidden:\n\n{names}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def heading(notebook: Path) -> str:
    """The title of a notebook."""
    return nbformat.read(notebook, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")
