"""What the committed rows of data/reference say: the findings that figures and texts point to.

Each is of means over the images that chose nothing. A finding that new rows do not bear out fails here: then the texts
change, not the margin.
"""

import pandas as pd
import pytest

from ilo.study import record
from ilo.study.methods import METHODS

SENSING = ("inpainting", "Gaussian", "circulant")
OURS = ("ILO auto", "ILO auto, sharp", "oracle")
SETTING = ["layer", "radius", "step", "scale"]


@pytest.fixture(scope="module")
def rows():
    return record.complete(record.recorded())


@pytest.fixture(scope="module")
def means(rows):
    """metric -> problem × method."""
    return {m: rows.pivot_table(index=record.PROBLEM, columns="method", values=m, sort=False) for m in record.BETTER}


def test_every_method_of_a_problem_has_the_same_images(rows):
    assert (rows.groupby([*record.PROBLEM, "method"])["image"].nunique() == len(record.JUDGES)).all()
    assert not rows.duplicated([*record.PROBLEM, "method", "image"]).any()
    assert len(rows.drop_duplicates(record.PROBLEM)) >= 22


def test_names_are_those_of_methods_or_of_what_old_rows_really_ran(rows):
    assert set(rows["method"]) <= {*METHODS, *OURS, "CSGM (Adam)", "release steps"}


def test_auto_has_the_least_error_where_measurements_are_at_random(means):
    """Up to a fifth of the unknowns: significantly, against every other method."""
    psnr = means["psnr"].drop(columns=[m for m in OURS if m != "ILO auto"], errors="ignore")
    for task, level in psnr.index:
        if task in SENSING and level <= 0.2:
            assert psnr.loc[(task, level)].idxmax() == "ILO auto", f"{task} {level}"


def test_auto_is_behind_no_method_in_psnr(rows):
    """Level with total variation at ×4 and ×8, ahead elsewhere but where the errors allow no verdict."""
    others = rows[~rows["method"].isin(["oracle", "ILO auto, sharp"])]
    assert record.tally(record.against(others, "ILO auto", "psnr"))["behind"].sum() == 0


def test_auto_is_far_ahead_of_searches_that_stay_in_the_range(means):
    psnr = means["psnr"]
    for method in [m for m in psnr if m in ("CSGM", "CSGM (Adam)", "PULSE")]:
        assert (psnr["ILO auto"] - psnr[method]).min() > 0.5, method


def test_its_sharp_image_looks_better_than_its_mean_at_less_than_a_decibel(means):
    look, psnr = means["lpips"], means["psnr"]
    assert (look["ILO auto, sharp"] - look["ILO auto"]).max() < 0
    assert (psnr["ILO auto"] - psnr["ILO auto, sharp"]).between(0, 1).all()


def test_its_sharp_image_looks_best_at_5_to_20_percent_measured_at_random(means):
    look = means["lpips"]
    for task, level in look.index:
        if task in SENSING and 0.05 <= level <= 0.2:
            assert look.loc[(task, level)].idxmin() == "ILO auto, sharp", f"{task} {level}"


def test_with_very_few_measurements_pulse_looks_better_and_errs_more(rows):
    few = rows[(rows["level"] == 0.01) & rows["task"].isin(["inpainting", "Gaussian"])]
    look = record.against(few, "ILO auto, sharp", "lpips").set_index("method")["verdict"]
    assert set(look.loc["PULSE"]) == {"behind"}
    error = record.against(few, "ILO auto", "psnr").set_index("method")["mean"]
    assert error.loc["PULSE"].min() > 1


def test_choosing_is_near_the_oracle_but_in_colourisation(means):
    gap = means["psnr"]["oracle"] - means["psnr"]["ILO auto"]
    seeing = gap[gap.index.get_level_values("task") != "colourisation"]
    assert gap.min() > -0.001
    assert seeing.max() < 0.5
    assert seeing.mean() < 0.3
    assert gap["colourisation"].iloc[0] > 1


def test_choosing_gains_little_over_one_good_setting(means):
    """In either direction: what the notebooks and the README say of it."""
    settings = pd.read_csv(record.reference_folder() / "auto_settings.csv")
    table = settings.pivot_table(index=SETTING, columns=record.PROBLEM, values="psnr", dropna=False).dropna(how="all")
    table = table.dropna(axis=1, how="all")
    fixed = table.loc[table.mean(axis=1).idxmax()]
    gain = means["psnr"]["ILO auto"].reindex(table.columns) - fixed
    assert gain.notna().all()
    assert abs(gain.mean()) < 0.1
    assert gain.min() > -0.2
    assert gain.max() < 0.5


def test_the_interval_of_90_percent_holds_about_that(rows):
    covered = rows[rows["method"] == "ILO auto"].groupby(record.PROBLEM, sort=False)["covered"].mean()
    assert 0.84 < covered.mean() < 0.93
    assert covered.drop("colourisation").min() > 0.78
    assert covered["colourisation"].iloc[0] < 0.85, "too narrow where what is held out says nothing of colour"
