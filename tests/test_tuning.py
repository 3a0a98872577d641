"""What docstrings say of the search of the latent, its penalty and the paper's radius, against the rows that say it."""

from pathlib import Path

import pandas as pd
import pytest

ROWS = pd.read_csv(Path(__file__).resolve().parents[1] / "data" / "reference" / "tuning_first_stage.csv")
REAL = ROWS[~ROWS["image"].str.startswith("in range")]
TASKS = ["Gaussian", "inpainting", "super-resolution"]


def mean(rows: pd.DataFrame, method: str, setting: str) -> pd.Series:
    found = rows[(rows["method"] == method) & (rows["setting"] == setting)]
    assert len(found) >= 6
    return found[["psnr", "lpips", "objective_ratio"]].mean()


def test_the_strong_search_finds_the_generators_own_images():
    made = ROWS[ROWS["image"].str.startswith("in range")]
    found = mean(made[made["task"] == "Gaussian"], "linear + L-BFGS", "1 × 300")
    assert found["objective_ratio"] < 2
    assert found["psnr"] > 45


@pytest.mark.parametrize("task", TASKS)
def test_a_penalty_on_the_latent_hurts_the_strong_search_too(task):
    rows = REAL[REAL["task"] == task]
    free = mean(rows, "linear + L-BFGS", "1 × 300")
    for weight in ("0.001", "0.01"):
        assert mean(rows, "penalty", f"{weight}, 1 × 300")["psnr"] < free["psnr"] - 0.25


@pytest.mark.parametrize("task", TASKS)
def test_deeper_rounds_gain_over_the_latent_and_a_radius_of_1000_is_level_with_the_best(task):
    rows = REAL[REAL["task"] == task]
    paper = mean(rows, "ILO", "Adam, 1000")
    assert paper["psnr"] > mean(rows, "linear + L-BFGS", "4 × 300")["psnr"] + 1
    others = [mean(rows, "ILO", f"Adam, {radius}") for radius in (100, 300, 3000)]
    assert paper["psnr"] > max(o["psnr"] for o in others) - 0.15
    assert paper["lpips"] < min(o["lpips"] for o in others) + 0.003
