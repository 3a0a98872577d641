"""What the loop asks of a round, written down in `ilo.solver.rounds`, and the layout of copies × problems."""

import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import ilo
from ilo.generators import Generator
from ilo.solver.copies import Copies
from ilo.solver.loop import Watch, run_round
from ilo.solver.rounds import Search, SearchRound


@pytest.fixture(scope="module")
def G() -> Generator:  # noqa: N802 (a generator's name throughout)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 16), nn.Tanh(), nn.Unflatten(1, (1, 4, 4)))
    return Generator.from_sequential(model, cuts=(2,), latent_shape=(3,))


def rounds(G) -> list[SearchRound]:
    return [
        ilo.Round(1, 4, radius=0.5),
        ilo.PriorRound(prior=ilo.feature_prior(G, 1, samples=50, rank=4), steps=4),
        ilo.JointRound(1, 4, radius=0.5, r1=2.0),
        ilo.AlternatingRound(1, 4, radius=0.5, r1=2.0, every=2),
    ]


@pytest.mark.parametrize("index", range(4))
def test_every_kind_of_round_keeps_the_contract(G, index):
    round_ = rounds(G)[index]
    for name in SearchRound.__annotations__:
        assert hasattr(round_, name), name
    assert round_.start_layer <= round_.layer
    copies = Copies(2, 3)
    state = G.run(G.sample(6, 0), 0, round_.start_layer)
    search = round_.begin(G, state, copies)
    assert all(hasattr(search, name) for name in Search.__annotations__)
    assert all(v.is_leaf and v.requires_grad and len(v) == 6 for v in search.variables)
    assert set(search.moving) <= set(search.state())
    assert search.project() is None
    trace = run_round(
        G, ilo.SquaredError(ilo.operators.Identity((1, 4, 4)), G(G.sample(6, 1))), round_, state, copies, Watch()
    )
    assert trace.values.shape == (5, 6)
    assert (trace.value <= trace.values.amin(0)).all(), "the start competes too"


def test_only_the_contract_is_asked_for(G):
    """A round of somebody else's, of no class of ours."""

    class Shift:
        layer, start_layer, steps, lr, penalty, radius = 0, 0, 5, 0.1, None, None
        schedule, optimiser = staticmethod(ilo.constant), staticmethod(ilo.adam)
        moving = ("features",)

        def begin(self, G, state, copies):
            self.start, self.variables = state["features"], [torch.zeros(len(state["features"]), 1, requires_grad=True)]
            return self

        def state(self):
            return {"features": self.start + self.variables[0]}

        def project(self):
            pass

    A = ilo.operators.Identity((1, 4, 4))
    result = ilo.recover(G, A, G(G.sample(2, 1)), rounds=[Shift()], restarts=3, progress=False)
    assert result.history["objective"].iloc[0] > result.objective.min()
    assert set(result.history["restart"]) == {0, 1, 2}


def test_the_fields_that_all_rounds_have_stand_once():
    shared = {"steps", "lr", "penalty", "schedule", "optimiser"}
    for kind in (ilo.Round, ilo.PriorRound, ilo.JointRound):
        own = set(inspect.get_annotations(kind))
        assert not own & (shared - {"optimiser"}), kind


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**31))
def test_copies_are_laid_out_copy_by_copy(count, problems, seed):
    copies, rng = Copies(count, problems), torch.Generator().manual_seed(seed)
    x = torch.randn(problems, 2, generator=rng)
    rows = copies.repeat(x)
    assert torch.equal(copies.split(rows), x.expand(count, problems, 2))
    which = torch.randint(count, (problems,), generator=rng)
    marked = torch.arange(count).repeat_interleave(problems)  # the number of each row's copy
    assert torch.equal(marked[copies.pick(which)], which)
    assert torch.equal(rows[copies.pick(which)], x)
