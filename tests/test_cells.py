"""One cell: what a method is given, and what becomes of its answer."""

from functools import partial

import pytest
import torch
from test_grid import SHAPE, calls, photos, run

from ilo import metrics, study


def answers(answer, A, y, *, G, rng, noise):
    calls.append((rng, noise, G))
    return answer


def one(tmp_path, answer, **options):
    return run(tmp_path, photos(2), [study.denoising(0.1)], {"m": partial(answers, answer)}, **options)


@pytest.mark.parametrize(
    ("answer", "message"),
    [(torch.zeros(1, 3, 16, 16), r"images \(2, 3, 16, 16\)"), ("text", "got str"), ({}, "no images")],
)
def test_an_answer_of_another_shape_is_told(tmp_path, answer, message):
    with pytest.raises(study.StudyError, match=message):
        one(tmp_path, answer)


def test_a_method_gets_generator_seed_and_noise_by_name(tmp_path):
    calls.clear()
    rows = one(tmp_path, torch.zeros(2, *SHAPE), seeds=(4,))
    assert [(rng, noise) for rng, noise, _ in calls] == [(4, 0.1)]
    assert calls[0][2].image_shape == SHAPE
    assert rows["method"].tolist() == ["m", "m"]


def test_a_method_of_another_signature_is_named(tmp_path):
    with pytest.raises(study.StudyError, match=r"m, denoising.*unexpected keyword argument 'G'"):
        run(tmp_path, photos(2), [study.denoising(0.1)], {"m": lambda A, y: y})


@pytest.mark.parametrize("name", study.METHODS)
def test_every_method_of_the_table_has_the_one_signature(name):
    code = study.METHODS[name].__code__
    assert code.co_varnames[: code.co_argcount] == ("A", "y")
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    assert keywords[:3] == ("G", "rng", "noise")
    assert set(keywords[3:]) <= set(study.METHODS[name].__kwdefaults__ or {})


def test_columns_are_of_an_image_or_of_all_and_an_interval_tells_what_it_covers(tmp_path):
    truth = torch.stack(list(photos(2).values()))
    low, high = truth - 0.1, truth + 0.1
    high[0, :, :, :4] = truth[0, :, :, :4] - 0.05  # a quarter of the first
    found = (truth + 0.01).clamp(-1, 1)
    answer = study.Answer(found, {"evaluations": 7, "status": ["good", "bad"]}, interval=(low, high))
    rows = one(tmp_path, {"a": answer, "b": torch.zeros(2, *SHAPE)})
    assert rows.loc[rows["method"] == "a", "covered"].tolist() == [0.75, 1.0]
    assert rows.loc[rows["method"] == "a", "status"].tolist() == ["good", "bad"]
    assert rows["evaluations"].dropna().tolist() == [7, 7]
    assert rows.loc[rows["method"] == "b", "covered"].isna().all()


def test_a_method_that_knows_the_truth_is_found_out(tmp_path):
    truth = torch.stack(list(photos(2).values()))
    cheat = torch.stack([truth[0] + 0.01, truth[1]]).clamp(-1, 1)
    with pytest.raises(study.StudyError, match="photo 1 came back as the very truth, an infinite PSNR"):
        one(tmp_path, cheat)
    rows = run(tmp_path, photos(2), [study.denoising(0.0)], {"m": partial(answers, truth)})
    assert rows["psnr"].tolist() == [float("inf")] * 2, "without noise the identity measures the truth itself"


def test_an_oracle_takes_the_best_image_by_image_and_keeps_what_each_would_have_given(tmp_path):
    truth = torch.stack(list(photos(2).values()))
    good_first, good_second = truth.clone(), truth.clone()
    good_first[1] += 0.3
    good_second[0] -= 0.2
    settings = [{"layer": 1, "radius": None}, {"layer": 2, "radius": 3.0}]
    tried = study.Tried(settings, [x.clamp(-1, 1) for x in (good_first + 0.01, good_second + 0.01)])
    rows = one(tmp_path, tried, keep_images=True)
    expected = metrics.psnr((truth + 0.01).clamp(-1, 1), truth)
    assert rows["psnr"].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    table = study.tried_settings(rows, tmp_path)
    assert table[["image", "layer"]].values.tolist() == [
        ["photo 0", 1], ["photo 1", 1], ["photo 0", 2], ["photo 1", 2],
    ]  # fmt: skip
    best = table.groupby("image")["psnr"].max()
    assert best.tolist() == pytest.approx(rows["psnr"].tolist())
    assert table.loc[table["layer"] == 1, "radius"].isna().all()
    torch.testing.assert_close(study.kept_images(rows, tmp_path), (truth + 0.01).clamp(-1, 1), atol=1 / 255, rtol=0)
