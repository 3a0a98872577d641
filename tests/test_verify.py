"""`ilo verify`: what it takes for moved, and what it does not."""

from fnmatch import fnmatch
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ilo import tolerances, verify
from ilo.cli.main import main

FIGURES = Path(__file__).resolve().parent.parent / "figures"


def table(levels=(0.1, 0.2), methods=("CSGM", "ILO"), images=8, seeds=2) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    keys = product(["inpainting"], levels, methods, [f"face {i}" for i in range(images)], range(seeds))
    rows = pd.DataFrame(keys, columns=["task", "level", "method", "image", "seed"])
    psnr = rng.normal(20, 3, len(rows))
    return rows.assign(psnr=psnr, mse=4 / 10 ** (psnr / 10), lpips=rng.uniform(0.1, 0.3, len(rows)), seconds=1.0)


@pytest.fixture
def folders(tmp_path):
    for name in ("fresh", "reference"):
        (tmp_path / name).mkdir()

    def write(fresh, reference=None, name="rows.csv"):
        fresh.to_csv(tmp_path / "fresh" / name, index=False)
        (table() if reference is None else reference).to_csv(tmp_path / "reference" / name, index=False)
        return main(["verify", str(tmp_path / "fresh"), "--reference", str(tmp_path / "reference")])

    return write


def test_equal_rows_and_other_times_are_in_order(folders, capsys):
    assert folders(table().assign(seconds=99.0).sample(frac=1, random_state=0)) == 0
    assert "rows.csv: 18 means compared, 0 moved, 0 missing\n" in capsys.readouterr().out


@pytest.mark.parametrize(("metric", "change", "code"), [("psnr", 0.29, 0), ("psnr", -0.31, 1), ("lpips", 0.021, 1)])
def test_a_mean_may_move_by_its_tolerance_and_no_further(folders, capsys, metric, change, code):
    rows = table()
    at = (rows["level"] == 0.2) & (rows["method"] == "ILO")
    rows.loc[at, metric] += change
    assert folders(rows) == code
    said = capsys.readouterr().out
    assert (f"task inpainting, level 0.2, method ILO: {metric}" in said) == bool(code)
    assert said.count("  moved") == code


def test_single_rows_may_drift_where_the_mean_holds(folders):
    rows = table()
    rows.loc[0, "psnr"] += 2.0
    rows.loc[1, "psnr"] -= 2.0
    assert folders(rows) == 0


def test_a_smaller_run_is_compared_on_what_both_have(folders, capsys):
    small = table().query("level == 0.1 and image in ['face 0', 'face 3'] and seed == 1")
    assert folders(small) == 0, "not the mean of two images with that of eight"
    assert "12 means compared, 0 moved, 0 missing" in capsys.readouterr().out
    assert folders(table(levels=(0.1, 0.2, 0.5)), table()) in (0, 1), "what only the fresh run has is left out"


def test_a_method_that_is_gone_is_missing(folders, capsys):
    assert folders(table().query("method == 'CSGM' or level == 0.1")) == 1
    assert "missing  task inpainting, level 0.2, method ILO" in capsys.readouterr().out


def test_not_a_number_has_moved(folders, capsys):
    rows = table()
    rows.loc[rows.query("method == 'ILO'").index[0], "psnr"] = np.nan
    assert folders(rows) == 1
    assert "→ nan" in capsys.readouterr().out


def test_means_without_images_and_ablations_are_compared_too(folders, capsys):
    means = pd.DataFrame({"task": "inpainting", "layer": [1, 2], "method": "ILO", "psnr": [20.0, 21.0]})
    assert folders(means, means) == 0
    assert folders(means.assign(psnr=[20.0, 23.0]), means) == 1
    assert "layer 2, method ILO: psnr 21 → 23 (+2, allowed ±1.2)" in capsys.readouterr().out


def test_nothing_to_compare_is_exit_2(folders, tmp_path, capsys):
    arguments = ["verify", str(tmp_path / "fresh"), "--reference", str(tmp_path / "reference")]
    assert main(arguments) == 2
    assert folders(pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]})) == 2
    assert folders(table().assign(image="another")) == 2
    assert capsys.readouterr().err.count("ilo: ") == 3


def test_a_mean_of_few_rows_may_move_further_but_not_a_methods_of_many(folders, capsys):
    many = table(levels=[i / 100 for i in range(1, 33)], images=1, seeds=1)
    assert folders(many.assign(psnr=many["psnr"] + np.where(many["level"] == 0.01, 1.1, 0.0)), many) == 0
    assert folders(many.assign(psnr=many["psnr"] - np.where(many["level"] == 0.01, 1.3, 0.0)), many) == 1
    assert "level 0.01" in capsys.readouterr().out
    assert folders(many.assign(psnr=many["psnr"] - np.where(many["method"] == "ILO", 0.4, 0.0)), many) == 1
    said = capsys.readouterr().out
    assert said.count("  moved") == 1
    assert "  moved    all rows of method ILO: psnr" in said


def test_what_is_recovered_exactly_may_be_so_to_any_digit(folders):
    exact = table().assign(psnr=50.0, mse=4e-5)
    assert folders(exact.assign(psnr=31.0, mse=3e-3), exact) == 0
    assert folders(exact.assign(psnr=29.0, mse=5e-3), exact) == 1


def test_searches_of_another_length_are_not_compared(folders, capsys):
    quick = table().assign(evaluations=np.where(table()["method"] == "ILO", 255, np.nan))
    full = quick.assign(evaluations=quick["evaluations"] * 4, psnr=quick["psnr"] + quick["evaluations"].fillna(0))
    assert folders(full, quick) == 0
    said = capsys.readouterr().out
    assert "rows.csv: 9 means compared, 0 moved, 0 missing" in said, "CSGM's two levels and its mean"
    assert "  2 groups not compared: of other images, seeds or numbers of evaluations" in said


