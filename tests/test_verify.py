"""`ilo verify`: what it takes for moved, and what it does not."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from ilo import verify
from ilo.cli import main


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
    assert "rows.csv: 12 means compared, 0 moved, 0 missing" in capsys.readouterr().out


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
    assert "6 means compared, 0 moved, 0 missing" in capsys.readouterr().out
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
    assert folders(means.assign(psnr=[20.0, 22.0]), means) == 1
    assert "layer 2, method ILO: psnr 21 → 22 (+1, allowed ±0.3)" in capsys.readouterr().out


def test_nothing_to_compare_is_exit_2(folders, tmp_path, capsys):
    arguments = ["verify", str(tmp_path / "fresh"), "--reference", str(tmp_path / "reference")]
    assert main(arguments) == 2
    assert folders(pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]})) == 2
    assert folders(table().assign(image="another")) == 2
    assert capsys.readouterr().err.count("ilo: ") == 3


def test_tolerances_are_said_for_metrics_that_rows_have():
    assert set(verify.TOLERANCES) == {"psnr", "ssim", "lpips", "mse"}
