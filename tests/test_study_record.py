"""The recorded rows: which are taken, in which order, and what a paired comparison says of them."""

import numpy as np
import pandas as pd
import pytest

from ilo.study import record


def rows_of(values, task="inpainting", level=0.1, lpips=0.1):
    """method -> psnr of images 33, 34, …"""
    return pd.DataFrame(
        [
            {
                "image": f"CelebA {33 + i}", "task": task, "level": level, "noise": 0.02, "method": method,
                "psnr": psnr, "lpips": lpips, "revision": "abc",
            }
            for method, psnrs in values.items()
            for i, psnr in enumerate(psnrs)
        ]
    )  # fmt: skip


def folder_of(tmp_path, celeba, auto):
    celeba.to_csv(tmp_path / "celeba.csv", index=False)
    auto.to_csv(tmp_path / "auto.csv", index=False)
    return tmp_path


def test_rows_are_those_of_the_judges_in_the_order_of_problems(tmp_path):
    tuned = rows_of({"TV": [9.0]}).assign(image="CelebA 5")
    celeba = pd.concat([tuned, rows_of({"TV": [1.0]}, "denoising", 0.3), rows_of({"TV": [2.0]}, level=0.2)])
    auto = pd.concat([rows_of({"ILO auto": [3.0]}, level=0.05), rows_of({"ILO auto": [4.0]}, "eyes missing", 0.85)])
    rows = record.recorded(folder_of(tmp_path, celeba, auto))
    assert rows[["task", "level", "file"]].values.tolist() == [
        ["inpainting", 0.05, "auto.csv"],
        ["inpainting", 0.2, "celeba.csv"],
        ["denoising", 0.3, "celeba.csv"],
        ["eyes missing", 0.85, "auto.csv"],
    ]
    twice = record.recorded(folder_of(tmp_path, celeba, rows_of({"TV": [7.0]}, level=0.2)))
    assert twice.loc[twice["level"] == 0.2, "psnr"].tolist() == [2.0], "celeba.csv counts"
    with pytest.raises(ValueError, match=r"no rows .*CelebA 63"):
        record.recorded(tmp_path, ["CelebA 63"])
    with pytest.raises(OSError, match=r"celeba\.csv"):
        record.recorded(tmp_path / "nowhere")


def test_a_method_that_lacks_an_image_is_left_out_of_its_problem():
    rows = pd.concat([rows_of({"ILO": [1.0, 2.0], "TV": [1.0]}), rows_of({"TV": [3.0]}, level=0.2)])
    kept = record.complete(rows)
    assert kept[["method", "level"]].values.tolist() == [["ILO", 0.1], ["ILO", 0.1], ["TV", 0.2]]


def test_the_first_of_several_methods_that_there_is():
    rows = rows_of({"ILO (whitened)": [1.0], "TV": [1.0]})
    assert record.first_of(rows, ["ILO", "ILO (whitened)"]) == "ILO (whitened)"
    with pytest.raises(ValueError, match=r"no rows of ILO: there are ILO \(whitened\), TV"):
        record.first_of(rows, ["ILO"])


def test_differences_are_paired_by_image():
    rows = rows_of({"ILO": [20.0, 30.0], "TV": [19.0, 29.2]})
    table = record.means(record.relative_to(rows, "ILO")).set_index(["method", "metric"])
    assert table.loc[("TV", "psnr"), "mean"] == pytest.approx(-0.9)
    assert table.loc[("TV", "psnr"), "sem"] == pytest.approx(0.1)  # that of either mean is 5
    assert table.loc[("ILO", "psnr"), ["mean", "sem", "images"]].tolist() == [0, 0, 2]
    alone = record.relative_to(pd.concat([rows, rows_of({"TV": [1.0]}, level=0.2)]), "ILO")
    assert set(alone["level"]) == {0.1}, "where there is nothing to compare with, no row"


def test_verdicts_need_two_standard_errors_and_know_what_is_better():
    rows = rows_of({"ILO": [20.0, 22.0, 24.0], "TV": [19.0, 21.1, 22.9], "PULSE": [21.0, 21.0, 25.0]})
    found = record.against(rows, "ILO", "psnr").set_index("method")
    assert found["verdict"].to_dict() == {"TV": "ahead", "PULSE": "level"}
    assert found.loc["TV", "mean"] == pytest.approx(1.0)
    lower = rows.assign(lpips=0.01 * rows["psnr"])
    found = record.against(lower, "ILO", "lpips").set_index("method")
    assert found.loc["TV", ["mean", "verdict"]].tolist() == [pytest.approx(-0.01), "behind"]
    unknown = lower.assign(lpips=lower["lpips"].where(lower["method"] != "TV"))
    assert set(record.against(unknown, "ILO", "lpips")["method"]) == {"PULSE"}, "no verdict without numbers"


def test_a_tally_counts_every_problem_and_names_the_losses():
    rows = pd.concat(
        [
            rows_of({"ILO": [20.0, 22.0], "TV": [19.0, 21.1], "PULSE": [1.0, 2.0]}),
            rows_of({"ILO": [20.0, 22.0], "TV": [20.5, 22.4]}, "super-resolution", 8.0),
            rows_of({"ILO": [20.0, 22.0], "TV": [23.0, 25.0]}, "colourisation", 0.0),
        ]
    )
    verdicts = record.against(rows, "ILO", "psnr")
    table = record.tally(verdicts)
    assert list(table.index) == ["PULSE", "TV"]
    assert table.loc["TV"].tolist() == [1, 0, 2, "colourisation (-3), super-resolution 8 (-0.45)"]
    assert record.tally(verdicts, named=1).loc["TV", "behind at"] == "colourisation (-3), 1 more"
    assert table.loc["PULSE", ["ahead", "behind at"]].tolist() == [1, ""]


@pytest.mark.parametrize(
    ("task", "level", "words"),
    [("inpainting", 0.1, "inpainting 0.1"), ("colourisation", 0.0, "colourisation"), ("eyes missing", 0.85, None)],
)
def test_a_problem_in_words(task, level, words):
    assert record.title(task, level) == (words or task)


def test_means_say_of_how_many():
    table = record.means(rows_of({"TV": [1.0, 3.0]}))
    row = table[table["metric"] == "psnr"].iloc[0]
    assert (row["mean"], row["images"]) == (2.0, 2)
    assert np.isclose(row["sem"], 1.0)
