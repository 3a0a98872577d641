"""The two searches of the extended range: where their iterates lie, what they find, and what they refuse."""

import math

import pytest
import torch
from torch import nn

import ilo
from ilo import AlternatingRound, JointRound, Round
from ilo.generators import Generator
from ilo.theory import sample_extended_range

LAYER, RADIUS, R1 = 1, 1.5, 2.0


def small_generator(dtype=torch.float32) -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(4, 40), nn.LeakyReLU(0.2), nn.Linear(40, 63), nn.Tanh(), nn.Unflatten(1, (1, 9, 7))
        )  # fmt: skip
    return Generator.from_sequential(model, cuts=(2,), latent_shape=(4,)).to(dtype)


def problem(G, n=4, m=50, radius=RADIUS):
    """Targets of the extended range, with sparse deviations, and their Gaussian measurements."""
    state = sample_extended_range(G, LAYER, radius, n, R1, 7, nonzeros=2)
    A = ilo.operators.GaussianSensing(G.image_shape, m=m, rng=1).to(G.dtype)
    x = G(state, LAYER)
    return A, A(x), x


def remembered(kind, **options):
    """A round of this kind whose searches, and all their iterates, can be looked at afterwards."""
    searches, iterates = [], []

    class Watched(kind):
        def begin(self, G, state, copies):
            search = super().begin(G, state, copies)
            project = search.project

            def watched() -> None:
                project()
                z, v = search.latent.detach().clone(), search.state()["features"].detach() - center(search)
                iterates.append((z, v))

            search.project = watched
            searches.append(search)
            return search

    def center(search):
        return (
            search.center if kind is AlternatingRound else search._G.run(search.latent.detach(), 0, LAYER)["features"]
        )

    return Watched(LAYER, **{"steps": 30, "radius": RADIUS, "r1": R1, "lr": 0.1, **options}), searches, iterates


@pytest.mark.parametrize("kind", [JointRound, AlternatingRound])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_iterate_lies_in_the_extended_range(kind, dtype):
    G = small_generator(dtype)
    A, y, _ = problem(G)
    y = 3 * y  # far outside: both balls must bind
    round_, searches, iterates = remembered(kind, lr=0.3)
    result = ilo.recover(G, A, y, rounds=[round_], rng=0, progress=False)
    assert len(iterates) == 30
    slack = 1 + 20 * torch.finfo(dtype).eps
    features = G.run(searches[0].latent.detach(), 0, LAYER)["features"]
    size = features.abs().sum(1).max()  # v is seen as a difference of features, and rounded like them
    for z, v in iterates:
        assert (z.norm(dim=1) <= R1 * slack).all()
        assert (v.abs().sum(1) <= RADIUS * slack + 4 * torch.finfo(dtype).eps * size).all()
    z, v = iterates[-1]
    assert (v.abs().sum(1) > 0.95 * RADIUS).all(), "the ball binds, or the test shows nothing"
    if kind is JointRound:
        assert (z.norm(dim=1) > 0.999 * R1).any()
        # the variables themselves obey to rounding, without the sum's
        assert (searches[0].deviation.abs().sum(1) <= RADIUS * slack).all()
    found = [
        min((result.state["features"][i] - (G.run(z, 0, LAYER)["features"] + v)[i]).abs().max() for z, v in iterates)
        for i in range(len(y))
    ]
    assert max(found) <= 20 * torch.finfo(dtype).eps * size, "the result is one of the iterates"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [JointRound, AlternatingRound])
def test_targets_of_the_extended_range_are_recovered_and_the_range_alone_is_not_enough(kind):
    G = small_generator(torch.float64)
    A, y, x = problem(G)
    csgm = ilo.recover(G, A, y, rounds=[Round(0, 300)], restarts=4, progress=False)
    after = [Round(0, 300), kind(LAYER, 800, radius=RADIUS, r1=R1, lr=0.05)]
    extended = ilo.recover(G, A, y, rounds=after, restarts=4, progress=False)

    def error(result):
        return (result.images - x).flatten(1).norm(dim=1)

    assert (extended.objective <= csgm.objective * (1 + 1e-6)).all()
    assert error(extended).median() < 0.3 * error(csgm).median()


def test_radius_zero_is_a_search_of_the_range_alone():
    G = small_generator(torch.float64)
    A, y, _ = problem(G)
    inside = Round(0, 20, constraint=lambda x, start: ilo.project_l2_ball(x, R1))
    csgm = ilo.recover(G, A, y, rounds=[inside], progress=False)
    joint = ilo.recover(G, A, y, rounds=[JointRound(LAYER, 20, radius=0.0, r1=R1, optimiser=ilo.adam)], progress=False)
    torch.testing.assert_close(joint.images, csgm.images, rtol=1e-9, atol=1e-9)


