"""The methods of the experiments: one search answers for CSGM and ILO, each problem gets the methods it can have."""

import pytest
import torch

import ilo
from ilo import plots, study
from ilo.study import methods

SHARE = 0.04


@pytest.fixture(scope="module")
def face(dcgan):
    return dcgan(dcgan.sample(1, 5))


def test_the_search_is_the_recovery_it_stands_for(dcgan, face):
    A = ilo.operators.RandomInpainting(dcgan.image_shape, keep=0.2, rng=0)
    y = A(face)
    found = methods.searches(A, y, G=dcgan, rng=3, noise=0.0, restarts=2, share=SHARE, radius=500.0)
    assert list(found) == ["CSGM", "ILO", methods.BALLS]
    rounds = methods.shortened(ilo.default_rounds(dcgan), SHARE)
    whole = ilo.recover(dcgan, A, y, rounds=rounds, rng=3, restarts=2, progress=False)
    assert torch.equal(found["CSGM"].images, whole.rounds[0].images)
    assert (found["ILO"].images - whole.images).abs().max() < 1e-3  # resumed from a state: rounding apart
    assert [found[name].columns["evaluations"] for name in found] == [24, 34, 34]
    error = [float((A(found[name].images) - y).square().mean()) for name in found]
    assert max(error[1:]) < error[0]  # ILO fits what it sees better than CSGM


def test_every_name_has_its_place_in_the_figures(dcgan):
    for problem in (study.inpainting(0.1), study.superres(4)):
        names = set(methods.methods_for(problem)) | {"CSGM", methods.BALLS}
        assert names <= set(plots.METHODS)
        assert ("Bicubic" in names) == (problem.task == "super-resolution")
