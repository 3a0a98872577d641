"""The solver: what it promises about best iterates, balls, batches, randomness, saving and bad input."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import ilo
from ilo import Round
from ilo.generators import Generator
from ilo.solver.loop import Step

SHAPE = (3, 5, 7)


def small_generator(dtype=torch.float32):
    """Three layers, smooth, no two alike; small enough for a hundred recoveries a second."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(4, 20), nn.LeakyReLU(0.2), nn.Linear(20, 40), nn.LeakyReLU(0.2),
            nn.Linear(40, math.prod(SHAPE)), nn.Tanh(), nn.Unflatten(1, SHAPE),
        )  # fmt: skip
    return Generator.from_sequential(model, cuts=(2, 4), latent_shape=(4,)).to(dtype)


def problem(G, keep=0.5, n=3):
    x = G(G.sample(n, 123)) + 0.1 * G(G.sample(n, 124))
    A = ilo.operators.RandomInpainting(SHAPE, keep=keep, rng=1).to(G.dtype)
    return A, A(x), x


ROUNDS = [Round(0, 30, 0.1), Round(1, 20, 0.05, radius=3.0), Round(2, 20, 0.02, radius=2.0)]


def solve(G, A, y, **options):
    return ilo.recover(G, A, y, **{"rounds": ROUNDS, "rng": 0, "restarts": 3, "progress": False, **options})


def test_every_round_improves_on_the_one_before_and_the_last_holds_the_best():
    G = small_generator()
    A, y, _ = problem(G)
    result = solve(G, A, y)
    objectives = torch.stack([r.objective for r in result.rounds])  # (rounds, B)
    assert (objectives[1:] <= objectives[:-1] * (1 + 1e-5)).all()
    assert (objectives[-1] < 0.5 * objectives[0]).all()
    lowest = result.history.groupby("problem")["objective"].min()
    torch.testing.assert_close(result.objective, torch.tensor(lowest.to_numpy(), dtype=G.dtype), rtol=1e-4, atol=0)
    recomputed = (A(result.images) - y).square().flatten(1).mean(1)
    torch.testing.assert_close(result.objective, recomputed, rtol=1e-4, atol=1e-9)


def test_best_iterate_survives_a_last_round_that_makes_things_worse():
    G = small_generator()
    A, y, _ = problem(G)
    good = solve(G, A, y)
    worse = solve(G, A, y, rounds=[*ROUNDS, Round(2, 5, lr=50.0, schedule=ilo.constant)])
    last = worse.history[worse.history["round"] == 3]
    assert last["objective"].max() > 10 * good.objective.max().item()
    assert (worse.objective <= good.objective * (1 + 1e-5)).all()


