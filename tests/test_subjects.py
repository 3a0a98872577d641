"""The images of the experiments."""

import pytest
import torch

from ilo import study
from ilo.images import write_image


def test_subjects_are_photos_and_faces_in_range(dcgan, tmp_path):
    write_image(tmp_path / "me.png", torch.zeros(1, 3, 80, 90))
    who = study.choose_subjects(dcgan, folder=tmp_path, in_range=2, rng=3)
    assert (who.names, who.kinds) == (["me", "in range 1", "in range 2"], ["photo", "in range", "in range"])
    assert torch.equal(who.truth[1:], dcgan(dcgan.sample(2, 3, "truth")).clamp(-1, 1))
    more = study.choose_subjects(dcgan, in_range=3, rng=3)
    assert more.names[0] == "astronaut"
    # a face does not depend on how many there are, but for rounding: threads share a batch's work by its size
    torch.testing.assert_close(more.truth[1:3], who.truth[1:], rtol=0, atol=1e-5)


def test_faces_near_the_range_leave_it_by_a_sparse_deviation(dcgan):
    near = study.near_range_faces(dcgan, 2, 7, entries=16, radius=160.0)
    inside = dcgan(dcgan.sample(2, 7, "truth")).clamp(-1, 1)
    assert near.shape == inside.shape
    assert near.abs().max() <= 1
    assert (near - inside).square().mean((1, 2, 3)).min() > 1e-3  # it shows
    assert torch.equal(study.near_range_faces(dcgan, 2, 7, radius=0.0), inside)
    alone = study.near_range_faces(dcgan, 1, 7, entries=16, radius=160.0)
    assert (alone - near[:1]).abs().max() < 1e-4  # image i is the same in any number
    who = study.choose_subjects(dcgan, near_range=1, in_range=1)
    assert who.kinds == ["photo", "near range", "in range"]


def test_celeba_is_asked_for_by_number(dcgan):
    if not study.celeba_available():
        pytest.skip("the CelebA test images are not here: see data/README.md")
    who = study.choose_subjects(dcgan, celeba=2, in_range=0)
    assert who.kinds == ["photo", "CelebA", "CelebA"]
    with pytest.raises(ValueError, match="64"):
        study.choose_subjects(dcgan, celeba=65)
