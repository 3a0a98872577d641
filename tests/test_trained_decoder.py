"""decoder-portraits64 of data/weights, the default generator, trained to be searched: what its card says of it."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from searches import assert_every_split_gives_the_image

import ilo
from ilo import assets, generators, metrics, operators
from ilo.generators import loading
from ilo.solver.rounds import with_share

ROOT = Path(__file__).resolve().parent.parent
NAME = "decoder-portraits64"
FILE = ROOT / "data" / "weights" / f"{NAME}.safetensors"


@pytest.fixture(scope="module")
def decoder():
    return generators.load(NAME)


@pytest.fixture(scope="module")
def own_and_other(decoder, dcgan):
    """1,024 images of each, (1024, 3, 64, 64)."""
    with torch.no_grad():
        return tuple(G(G.sample(1024, 0)) for G in (decoder, dcgan))


def test_it_is_the_default_and_needs_no_download(monkeypatch, tmp_path):
    def no_network(*_, **__):
        raise AssertionError("something was to be downloaded")

    monkeypatch.setenv("ILO_CACHE", str(tmp_path))
    monkeypatch.setattr(loading, "fetch", no_network)
    monkeypatch.setattr(assets, "fetch", no_network)
    G = generators.load()
    assert (G.name, G.num_layers, G.image_shape) == (NAME, 5, (3, 64, 64))
    assert loading.DEFAULT == loading.NAMES[0] == NAME
    assert not any(tmp_path.iterdir())


def test_every_split_gives_the_image(decoder):
    G = decoder
    assert (G.name, G.num_layers, G.image_shape) == (NAME, 5, (3, 64, 64))
    with torch.no_grad():
        assert_every_split_gives_the_image(G, G.sample(2, 0))


def test_only_the_direction_of_a_latent_counts(decoder):
    """So that a search, where little is measured, does not end where nothing was trained."""
    z = decoder.sample(3, 0)["features"]
    with torch.no_grad():
        image = decoder(z)
        assert torch.allclose(decoder(3 * z), image, atol=1e-5)
        assert (decoder(-z) - image).abs().mean() > 0.05
    z = torch.zeros(1, 100, requires_grad=True)
    decoder(z).sum().backward()
    assert z.grad.isfinite().all(), "latents of 0 can be searched from"


def test_its_card_says_how_large_it_is(decoder):
    card = (ROOT / "data" / "weights" / "README.md").read_text(encoding="utf-8")
    count = sum(t.numel() for layer in decoder.layers for t in layer.parameters())
    assert re.search(r"([\d.]+) million parameters", card)[1] == f"{count / 1e6:.1f}"
    assert f"`{FILE.name}`, {FILE.stat().st_size / 1e6:.1f} MB" in card
    assert FILE.stat().st_size < 5_000_000


def test_its_card_says_what_light_it_knows():
    """Of the samples that experiment 17 draws."""
    card = (ROOT / "data" / "weights" / "README.md").read_text(encoding="utf-8")
    drawn = pd.read_csv(ROOT / "figures" / "prior_samples.csv").set_index("generator").round(2)
    numbers = []
    for name in (NAME, "dcgan-digiface64"):
        numbers += [drawn.loc[name, f"brightness, quantile {q}"] for q in ("0.1", "0.9")]
    said = re.search(r"brightness from ([\d.]+) to ([\d.]+) .*? from ([\d.]+) to ([\d.]+):", card).groups()
    assert [float(word) for word in said] == numbers
    apart = re.search(r"mean image by ([\d.]+), the DCGAN's by ([\d.]+)\.", card).groups()
    assert [float(word) for word in apart] == [
        drawn.loc[name, "deviation from the mean image"] for name in (NAME, "dcgan-digiface64")
    ]


def test_it_draws_faces_in_range_that_differ(own_and_other):
    own, other = own_and_other
    assert own.isfinite().all()
    assert own.abs().max() <= 1
    assert 0.3 < own.var(0).mean() / other.var(0).mean() < 1.2
    assert (own.mean(0) - other.mean(0)).abs().mean() < 0.3


@pytest.mark.parametrize("problem", [operators.RandomInpainting, operators.Downsample])
def test_the_papers_rounds_leave_its_range_for_faces_that_it_does_not_quite_draw(decoder, dcgan, problem):
    """Faces of the DCGAN, which are to be near its range: deeper layers bring what the latent does not, in the paper's
    balls and at the paper's rates."""
    G = decoder
    with torch.no_grad():
        faces = dcgan(dcgan.sample(6, 5, "held out"))
    A = problem(G.image_shape, **({"keep": 0.2, "rng": 0} if problem is operators.RandomInpainting else {"factor": 2}))
    y = operators.measure(A, faces, noise=0.02, rng=0)
    start = ilo.linear_start(G, A, y, restarts=1, noise=0.02)
    found = ilo.recover(G, A, y, rounds=with_share(ilo.paper_rounds(G), 0.3), start=start, progress=False)
    psnr = [metrics.psnr(each.images.clamp(-1, 1), faces).mean() for each in found.rounds]
    assert psnr[0] > 18
    assert psnr[-1] > psnr[0] + 1.5
