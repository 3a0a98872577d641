"""The StyleGAN2 of data/weights: weights that mean something, under every part of a search; and its recipe."""

import shutil
from pathlib import Path

import pytest
import torch
from searches import assert_every_split_gives_the_image

import ilo
from ilo import generators, metrics, operators
from ilo.assets import AssetError
from ilo.generators import loading
from ilo.generators.stylegan.build import NOISES, SPACES
from ilo.solver.rounds import with_share

ROOT = Path(__file__).resolve().parent.parent
NAME = "stylegan2-faces32"
FILE = ROOT / "data" / "weights" / f"{NAME}.safetensors"


@pytest.fixture(scope="module")
def trained():
    return generators.load(NAME, space="z")


@pytest.fixture(scope="module")
def faces(dcgan):
    """Faces of the teacher that the network was not trained on: (4, 3, 32, 32)."""
    with torch.no_grad():
        return torch.nn.functional.avg_pool2d(dcgan(dcgan.sample(4, 5, "held out")), 2)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("noise", NOISES)
def test_every_split_gives_the_image(space, noise):
    G = generators.load(NAME, space=space, noise=noise)
    assert G.name == NAME
    assert G.image_shape == (3, 32, 32)
    with torch.no_grad():
        assert_every_split_gives_the_image(G, G.sample(2, 0))


def test_it_draws_many_faces_in_range(trained, dcgan):
    """As bright, and nearly as varied, as what its teacher draws."""
    with torch.no_grad():
        images = trained(trained.sample(256, 0))
        teacher = torch.nn.functional.avg_pool2d(dcgan(dcgan.sample(256, 0)), 2)
    assert images.isfinite().all()
    assert (images.abs() > 1.2).float().mean() < 0.01
    assert (images.mean(0) - teacher.mean(0)).abs().mean() < 0.1
    assert 0.5 < images.var(0).mean() / teacher.var(0).mean() < 1.2


def test_noise_has_strength_and_moves_the_image_a_little():
    free = generators.load(NAME, space="z", noise="free")
    strengths = [value.item() for name, value in free.named_parameters() if name.endswith("noise_strength")]
    assert max(map(abs, strengths)) > 0.01
    state, other = free.sample(8, 0), free.sample(8, 1)
    with torch.no_grad():
        moved = (free(state) - free({**other, "latents": state["latents"]})).abs().mean()
        another = (free(state) - free({**state, "latents": other["latents"]})).abs().mean()
    assert 0.002 < moved < another / 3


def test_the_stored_mean_style_is_that_of_the_mapping(trained):
    mapping = trained.layers[0].entrance.mapping
    drawn = torch.nn.functional.leaky_relu(mapping.draw(torch.zeros(0)), 0.2).mean(0)
    assert (mapping.w_avg - drawn).norm() < 0.05 * drawn.norm()


def test_every_block_adds_to_the_rgb_that_is_carried(trained):
    state = trained.run(trained.sample(4, 0), 0, 1)
    with torch.no_grad():
        for i in range(1, trained.num_layers):
            after = trained.run(state, i, i + 1)
            rgb = after.get("rgb", after.get("image"))
            if i > 1:
                without = trained.run({**state, "rgb": torch.zeros_like(state["rgb"])}, i, i + 1)
                assert (rgb - without.get("rgb", without.get("image"))).abs().mean() > 0.05
            state = after


def test_a_short_recovery_by_ilo_is_ahead_of_csgm(trained, faces):
    """Faces that are near its range, from a fifth of their pixels."""
    A = operators.RandomInpainting(trained.image_shape, keep=0.2, rng=0)
    y = operators.measure(A, faces, noise=0.02, rng=0)
    start = ilo.linear_start(trained, A, y, restarts=1, noise=0.02)
    found = ilo.recover(trained, A, y, rounds=with_share(ilo.paper_rounds(trained), 0.1), start=start, progress=False)
    psnr = [metrics.psnr(each.images.clamp(-1, 1), faces).mean() for each in found.rounds]
    assert [each.layer for each in found.rounds] == [0, 2, 3, 4]
    assert max(psnr) > psnr[0] + 2


