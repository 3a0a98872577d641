"""The recipe of the generator that is trained for recovery: its network, its photographs, a run that was killed."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from searches import assert_every_split_gives_the_image

import ilo
from ilo.generators.decoder_layers import decoder, decoder_layers
from ilo.rng import stream

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def training(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    import training.searchable.__main__

    return training.searchable


@pytest.fixture
def photos(training, tmp_path, monkeypatch):
    """An archive of as many pictures as are left out, and five more: noise about a ramp."""
    rng = np.random.default_rng(0)
    path = tmp_path / training.portraits.ARCHIVE
    ramp = np.linspace(60, 200, 128)[None, :, None]
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(training.portraits.LEFT_OUT + 5):
            pixels = np.clip(ramp + rng.normal(0, 20, (128, 128, 3)), 0, 255).astype(np.uint8)
            with archive.open(f"{i:03d}.jpg", "w") as file:
                Image.fromarray(pixels).save(file, "JPEG")
    monkeypatch.setattr(training.portraits, "SHA256", training.portraits.sha256_of(path))
    return path


def test_it_begins_as_the_dcgan_with_fewer_channels(training, dcgan):
    """Its images are the teacher's but for what the channels left out added."""
    model = decoder_layers()
    z = dcgan.sample(64, 0)["features"]
    training.network.begin_as(model, dcgan, z, 0)
    with torch.no_grad():
        image, real = model(z), dcgan(z)
    assert (image - real).square().mean() < 0.5 * (real - real.mean(0)).square().mean()
    assert sum(p.numel() for p in model.parameters()) * 2 < 5_000_000, "at most 5 MB in half precision"


def test_every_split_of_it_gives_the_image(training, dcgan):
    model = decoder_layers()
    training.network.begin_as(model, dcgan, dcgan.sample(16, 0)["features"], 0)
    G = decoder(model.state_dict())
    assert (G.num_layers, G.image_shape) == (5, (3, 64, 64))
    with torch.no_grad():
        assert_every_split_gives_the_image(G, G.sample(2, 0))


def test_units_change_no_image(training, dcgan):
    model = decoder_layers()
    z = dcgan.sample(4, 0)["features"]
    training.network.begin_as(model, dcgan, z, 0)
    other = decoder_layers()
    other.load_state_dict(training.loop.in_units(model.state_dict()))
    with torch.no_grad():
        assert torch.allclose(model(z), other(z), atol=1e-5)
        assert torch.allclose(other[0](z), 2 * model[0](z), rtol=1e-5)
        assert torch.allclose(other[:2](z), 8 * model[:2](z), rtol=1e-3, atol=1e-4)


def test_photographs_are_drawn_alike_for_one_stream_and_otherwise_for_another(training, photos):
    seen, left_out = training.portraits.split(training.portraits.read_portraits(photos))
    assert (len(seen), len(left_out)) == (5, training.portraits.LEFT_OUT)
    portraits = training.portraits.Portraits(seen)
    others = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    draws = [portraits.draw(6, stream(0, "order", k), others) for k in (1, 1, 2)]
    assert draws[0].shape == (6, 3, 64, 64)
    assert draws[0].abs().max() <= 1
    assert torch.equal(draws[0], draws[1])
    assert (draws[0] - draws[2]).abs().mean() > 0.05


def test_another_archive_is_refused(training, tmp_path):
    path = tmp_path / "portraits128.zip"
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="is not portraits128"):
        training.portraits.read_portraits(path)


def test_training_goes_on_where_it_was_and_its_result_opens(training, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(training.loop, "BATCH", 6)
    monkeypatch.setattr(training.loop, "PHOTOS", 4)

    def run(steps, checkpoint):
        words = ["--portraits", str(photos), "--copying", "1", "--steps", str(steps)]
        words += ["--checkpoint", str(tmp_path / checkpoint), "--out", str(tmp_path / "out.safetensors")]
        monkeypatch.setattr("sys.argv", ["training", *words])
        training.__main__.main()
        return torch.load(tmp_path / checkpoint, weights_only=True)

    monkeypatch.setattr(training.loop, "_pace", lambda step, steps: 1.0)  # which depends on all the steps
    whole = run(3, "whole.pt")
    run(2, "parts.pt")
    parts = run(3, "parts.pt")
    for name in ("model", "average", "encoder"):
        assert all(torch.equal(value, parts[name][key]) for key, value in whole[name].items())
    assert (tmp_path / "out.safetensors").stat().st_size < 5_000_000
    G = ilo.generators.load(tmp_path / "out.safetensors")
    with torch.no_grad():
        assert G(G.sample(2, 0)).isfinite().all()
