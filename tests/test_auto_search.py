"""`rounds="auto"`: what it chooses, what it spends, what it returns, and what it says where it cannot choose."""

import pandas as pd
import pytest
import torch
from searches import small_generator
from torch import nn

import ilo
from ilo import operators
from ilo.auto import choose, posterior, walk
from ilo.auto.choose import Judgement, Setting
from ilo.auto.plan import Auto, Plan, plan_for
from ilo.auto.smooth import Conditioner, smooth_prior
from ilo.generators import Generator
from ilo.metrics import psnr

SHAPE = (1, 8, 8)
FEW = Auto(budget=120, samples=3, draws=4, noise=0.02)


@pytest.fixture(scope="module")
def G() -> Generator:  # noqa: N802 (a generator's name throughout)
    """Smooth images of few dimensions, in four layers."""
    return small_generator(SHAPE, factor=2)


def problem(G, n: int = 3, keep: float = 0.5, noise: float = 0.02, seed: int = 5):
    with torch.no_grad():
        x = G(G.sample(n, seed))
    A = operators.RandomInpainting(SHAPE, keep=keep, rng=1)
    return x, A, operators.measure(A, x, noise=noise, rng=2)


def test_it_recovers_within_its_budget_and_returns_what_it_tried(G):
    x, A, y = problem(G)
    result = ilo.recover(G, A, y, rounds=FEW)
    assert psnr(result.images, x).mean() > psnr(G(G.sample(64, 0)).mean(0, keepdim=True).expand_as(x), x).mean() + 3
    assert result.parameters["evaluations"] <= 120
    tries = result.tries
    assert tries.groupby("problem")["chosen"].sum().tolist() == [1, 1, 1]
    assert set(tries["layer"]) == {0, 1, 2, 4}, "three layers, and the image itself"
    assert tries["held_out_mse"].notna().all()
    assert set(result.history["restart"]) == {0, 1, 2}
    torch.testing.assert_close(result.render(G), result.images)


def test_auto_is_the_default(G):
    _, A, y = problem(G, 1)
    assert isinstance(ilo.recover(G, A, y), ilo.AutoResult)
    with pytest.raises(ValueError, match=r'rounds is "auto", an ilo\.Auto or a sequence'):
        ilo.recover(G, A, y, rounds="best")


def test_a_problem_is_the_same_alone_and_in_a_batch_and_the_same_call_bit_for_bit(G):
    _, A, y = problem(G)
    few = Auto(budget=30, samples=2, draws=2, noise=0.02)
    together = ilo.recover(G, A, y, rounds=few, rng=3)
    again = ilo.recover(G, A, y, rounds=few, rng=3)
    alone = ilo.recover(G, A, y[1:2], rounds=few, rng=3)
    for name in ("images", "sharp", "samples", "spread"):
        assert torch.equal(getattr(together, name), getattr(again, name)), name
    torch.testing.assert_close(together.images[1:2], alone.images, rtol=0, atol=2e-3)
    torch.testing.assert_close(together.sharp[1:2], alone.sharp, rtol=0, atol=2e-3)
    torch.testing.assert_close(together.samples[:, 1:2], alone.samples, rtol=0, atol=2e-3)
    seeds = ilo.recover(G, A, y, rounds=few, rng=[3, 4, 3])
    torch.testing.assert_close(seeds.images[[0, 2]], together.images[[0, 2]], rtol=0, atol=2e-3)
    assert (seeds.images[1] - together.images[1]).abs().max() > 1e-3


