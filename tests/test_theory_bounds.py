"""The theorem's formulas against numbers worked out by hand, their limits, and how they must move."""

import inspect
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ilo import theory


def sample_complexity(k, p, L1, L2, r1, K, delta, gamma, constant=1.0):
    return theory.sample_complexity(theory.Setting(k, p, L1, L2, r1), K, delta, gamma, constant)


def best_K(m, k, p, L1, L2, r1, delta, gamma, constant=1.0):  # noqa: N802 - the theorem's letter
    return theory.best_K(theory.Setting(k, p, L1, L2, r1), m, delta, gamma, constant)


FUNCTIONS = {  # function: (valid arguments, how the result moves as one argument grows: +1, −1 or 0)
    theory.extended_radius: (dict(K=4.0, delta=0.3, L2=5.0), dict(K=+1, delta=+1, L2=-1)),
    sample_complexity: (
        dict(k=10, p=100, L1=2.0, L2=5.0, r1=3.0, K=4.0, delta=0.3, gamma=0.5, constant=1.0),
        dict(k=+1, p=+1, L1=+1, L2=+1, r1=+1, K=+1, delta=-1, gamma=+1, constant=+1),
    ),
    theory.error_bound: (
        dict(representation_error=0.2, p=100, K=5.0, delta=0.1, gamma=0.8),
        dict(representation_error=+1, p=+1, K=-1, delta=+1, gamma=-1),
    ),
    theory.failure_probability: (dict(m=100, gamma=0.8, constant=0.5), dict(m=-1, gamma=+1, constant=-1)),
    theory.csgm_sample_complexity: (
        dict(k=20, L=6.0, r=5.0, delta=0.3, constant=1.0),
        dict(k=+1, L=+1, r=+1, delta=-1, constant=+1),
    ),
    theory.unconstrained_sample_complexity: (
        dict(p=1000, L2=5.0, r=6.0, delta=0.3, constant=1.0),
        dict(p=+1, L2=+1, r=+1, delta=-1, constant=+1),
    ),
    theory.log_covering_number_l1_ball: (dict(p=50, radius=2.0, eps=0.5), dict(p=+1, radius=+1, eps=-1)),
    best_K: (
        dict(m=479, k=10, p=100, L1=2.0, L2=5.0, r1=3.0, delta=0.3, gamma=0.5, constant=1.0),
        dict(m=+1, k=-1, p=-1, L1=-1, L2=-1, r1=-1, delta=+1, gamma=-1, constant=-1),
    ),
}
ARGUMENTS = [(f, name) for f, (valid, _) in FUNCTIONS.items() for name in valid]


def named(value):
    return getattr(value, "__name__", str(value))


def test_the_table_lists_every_argument_and_direction():
    for function, (valid, directions) in FUNCTIONS.items():
        assert list(valid) == list(inspect.signature(function).parameters) == list(directions)


# Hand calculations. log 100 = 4.60517018599.


def test_extended_radius():
    assert theory.extended_radius(4, 0.3, 5) == pytest.approx(0.24)  # 4·0.3/5


def test_sample_complexity():
    # L1 L2 r1/δ = 2·5·3/0.3 = 100; 10·log 100 + 4²·log 100 = 26·4.60517018599 = 119.734424836;
    # divided by (1 − 0.5)² that is 478.937699343
    valid, _ = FUNCTIONS[sample_complexity]
    assert sample_complexity(**valid) == pytest.approx(478.937699343)
    assert sample_complexity(**{**valid, "constant": 3}) == pytest.approx(3 * 478.937699343)


def test_error_bound():
    # (1 + 4/0.8)·0.2 = 1.2; log(4·5) = 2.99573227355; 0.1·2.99573227355/0.8 = 0.374466534194;
    # √100/5 = 2, 2·log 2 = 1.38629436112; 0.374466534194·1.38629436112 = 0.519120844; together 1.719120844
    assert theory.error_bound(0.2, p=100, K=5, delta=0.1, gamma=0.8) == pytest.approx(1.719120844, rel=1e-9)


def test_failure_probability():
    assert theory.failure_probability(100, 0.8, 0.5) == pytest.approx(0.135335283237)  # exp(−0.5·0.2²·100) = e⁻²


def test_csgm_sample_complexity():
    assert theory.csgm_sample_complexity(20, 6, 5, 0.3) == pytest.approx(92.1034037198)  # 20·log(6·5/0.3) = 20·log 100


def test_unconstrained_sample_complexity():
    # 1000·log(5·6/0.3) = 1000·log 100
    assert theory.unconstrained_sample_complexity(1000, 5, 6, 0.3) == pytest.approx(4605.17018599)