def test_restarts_choose_by_measurement_error_for_each_problem():
    G = small_generator()
    A, y, _ = problem(G, n=6)
    result = solve(G, A, y, rounds=ROUNDS[:1], restarts=4)
    best = result.history.groupby(["problem", "restart"])["objective"].min().unstack()
    assert best.shape == (6, 4)
    assert result.rounds[0].restart.tolist() == best.to_numpy().argmin(1).tolist()
    assert len(set(result.rounds[0].restart.tolist())) > 1, "a test in which one restart always wins shows nothing"
    single = solve(G, A, y, rounds=ROUNDS[:1], restarts=1)
    assert (result.objective <= single.objective * (1 + 1e-4)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_deviation_stays_inside_the_l1_ball(dtype):
    G = small_generator(dtype)
    A, y, _ = problem(G)
    radius = torch.tensor([0.0, 0.2, 0.5], dtype=dtype)
    seen = []
    first = solve(G, A, y, rounds=ROUNDS[:1])
    center = G.run(first.state, 0, 1)["features"]
    rounds = [Round(1, 25, 0.1, radius=radius)]

    def callback(step: Step):
        seen.append(step.step)

    result = ilo.recover(G, A, y, rounds=rounds, start=G.run(first.state, 0, 1), callback=callback, progress=False)
    deviation = (result.state["features"] - center).flatten(1).abs().sum(1)
    assert (deviation <= radius * (1 + 10 * torch.finfo(dtype).eps)).all()
    assert deviation[1:] == pytest.approx(radius[1:].tolist(), rel=1e-3), "the ball binds, or the test shows nothing"
    assert torch.equal(result.state["features"][0], center[0]), "radius 0 leaves the start alone"
    assert seen == list(range(26))


def test_radius_per_problem_holds_for_restarts_too():
    G = small_generator()
    A, y, _ = problem(G)
    result = solve(G, A, y, rounds=[Round(1, 20, 0.2, radius=torch.tensor([0.1, 0.5, 1.0]))], restarts=2)
    starts = [G.run(G.sample(2, 0, "start"), 0, 1)["features"][r] for r in result.rounds[0].restart]
    deviation = (result.state["features"] - torch.stack(starts)).abs().sum(1)
    assert deviation == pytest.approx([0.1, 0.5, 1.0], rel=1e-3)


def test_keep_norm_stays_on_the_sphere():
    G = small_generator()
    A, y, _ = problem(G)
    result = solve(G, A, y, rounds=[Round(0, 20, 0.4, constraint=ilo.keep_norm)], restarts=1)
    start = G.sample(1, 0, "start")["features"].norm()
    assert result.state["features"].norm(dim=1) == pytest.approx([start.item()] * 3, rel=1e-5)


def test_the_same_call_gives_the_same_image_bit_for_bit(dcgan):
    A = ilo.operators.RandomInpainting(dcgan.image_shape, keep=0.2, rng=0)
    y = A(dcgan(dcgan.sample(2, 5)))
    rounds = [Round(0, 4, 0.1), Round(1, 4, 0.05, radius=100.0)]
    one, two = (ilo.recover(dcgan, A, y, rounds=rounds, rng=3, restarts=2, progress=False) for _ in range(2))
    assert torch.equal(one.images, two.images)
    assert one.history.drop(columns="seconds").equals(two.history.drop(columns="seconds"))
    assert not torch.equal(one.images, ilo.recover(dcgan, A, y, rounds=rounds, rng=4, progress=False).images)


def test_a_problem_alone_agrees_with_itself_in_a_batch(dcgan):
    """The drift that the docstring states: 1e-4 after ten steps on images in [−1, 1]."""
    A = ilo.operators.RandomInpainting(dcgan.image_shape, keep=0.2, rng=0)
    y = A(dcgan(dcgan.sample(3, 5)))
    rounds = [Round(0, 5, 0.1), Round(1, 5, 0.05, radius=500.0)]
    batch = ilo.recover(dcgan, A, y, rounds=rounds, rng=3, restarts=2, progress=False)
    for i in range(3):
        alone = ilo.recover(dcgan, A, y[i : i + 1], rounds=rounds, rng=3, restarts=2, progress=False)
        assert (alone.images - batch.images[i : i + 1]).abs().max() < 1e-4
    seeds = [7, 8, 9]
    batch = ilo.recover(dcgan, A, y, rounds=rounds, rng=seeds, restarts=2, progress=False)
    alone = ilo.recover(dcgan, A, y[1:2], rounds=rounds, rng=seeds[1], restarts=2, progress=False)
    assert (alone.images - batch.images[1:2]).abs().max() < 1e-4


def test_a_start_in_another_memory_layout_is_searched_all_the_same(dcgan):
    """And moved alike, by an optimiser that sees numbers in the order of memory.

    Fused Adam reads gradients in that order: a start laid out unlike its gradient once moved nowhere.
    """

    def optimiser(variables, lr):
        assert all(v.is_contiguous() for v in variables)
        return ilo.adam(variables, lr)

    A = ilo.operators.RandomInpainting(dcgan.image_shape, keep=0.5, rng=0)
    y = A(dcgan(dcgan.sample(1, 5)))
    start = dcgan.run(dcgan.sample(1, 6), 0, 1)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        given = {"features": start["features"].contiguous(memory_format=layout)}
        round_ = Round(1, 10, 0.05, optimiser=optimiser, radius=2000.0)
        r = ilo.recover(dcgan, A, y, rounds=[round_], start=given, progress=False)
        results.append(r)
        assert r.objective.item() < 0.5 * r.history["objective"].iloc[0]
    assert torch.equal(results[0].images, results[1].images)
    assert results[0].state["features"].stride() == results[1].state["features"].stride()


def test_saved_results_render_the_same_image(tmp_path, dcgan):
    A = ilo.operators.RandomInpainting(dcgan.image_shape, keep=0.2, rng=0)
    y = A(dcgan(dcgan.sample(2, 5)))
    result = ilo.recover(dcgan, A, y, rounds=[Round(0, 3, 0.1), Round(1, 3, 0.05)], progress=False)
    again = ilo.load_result(result.save(tmp_path / "deep" / "result.safetensors"))
    assert torch.equal(again.render(dcgan), result.images)
    assert torch.equal(again.images, result.images)
    assert torch.equal(dcgan(again.state, again.layer), result.images)
    assert again.status == result.status
    assert again.parameters["generator"] == "dcgan-digiface64"
    assert again.history.equals(result.history)
    assert {"revision", "torch", "seeds", "rounds", "operator"} <= set(again.parameters)


def test_loading_something_else_is_a_clear_error(tmp_path):
    (tmp_path / "text").write_text("not a result")
    with pytest.raises(ValueError, match="not a saved result"):
        ilo.load_result(tmp_path / "text")
    with pytest.raises(FileNotFoundError, match="no saved result"):
        ilo.load_result(tmp_path / "missing")


def test_history_has_one_row_a_step_restart_and_problem():
    G = small_generator()
    A, y, _ = problem(G)
    history = solve(G, A, y).history
    assert len(history) == 31 * 3 * 3 + 21 * 3 + 21 * 3
    assert list(history) == ["round", "layer", "step", "restart", "problem", "objective", "lr", "seconds"]
    assert history.groupby("round")["seconds"].apply(lambda s: s.is_monotonic_increasing).all()


def test_callback_stops_and_keeps_the_best_so_far():
    G = small_generator()
    A, y, _ = problem(G)
    result = solve(G, A, y, callback=lambda step: step.round == 1 and step.step == 4)
    assert result.status == ["stopped"] * 3
    assert len(result.rounds) == 2
    assert result.layer == 1
    assert torch.equal(result.images, G(result.state, 1))


def test_a_problem_that_diverges_says_so_and_leaves_the_others_alone():
    G = small_generator()
    A, y, _ = problem(G)

    class Poisoned(ilo.SquaredError):
        def forward(self, images, state):
            return super().forward(images, state) * torch.tensor([1.0, float("nan"), 1.0])

    result = solve(G, A, y, objective=Poisoned(A, y))
    assert result.status[1] == "diverged"
    assert torch.isfinite(result.images).all()
    clean = solve(G, A, y)
    torch.testing.assert_close(result.images[[0, 2]], clean.images[[0, 2]], rtol=0, atol=1e-3)


def test_penalty_counts_in_the_search_and_not_in_what_is_reported():
    G = small_generator()
    A, y, _ = problem(G)
    free = solve(G, A, y, rounds=[Round(0, 60, 0.1)])
    held = solve(G, A, y, rounds=[Round(0, 60, 0.1, penalty=10.0 * ilo.SquaredNorm())])
    assert (held.state["features"].norm(dim=1) < 0.7 * free.state["features"].norm(dim=1)).all()
    data = (A(held.images) - y).square().flatten(1).mean(1)
    torch.testing.assert_close(held.objective, data, rtol=1e-4, atol=0)


def test_a_penalty_that_sees_the_measurements_works_with_restarts():
    G = small_generator()
    A, y, _ = problem(G)
    twice = solve(G, A, y, rounds=[Round(0, 15, 0.1, penalty=ilo.SquaredError(A, y))], restarts=2)
    once = solve(G, A, y, rounds=[Round(0, 15, 0.1)], restarts=2)
    torch.testing.assert_close(twice.images, once.images, rtol=0, atol=1e-3)  # Adam does not see the factor of two


def test_a_random_objective_draws_the_same_in_the_same_call():
    G = small_generator()
    linear = nn.Linear(math.prod(SHAPE), 4)
    score = ilo.ClassScore(lambda x: linear(x.flatten(1)), 2)
    one, two = (
        ilo.recover(G, None, None, objective=score, rounds=ROUNDS[:2], rng=[1, 2], restarts=2, progress=False)
        for _ in range(2)
    )
    assert torch.equal(one.images, two.images)


def test_every_round_remembers_the_restart_that_the_problem_went_on_with():
    G = small_generator()
    A, y, _ = problem(G, n=6)
    result = solve(G, A, y, restarts=4)
    assert all(torch.equal(r.restart, result.rounds[0].restart) for r in result.rounds)
    assert result.rounds[0].restart.max() > 0


def test_what_the_caller_gave_is_left_as_it_was():
    G = small_generator()
    A = ilo.operators.GaussianSensing(SHAPE, m=9, rng=0).to(torch.float64)
    before = {name: t.clone() for name, t in A.named_buffers()}
    y = A(torch.rand(1, *SHAPE, dtype=torch.float64))
    objective = ilo.DeadZone(A, y)
    solve(G, A, y, objective=objective, rounds=[Round(0, 2)])
    assert objective.y.dtype == torch.float64
    assert all(torch.equal(t, before[name]) for name, t in A.named_buffers())
    assert A.dtype == torch.float64


def test_the_record_is_the_same_in_every_process():
    G = small_generator()
    A, y, _ = problem(G)
    words = json.dumps(solve(G, A, y, objective=lambda x, s: (A(x) - y).square().flatten(1).mean(1)).parameters)
    assert " at 0x" not in words
    assert "ilo.solver.rounds.ramp" in words


def test_torch_settings_are_left_as_they_were():
    conv = torch.backends.cudnn.conv
    before = conv.fp32_precision
    try:
        conv.fp32_precision = "tf32"
        G = small_generator()
        A, y, _ = problem(G)
        solve(G, A, y, rounds=[Round(0, 2)])
        assert conv.fp32_precision == "tf32"
    finally:
        conv.fp32_precision = before


def test_any_differentiable_callable_is_an_operator():
    """A nonlinear one: intensities of a saturating sensor."""
    G = small_generator()
    x = G(G.sample(2, 50))

    def saturating(images):
        return torch.tanh(2 * images[:, :, ::2]).square()

    result = ilo.recover(G, saturating, saturating(x), rounds=ROUNDS, restarts=4, progress=False)
    assert (result.objective < 1e-3).all()


def test_generating_without_measurements():
    G = small_generator()
    target = G(G.sample(1, 9))
    result = ilo.recover(
        G, None, None, objective=lambda x, s: (x - target).square().mean((1, 2, 3)), rounds=ROUNDS, rng=[1, 2],
        progress=False,
    )  # fmt: skip
    assert result.images.shape == (2, *SHAPE)
    assert (result.objective < 1e-2).all()


def test_rng_accepts_a_generator_and_the_seed_is_recorded():
    G = small_generator()
    A, y, _ = problem(G)
    one, two = (solve(G, A, y, rng=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one.images, two.images)
    again = solve(G, A, y, rng=one.parameters["seeds"])
    assert torch.equal(one.images, again.images)


def test_float64_follows_the_generator():
    G = small_generator(torch.float64)
    A, y, _ = problem(G)
    assert solve(G, A, y.float()).images.dtype == torch.float64


BAD = {
    "range": (lambda y: (y + 1) * 127.5, {}, "0–255"),
    "radius name": (lambda y: y, {"rounds": [Round(1, 5, radius={"feature": 1.0})]}, "feature"),
    "radius count": (lambda y: y, {"rounds": [Round(1, 5, radius=torch.tensor([0.0, 1.0]))]}, "for 3 problems"),
    "start kind": (lambda y: y, {"start": torch.zeros(3, 4), "restarts": 1}, "must be a state"),
    "start shape": (lambda y: y, {"start": {"features": torch.zeros(3, 5)}, "restarts": 1}, "input of layer 0"),
    "start values": (lambda y: y, {"start": {"features": torch.full((3, 4), torch.nan)}, "restarts": 1}, "NaN"),
    "detached": (lambda y: y, {"objective": lambda x, s: x.detach().mean((1, 2, 3))}, "differentiably"),
    "no seeds": (lambda y: y[:1], {"rng": []}, "empty"),
    "unbatched": (lambda y: y[0], {}, "batch first"),
    "wrong shape": (lambda y: y[:, :, :-1], {}, "y must have shape"),
    "NaN": (lambda y: torch.where(y == y.max(), float("nan"), y), {}, "NaN or infinite"),
    "infinite": (lambda y: y / 0, {}, "NaN or infinite"),
    "integers": (lambda y: (y * 127).byte(), {}, "floating-point"),
    "no rounds": (lambda y: y, {"rounds": []}, "rounds is empty"),
    "missing layer": (lambda y: y, {"rounds": [Round(3, 5)]}, "layer 3 does not exist"),
    "going back": (lambda y: y, {"rounds": [Round(1, 5), Round(0, 5)]}, "go back"),
    "no restarts": (lambda y: y, {"restarts": 0}, "restarts"),
    "seeds": (lambda y: y, {"rng": [1, 2]}, "number of problems differs"),
    "negative seed": (lambda y: y, {"rng": -1}, "non-negative"),
    "variable": (lambda y: y, {"rounds": [Round(0, 5, variables=("styles",))]}, "styles"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_clear_error(case):
    change, options, message = BAD[case]
    G = small_generator()
    A, y, _ = problem(G)
    with pytest.raises(ValueError, match=message):
        solve(G, A, change(y), **options)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("radius", -1.0), ("radius", float("nan")), ("radius", torch.tensor([1.0, -1.0])), ("radius", {"features": -2}),
        ("steps", 0), ("steps", 2.5), ("lr", 0.0), ("lr", float("inf")), ("layer", -1), ("layer", 1.0),
    ],
)  # fmt: skip
def test_bad_rounds_are_clear_errors(field, value):
    with pytest.raises(ValueError, match=field):
        replace(Round(0, 5), **{field: value})


def test_an_operator_for_other_images_is_a_clear_error():
    G = small_generator()
    A = ilo.operators.Identity((3, 8, 8))
    with pytest.raises(ValueError, match="measures images of shape"):
        solve(G, A, torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="both the operator"):
        solve(G, None, torch.zeros(1, 3))
    with pytest.raises(ValueError, match="an objective is needed"):
        solve(G, None, None)


def test_ramp_is_the_published_one():
    assert ilo.ramp(0.0) == 0.0
    assert ilo.ramp(0.025) == pytest.approx(0.5)
    assert ilo.ramp(0.25) == pytest.approx(1.0)
    assert ilo.ramp(0.625) == pytest.approx(0.5)
    assert ilo.ramp(1.0) == pytest.approx(0.0, abs=1e-12)