def test_it_reloads_with_samples_and_interval(G, tmp_path):
    _, A, y = problem(G)
    result = ilo.recover(G, A, y, rounds=FEW)
    loaded = ilo.load_result(result.save(tmp_path / "r.safetensors"))
    for a, b in zip(result.interval(0.8), loaded.interval(0.8), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(result.samples, loaded.samples)
    assert torch.equal(result.sharp, loaded.sharp)
    narrow, wide = result.interval(0.5), result.interval(0.95)
    assert (narrow[0] >= wide[0]).all()
    assert (narrow[1] <= wide[1]).all()
    with pytest.raises(ValueError, match="between 0 and 1"):
        result.interval(1.0)
    pd.testing.assert_frame_equal(result.tries, loaded.tries)
    with pytest.raises(ValueError, match="does not hold the images of the settings"):
        loaded.renders()


def test_samples_fit_the_measurements_and_the_interval_holds_the_truth(G):
    x, A, y = problem(G, n=8)
    result = ilo.recover(G, A, y, rounds=Auto(budget=300, noise=0.02))
    misfit = torch.stack([(A(s) - y).square().mean() for s in result.samples]).sqrt()
    assert (misfit < 0.1).all()
    low, high = result.interval(0.9)
    assert ((low <= x) & (x <= high)).float().mean() > 0.7


def test_the_noise_is_estimated(G):
    for noise in (0.05, 0.3):
        _, A, y = problem(G, n=9, keep=0.9, noise=noise)
        found = ilo.recover(G, A, y, rounds=Auto(budget=200)).parameters["noise"]
        assert noise / 2 < sorted(found)[4] < 2 * noise, (noise, found)


def test_refit_searches_on_all_measurements(G):
    _, A, y = problem(G)
    seen = []
    ilo.recover(
        G, A, y, rounds=Auto(budget=120, samples=3, refit=True), callback=lambda s: seen.append(s.layer) and False
    )
    again = seen.index(0, seen.index(1))
    once = seen[:again]
    assert seen[again : 2 * again] == once, "the plan is run twice"
    assert set(seen[2 * again :]) == {2}, "and the sharp image is searched once"


def test_the_first_of_many_steps_may_be_the_last(G):
    _, A, y = problem(G)
    result = ilo.recover(G, A, y, rounds=FEW, callback=lambda step: True)
    assert result.status == ["stopped"] * 3
    assert torch.isfinite(result.images).all()


def test_one_unit_cannot_be_split(G):
    A = operators.Identity(SHAPE).rows([5])
    with torch.no_grad():
        y = A(G(G.sample(2, 1)))
    with pytest.warns(UserWarning, match="nothing can be held out of these measurements"):
        result = ilo.recover(G, A, y, rounds=FEW)
    assert result.tries.empty
    assert (A(result.images) - y).abs().max() < 0.1


def test_a_function_that_is_not_linear_is_held_out_of_too(G):
    x, _, _ = problem(G)

    def measured(images):
        return images.flatten(1)[:, ::2].sigmoid()

    result = ilo.recover(G, measured, measured(x), rounds=FEW)
    assert result.tries.groupby("problem")["chosen"].sum().tolist() == [1, 1, 1]
    assert (measured(result.images) - measured(x)).square().mean().sqrt() < 0.1


@pytest.mark.parametrize("more", [{"restarts": 2}, {"objective": lambda x, s: x.sum((1, 2, 3))}, {"start": {}}])
def test_what_does_not_go_with_auto_is_refused(G, more):
    _, A, y = problem(G)
    with pytest.raises(ValueError, match='rounds="auto" searches'):
        ilo.recover(G, A, y, **more)


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": 0},
        {"samples": 1},
        {"held_out": 1.0},
        {"noise": -1.0},
        {"noise": float("nan")},
        {"draws": 1},
        {"noise": "0.1"},
        {"noise": torch.tensor([0.1, 0.2])},
        {"held_out": "0.1"},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
        Auto(**wrong)


def test_a_plan_is_scaled_to_its_budget():
    rounds = (ilo.Round(0, 40), ilo.Round(1, 40)), (ilo.Round(2, 30),)
    whole = Plan(*rounds, finish=(ilo.Round(1, 12), ilo.Round(2, 8)))
    assert whole.cost(samples=2) == 240
    half = whole.within(120, samples=2)
    assert ([r.steps for r in half.rounds()], [r.steps for r in half.finish]) == ([20, 20, 15], [6, 4])
    assert whole.within(460, samples=2, passes=2).cost(samples=2, passes=2) == 460
    least = whole.within(6, samples=2)
    assert ([r.steps for r in least.rounds()], least.finish) == ([1, 1, 1], ())


def test_the_sharp_image_is_one_solution_that_fits(G):
    _, A, y = problem(G)
    result = ilo.recover(G, A, y, rounds=FEW)
    assert (A(result.sharp) - y).square().mean().sqrt() < 0.1
    assert (result.sharp - result.images).abs().max() > 1e-3, "it is not the mean"


@pytest.mark.parametrize(("cuts", "layers"), [((), [0]), ((2,), [0, 1]), ((2, 4, 6), [0, 1, 2])])
def test_the_plan_follows_the_generators_depth(G, cuts, layers):
    model = nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 32), nn.Tanh(), nn.Linear(32, 64), nn.Tanh(),
                          nn.Unflatten(1, SHAPE))  # fmt: skip
    made = Generator.from_sequential(model, cuts=cuts, latent_shape=(6,))
    assert [r.layer for r in plan_for(made).rounds()] == layers


