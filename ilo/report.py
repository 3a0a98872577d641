"""The report of the last runs: runs/report/index.html, one page that opens from the disk, with no server or network.

Each figure beside the committed one, what `ilo.verify` says, and of every notebook its parameters, time, versions and
the executed copy as a page. All that the report shows lies in its folder, which can be moved or sent as it is. A
notebook is shown as it last ran: what a run left out is there from an earlier one, and what never ran is not.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment, PackageLoader, StrictUndefined
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from ilo.files import copied_atomically, locked, written_atomically
from ilo.provenance import checkout, runs_folder
from ilo.publish import LOCK, drawn
from ilo.verify import Comparison, verify

FOLDER = "report"  # in runs/
VERSIONS = ("revision", "ilo", "torch", "python")


@dataclass(frozen=True)
class Ran:
    """How a notebook last ran. executed: its copy, partial if it failed; figures: names of what its last good run drew;
    record: parameters, seconds, versions and error (None: it succeeded), as its results.json has them."""

    name: str
    executed: Path
    figures: tuple[str, ...]
    record: dict[str, Any]


def write_report(runs: str | Path | None = None, figures: str | Path | None = None) -> Path:
    """Write the report of all that has run, and return its index.html. An older report is replaced.

    Args:
        runs: where runs are; None: runs/ of the checkout or working directory.
        figures: the committed figures; None: figures/ of the checkout. Where there are none, a run's stand alone.

    Raises:
        ValueError: nothing has run.
    """
    runs = runs_folder() if runs is None else Path(runs)
    home = checkout()
    if figures is None:
        figures = (Path.cwd() if home is None else home) / "figures"
    ran = last_runs(runs)
    if not ran:
        raise ValueError(f"nothing has run in {runs}: run `ilo reproduce` first")
    folder = runs / FOLDER
    with locked(runs / LOCK):  # no other run replaces a figure, or the report, meanwhile
        shutil.rmtree(folder, ignore_errors=True)
        comparisons, reason = _compared(runs / "figures", Path(figures))
        page = _template("report.html").render(
            ran=ran,
            pages=dict(_notebook_pages(ran, folder)),
            pictures={one.name: [_copied(name, runs, Path(figures), folder) for name in one.figures] for one in ran},
            comparisons=comparisons,
            reason=reason,
            versions=VERSIONS,
            written=f"{datetime.now():%Y-%m-%d %H:%M}",
            seconds=sum(one.record["seconds"] for one in ran),
        )
        return _written(folder / "index.html", page)


def last_runs(runs: Path) -> list[Ran]:
    """Every notebook that has run, by name, as it last did."""
    last: dict[str, tuple[float, Path, dict[str, Any]]] = {}
    for path in runs.glob("*/**/*-output/results.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        entry = (path.stat().st_mtime, path, record)
        last[record["notebook"]] = max(entry, last.get(record["notebook"], entry), key=lambda one: one[0])
    files = drawn(runs)
    found = []
    for name, (_, path, record) in sorted(last.items()):
        executed = path.parent.with_name(path.parent.name.removesuffix("-output") + ".ipynb")
        pictures = tuple(Path(file).stem for file in files.get(name, ()) if file.endswith(".png"))
        found.append(Ran(name, executed, pictures, record))
    return found


def _compared(fresh: Path, figures: Path) -> tuple[list[Comparison], str]:
    """What `verify` says of a run, and why it says nothing where there is nothing to compare."""
    try:
        return verify(fresh, figures), ""
    except ValueError as error:
        return [], str(error)


def _copied(name: str, runs: Path, figures: Path, folder: Path) -> dict[str, Any]:
    """Copy a figure and the committed one of the name into the report: its name, and path and revision of both."""
    found: dict[str, Any] = {"name": name}
    for what, source in (("fresh", runs / "figures"), ("committed", figures)):
        found[what] = None
        if (source / f"{name}.png").is_file():
            copied_atomically(source / f"{name}.png", folder / what / f"{name}.png")
            found[what] = {"path": f"{what}/{name}.png", "revision": _revision(source / f"{name}.json")}
    return found


def _revision(record: Path) -> str:
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        return "not recorded"


def _notebook_pages(ran: list[Ran], folder: Path) -> Iterator[tuple[str, str]]:
    """Write the executed notebooks as pages: the name of each, and the page's path in the report."""
    exporter = HTMLExporter(template_name="basic")  # cells alone, as the full template fetches scripts
    exporter.register_filter("markdown2html", markdown_as_html)
    template, style = _template("notebook.html"), HtmlFormatter().get_style_defs(".highlight")
    for one in ran:
        if not one.executed.is_file():  # it ended before its first cell
            continue
        body, _ = exporter.from_notebook_node(nbformat.read(one.executed, as_version=4))
        path = f"notebooks/{one.name}.html"
        up = "../" * path.count("/")
        _written(folder / path, template.render(name=one.name, body=body, style=style, up=up))
        yield one.name, path


class _Formulas(IPythonRenderer):
    """Markdown of a notebook with its formulas as MathML, which a browser draws without a script."""

    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")

    def block_math(self, body: str) -> str:
        return mathml(body, "block")


def markdown_as_html(text: str) -> str:
    """A notebook's Markdown as HTML."""
    return MarkdownWithMath(renderer=_Formulas(escape=False)).render(text)


def mathml(latex: str, display: str) -> str:
    """A formula as a <math> element; display: "inline" or "block". An unknown command is shown as it is written."""
    return convert(latex.strip().replace(r"\arg", r"\operatorname{arg}"), display=display)


def _template(name: str):
    loader = PackageLoader("ilo", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template(name)


def _written(path: Path, text: str) -> Path:
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
