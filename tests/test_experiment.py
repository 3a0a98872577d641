"""What the experiments share: their images, and the pictures that belong to their rows."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from ilo import study
from ilo.images import write_image
from ilo.study import methods
from ilo.study import subjects as experiment


def test_subjects_are_photos_and_faces_in_range(dcgan, tmp_path):
    write_image(tmp_path / "me.png", torch.zeros(1, 3, 80, 90))
    who = experiment.subjects(dcgan, folder=tmp_path, in_range=2, rng=3)
    assert (who.names, who.kinds) == (["me", "in range 1", "in range 2"], ["photo", "in range", "in range"])
    assert torch.equal(who.truth[1:], dcgan(dcgan.sample(2, 3)).clamp(-1, 1))
    more = experiment.subjects(dcgan, in_range=3, rng=3)
    assert more.names[0] == "astronaut"
    assert torch.equal(more.truth[1:3], who.truth[1:])  # a face does not depend on how many there are


def test_faces_near_the_range_leave_it_by_a_sparse_deviation(dcgan):
    near = experiment.near_range_faces(dcgan, 2, 7, entries=16, radius=160.0)
    inside = dcgan(dcgan.sample(2, 7)).clamp(-1, 1)
    assert near.shape == inside.shape
    assert near.abs().max() <= 1
    assert (near - inside).square().mean((1, 2, 3)).min() > 1e-3  # it shows
    assert torch.equal(experiment.near_range_faces(dcgan, 2, 7, radius=0.0), inside)
    alone = experiment.near_range_faces(dcgan, 1, 7, entries=16, radius=160.0)
    assert (alone - near[:1]).abs().max() < 1e-4  # image i is the same in any number
    who = experiment.subjects(dcgan, near_range=1, in_range=1)
    assert who.kinds == ["photo", "near range", "in range"]


def test_celeba_is_asked_for_by_number(dcgan):
    if not experiment.celeba_available():
        pytest.skip("the CelebA test images are not here: see data/README.md")
    who = experiment.subjects(dcgan, celeba=2, in_range=0)
    assert who.kinds == ["photo", "CelebA", "CelebA"]
    with pytest.raises(ValueError, match="64"):
        experiment.subjects(dcgan, celeba=65)


def test_pictures_show_what_was_measured_and_found(dcgan, tmp_path):
    who = experiment.subjects(dcgan, in_range=1)
    problems = [study.inpainting(0.3), study.superres(2)]
    rows = methods.compare(
        (who.names, who.truth), problems, G=dcgan, leave_out=["searches", "PULSE", "Deep decoder", "LASSO (wavelet)"],
        keep_images=True, lpips=False, progress=False, folder=tmp_path,
    )  # fmt: skip
    rows = who.with_kinds(rows)
    assert set(rows["kind"]) == {"photo", "in range"}
    figure = experiment.pictures(rows, who, [("astronaut", p) for p in problems], folder=tmp_path)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["Truth", "Measured", "LASSO (DCT)", "TV", "Bicubic"]
    shown = figure.axes[titles.index("TV")].images[0].get_array()
    kept = study.kept_images(rows[(rows["method"] == "TV") & (rows["image"] == "astronaut")].head(1), tmp_path)[0]
    assert np.allclose(shown, (kept.permute(1, 2, 0) + 1) / 2, atol=1e-6)
    seen = experiment.measurements(problems[0], who, "astronaut")
    pixels = seen.abs().sum(0) > 0
    assert 0.29 < pixels.float().mean() < 0.31  # the others are mid-grey
    assert (seen - who.truth[0])[:, pixels].std() == pytest.approx(0.02, rel=0.2)  # the noise
    plt.close("all")


def test_the_summary_has_a_column_a_method_in_the_figures_order(dcgan, tmp_path):
    who = experiment.subjects(dcgan, in_range=0)
    rows = methods.compare(
        (who.names, who.truth), [study.denoising(0.2)], G=dcgan, leave_out=["searches", "PULSE", "Deep decoder"],
        lpips=False, progress=False, folder=tmp_path,
    )  # fmt: skip
    table = experiment.summary(who.with_kinds(rows))
    assert list(table.columns) == ["LASSO (DCT)", "LASSO (wavelet)", "TV"]
    assert table.index.tolist() == [("photo", "denoising", 0.2)]