def errors(*means: float, held: int = 30, spread: float = 0.01) -> torch.Tensor:
    """Errors of as many candidates, of one scale and one problem: (candidates, 1, 1, held)."""
    noise = spread * torch.randn(len(means), 1, 1, held, generator=torch.Generator().manual_seed(0))
    return torch.tensor(means).view(-1, 1, 1, 1) + noise


def test_the_default_stands_unless_another_is_better_by_more_than_chance():
    units, noise, default = torch.arange(30), torch.tensor([0.0]), Setting(torch.tensor([0]), torch.tensor([0]))
    close, far = errors(1.0, 0.999), errors(1.0, 0.9)
    still = torch.zeros(2, 1, 1, 30)

    def chosen(errors, predictions=still, units=units, noise=noise):
        return choose.choose(Judgement(errors, predictions), units, noise, default).candidate.item()

    assert chosen(close) == 0
    assert chosen(far) == 1
    # the noise alone could do it: predictions 10 apart in each of 30, noise 1
    apart = torch.stack([torch.zeros(1, 1, 30), torch.full((1, 1, 30), 10.0)])
    assert chosen(far, apart, noise=torch.tensor([1.0])) == 0
    # thirty entries of one unit are one measurement
    assert chosen(far, units=torch.zeros(30, dtype=torch.long)) == 0


def test_a_setting_is_a_candidate_and_a_scale_for_each_problem():
    judged = Judgement(torch.ones(3, 2, 2, 5), torch.zeros(3, 2, 2, 5))
    judged.errors[2, 0, 0] = judged.errors[0, 1, 1] = 0.5
    best = judged.best()
    assert (best.candidate.tolist(), best.scale.tolist()) == ([2, 0], [0, 1])
    assert (best.of(judged.errors) == 0.5).all()


def test_the_priors_part_of_the_spread_is_stretched_to_cover_what_was_held_out():
    g = torch.Generator().manual_seed(0)
    field, noise = torch.randn(2, 3, 4000, generator=g)
    factor = torch.tensor([0.5, 1.0, 3.0])[:, None]
    for quiet in (0.0, 0.5):
        errors = (factor * field + quiet * noise).abs()
        found = posterior.stretch(errors, torch.ones(3, 4000), torch.full((3, 4000), quiet**2))
        torch.testing.assert_close(found, factor[:, 0], rtol=0.1, atol=0)
    alone = posterior.stretch(errors[1:2], torch.ones(1, 4000), torch.full((1, 4000), 0.25))
    torch.testing.assert_close(alone, found[1:2], msg="a problem's factor does not depend on its batch")