def test_pulse_runs_on_its_styles_and_free_noise(faces):
    G = generators.load(NAME, noise="free")
    A = operators.Downsample(G.image_shape, factor=4)
    y = operators.measure(A, faces[:3], rng=0)
    found = ilo.baselines.pulse(G, A, y, steps=50, rng=0, progress=False)
    drawn = G.sample(1, 0, "start")
    norms = found.state["latents"].norm(dim=2)
    assert torch.allclose(norms, drawn["latents"].norm(dim=2).expand_as(norms), rtol=1e-4)
    with torch.no_grad():
        begin = G(drawn).clamp(-1, 1).expand_as(faces[:3])
    assert metrics.psnr(found.images.clamp(-1, 1), faces[:3]).mean() > metrics.psnr(begin, faces[:3]).mean() + 3


def test_a_name_needs_the_very_file(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "checkout", lambda: None)  # as installed: it lies with the package
    monkeypatch.setattr(loading, "package_folder", lambda: tmp_path)
    with pytest.raises(AssetError, match="missing or another file: install ilo anew"):
        generators.load(NAME)
    built = tmp_path / "ilo" / "weights" / FILE.name
    built.parent.mkdir(parents=True)
    shutil.copy(FILE, built)
    assert generators.load(NAME).name == NAME
    monkeypatch.setattr(loading, "package_folder", lambda: tmp_path / "elsewhere")
    monkeypatch.setattr(loading, "checkout", lambda: tmp_path)
    with pytest.raises(AssetError, match=r"missing or another file.*git restore data/weights"):
        generators.load(NAME)
    copy = tmp_path / "data" / "weights" / FILE.name
    copy.parent.mkdir(parents=True)
    shutil.copy(FILE, copy)
    assert generators.load(NAME).name == NAME
    damaged = bytearray(FILE.read_bytes())
    damaged[-1000] ^= 1
    copy.write_bytes(damaged)
    with pytest.raises(AssetError, match="missing or another file"):
        generators.load(NAME)


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(FILE.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"cut\.safetensors was refused"):
        generators.load(path)


@pytest.fixture
def training(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    import training.faces32.__main__

    return training.faces32


def test_the_network_that_is_trained_is_the_one_that_is_searched(training):
    weights = training.network.fresh_generator(0)
    weights |= {name: torch.tensor(0.2) for name in weights if name.endswith("noise_strength")}
    G = generators.stylegan2(weights, space="z", noise="free")
    state = G.sample(3, 0)
    noise = [state[f"noise_{i}"] for i in range(7)]
    images = training.network.images_of(weights, training.network.styles_of(weights, state["latents"]), noise)
    assert torch.allclose(images, G(state), atol=1e-5)


def test_training_goes_on_where_it_was_and_its_result_loads(training, tmp_path, monkeypatch):
    monkeypatch.setattr(training.loop, "BATCH", 2)

    def run(steps, checkpoint):
        words = ["--distilled", "1", "--adversarial", "1", "--calm", str(steps - 2)]
        words += ["--checkpoint", str(tmp_path / checkpoint)]
        monkeypatch.setattr("sys.argv", ["training", "--out", str(tmp_path / "out.safetensors"), *words])
        training.__main__.main()
        return torch.load(tmp_path / checkpoint, weights_only=True)["average"]

    whole = run(3, "whole.pt")
    run(2, "parts.pt")
    parts = run(3, "parts.pt")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    G = generators.load(tmp_path / "out.safetensors")
    assert G.image_shape == (3, 32, 32)
    assert {"synthesis.b32.conv1.noise_const", "mapping.fc3.weight"} <= set(whole)