def test_a_file_with_nothing_in_common_does_not_stop_the_others(folders, capsys):
    assert folders(table().assign(image="mine"), name="photos.csv") == 2
    assert folders(table().assign(seconds=2.0)) == 0
    said = capsys.readouterr().out
    assert "not compared: photos.csv: the two have no rows of the same" in said
    assert "1 files, 18 means compared: 0 moved, 0 missing" in said


def test_files_that_nothing_has_written_since_are_noticed(folders, capsys):
    assert folders(table()) == 0
    said = capsys.readouterr().out
    assert "rows.csv: 18 means compared, 0 moved, 0 missing; identical file: is this a fresh run?" in said
    assert "every file is identical" in said
    assert folders(table().assign(seconds=2.0), name="other.csv") == 0
    said = capsys.readouterr().out
    assert said.count("is this a fresh run?") == 1, "of the two that is rows.csv"
    assert "every file is identical" not in said


def test_the_tolerances_are_a_table_beside_the_reference(folders, tmp_path, capsys):
    own = "file,quantity,absolute,relative,lower,upper,source\nrows.csv,psnr,5,0,,,mine\n*,psnr,0,0,,,never read\n"
    (tmp_path / "reference" / tolerances.TOLERANCES).write_text(own)
    assert folders(table().assign(psnr=table()["psnr"] + 4.9, lpips=1.0)) == 0, "5 dB, and of psnr alone"
    assert "rows.csv: 6 means compared, 0 moved" in capsys.readouterr().out
    assert folders(table().assign(psnr=table()["psnr"] + 5.1)) == 1
    assert folders(table().assign(psnr=table()["psnr"] + 0.1), name="other.csv") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quantity,absolute\npsnr,1\n", "lacks file, relative"),
        ("file,quantity,absolute,relative,lower,upper,source\n*,psnr,-1,0,,,\n", "at least 0"),
        ("file,quantity,absolute,relative,lower,upper,source\n*,psnr,wide,0,,,\n", "wide"),
    ],
)
def test_a_wrong_table_of_tolerances_is_refused(folders, tmp_path, capsys, text, message):
    path = tmp_path / "reference" / tolerances.TOLERANCES
    path.write_text(text)
    assert folders(table()) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert message in said


def test_without_a_checkout_the_reference_must_be_named(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verify, "checkout", lambda: None)
    assert main(["verify", str(tmp_path / "fresh")]) == 2
    assert "--reference" in capsys.readouterr().err


def test_a_run_is_compared_with_the_committed_figures(capsys):
    """The committed figures as if they were a run's: every table that has a tolerance is compared, and is in order."""
    comparisons = {c.name: c for c in verify.verify(FIGURES)}
    compared = {name for name, c in comparisons.items() if c.compared}
    assert all(c.ok and not c.apart for c in comparisons.values())
    assert tolerances.TOLERANCES not in comparisons
    allowed = tolerances.read_tolerances(FIGURES / tolerances.TOLERANCES)
    for name in comparisons:
        columns = set(pd.read_csv(FIGURES / name, nrows=1))
        fits = {t.quantity for t in allowed if fnmatch(name, t.file)} & columns
        assert (name in compared) == bool(fits), name


def test_no_tolerance_is_idle():
    columns = {path.name: set(pd.read_csv(path, nrows=1)) for path in FIGURES.glob("*.csv")}
    for tolerance in tolerances.read_tolerances(FIGURES / tolerances.TOLERANCES):
        used = [
            name for name, found in columns.items() if fnmatch(name, tolerance.file) and tolerance.quantity in found
        ]
        assert used, tolerance
        assert tolerance.source.strip(), "where it is known from"


def test_movements_are_what_tolerances_are_compared_with():
    now = table()
    now.loc[(now["level"] == 0.2) & (now["method"] == "ILO"), "psnr"] += 0.2
    now.loc[(now["level"] == 0.1) & (now["method"] == "CSGM") & (now["image"] != "face 0"), "psnr"] = np.nan
    few = now[now["psnr"].notna()]  # two rows are left of inpainting at 0.1 by CSGM
    few.loc[(few["level"] == 0.1) & (few["method"] == "CSGM"), "psnr"] += 0.8
    moved = verify.movements("rows.csv", few, table(), tolerances.read_tolerances(FIGURES / tolerances.TOLERANCES))
    moved = moved[moved["quantity"] == "psnr"].set_index("group")
    assert moved.loc["task inpainting, level 0.2, method ILO", "moved"] == pytest.approx(0.2)
    assert moved.loc["task inpainting, level 0.1, method CSGM", "rows"] == 2
    assert moved.loc["task inpainting, level 0.1, method CSGM", "moved"] == pytest.approx(0.8 * (2 / 16) ** 0.5)
    assert moved.loc["method ILO", "moved"] == pytest.approx(0.1)


def test_the_spread_between_runs_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(FIGURES.parent)
    from benchmarks import spread

    for name, change in (("own", 0.0), ("other", 0.2)):
        (tmp_path / name).mkdir()
        table().assign(psnr=lambda rows, by=change: rows["psnr"] + by).to_csv(tmp_path / name / "rows.csv", index=False)
    spread.main([str(tmp_path / "own"), str(tmp_path / "other")])
    said = capsys.readouterr().out
    assert "*, psnr: 6 means" in said
    assert "furthest 0.2 of 0.3 allowed: rows.csv" in said
    assert "*, lpips: 6 means, of which half moved by less than 0," in said
