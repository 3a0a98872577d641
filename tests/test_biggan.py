"""BigGAN against BigGAN-PyTorch's own outputs, at every block and from every block on."""

import golden_files
import pytest
import torch
from golden_files import draw, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from ilo.generators.biggan_layers import biggan

GOLDEN = golden_files.outputs("biggan_64")


def golden_state(dtype: torch.dtype = torch.float32) -> dict:
    chunks = draw("z", (2, 60)).to(dtype).split(12, 1)
    classes = golden_files.weights("biggan_64", dtype)["shared.weight"]
    return {**{f"latent_{i}": c for i, c in enumerate(chunks)}, "embedding": classes[GOLDEN["y"]]}


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=["float32", "float64"], name="G")
def generator(request):
    return biggan(golden_files.weights("biggan_64", request.param), label=1)


def test_every_array_of_the_reference(G):
    state = golden_state(G.dtype)
    torch.testing.assert_close(state["embedding"], GOLDEN["shared_y"].to(G.dtype))
    for i in range(3):
        assert relative_error(G.run(state, 0, i + 2)["features"], GOLDEN[f"block{i}"]) < 5e-6
    assert relative_error(G(state), GOLDEN["image"]) < 5e-6


@pytest.mark.parametrize("block", [0, 1, 2])
def test_from_the_references_features_on(G, block):
    state = {**G.run(golden_state(G.dtype), 0, block + 2), "features": GOLDEN[f"block{block}"].to(G.dtype)}
    assert relative_error(G(state, block + 2), GOLDEN["image"]) < 5e-6


def test_every_split_gives_the_image_bit_for_bit(G):
    sample = G.sample(3, 0)
    images = G(sample)
    for i in range(G.num_layers + 1):
        head, tail = G.split(i)
        state = head(sample)
        assert torch.equal(tail(state), images)
        assert torch.equal(tail({k: v.clone(memory_format=torch.contiguous_format) for k, v in state.items()}), images)


def test_the_state_holds_what_later_layers_read_and_all_of_it_is_optimised(G):
    sample = G.sample(2, 0)
    assert G.image_shape == (3, 64, 64)
    for i in range(5):
        state = G.run(sample, 0, i)
        ahead = {f"latent_{j}" for j in range(i, 5)} | {"embedding"} | ({"features"} if i else set())
        assert set(state) == ahead
        assert set(G.variables(state)) == ahead
        state = {k: v.clone().requires_grad_() for k, v in state.items()}
        G(state, i).square().sum().backward()
        assert all(v.grad.abs().max() > 0 for v in state.values())


def test_samples_start_from_the_embedding_of_the_label():
    weights = golden_files.weights("biggan_64")
    classes = weights["shared.weight"]
    for label, expected in [
        (3, classes[3]),
        (None, classes.mean(0)),
        ([0, 0.5, 0.5, 0, 0], (classes[1] + classes[2]) / 2),
    ]:
        embedding = biggan(weights, label=label).sample(2, 0)["embedding"]
        torch.testing.assert_close(embedding, expected.expand(2, -1))


@settings(max_examples=10)
@given(gain=st.floats(0.1, 10), seed=st.integers(0, 99))
def test_the_scale_of_a_weight_does_not_matter_under_spectral_normalisation(gain, seed):
    weights = golden_files.weights("biggan_64", torch.float64)
    names = [key for key in weights if f"{key.removesuffix('.weight')}.u0" in weights]
    scaled = {**weights, **{key: weights[key] * gain for key in names}}
    state = biggan(weights).sample(1, seed)
    torch.testing.assert_close(biggan(scaled)(state), biggan(weights)(state), rtol=1e-10, atol=1e-10)


def test_folded_weights_have_spectral_norm_one_when_u_is_the_left_singular_vector():
    weights = golden_files.weights("biggan_64", torch.float64)
    U, S, _ = torch.linalg.svd(weights["blocks.1.0.conv1.weight"].flatten(1), full_matrices=False)
    weights["blocks.1.0.conv1.u0"] = U[:, :1].T.clone()
    folded = biggan(weights).layers[2].block.conv1.weight
    torch.testing.assert_close(folded * S[0], weights["blocks.1.0.conv1.weight"])


def test_without_a_hierarchical_latent_one_chunk_makes_the_image():
    weights = golden_files.weights("biggan_64")
    weights = {k: v[:, :32] if ".gain.weight" in k or ".bias.weight" in k else v for k, v in weights.items()}
    G = biggan(weights)
    assert G.latent_shapes == {"latent_0": (12,)}
    assert G(G.sample(2, 0)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 5}, "0 … 4"),
        ({"label": [1.0, 2.0]}, "5 finite numbers"),
        ({"label": [float("nan")] * 5}, "5 finite numbers"),
    ],
)
def test_a_wrong_label_is_explained(change, message):
    with pytest.raises(ValueError, match=message):
        biggan(golden_files.weights("biggan_64"), **change)


@pytest.mark.parametrize("missing", ["shared.weight", "blocks.2.1.phi.weight", "output_layer.0.stored_var"])
def test_a_missing_tensor_is_named(missing):
    weights = golden_files.weights("biggan_64")
    del weights[missing]
    with pytest.raises(ValueError, match=missing):
        biggan(weights)
