"""Problems by name: their operators, and the ones that reference rows are of."""

import pytest
import torch
from test_grid import SHAPE, photos

from ilo import study
from ilo.study.fingerprint import fingerprint

PROBLEMS = [
    (study.inpainting(0.3), 0.3, (3, 77)), (study.region("eyes"), 1 - 14 * 44 / 4096, None),
    (study.region("mouth"), 1 - 14 * 28 / 4096, None), (study.region("half"), 0.5, (3, 128)),
    (study.gaussian(0.1), 0.1, (77,)), (study.gaussian(m=20), 20, (20,)), (study.circulant(0.05), 0.05, (38,)),
    (study.circulant(m=7), 7, (7,)), (study.superres(4), 4, (3, 4, 4)), (study.denoising(0.3), 0.3, SHAPE),
    (study.colourisation(), 0.0, (1, 16, 16)), (study.deblurring(1.5), 1.5, SHAPE),
]  # fmt: skip


@pytest.mark.parametrize(("problem", "level", "shape_out"), PROBLEMS, ids=lambda p: getattr(p, "task", ""))
def test_problems(problem, level, shape_out):
    assert problem.level == pytest.approx(level)
    assert problem.noise == (0.3 if problem.task == "denoising" else 0.02)
    A, B = (problem.operator(SHAPE, rng=seed) for seed in (1, 1))
    assert shape_out is None or A.shape_out == shape_out
    x = torch.stack(list(photos(1).values()))
    assert torch.equal(A(x), B(x))
    assert fingerprint(problem.operator) == fingerprint(problem.operator)


def test_problems_that_are_none():
    for mistake in (
        lambda: study.gaussian(), lambda: study.gaussian(0.1, m=3), lambda: study.gaussian(20),
        lambda: study.region("hat"), lambda: study.denoising(-1.0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"give|fraction|one of|noise"):
            mistake()


def test_the_problems_of_the_reference_rows_are_listed_once():
    names = [(p.task, p.level) for p in study.PROBLEMS]
    assert len(set(names)) == len(names) == 26
    assert [p.task for p in study.ONE_A_TASK] == list(dict.fromkeys(p.task for p in study.PROBLEMS))
    assert set(study.ONE_A_TASK) <= set(study.PROBLEMS)
    assert study.inpainting(0.1).operator.keywords == study.ONE_A_TASK[0].operator.keywords
