"""What the experiments share: every method that can, and the pictures and means that belong to their rows."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from ilo import study

SHARE = 0.04


@pytest.fixture(scope="module")
def face(dcgan):
    return dcgan(dcgan.sample(1, 5))


def test_compare_gives_every_problem_its_methods(dcgan, face, tmp_path):
    rows = study.compare(
        {"face": face[0]},
        [study.inpainting(0.1), study.superres(4)],
        G=dcgan,
        restarts=1,
        share=SHARE,
        names=["ILO", "PULSE", "TV", "LASSO (wavelet)", "Bicubic", "LASSO (DCT)"],
        leave_out=["LASSO (DCT)"],
        folder=tmp_path,
        lpips=False,
        progress=False,
    )
    by_task = rows.groupby("task")["method"].agg(set)
    assert by_task["inpainting"] == {"CSGM", "ILO", "PULSE", "TV", "LASSO (wavelet)"}
    assert by_task["super-resolution"] == by_task["inpainting"] | {"Bicubic"}
    assert rows["psnr"].between(3, 60).all()


@pytest.mark.parametrize(
    ("options", "words"), [({"leave_out": ["BM3D"]}, "BM3D"), ({"share": 0.0}, "share"), ({"share": 1.5}, "share")]
)
def test_bad_options_are_named(dcgan, face, tmp_path, options, words):
    with pytest.raises((ValueError, study.StudyError), match=words):
        study.compare({"face": face[0]}, [study.inpainting(0.1)], G=dcgan, folder=tmp_path, progress=False, **options)


def test_pictures_show_what_was_measured_and_found(dcgan, tmp_path):
    who = study.choose_subjects(dcgan, in_range=1)
    problems = [study.inpainting(0.3), study.superres(2)]
    rows = study.compare(
        (who.names, who.truth), problems, G=dcgan, names=["LASSO (DCT)", "TV", "Bicubic"],
        keep_images=True, lpips=False, progress=False, folder=tmp_path,
    )  # fmt: skip
    rows = who.with_kinds(rows)
    assert set(rows["kind"]) == {"photo", "in range"}
    figure = study.pictures(rows, who, [("astronaut", p) for p in problems], folder=tmp_path)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["Truth", "Measured", "LASSO (DCT)", "TV", "Bicubic"]
    below = {title: [figure.axes[i + 5 * row].get_xlabel() for row in (0, 1)] for i, title in enumerate(titles)}
    scores = rows[(rows["method"] == "TV") & (rows["image"] == "astronaut")]["psnr"]
    assert below["TV"] == [f"{score:.1f} dB" for score in scores]
    assert below["Bicubic"][0] == "", "it answers super-resolution alone"
    assert [figure.axes[i].get_ylabel() for i in (0, 5)] == ["inpainting 0.3", "super-resolution 2"]
    shown = figure.axes[titles.index("TV")].images[0].get_array()
    kept = study.kept_images(rows[(rows["method"] == "TV") & (rows["image"] == "astronaut")].head(1), tmp_path)[0]
    assert np.allclose(shown, (kept.permute(1, 2, 0) + 1) / 2, atol=1e-6)
    seen = study.measurements(problems[0], who, "astronaut")
    pixels = seen.abs().sum(0) > 0
    assert 0.29 < pixels.float().mean() < 0.31  # the others are mid-grey
    assert (seen - who.truth[0])[:, pixels].std() == pytest.approx(0.02, rel=0.2)  # the noise
    plt.close("all")


def test_pictures_of_chosen_methods_and_further_columns(dcgan, tmp_path):
    who = study.choose_subjects(dcgan, in_range=0)
    problem = study.inpainting(0.5)
    options = {"G": dcgan, "names": ["TV", "Smooth field"], "keep_images": True, "progress": False, "folder": tmp_path}
    rows = study.compare((who.names, who.truth), [problem], **options)
    more = {"Spread": torch.full((1, 64, 64), 0.2)}
    chosen = ["TV", "Smooth field"]
    figure = study.pictures(rows, who, [("astronaut", problem)], folder=tmp_path, methods=chosen, more=more)
    assert [axis.get_title() for axis in figure.axes][:5] == ["Truth", "Measured", "TV", "Smooth field", "Spread"]
    row = rows[rows["method"] == "TV"].iloc[0]
    assert figure.axes[2].get_xlabel() == f"{row['psnr']:.1f} dB\nLPIPS {row['lpips']:.2f}" == study.caption(row)
    plt.close("all")


@pytest.mark.slow
def test_the_automatic_search_run_once_more_is_that_of_the_rows(dcgan, tmp_path):
    who = study.choose_subjects(dcgan, in_range=1)
    problem = study.inpainting(0.3)
    options = {"G": dcgan, "names": ["ILO auto"], "share": SHARE, "keep_images": True, "lpips": False}
    rows = study.compare((who.names, who.truth), [problem], progress=False, folder=tmp_path, **options)
    again = study.automatic_result(problem, who, G=dcgan, share=SHARE)
    for method, images in (("ILO auto", again.images), ("ILO auto, sharp", again.sharp)):
        kept = study.kept_images(rows[rows["method"] == method], tmp_path)
        assert (kept - images.clamp(-1, 1)).abs().max() < 0.6 / 127.5, "but for rounding to 8 bits"
    assert again.spread.shape == who.truth.shape


@pytest.fixture
def scores():
    """Two levels, three methods and the oracle; the means of two images each."""
    means = {0.1: {"TV": 20.0, "ILO": 21.5, "CSGM": 18.0}, 0.2: {"TV": 24.0, "ILO": 23.0, "CSGM": 19.0}}
    table = [
        {
            "kind": "photo",
            "task": "inpainting",
            "level": level,
            "method": method,
            "psnr": psnr + away,
            "lpips": 1 / psnr,
        }
        for level, of in means.items()
        for method, psnr in {**of, "oracle": 40.0}.items()
        for away in (-1.0, 1.0)
    ]
    return pd.DataFrame(table)


def test_leaders_are_told_with_their_lead(scores):
    psnr = study.leaders(scores)
    assert psnr["first"].tolist() == ["ILO", "TV"]
    assert psnr["second"].tolist() == ["TV", "ILO"]
    assert psnr["value"].tolist() == [21.5, 24.0]
    assert psnr["lead"].tolist() == [1.5, 1.0]
    assert psnr.index.tolist() == [("photo", "inpainting", 0.1), ("photo", "inpainting", 0.2)]
    lpips = study.leaders(scores, "lpips")  # of which less is better
    assert lpips["first"].tolist() == ["ILO", "TV"]
    assert lpips["value"].tolist() == pytest.approx([1 / 21.5, 1 / 24.0])
    assert lpips["lead"].tolist() == pytest.approx([1 / 20.0 - 1 / 21.5, 1 / 23.0 - 1 / 24.0])


def test_a_method_that_is_missing_at_a_level_does_not_lead_there(scores):
    rows = scores[~((scores["level"] == 0.2) & (scores["method"] == "TV"))]
    assert study.leaders(rows)["first"].tolist() == ["ILO", "ILO"]
    with pytest.raises(ValueError, match="no order is known of 'seconds'"):
        study.leaders(rows, "seconds")
    with pytest.raises(ValueError, match="got TV alone"):
        study.leaders(rows[rows["method"] == "TV"])


def test_the_summary_has_a_column_a_method_in_the_figures_order(dcgan, tmp_path):
    who = study.choose_subjects(dcgan, in_range=0)
    rows = study.compare(
        (who.names, who.truth), [study.denoising(0.2)], G=dcgan, names=["TV", "LASSO (DCT)", "LASSO (wavelet)"],
        lpips=False, progress=False, folder=tmp_path,
    )  # fmt: skip
    table = study.summary(who.with_kinds(rows))
    assert list(table.columns) == ["LASSO (DCT)", "LASSO (wavelet)", "TV"]
    assert table.index.tolist() == [("photo", "denoising", 0.2)]