def test_log_covering_number_of_the_l1_ball():
    # ⌈4/0.25⌉ = 16 points of 2·50 + 1 = 101; log 101 = 4.61512051684; 16·4.61512051684 = 73.8419282694
    assert theory.log_covering_number_l1_ball(50, 2, 0.5) == pytest.approx(73.8419282694)
    # ⌈4/0.36⌉ = ⌈11.1⌉ = 12
    assert theory.log_covering_number_l1_ball(50, 2, 0.6) == pytest.approx(12 * 4.61512051684)
    # (0.3/0.1)² is 9, though 0.3/0.1 is 2.9999999999999996 and 0.7/0.1 is 6.999999999999999
    assert theory.log_covering_number_l1_ball(50, 0.3, 0.1) == pytest.approx(9 * 4.61512051684)
    assert theory.log_covering_number_l1_ball(50, 0.1 * 3, 0.1) == pytest.approx(9 * 4.61512051684)
    assert theory.log_covering_number_l1_ball(50, 1, 2) == pytest.approx(4.61512051684)


def test_best_k():
    valid, _ = FUNCTIONS[best_K]
    # the hand calculation of the sample complexity, read backwards
    assert best_K(**{**valid, "m": 478.937699343}) == pytest.approx(4)
    # (0.25·300 − 46.0517018599)/4.60517018599 = 6.28605; √6.28605 = 2.50720
    assert best_K(**{**valid, "m": 300}) == pytest.approx(2.50720, rel=1e-5)


# Exact limits.


@pytest.mark.parametrize("p", [1, 2, 3, 100, 4096, 12_288])
def test_the_second_term_vanishes_at_the_largest_k(p):
    assert theory.error_bound(0.25, p, math.sqrt(p), 0.1, 0.5) == 9 * 0.25
    single = torch.tensor(float(p)).sqrt()  # float32: may round above √p
    assert theory.error_bound(0.25, p, single, 0.1, 0.5) == pytest.approx(9 * 0.25, abs=1e-6)


def test_at_k_one_the_bound_is_in_closed_form():
    # 0.1·log 4/0.8·10·log 10 = 0.173286795139·23.0258509299 = 3.99007591
    assert theory.error_bound(0, 100, 1, 0.1, 0.8) == pytest.approx(3.99007591, rel=1e-8)


def test_as_gamma_goes_to_one_the_count_grows_without_bound_and_the_factor_goes_to_five():
    valid, _ = FUNCTIONS[sample_complexity]
    counts = sample_complexity(**{**valid, "gamma": 1 - 10.0 ** -np.arange(1, 7)})
    np.testing.assert_allclose(counts[1:] / counts[:-1], 100, rtol=1e-8)
    assert theory.error_bound(1, 100, 10, 0.1, 1 - 1e-12) == pytest.approx(5)
    assert theory.failure_probability(1e6, 1 - 1e-12) == pytest.approx(1)


def test_without_resolution_left_the_latents_cost_nothing():
    valid, _ = FUNCTIONS[sample_complexity]
    at_limit = {**valid, "delta": 30.0, "K": 1}  # δ = L1 L2 r1: one ball covers the image of all latents
    assert sample_complexity(**at_limit) == pytest.approx(4 * math.log(100))
    assert theory.csgm_sample_complexity(20, 6, 5, 30.0) == 0


def test_no_measurement_no_promise():
    assert theory.failure_probability(0, 0.5) == 1


def test_the_latents_term_is_that_of_csgm():
    valid, _ = FUNCTIONS[sample_complexity]
    both = sample_complexity(**valid)
    ball = 4 * 16 * math.log(100)
    csgm = theory.csgm_sample_complexity(k=10, L=2 * 5, r=3, delta=0.3, constant=4)
    assert both - ball == pytest.approx(csgm)


def test_the_ball_term_is_maureys_up_to_the_choice_of_2p_plus_1():
    K, delta, L2 = 4.0, 0.3, 5.0
    covering = theory.log_covering_number_l1_ball(100, theory.extended_radius(K, delta, L2), delta / L2)
    assert covering == pytest.approx(16 * math.log(201))


def test_best_k_at_its_ends():
    valid, _ = FUNCTIONS[best_K]
    price = sample_complexity(**{**{k: v for k, v in valid.items() if k != "m"}, "K": 1})
    assert best_K(**{**valid, "m": price}) == pytest.approx(1)
    assert math.isnan(best_K(**{**valid, "m": price * (1 - 1e-9)}))
    assert best_K(**{**valid, "m": 1e9}) == 10
    assert best_K(**{**valid, "m": 1e9, "p": 1}) == 1


