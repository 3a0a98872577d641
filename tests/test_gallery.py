"""The gallery's pages, the reference's and the check of links, without Sphinx; `make browser` builds the site."""

import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml
from fake_run import draw
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

pytest.importorskip("papermill", reason="the notebook tools are not installed: pip install -e '.[notebooks]'")

ROOT = Path(__file__).resolve().parent.parent
SAVE = "saved = plots.save_figure(figure, rows, output, {}, record)"


@pytest.fixture
def gallery(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from docs import gallery

    return gallery


@pytest.fixture
def home(tmp_path):
    """A repository in small: a notebook that runs twice, one that runs once, and a figure of each."""
    write(tmp_path, "experiments/01_both", 'f"{task}_seen" if task else "none"', 'task: str = "a"  # what')
    write(tmp_path, "theory/02_one", '"bound"', "seed: int = 0  # of it")
    profile = {"experiments/01_both:a": {}, "experiments/01_both:b": {"task": "b"}, "theory/02_one": {"seed": 7}}
    (tmp_path / "notebooks" / "profiles.yaml").write_text(yaml.safe_dump({"quick": profile}, sort_keys=False))
    for name in ("a_seen", "bound"):
        draw(tmp_path / "figures", name, "red", "0123456789ab")
        (tmp_path / "figures" / f"{name}.pdf").touch()
    return tmp_path


def write(home, name, expression, parameters):
    path = home / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [
        new_markdown_cell(f"# The title of {name}\n\nWords."),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        new_markdown_cell("## The drawing\n\n## and its end"),
        new_code_cell(SAVE.format(expression)),
    ]
    nbformat.write(
        new_notebook(
            cells=cells, metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
        ),
        path,
    )


def test_every_figure_is_led_back_to_the_run_that_draws_it(gallery, home):
    found = {figure.name: figure for figure in gallery.figures(home)}
    assert {name: figure.job.name for name, figure in found.items()} == {
        "a_seen": "experiments/01_both-a",
        "bound": "theory/02_one",
    }
    assert found["bound"].job.parameters == {"seed": 7}
    assert found["bound"].section == "and its end"


def test_a_page_has_notebook_rows_record_and_parameters(gallery, home):
    record = {"revision": "0123456789ab-dirty", "notebook": "theory/01_older"}
    (home / "figures" / "bound.json").write_text(json.dumps(record))
    (home / "figures" / "UNRECORDED.txt").write_text("# why\nfigures/bound.json    drawn from uncommitted changes\n")
    pd.DataFrame({"x": range(100), "y<": 1 / 3, "cell": "f" * 64}).to_csv(home / "figures" / "bound.csv", index=False)
    gallery.write_gallery(home, home / "gallery")
    text = (home / "gallery" / "bound.md").read_text(encoding="utf-8")
    assert "# Bound\n\n![Bound](../figures/bound.png)" in text
    assert "[theory/02_one](../notebooks/theory/02_one.ipynb)" in text
    assert "was called theory/01_older" in text
    assert "cannot be found again: drawn from uncommitted changes" in text
    assert "| `revision` | `0123456789ab-dirty` |" in text
    assert "| `seed` | `7` |" in text
    assert "The first 40 of 100 rows" in text
    assert text.count("<tr>") == 40
    assert "<th>y&lt;</th>" in text
    assert "0.3333<" in text
    assert "ffff" not in text
    other = (home / "gallery" / "a_seen.md").read_text(encoding="utf-8")
    assert "cannot be found" not in other
    index = (home / "gallery" / "index.md").read_text(encoding="utf-8")
    assert index.index("## The title of experiments/01_both") < index.index('href="a_seen.html"')
    assert index.endswith(":hidden:\n\na_seen\nbound\n```\n")


def test_a_figure_that_nothing_or_two_runs_draw_is_an_error(gallery, home):
    draw(home / "figures", "stray", "red", "0")
    with pytest.raises(ValueError, match="names: stray"):
        gallery.figures(home)
    (home / "figures" / "stray.png").unlink()
    write(home, "theory/02_one", 'f"{task}_seen"', 'task: str = "b"  # what\nseed: int = 0  # of it')
    with pytest.raises(ValueError, match=r"b_seen is drawn by experiments/01_both-b and by theory/02_one"):
        gallery.figures(home)
    write(home, "theory/02_one", "name", "seed: int = 0  # of it")
    with pytest.raises(ValueError, match="theory/02_one names a figure name, which its parameters alone do not tell"):
        gallery.figures(home)


def test_a_figure_without_its_rows_is_an_error(gallery, home):
    (home / "figures" / "bound.csv").unlink()
    with pytest.raises(ValueError, match=r"bound.png lacks its .csv"):
        gallery.figures(home)


def test_the_committed_figures_are_all_in_it(gallery):
    found = gallery.figures(ROOT)
    assert sorted(figure.path for figure in found) == sorted((ROOT / "figures").glob("*.png"))


def test_links_that_lead_nowhere_are_found(gallery, tmp_path):
    from docs.links import broken

    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").write_text('<h1 id="here">b</h1><a href="../a.html#ö">a</a>', encoding="utf-8")
    good = '<p id="ö"><a href="b/#here"></a><a href="#%C3%B6"></a><a href="https://example.org"></a><img src="data:,x">'
    (tmp_path / "a.html").write_text(good, encoding="utf-8")
    assert broken(tmp_path) == []
    bad = '<a href="c.html"></a><a href="b/index.html#there"></a><script src="https://example.org/x.js"></script>'
    (tmp_path / "a.html").write_text(bad + '<p id="ö">', encoding="utf-8")
    assert broken(tmp_path) == [
        "a.html: no file c.html",
        "a.html: no place b/index.html#there",
        "a.html: <script src> is fetched from elsewhere, https://example.org/x.js",
    ]


DOCSTRING = """\
Of `a.name` and `a call(x)`: |x| and a*b*c, but *stressed*; `two
lines` too.

field: (B, n), with
    a second line.
other, one: 3.

    a drawing
      kept

Args:
    x: of |x|.

A list:
    one; two."""
RESTRUCTURED = r"""Of `a.name` and ``a call(x)``: \|x\| and a\*b\*c, but *stressed*; ``two lines`` too.

- **field**: (B, n), with
  a second line.
- **other, one**: 3.

::

    a drawing
      kept

Args:
    x: of \|x\|.

A list:

::

    one; two."""


def test_docstrings_are_shown_as_they_are_meant(gallery):
    from docs.docstrings import restructured

    assert restructured(DOCSTRING) == RESTRUCTURED


def test_a_name_of_the_package_that_is_not_there_is_warned_of(gallery):
    from docs.docstrings import exists

    for name in ("ilo.rng.PURPOSES", "ilo.solver.objectives._DataTerm", "ilo.plots"):
        assert exists(None, None, {"reftarget": name}), name
    for name in ("ilo.rng.PURPOSE", "ilo.nothing", "ilo.plots.curves.there"):
        assert not exists(None, None, {"reftarget": name}), name


def test_every_public_name_is_described_once(gallery, monkeypatch):
    import ilo
    from docs import reference

    every = reference.modules()
    assert {"ilo.solver.rounds", "ilo.interop.deepinv", "ilo.theory.bounds"} <= set(every)
    assert not [name for name in every if name.startswith("ilo.cli")]
    some = [name for name in every if name == "ilo" or name.startswith("ilo.theory")]
    monkeypatch.setattr(reference, "modules", lambda: some)  # the site's build takes the time to import them all
    table = reference.described()
    assert {*ilo._HOMES} <= set(table["ilo"])
    assert "sample_complexity" in table["ilo.theory"]
    assert table["ilo.theory.bounds"] == [], "its room opens all of it"
    assert "train_digits" in table["ilo.theory.digits"]