def test_little_that_was_held_out_or_noise_alone_stretches_little():
    one = torch.ones(1, 1)
    assert posterior.stretch(10 * one, one, 0 * one)[0] < 3, "one measurement says little"
    many = torch.ones(1, 1000)
    assert posterior.stretch(3 * many, 1e-4 * many, many)[0] < 1.5, "noise says nothing of the prior"
    assert posterior.stretch(0 * many, many, many)[0] < 0.5


def test_the_noise_is_known_and_not_stretched():
    parts = posterior.Posterior(torch.zeros(1), torch.tensor([[[[4.0]]]]), torch.tensor([[[[9.0]]]]))
    assert parts.spread(torch.tensor([2.0])).item() == 5
    assert parts.spread(torch.tensor([0.0])).item() == 3


def test_a_budget_is_never_exceeded_and_one_too_small_is_refused(G):
    uneven = Plan((ilo.Round(0, 300), ilo.Round(1, 3)), (ilo.Round(2, 3), ilo.Round(2, 3)), (ilo.Round(2, 40),))
    for budget in range(8, 60):
        assert uneven.within(budget, samples=2).cost(samples=2) <= budget
    _, A, y = problem(G)
    with pytest.raises(ValueError, match=r"budget of 8 .*at least 9, one in each of 3 rounds"):
        ilo.recover(G, A, y, rounds=Auto(budget=8, samples=3))
    with pytest.raises(ValueError, match=r"at least 18, one in each of 6 rounds"):
        ilo.recover(G, A, y, rounds=Auto(budget=17, samples=3, refit=True))
    assert ilo.recover(G, A, y, rounds=Auto(budget=9, samples=3, draws=2)).parameters["evaluations"] == 9


@pytest.mark.parametrize("share", [0.1, 0.45, 0.55, 0.7, 0.95])
def test_it_can_be_stopped_at_any_time(G, share):
    _, A, y = problem(G)
    settings = Auto(budget=120, samples=3, draws=2, noise=0.02, refit=True)
    seen = []
    whole = ilo.recover(G, A, y, rounds=settings, callback=lambda step: seen.append(step.round) and False)
    assert sorted(set(seen)) == seen[:1] + list(range(1, 7)), "three rounds, twice, and one for the sharp image"
    assert seen == sorted(seen)
    steps = []
    result = ilo.recover(
        G, A, y, rounds=settings, callback=lambda step: steps.append(step) or len(steps) >= share * len(seen)
    )
    assert result.status == ["stopped"] * 3
    assert 0 < result.parameters["evaluations"] < whole.parameters["evaluations"]
    assert torch.isfinite(result.sharp).all()
    assert torch.isfinite(result.spread).all()
    assert (A(result.images) - y).square().mean().sqrt() < 0.3


class Breaks(nn.Module):
    """A layer that gives NaN for the first of a batch at some calls of a search (those that ask for a gradient)."""

    def __init__(self, layer: nn.Module, calls: range):
        super().__init__()
        self.layer, self.calls, self.count = layer, calls, 0

    def forward(self, state):
        self.count += torch.is_grad_enabled()
        made = self.layer(state)
        if torch.is_grad_enabled() and self.count in self.calls:
            made = {name: torch.cat([t[:1] * torch.nan, t[1:]]) for name, t in made.items()}
        return made


@pytest.mark.parametrize("calls", [range(1, 2), range(3, 4), range(1, 10**6)])
def test_a_solution_that_diverges_does_not_spoil_the_mean(G, calls):
    _, A, y = problem(G)
    breaking = G.with_layers([*G.layers[:-1], Breaks(G.layers[-1], calls)])
    result = ilo.recover(breaking, A, y, rounds=FEW)
    for name in ("images", "sharp", "samples", "spread", "objective"):
        assert torch.isfinite(getattr(result, name)).all(), name
    assert result.tries["held_out_mse"].notna().all()
    assert (A(result.images) - y).square().mean().sqrt() < 0.15
    assert result.status[0] in ("converged", "improving"), "the other two solutions did not diverge"


