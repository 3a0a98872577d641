"""The digits' decoder: layered like any generator, the same at every training, and it has learned the digits."""

import builtins

import pytest
import torch

from ilo.generators import Generator
from ilo.theory.digits import load_digits, train_digits


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return load_digits()


@pytest.fixture(scope="module")
def trained() -> Generator:
    return train_digits()


def test_the_digits_are_images(digits):
    assert digits.shape == (1797, 1, 8, 8)
    assert digits.dtype == torch.float32
    assert digits.min() == -1
    assert digits.max() == 1


@pytest.mark.slow
def test_the_decoder_is_a_layered_generator(trained):
    assert trained.num_layers == 3
    assert trained.image_shape == (1, 8, 8)
    z = trained.sample(5, 0)
    assert z["features"].shape == (5, 8)
    assert trained.run(z, 0, 1)["features"].shape == trained.run(z, 0, 2)["features"].shape == (5, 128)
    for i in range(4):
        head, tail = trained.split(i)
        assert torch.equal(tail(head(z)), trained(z))
    assert not any(p.requires_grad for p in trained.parameters())


def test_samples_look_like_digits(trained, digits):
    samples = trained(trained.sample(500, 1)).flatten(1)
    pixels = digits.flatten(1)
    mean, std = pixels.mean(0), pixels.std(0)
    noise = mean + std * torch.randn(500, 64, generator=torch.Generator().manual_seed(0))

    def nearest(points):
        return torch.cdist(points, pixels).min(1).values.mean()

    among_digits = torch.cdist(pixels, pixels).fill_diagonal_(torch.inf).min(1).values.mean()
    assert nearest(samples) < 1.6 * among_digits
    assert nearest(samples) < 0.75 * nearest(noise.clamp(-1, 1))
    # and they are as varied as the digits
    assert 0.8 < samples.std(0).norm() / std.norm() < 1.2


def test_it_explains_digits_better_than_as_many_principal_components(trained, digits):
    pixels = digits.flatten(1)
    centred = pixels - pixels.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:8]
    linear = (centred - centred @ axes.T @ axes).square().mean(1)

    chosen = digits[::9]  # 200 of them
    starts = trained.sample(8, 0)["features"]
    z = starts.repeat(len(chosen), 1).requires_grad_()  # 8 starts a digit
    target = chosen.repeat_interleave(8, 0)
    optimiser = torch.optim.Adam([z], lr=0.1)
    for _ in range(200):
        error = (trained(z) - target).square().flatten(1).mean(1)
        optimiser.zero_grad()
        error.sum().backward()
        optimiser.step()
    best = error.detach().view(-1, 8).min(1).values
    assert best.mean() < 0.8 * linear[::9].mean()


def test_training_is_deterministic_and_leaves_the_global_state_alone():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    weights = [train_digits(epochs=2, rng=seed).state_dict() for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.set_num_threads(threads % 2 + 1)
    weights.append(train_digits(epochs=2, rng=0).state_dict())
    torch.set_num_threads(threads)
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name])
        assert torch.equal(tensor, weights[3][name])
        if tensor.ndim > 1:
            assert not torch.equal(tensor, weights[2][name])


@pytest.mark.parametrize("wrong", [{"latent": 0}, {"width": 0}, {"epochs": 0}])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        train_digits(**wrong)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"ilo\[experiments\]"):
        load_digits()
