"""The report of what ran: all of it, beside what is committed, and nothing from anywhere else."""

import os
import re
import shutil
from html.parser import HTMLParser

import pytest
from fake_run import fake_run, ran

from ilo.cli.main import main

report = pytest.importorskip("ilo.report", reason="no notebook tools here: pip install -e '.[notebooks]'")


class Addresses(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [(name, value) for name, value in attrs if name in ("src", "href")]


@pytest.fixture
def made(tmp_path):
    runs, figures = fake_run(tmp_path)
    return runs, report.write_report(runs, figures)


def row(text: str, first: str) -> str:
    """The row of a table whose first cell says `first`, without tags."""
    [found] = [part for part in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL) if f">{first}<" in part]
    return " ".join(re.sub(r"<[^>]+>", " ", found).split())


def test_it_says_what_ran_for_how_long_and_with_what(made):
    text = made[1].read_text(encoding="utf-8")
    assert "3 notebooks" in text
    assert "1 failed" in text
    assert "16 s of them together" in text
    assert row(text, "theory/two").startswith("theory/two ok 2.0 0123456789ab 0.1.0 2.13.0 3.11.7")
    assert "levels = [0.1, 0.2]" in row(text, "theory/two")
    assert row(text, "experiments/bad").startswith("experiments/bad failed 3.5")
    assert "AssertionError: &lt;the claim&gt; fails" in text


def test_what_moved_is_told_from_what_did_not(made):
    text = made[1].read_text(encoding="utf-8")
    assert row(text, "moved.csv").startswith("moved.csv moved 4 2 0 which task inpainting, method B: psnr 27.5 → 28.5")
    assert row(text, "same.csv").startswith("same.csv as before 4 0 0")
    assert row(text, "new.csv") == "new.csv not compared no reference"


def test_it_needs_nothing_but_its_own_folder(made, tmp_path):
    runs, page = made
    elsewhere = tmp_path / "sent" / "to somebody"
    shutil.copytree(page.parent, elsewhere)
    shutil.rmtree(runs)
    pages = list(elsewhere.rglob("*.html"))
    assert len(pages) == 4
    for path in pages:
        for name, address in Addresses(path.read_text(encoding="utf-8")).found:
            assert ":" not in address or address == "data:,", address
            assert address.startswith(("#", "data:")) or (path.parent / address).is_file(), (path, name, address)
    both = {(what, name) for what in ("fresh", "committed") for name in ("moved", "same")} | {("fresh", "new")}
    assert {(path.parent.name, path.stem) for path in elsewhere.rglob("*.png")} == both


def test_executed_notebooks_are_pages_with_their_formulas(made):
    text = (made[1].parent / "notebooks" / "experiments" / "one.html").read_text(encoding="utf-8")
    assert text.count("<math ") == 2
    assert "\\" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL), "a command is left as it is written"
    assert "&lt;b&gt;" in text
    assert "<script" not in text


def test_of_several_runs_the_last_counts_and_an_old_report_goes(made):
    runs, page = made
    stale = page.parent / "notebooks" / "experiments" / "gone.html"
    stale.write_text("")
    ran(runs, "2026-01-03-000000", "experiments/bad", 7.0)
    later = runs / "2026-01-03-000000" / "experiments" / "bad-output" / "results.json"
    os.utime(later, (later.stat().st_mtime + 60,) * 2)
    text = report.write_report(runs, runs.parent / "figures").read_text(encoding="utf-8")
    assert "0 failed" in text
    assert row(text, "experiments/bad").startswith("experiments/bad ok 7.0")
    assert not stale.exists()


def test_a_run_without_figures_or_copies_is_reported_too(tmp_path):
    ran(tmp_path / "runs", "2026-01-01-000000", "experiments/one", 1.0)
    (tmp_path / "runs" / "2026-01-01-000000" / "experiments" / "one.ipynb").unlink()
    text = report.write_report(tmp_path / "runs", tmp_path / "figures").read_text(encoding="utf-8")
    assert "1 notebooks" in text
    assert "Not compared: no folder" in text


def test_nothing_that_ran_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "runs_folder", lambda: tmp_path / "runs")
    assert main(["report"]) == 2
    assert "run `ilo reproduce` first" in capsys.readouterr().err