# How they must move.

positive = st.floats(1e-3, 1e3)
admissible = st.fixed_dictionaries(
    dict(
        k=st.integers(1, 1000),
        p=st.integers(1, 100_000),
        L1=positive,
        L2=positive,
        r1=positive,
        gamma=st.floats(0.01, 0.99),
        constant=positive,
        fraction_of_K=st.floats(0, 1),
        resolution=st.floats(1e-6, 1),
    )
)


def theorem_arguments(drawn) -> dict:
    """Admissible arguments of the sample complexity: 1 ≤ K ≤ √p and δ ≤ L1 L2 r1."""
    drawn = dict(drawn)
    drawn["K"] = min(drawn["p"] ** (drawn.pop("fraction_of_K") / 2), math.sqrt(drawn["p"]))
    drawn["delta"] = drawn.pop("resolution") * drawn["L1"] * drawn["L2"] * drawn["r1"]
    return drawn


@given(admissible, st.floats(1.001, 3))
def test_the_sample_complexity_moves_as_it_must(drawn, factor):
    base = theorem_arguments(drawn)
    value = sample_complexity(**base)
    assert value >= 0
    _, directions = FUNCTIONS[sample_complexity]
    for name, direction in directions.items():
        moved = {**base, name: base[name] * factor}
        if name == "gamma":
            moved[name] = 1 - (1 - base[name]) / factor
        if moved["K"] > math.sqrt(moved["p"]) or moved["delta"] > moved["L1"] * moved["L2"] * moved["r1"]:
            continue
        assert direction * (sample_complexity(**moved) - value) >= -1e-9 * value, name


@given(admissible, st.floats(0, 10), st.floats(1.001, 3))
def test_the_error_bound_moves_as_it_must(drawn, representation_error, factor):
    drawn = theorem_arguments(drawn)
    base = {"representation_error": representation_error, **{k: drawn[k] for k in ("p", "K", "delta", "gamma")}}
    value = theory.error_bound(**base)
    assert value >= (1 + 4 / base["gamma"]) * representation_error
    _, directions = FUNCTIONS[theory.error_bound]
    for name, direction in directions.items():
        moved = {**base, name: base[name] * factor}
        if name == "gamma":
            moved[name] = 1 - (1 - base[name]) / factor
        if moved["K"] > math.sqrt(moved["p"]):
            continue
        assert direction * (theory.error_bound(**moved) - value) >= -1e-9 * value, name


@given(admissible, st.floats(1, 1e6), st.floats(1.001, 3))
def test_the_other_formulas_move_as_they_must(drawn, m, factor):
    d = theorem_arguments(drawn)
    d |= {"m": m, "L": d["L1"] * d["L2"], "r": d["r1"], "radius": d["K"] * d["delta"] / d["L2"]}
    d["eps"] = d["delta"] / d["L2"]
    others = set(FUNCTIONS) - {sample_complexity, theory.error_bound}
    for function in others:
        known = {**d, "r": d["L1"] * d["r1"]} if function is theory.unconstrained_sample_complexity else d
        directions = FUNCTIONS[function][1]
        base = {name: known[name] for name in directions}
        value = np.nan_to_num(function(**base))  # a best_K of NaN: not even 1
        for name, direction in directions.items():
            moved = {**base, name: base[name] * factor}
            if name == "gamma":
                moved[name] = 1 - (1 - base[name]) / factor
            if name == "delta" and factor * d["delta"] > d["L1"] * d["L2"] * d["r1"]:
                continue
            if function is best_K and name == "p" and value >= math.sqrt(d["p"]):
                continue  # a K held back by √p rises with p
            change = np.nan_to_num(function(**moved)) - value
            assert direction * change >= -1e-9 * value, (function.__name__, name)


@pytest.mark.parametrize("function", FUNCTIONS, ids=named)
def test_every_function_moves_as_the_table_says(function):
    valid, directions = FUNCTIONS[function]
    for name, direction in directions.items():
        change = function(**{**valid, name: valid[name] * 1.1}) - function(**valid)
        assert np.sign(change) == direction, name


@given(admissible, st.floats(1, 1e9))
def test_best_k_minimises_the_bound_within_the_budget(drawn, m):
    arguments = theorem_arguments(drawn)
    del arguments["K"]
    best = best_K(m, **arguments)
    p, delta, gamma = (arguments[name] for name in ("p", "delta", "gamma"))
    grid = np.geomspace(1, math.sqrt(p), 200)
    paid = grid[sample_complexity(K=grid, **arguments) <= m]
    if math.isnan(best):
        assert not len(paid)
        return
    assert sample_complexity(K=best, **arguments) <= m * (1 + 1e-9)
    bound = theory.error_bound(0.0, p, best, delta, gamma)
    assert np.all(theory.error_bound(0.0, p, paid, delta, gamma) >= bound * (1 - 1e-9) - 1e-300)


