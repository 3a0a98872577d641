"""What the experiments share: every method that can, and the pictures and means that belong to their rows."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

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
    shown = figure.axes[titles.index("TV")].images[0].get_array()
    kept = study.kept_images(rows[(rows["method"] == "TV") & (rows["image"] == "astronaut")].head(1), tmp_path)[0]
    assert np.allclose(shown, (kept.permute(1, 2, 0) + 1) / 2, atol=1e-6)
    seen = study.measurements(problems[0], who, "astronaut")
    pixels = seen.abs().sum(0) > 0
    assert 0.29 < pixels.float().mean() < 0.31  # the others are mid-grey
    assert (seen - who.truth[0])[:, pixels].std() == pytest.approx(0.02, rel=0.2)  # the noise
    plt.close("all")


def test_the_summary_has_a_column_a_method_in_the_figures_order(dcgan, tmp_path):
    who = study.choose_subjects(dcgan, in_range=0)
    rows = study.compare(
        (who.names, who.truth), [study.denoising(0.2)], G=dcgan, names=["TV", "LASSO (DCT)", "LASSO (wavelet)"],
        lpips=False, progress=False, folder=tmp_path,
    )  # fmt: skip
    table = study.summary(who.with_kinds(rows))
    assert list(table.columns) == ["LASSO (DCT)", "LASSO (wavelet)", "TV"]
    assert table.index.tolist() == [("photo", "denoising", 0.2)]