def test_the_first_step_moves_the_deviation_by_its_own_rate():
    G = small_generator(torch.float64)
    A, y, _ = problem(G)
    round_, searches, _ = remembered(JointRound, steps=1, radius=1e9, r1=1e9, lr_deviation=0.004, schedule=ilo.constant)
    start = G.sample(1, 0, "start")["features"].expand(4, -1)
    ilo.recover(G, A, y, rounds=[round_], progress=False)
    moved = (searches[0].latent.detach() - start).square().mean(1).sqrt()
    assert moved.tolist() == pytest.approx([0.1] * 4)  # the first step is the rate, in root mean square
    deviation = searches[0].deviation.detach().square().mean(1).sqrt()
    assert deviation.tolist() == pytest.approx([0.004] * 4)


def test_the_projection_back_finds_the_nearest_point_of_the_range_and_never_moves_away():
    G = small_generator(torch.float64)
    A, y, _ = problem(G)
    distances = []

    class Watched(AlternatingRound):
        def begin(self, G, state, copies):
            search = super().begin(G, state, copies)
            back = search._project_back

            def watched() -> None:
                before = (search._features - search.center).norm(dim=1)
                back()
                distances.append((before, (search._features - search.center).norm(dim=1)))
                torch.testing.assert_close(search.center, G.run(search.latent, 0, LAYER)["features"])

            search._project_back = watched
            return search

    settings = {"radius": RADIUS, "r1": R1, "every": 25, "range_steps": 400, "range_lr": 0.02}
    ilo.recover(G, A, y, rounds=[Watched(LAYER, 100, **settings)], progress=False)
    assert len(distances) == 4
    assert all((after <= before).all() for before, after in distances)
    assert (distances[0][1] < 0.9 * distances[0][0]).any(), "the ball moves, or the test shows nothing"


def test_radii_one_a_problem_hold_for_restarts_too():
    G = small_generator(torch.float64)
    A, y, _ = problem(G)
    radius = torch.tensor([0.0, 0.1, 0.5, 1.0], dtype=torch.float64)
    for kind in (JointRound, AlternatingRound):
        round_, searches, _ = remembered(kind, radius=radius, lr=0.3)
        ilo.recover(G, A, 3 * y, rounds=[round_], restarts=2, progress=False)
        [search] = searches
        center = search.center if kind is AlternatingRound else G.run(search.latent.detach(), 0, LAYER)["features"]
        size = (search.state()["features"].detach() - center).abs().sum(1)
        assert (size <= radius.repeat(2) + 1e-12).all()
        assert (size >= 0.95 * radius.repeat(2)).all(), "the ball binds, or the test shows nothing"


def test_a_later_round_goes_on_from_the_extended_range():
    G = small_generator()
    A, y, _ = problem(G)
    rounds = [Round(0, 10), JointRound(1, 10, radius=1.0, r1=R1), Round(1, 10, 0.01)]
    result = ilo.recover(G, A, y, rounds=rounds, progress=False)
    assert (result.rounds[2].objective <= result.rounds[1].objective * (1 + 1e-5)).all()
    with pytest.raises(ValueError, match="go back"):
        ilo.recover(G, A, y, rounds=[Round(1, 10), JointRound(1, 10, radius=1.0, r1=R1)], progress=False)


@pytest.mark.parametrize("kind", [JointRound, AlternatingRound])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layer": 0}, "at least 1"),
        ({"steps": 0}, "steps"),
        ({"lr": 0.0}, "lr"),
        ({"radius": -1.0}, "radius"),
        ({"radius": math.nan}, "radius"),
        ({"radius": torch.tensor([1.0, -1.0])}, "radius"),
        ({"r1": 0.0}, "r1"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused(kind, wrong, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"layer": 1, "steps": 10, "radius": 1.0, "r1": 1.0, **wrong})


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (JointRound, {"lr_deviation": 0.0}),
        (AlternatingRound, {"every": 0}),
        (AlternatingRound, {"range_steps": 0}),
        (AlternatingRound, {"range_lr": -1.0}),
    ],
)
def test_wrong_settings_of_one_kind_are_refused(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(1, 10, radius=1.0, r1=1.0, **wrong)


def test_states_of_several_tensors_are_refused():
    class Pair(nn.Module):
        def forward(self, state):
            return {"image": state["features"] * state["style"]}

    G = Generator(
        [nn.Identity(), Pair()], latent_shapes={"features": (1, 2, 2), "style": (1, 1, 1)}, image_shape=(1, 2, 2)
    )
    with pytest.raises(TypeError, match="one tensor"):
        ilo.recover(
            G, lambda x: x, torch.zeros(1, 1, 2, 2), rounds=[JointRound(1, 5, radius=1.0, r1=1.0)], progress=False
        )
