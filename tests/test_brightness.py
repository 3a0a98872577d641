"""How bright an image is, and slopes of errors on it: against numbers worked out by hand, and the committed table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ilo import study
from ilo.study.brightness import brightness_of, slopes

ROWS = Path(__file__).resolve().parents[1] / "data" / "reference" / "celeba_brightness.csv"


def test_brightness_of_images_that_can_be_reckoned_by_hand():
    grey = torch.zeros(3, 8, 8)  # mid-grey: 0.5 in [0, 1]
    red = torch.full((3, 8, 8), -1.0)
    red[0] = 1.0
    centre = torch.full((3, 8, 8), -1.0)
    centre[:, 2:6, 2:6] = 1.0
    found = brightness_of(torch.stack([grey, red, centre]))
    assert found["luma"].tolist() == pytest.approx([0.5, 0.299, 0.25])
    assert found["face"].tolist() == pytest.approx([0.5, 0.299, 1.0]), "the central half of rows and of columns"
    assert found["variance"].tolist() == pytest.approx([0.0, 8 / 9, 0.75])


def test_brightness_is_of_colour_images():
    with pytest.raises(ValueError, match="3 channels"):
        brightness_of(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"\[−1, 1\]"):
        brightness_of(torch.full((1, 3, 8, 8), 2.0))


def test_slopes_against_the_formula():
    rng = np.random.default_rng(0)
    x = pd.Series(rng.random(40), name="face")
    wide = pd.DataFrame({"a": 3 - 2 * x + rng.normal(0, 0.1, 40), "b": rng.random(40)})
    wide.loc[3, "b"] = np.nan
    found = slopes(wide, x)
    assert found["n"].tolist() == [40, 39]
    design = np.stack([np.ones(40), x], 1)
    coefficients, squares, *_ = np.linalg.lstsq(design, wide["a"], rcond=None)
    error = (squares[0] / 38 * np.linalg.inv(design.T @ design)[1, 1]) ** 0.5
    assert found.loc["a", ["slope", "error"]].tolist() == pytest.approx([coefficients[1], error])
    assert found.loc["a", "slope"] == pytest.approx(-2, abs=0.3)


def test_a_slope_needs_brightnesses_that_differ():
    x = pd.Series([0.2, 0.4, 0.6], name="face")
    with pytest.raises(ValueError, match="'a' has 2"):
        slopes(pd.DataFrame({"a": [1.0, 2.0, np.nan]}), x)
    with pytest.raises(ValueError, match="face differs"):
        slopes(pd.DataFrame({"a": [1.0, 2.0, 3.0]}), x * 0)


def test_the_committed_brightness_is_of_all_the_images_and_of_no_pixels():
    rows = pd.read_csv(ROWS)
    assert rows["image"].tolist() == [f"CelebA {i + 1}" for i in range(64)]
    assert rows.columns.tolist() == ["image", "luma", "face", "variance", "revision"]
    if not study.celeba_available():
        pytest.skip("CSGM's CelebA test images are not here: data/README.md says where they are from")
    found = brightness_of(study.csgm_test_images(64))
    assert np.allclose(rows[found.columns], found, atol=1e-5)
