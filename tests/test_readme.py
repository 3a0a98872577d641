"""What README.md says in numbers, against the rows that say it."""

from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def readme(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import readme

    return readme


def test_the_tables_are_those_of_the_reference_rows(readme):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.replaced(text) == text, "python -m benchmarks readme --write"


def test_a_table_has_means_standard_errors_and_the_best_in_bold(readme, monkeypatch):
    made = [
        {"task": task, "level": level, "method": method, "psnr": value + shift}
        for task, level in (("inpainting", 0.1), ("denoising", 0.3))
        for method, value in (("CSGM", 10.0), ("PULSE", 12.0), ("ILO", 20.0))
        for shift in (-1.0, 1.0)
        if (task, method) != ("denoising", "ILO")  # not recorded yet
    ]
    monkeypatch.setattr(readme, "COLUMNS", {"in the range": ("CSGM", "PULSE"), "ILO": ("ILO",), "TV": ("TV",)})
    lines = readme.table(pd.DataFrame(made), "psnr", 1, "max").splitlines()
    assert lines == [
        "| PSNR | in the range | ILO |",
        "|---|---|---|",
        "| 10 % | 12.0 ± 1.0 (PULSE) | **20.0** ± 1.0 |",
    ]
