"""What a search takes is foretold without computing it, and checkpointing takes less for the same numbers."""

import itertools

import golden_files
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from ilo.generators import biggan, economical, memory_report, peak_memory, random_stylegan2, stylegan2
from ilo.generators.memory import free_memory


def small(size: int = 64):
    return stylegan2(random_stylegan2(size, channel_base=1024, channel_max=16, z_dim=8, w_dim=8, mapping_layers=2))


@pytest.mark.parametrize(
    ("size", "batch", "checkpointing"), [(128, 1, True), (128, 4, False), (256, 1, True), (256, 2, False)]
)
def test_the_estimate_is_what_the_allocator_gives_out(size, batch, checkpointing):
    G = stylegan2(random_stylegan2(size, channel_base=4096, channel_max=64, z_dim=8, w_dim=8))
    G = economical(G) if checkpointing else G
    state = {name: t.clone().requires_grad_() for name, t in G.sample(batch, 0).items()}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        G(state).square().sum().backward()
    # not the size of the process: the convolution library's workspace differs from processor to processor
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    taken = itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))
    given = sum(t.numel() * t.element_size() for t in state.values())
    # without AVX torch's own convolutions are called, whose workspace, images unfolded, its allocator gives out too
    workspace = 2.3 if torch.backends.cpu.get_cpu_capability() == "DEFAULT" else 1.01
    assert 0.95 < (max(taken) + given) / peak_memory(G, batch) < workspace


@pytest.mark.slow
def test_the_estimate_grows_with_the_batch_and_falls_with_checkpointing():
    # channels as in published networks: where there are few, the peak is the last block's own maps, checkpointed or not
    G = stylegan2(random_stylegan2(64, channel_base=16384, z_dim=8, w_dim=8, mapping_layers=2))
    one, four = peak_memory(G, 1), peak_memory(G, 4)
    assert 3 * one < four < 4.1 * one
    assert peak_memory(economical(G)) < 0.9 * one
    assert peak_memory(economical(G, checkpointing=False, half=True)) < 0.7 * one
    assert peak_memory(G, start=G.num_layers - 1) <= one


@pytest.mark.parametrize("start", [0, 2, 4])
def test_checkpointing_changes_no_image_and_no_gradient(start):
    G = small()
    given = G.run(G.sample(2, 0), 0, start)
    found = []
    for generator in (G, economical(G)):
        state = {name: t.clone().requires_grad_() for name, t in given.items()}
        images = generator(state, start)
        images.square().sum().backward()
        found.append([images, *(state[name].grad for name in given)])
    for expected, actual in zip(*found, strict=True):
        assert torch.equal(expected, actual)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [small, lambda: biggan(golden_files.weights("biggan_64"))], ids=["stylegan2", "biggan"]
)
def test_half_precision_stays_near(make):
    G = make()
    half = economical(G, checkpointing=False, half=True)
    sample = G.sample(4, 0)
    for i in range(1, G.num_layers):
        expected, actual = G.run(sample, 0, i), half.run(sample, 0, i)
        assert expected.keys() == actual.keys()
        assert all(actual[name].dtype == torch.float32 for name in actual)
    assert 1e-5 < distance(half(sample), G(sample)) < 0.02
    for i in range(G.num_layers):
        gradients = []
        for generator in (half, G):
            state = {name: t.clone().requires_grad_() for name, t in G.run(sample, 0, i).items()}
            generator(state, i).square().sum().backward()
            gradients.append(torch.cat([state[name].grad.flatten() for name in G.variables(state)]))
        assert distance(*gradients) < 0.05


def distance(actual, expected) -> torch.Tensor:
    """Root mean square of the difference over the standard deviation."""
    return (actual - expected).square().mean().sqrt() / expected.std()


def test_the_economical_generator_is_otherwise_the_same_and_shares_its_weights():
    G = small()
    other = economical(G, half=True)
    assert (other.name, other.image_shape, other.latent_shapes) == (G.name, G.image_shape, G.latent_shapes)
    state = G.run(G.sample(1, 0), 0, 2)
    assert other.variables(state) == G.variables(state)
    assert {p.data_ptr() for p in other.parameters()} == {p.data_ptr() for p in G.parameters()}
    assert torch.equal(other.sample(2, 3)["latents"], G.sample(2, 3)["latents"])


@pytest.mark.slow
def test_a_large_search_is_announced_and_one_that_does_not_fit_warned_of():
    G = small()
    need = peak_memory(G, 3)
    assert memory_report(G, 3) == ""
    assert memory_report(G, 3, large=need + 1) == ""
    fits = memory_report(G, 3, large=need, free=need)
    assert fits.startswith("this search holds about")
    assert "3 × 64×64 pixels" in fits
    assert "half precision" in fits
    assert memory_report(G, 3, large=need, free=need - 1).startswith("warning, this may not fit: this search")


def test_free_memory_is_between_nothing_and_the_machine():
    free = free_memory(torch.device("cpu"))
    if free is None:
        pytest.skip("this system does not tell")
    assert 0 < free < 2**50