def test_the_status_is_of_all_solutions():
    together = walk.together
    assert together(["diverged", "diverged"]) == "diverged"
    assert together(["diverged", "improving", "converged"]) == "improving"
    assert together(["improving", "converged", "converged"]) == "converged"


def test_the_mean_image_is_not_certain(G, monkeypatch):
    """Solutions that are one and the same image, with no deviation, would have no spread at all."""
    x, A, y = problem(G)

    def the_mean_without_deviation(judged, *rest):
        return Setting(torch.full((3,), len(judged.errors) - 1), torch.zeros(3, dtype=torch.long))

    monkeypatch.setattr(choose, "choose", the_mean_without_deviation)
    result = ilo.recover(G, A, y, rounds=FEW)
    mean = result.images[0]
    torch.testing.assert_close(result.images, mean.expand_as(result.images))
    low, high = result.interval()
    assert ((low <= x) & (x <= high)).float().mean() > 0.7


def test_a_short_generator_has_a_sharp_image_too():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 64), nn.Tanh(), nn.Unflatten(1, SHAPE))
    for cuts in ((), (2,)):
        made = Generator.from_sequential(model, cuts=cuts, latent_shape=(6,))
        _, A, y = problem(made)
        result = ilo.recover(made, A, y, rounds=FEW)
        assert (result.sharp - result.images).abs().max() > 1e-3, "it is not the mean"
        assert (A(result.sharp) - y).square().mean().sqrt() < 0.2


def test_a_problem_does_not_depend_on_the_seeds_of_the_others(G):
    _, A, y = problem(G)
    few = Auto(budget=30, samples=2, draws=2, noise=0.02)
    together = ilo.recover(G, A, y, rounds=few, rng=[3, 4, 5])
    alone = ilo.recover(G, A, y[1:2], rounds=few, rng=4)
    for name in ("images", "sharp", "spread"):
        torch.testing.assert_close(getattr(together, name)[1:2], getattr(alone, name), rtol=0, atol=2e-3)
    held = [r.tries["held_out_mse"].to_numpy()[r.tries["problem"] == p] for r, p in ((together, 1), (alone, 0))]
    assert held[0] == pytest.approx(held[1], abs=1e-4)


def test_one_measurement_may_go_with_several_seeds(G):
    _, A, y = problem(G, 1)
    few = Auto(budget=30, samples=2, draws=2, noise=0.02)
    several = ilo.recover(G, A, y, rounds=few, rng=[3, 4, 5])
    assert several.images.shape == (3, *SHAPE)
    assert several.parameters["seeds"] == [3, 4, 5]
    torch.testing.assert_close(several.images[2:], ilo.recover(G, A, y, rounds=few, rng=5).images, rtol=0, atol=2e-3)


def test_the_record_is_of_the_operator_that_was_given_and_holds_no_addresses(G):
    _, A, y = problem(G)
    stopped = ilo.recover(G, A, y, rounds=FEW, callback=lambda step: step.round == 2)
    for result in (ilo.recover(G, A, y, rounds=FEW), stopped):
        assert result.parameters["operator"] == repr(A)
        assert "0x" not in str(result.parameters)
        assert result.parameters["rounds"][0] == repr(FEW)
        assert result.parameters["rounds"][1].startswith("Round(layer=0")


class Learnt(operators.LinearOperator):
    """An operator with a parameter of its own."""

    def __init__(self):
        super().__init__(SHAPE, SHAPE)
        self.gain = nn.Parameter(torch.tensor(0.5))

    def _forward(self, x):
        return self.gain * x


def test_an_operators_parameters_do_not_reach_the_result_and_no_grad_is_no_hindrance(G):
    A = Learnt()
    with torch.no_grad():
        y = A(G(G.sample(2, 1)))
        result = ilo.recover(G, A, y, rounds=FEW)
        ilo.recover(G, A, y, rounds=[ilo.Round(0, 2)])
    again = ilo.recover(G, A, y, rounds=FEW)
    for name in ("images", "sharp", "samples", "spread", "objective"):
        assert not getattr(again, name).requires_grad, name
        assert torch.equal(getattr(result, name), getattr(again, name)), name


