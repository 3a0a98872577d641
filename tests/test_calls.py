"""The table of bad calls of the public API: each is refused, by a message that names the argument."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

import ilo
from tests.abuse import REFUSED, WORKED, calls


@pytest.mark.filterwarnings("ignore")  # of what wrong values do in numpy and torch
def test_every_bad_call_is_refused_by_a_message_that_names_the_argument():
    trials = list(calls.trials(random.Random(0)))
    assert len(trials) > 1500
    wrong = [f"{trial.name}: {trial.outcome}" for trial in trials if trial.outcome not in (REFUSED, WORKED)]
    assert wrong == []


def test_layers_that_do_not_exist_are_no_certificate():
    G = calls.generator()
    for start, stop in ((1, 99), (2, 1), (-1, 2)):
        with pytest.raises(ValueError, match=r"start|stop"):
            ilo.theory.lipschitz_upper_bound(G, start, stop)


def test_weights_that_are_no_numbers_make_no_generator():
    model = nn.Sequential(nn.Linear(4, 48), nn.Unflatten(1, (3, 4, 4)))
    with torch.no_grad():
        model[0].weight[3, 2] = torch.nan
    with pytest.raises(ValueError, match=r"0\.weight holds NaN"):
        ilo.generators.Generator.from_sequential(model, cuts=(), latent_shape=(4,))


def test_numpys_numbers_are_numbers():
    G, A = calls.generator(), ilo.operators.RandomInpainting(calls.SHAPE, keep=np.float32(0.5), rng=np.int64(3))
    y = A(G(G.sample(np.int32(2), np.uint8(5))))
    rounds = [ilo.Round(np.int64(0), steps=np.int16(2), lr=np.float64(0.1), radius=np.float32(3.0))]
    result = ilo.recover(G, A, y, rounds=rounds, rng=np.int64(1), restarts=np.int64(2), progress=False)
    assert result.images.shape == (2, *calls.SHAPE)
    assert ilo.operators.GaussianSensing(calls.SHAPE, m=np.int64(7)).shape_out == (7,)


def test_objectives_are_summed():
    G = calls.generator()
    x = G(G.sample(2, 0))
    A = ilo.operators.Identity(calls.SHAPE)
    terms = [ilo.SquaredError(A, x), 0.5 * ilo.DeadZone(A, x), 2 * ilo.SquaredNorm()]
    state = {"features": torch.ones(2, 4)}
    total = sum(terms)
    assert torch.allclose(total(0.5 * x, state), sum(term(0.5 * x, state) for term in terms))
    with pytest.raises(TypeError, match="only objectives add up"):
        3 + terms[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_at_the_door(dtype):
    G = copy.deepcopy(calls.generator())
    A = ilo.operators.Identity(calls.SHAPE)
    y = torch.zeros(1, *calls.SHAPE)
    for rounds in ("auto", [ilo.Round(0, 2)]):
        with pytest.raises(ValueError, match=r"a search needs float32: use G\.float\(\)"):
            ilo.recover(copy.deepcopy(G).to(dtype), A, y, rounds=rounds, progress=False)
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match=r"inside torch\.autocast"):
            ilo.recover(G, A, y, rounds=rounds, progress=False)


def test_half_precision_inside_is_for_economical_generators():
    G = ilo.generators.economical(calls.generator(), half=True)
    A = ilo.operators.Identity(calls.SHAPE)
    rounds = [ilo.Round(0, 2), ilo.Round(1, 2, radius=3.0)]
    result = ilo.recover(G, A, torch.zeros(1, *calls.SHAPE), rounds=rounds, progress=False)
    assert result.images.dtype == torch.float32
