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


@pytest.mark.slow
def test_the_search_is_the_recovery_it_stands_for(dcgan, face):
    A = ilo.operators.RandomInpainting(dcgan.image_shape, keep=0.2, rng=0)
    y = A(face)
    found = methods.searches(A, y, G=dcgan, rng=3, noise=0.0, restarts=2, share=SHARE, radius=500.0)
    assert list(found) == ["CSGM", "ILO"]
    rounds = methods.shortened(ilo.paper_rounds(dcgan, 500.0), SHARE)
    start = ilo.linear_start(dcgan, A, y, restarts=2, rng=3)
    whole = ilo.recover(dcgan, A, y, rounds=rounds, start=start, rng=3, restarts=2, progress=False)
    assert torch.equal(found["CSGM"].images, whole.rounds[0].images)
    assert torch.equal(found["ILO"].images, whole.images)
    assert [answer.columns["evaluations"] for answer in found.values()] == [24, 34]
    alone = methods.strong_csgm(A, y, G=dcgan, rng=3, noise=0.0, restarts=2, share=SHARE)
    assert torch.equal(alone.images, found["CSGM"].images)
    assert alone.columns == found["CSGM"].columns
    error = [float((A(answer.images) - y).square().mean()) for answer in found.values()]
    assert error[1] < error[0]  # ILO fits what it sees better than CSGM


@pytest.mark.slow
@pytest.mark.parametrize("problem", [study.inpainting(0.1), study.gaussian(0.05), study.superres(4)], ids=str)
def test_every_method_of_the_table_answers_by_its_name(dcgan, face, problem):
    names = [name for name in methods.METHODS if name != "Deep decoder (mean of 4)"]  # four of what is there anyway
    chosen = methods.methods_for(problem, names, restarts=1, share=SHARE)
    rows = study.run((["face"], face), [problem], chosen, G=dcgan, lpips=False)
    expected = {answer for name in chosen for answer in methods.ANSWERS.get(name, (name,))}
    assert set(rows["method"]) == expected
    assert not rows.duplicated("method").any()
    assert {"CSGM", "PULSE", "ILO", "ILO (release)", "ILO (whitened)", "ILO auto", "Smooth field"} <= expected
    assert ("Bicubic" in expected) == (problem.task == "super-resolution")
    assert rows["psnr"].between(5, 60).all()


def test_each_answer_has_its_own_method(dcgan):
    problem = study.inpainting(0.1)
    assert [*methods.methods_for(problem, ["CSGM"])] == ["CSGM"]
    assert [*methods.methods_for(problem, ["CSGM", "ILO"])] == ["ILO"]
    assert [*methods.methods_for(problem, ["ILO auto, sharp", "Bicubic"])] == ["ILO auto"]
    with pytest.raises(ValueError, match=r"no method 'BM3D': there are CSGM, "):
        methods.methods_for(problem, ["BM3D"])


def test_every_name_has_its_place_in_the_figures():
    answers = {answer for name in methods.METHODS for answer in methods.ANSWERS.get(name, (name,))}
    assert answers <= set(plots.METHODS)


def test_four_decoders_differ_and_are_averaged(monkeypatch):
    seeds = []
    monkeypatch.setattr(methods.classical, "deep_decoder", lambda A, y, rng, width: seeds.append(rng) or y + len(seeds))
    images = methods.classical.by_four_decoders(None, torch.zeros(1, 3, 4, 4), G=None, rng=3, noise=0.0)
    assert len(set(seeds)) == 4
    assert images.eq(2.5).all()