def test_a_bar_counts_every_step(G, monkeypatch):
    _, A, y = problem(G)
    bars = []
    make = walk.progress_bar
    monkeypatch.setattr(walk, "progress_bar", lambda *args: bars.append(make(*args)) or bars[-1])
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    result = ilo.recover(G, A, y, rounds=FEW)
    assert [bar.n for bar in bars] == [bar.total for bar in bars]
    assert 3 * bars[0].total + bars[1].total == result.parameters["evaluations"]


def test_samples_have_the_posterior_of_dense_algebra():
    """Without a generator, d ~ N(0, K): each pixel's variance given the measurements."""
    shape, s = (1, 8, 8), 0.05
    smooth = smooth_prior(0.05 * torch.randn(200, *shape, generator=torch.Generator().manual_seed(0)).double())
    K = smooth.covariance(torch.eye(64, dtype=torch.float64).view(64, *shape)).flatten(1)
    prior = posterior.ImagePrior(torch.zeros(1, *shape).double(), smooth, 4)
    for A in (operators.Identity(shape), operators.RandomInpainting(shape, keep=0.2)):
        A = A.double()
        M = operators.matrix(A).double()
        gain = K @ M.T @ torch.linalg.inv(M @ K @ M.T + s**2 * torch.eye(len(M), dtype=torch.float64))
        found, y = torch.zeros(2, 1, *shape).double(), torch.zeros(1, *A.shape_out).double()
        ratio, noise = torch.tensor([1 / s**2]).double(), torch.tensor([s]).double()
        certain = torch.tensor([False])
        choice = posterior.Choice(found, ratio, noise, certain)
        draws = posterior.draws(Conditioner(A, smooth), prior, y, choice, 2000, [0])
        expected = (K - gain @ M @ K).diagonal().sqrt()
        torch.testing.assert_close(draws.samples.flatten(1).std(0), expected, rtol=0.07, atol=0)
        torch.testing.assert_close(draws.spread(torch.ones(1)).flatten(), expected, rtol=0.07, atol=0)
        by_noise = s * gain.square().sum(1).sqrt()
        torch.testing.assert_close(draws.noise.flatten().sqrt(), by_noise, rtol=0.1, atol=1e-9)
        measured = posterior.draws(Conditioner(A, smooth), prior, y, choice, 500, [0], view=A)
        expected = (M @ (K - gain @ M @ K) @ M.T).diagonal()
        torch.testing.assert_close((measured.prior + measured.noise).flatten(), expected, rtol=0.25, atol=0)


@pytest.mark.parametrize("count", [2, 4, 5])
def test_the_spread_of_solutions_is_how_far_the_truth_is_from_their_mean_if_it_is_one_of_them(count):
    shape = (1, 4, 4)
    smooth = smooth_prior(torch.randn(50, *shape, generator=torch.Generator().manual_seed(0)))
    prior = posterior.ImagePrior(torch.zeros(1, *shape), smooth, 4)
    A = operators.Identity(shape)
    drawn = 0.1 * torch.randn(count + 1, 500, *shape, generator=torch.Generator().manual_seed(1))
    solutions, truth = drawn[:-1], drawn[-1]
    zero, certain = torch.zeros(500), torch.zeros(500, dtype=torch.bool)  # no deviation, no noise
    choice = posterior.Choice(solutions, zero, zero, certain)
    found = posterior.draws(Conditioner(A, smooth), prior, truth, choice, 2, [0])
    missed = (solutions.mean(0) - truth).square().mean()
    torch.testing.assert_close(found.spread(torch.ones(500)).square().mean(), missed, rtol=0.05, atol=0)