def test_maureys_net_covers_the_l1_ball():
    # The lemma's construction itself, in the plane: means of ⌈R²/ε²⌉ = 4 points of {0, ±e_1, ±e_2}.
    p, radius, eps = 2, 1.0, 0.5
    corners = np.concatenate([np.zeros((1, p)), np.eye(p), -np.eye(p)])
    terms = round(theory.log_covering_number_l1_ball(p, radius, eps) / math.log(2 * p + 1))
    net = np.array([np.mean(c, axis=0) for c in itertools.combinations_with_replacement(corners, terms)])
    assert math.log(len(net)) <= theory.log_covering_number_l1_ball(p, radius, eps)
    points = np.random.default_rng(0).uniform(-1, 1, (5000, p))
    points = points[np.abs(points).sum(1) <= radius]
    apart = np.linalg.norm(points[:, None] - net, axis=2).min(1)
    assert len(points) > 2000
    assert apart.max() <= eps


# Numbers in, a float out; arrays in, an array out.


@pytest.mark.parametrize(("function", "name"), ARGUMENTS, ids=named)
def test_arrays_give_what_numbers_give(function, name):
    valid, _ = FUNCTIONS[function]
    values = [valid[name], valid[name] * 1.1]
    scalars = [function(**{**valid, name: v}) for v in values]
    assert all(type(s) is float for s in scalars)
    array = function(**{**valid, name: np.array(values)})
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, scalars)
    assert isinstance(function(**{**valid, name: values}), np.ndarray)
    from_tensor = function(**{**valid, name: torch.tensor(values, dtype=torch.float64)})
    assert isinstance(from_tensor, np.ndarray)
    np.testing.assert_array_equal(from_tensor, scalars)


def test_arguments_broadcast():
    K, p = np.array([1.0, 2.0, 5.0]), np.array([[100], [400]])
    bound = theory.error_bound(0.2, p=p, K=K, delta=0.1, gamma=0.8)
    assert bound.shape == (2, 3)
    assert bound[0, 2] == pytest.approx(1.719120844, rel=1e-9)
    assert type(theory.error_bound(0.2, p=np.float64(400), K=torch.tensor(2.0), delta=0.1, gamma=0.8)) is float


def test_whole_numbers_give_floating_point():
    count = theory.failure_probability(np.arange(3), 0.5)
    assert count.dtype == np.float64
    np.testing.assert_allclose(count, [1.0, math.exp(-0.25), math.exp(-0.5)], rtol=1e-15)


def test_a_setting_refuses_what_is_none_when_it_is_made():
    with pytest.raises(ValueError, match=r"^L2 must be positive, got -1"):
        theory.Setting(k=8, p=128, L1=20.0, L2=-1.0, r1=4.0)


# What is refused.

WRONG = {
    "K": [0, -1, 0.5, 10.5],
    "gamma": [0, 1, -0.1, 1.5],
    "delta": [0, -0.1],
    "representation_error": [-0.1],
    "m": [-1],
    "p": [0],
    "k": [0],
}


@pytest.mark.parametrize(("function", "name"), ARGUMENTS, ids=named)
def test_wrong_values_are_refused_by_name(function, name):
    valid, _ = FUNCTIONS[function]
    wrong = [0, -1] if function is theory.extended_radius else WRONG.get(name, [0, -1])
    for value in [*wrong, math.nan, math.inf]:
        with pytest.raises(ValueError, match=f"^{name} must be"):
            function(**{**valid, name: value})
        with pytest.raises(ValueError, match=f"^{name} must be"):
            function(**{**valid, name: np.array([valid[name], value])})
    with pytest.raises(TypeError, match=f"^{name} must be a number"):
        function(**{**valid, name: "many"})


@pytest.mark.parametrize(
    ("function", "size"),
    [(sample_complexity, "L1·L2·r1"), (theory.csgm_sample_complexity, "L·r"), (best_K, "L1·L2·r1")],
    ids=named,
)
def test_a_resolution_wider_than_the_range_is_refused(function, size):
    valid, _ = FUNCTIONS[function]
    with pytest.raises(ValueError, match=f"delta must be at most {size}"):
        function(**{**valid, "delta": 31})
