"""The widget without a browser: a painted mask is a tensor, the search is the one that a person would write, it stops,
and what goes wrong is shown. `tests/browser/test_widget.py` paints with a mouse."""

import io
import threading
from datetime import datetime, timezone

import pytest
import torch
from PIL import Image
from torch import nn

import ilo
from ilo.images import astronaut_face, read_image, write_image
from ilo.operators import Downsample, Inpainting, measure
from ilo.widget import Explore, Inpaint
from ilo.widget.explore import images_at
from ilo.widget.problem import Recovery, Settings, bytes_of, mask_of, measured, rounds_of, solve, steps_of, stroke

SIDE = 16
EYES = [(4.0, 6.0), (12.0, 6.0)]


@pytest.fixture(scope="module")
def small():
    """A generator of random weights, three layers, images (3, 16, 16)."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 256), nn.ReLU()),
        *(nn.Linear(256, 3 * SIDE * SIDE), nn.Tanh(), nn.Unflatten(1, (3, SIDE, SIDE))),
    )
    return ilo.generators.Generator.from_sequential(model, cuts=(2, 4), latent_shape=(8,))


@pytest.fixture
def widget(small):
    made = Inpaint(small)
    made.set(share=0.05)
    return made


# the mask


def test_a_dot_paints_the_pixels_whose_centres_it_covers():
    missing = stroke(torch.zeros(5, 7, dtype=torch.bool), [(3.5, 2.5)], brush=1)
    assert missing.nonzero().tolist() == [[1, 3], [2, 2], [2, 3], [2, 4], [3, 3]]


def test_a_stroke_is_without_gaps_and_is_erased_again():
    clear = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    missing = stroke(clear, [(1.5, 3.5), (13.5, 3.5), (13.5, 12.5)], brush=0.5)
    assert missing[3, 1:14].all()
    assert missing[3:13, 13].all()
    assert missing.sum() == 13 + 9
    assert torch.equal(stroke(missing, [(0, 0), (SIDE, SIDE)], brush=30, erase=True), clear)


def test_beyond_the_edge_nothing_is_painted():
    assert not stroke(torch.zeros(4, 4, dtype=torch.bool), [(-9, -9), (-9, 40)], brush=2).any()


@pytest.mark.parametrize(("points", "brush", "said"), [([], 1, "at least one point"), ([(1, 1)], 0, "brush must be")])
def test_a_stroke_of_nothing_is_refused(points, brush, said):
    with pytest.raises(ValueError, match=said):
        stroke(torch.zeros(4, 4, dtype=torch.bool), points, brush)


def test_the_canvas_bytes_are_the_mask():
    missing = torch.rand(3, 5, generator=torch.Generator().manual_seed(0)) > 0.5
    assert torch.equal(mask_of(bytes_of(missing), 3, 5), missing)
    assert mask_of(bytes([1, 0, 0, 0, 0, 1]), 2, 3).tolist() == [[True, False, False], [False, False, True]]
    for wrong in (bytes(14), bytes(16), bytes([2] * 15)):
        with pytest.raises(ValueError, match="3·5 bytes of 0 or 1"):
            mask_of(wrong, 3, 5)


def test_what_the_browser_sends_is_the_missing_region(widget):
    painted = stroke(widget.missing, EYES, 2)
    widget.canvas.set_state({"missing": memoryview(bytes_of(painted))})  # as a message of the front end arrives
    assert torch.equal(widget.missing, painted)
    seen = measured(widget.photo, widget.missing, Settings()).A
    assert isinstance(seen, Inpainting)
    assert torch.equal(seen.mask, ~painted)
    widget.paint(EYES, brush=2, erase=True)
    assert not widget.missing.any()


# the search

PAINTED = stroke(torch.zeros(SIDE, SIDE, dtype=torch.bool), EYES, 2.0)


def by_hand(G, name, photo):
    A = Inpainting(~PAINTED)
    y = measure(A, photo, noise=0.02, rng=3)
    if name == "ILO auto":
        return ilo.recover(G, A, y, rounds=ilo.Auto(budget=30, noise=0.02), rng=3, progress=False)
    if name == "ILO, layer 1":
        rounds = ilo.paper_rounds(G, radius=50.0)[:2]
    else:
        rounds = {"CSGM": ilo.latent_rounds, "ILO (whitened)": ilo.whitened_rounds}[name](G)
    rounds = [ilo.solver.rounds.with_share([r], 0.05)[0] for r in rounds]
    start = {} if "whitened" in name else {"start": ilo.linear_start(G, A, y, restarts=4, rng=3, noise=0.02)}
    return ilo.recover(G, A, y, rounds=rounds, rng=3, restarts=4, progress=False, **start)


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("ILO auto", {}),
        ("ILO, layer 1", {"method": "ILO", "layer": 1, "radius": 50.0}),
        ("ILO (whitened)", {"method": "ILO (whitened)"}),
        ("CSGM", {"method": "CSGM"}),
    ],
)
def test_it_finds_what_the_direct_call_finds(widget, name, choices):
    widget.paint(EYES, brush=2)
    widget.set(seed=3, **choices)
    found = widget.recover().wait()
    direct = by_hand(widget.G, name, widget.photo)
    assert torch.equal(found.images, direct.images)
    assert torch.equal(found.objective, direct.objective)
    assert widget.result is found


def test_the_release_is_the_baseline(small):
    settings = Settings(method="ILO (release)", share=0.1)
    problem = measured(astronaut_face(SIDE), PAINTED, Settings(task="inpaint", level=0.5))
    none = ilo.baselines.release(
        *(small, problem.A, problem.y),
        rounds=rounds_of(small, settings),
        restarts=4,
        perceptual=_nothing,
        progress=False,
    )
    assert none.images.shape == (1, 3, SIDE, SIDE)
    assert [r.steps for r in rounds_of(small, settings)] == [5, 5, 2]


def _nothing(a, b):
    return (a - b).flatten(1).mean(1).view(-1, 1, 1, 1) * 0


def test_tasks_measure_what_the_command_line_measures(small):
    problem = measured(astronaut_face(SIDE), PAINTED, Settings(task="superres", level=4, noise=0.0))
    assert isinstance(problem.A, Downsample)
    assert torch.equal(problem.y, Downsample((3, SIDE, SIDE), factor=4)(astronaut_face(SIDE)))
    loud = Settings(task="denoise", level=0.5)
    assert loud.added_noise == 0.5
    y = measured(torch.zeros(1, 3, SIDE, SIDE), PAINTED, loud).y
    assert y.std().item() == pytest.approx(0.5, rel=0.1)


def test_layer_radius_and_share_are_the_rounds(small):
    rounds = rounds_of(small, Settings(method="ILO", layer=1, radius=30.0, share=0.1))
    assert [(r.layer, r.radius, r.steps) for r in rounds] == [(0, None, 30), (1, 30.0, 15)]
    with pytest.raises(ValueError, match=r"deepest layer of ILO \(whitened\) must lie in 1 … 2"):
        rounds_of(small, Settings(method="ILO (whitened)", layer=0))
    with pytest.raises(ValueError, match="chooses layer and radius itself"):
        Settings(method="ILO auto", radius=10.0)
    with pytest.raises(ValueError, match="method must be one of"):
        Settings(method="magic")


@pytest.mark.parametrize("method", ["ILO auto", "ILO", "CSGM"])
def test_progress_ends_at_one_and_shows_images(small, method):
    settings, seen = Settings(method=method, share=0.05), []
    problem = measured(astronaut_face(SIDE), PAINTED, settings)
    done = threading.Event()
    recovery = Recovery(small, problem, settings, lambda *now: seen.append(now), lambda _: done.set())
    recovery.wait()
    assert done.is_set()
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert shares[0] == 0.0
    assert max(round(share * steps_of(small, settings)) for share in shares) == steps_of(small, settings)
    assert {tuple(image.shape) for _, image in seen} == {(1, 3, SIDE, SIDE)}


@pytest.mark.parametrize("method", ["ILO auto", "ILO"])
def test_stop_leaves_what_was_found_so_far(small, method):
    settings = Settings(method=method)
    problem = measured(astronaut_face(SIDE), PAINTED, settings)
    running, go_on, seen = threading.Event(), threading.Event(), []

    def watch(share, image):
        seen.append(share)
        if len(seen) == 5:
            running.set()
            assert go_on.wait(60)

    recovery = Recovery(small, problem, settings, watch, lambda _: None)
    assert running.wait(60)
    with pytest.raises(TimeoutError):
        recovery.wait(0.01)
    recovery.stop()
    go_on.set()
    result = recovery.wait(60)
    assert len(seen) == 5, "it ends at the step at which it was told"
    assert result.status == ["stopped"]
    assert result.images.isfinite().all()


def test_one_search_at_a_time_and_it_can_be_begun_again(widget):
    widget.set(method="ILO", share=1.0)
    widget.paint(EYES, brush=2)
    first = widget.recover()
    assert widget.buttons["Recover"].disabled
    assert not widget.buttons["Stop"].disabled
    with pytest.raises(RuntimeError, match="stop it, or wait for it"):
        widget.recover()
    with pytest.raises(RuntimeError, match="stop it, or wait for it"):
        widget.load(None)
    widget.buttons["Stop"].click()
    first.wait()
    assert "status: " in widget.status.value
    assert not widget.buttons["Recover"].disabled
    widget.set(share=0.05)
    assert widget.recover().wait().status != ["stopped"]
    assert widget.bar.value == 1.0


# what a person sees


def test_buttons_and_panels_show_what_was_found(widget):
    assert widget.buttons["Save"].disabled
    widget.paint(EYES, brush=2)
    before = widget.panels["Recovered"].image.value
    widget.buttons["Recover"].click()
    result = widget.wait()
    shown = {name: widget.panels[name] for name in ("Truth", "Seen", "Recovered", "Sharp", "Spread")}
    assert [p.box.layout.display for p in shown.values()] == [""] * 5
    assert shown["Recovered"].image.value != before
    pixels = read_image(io.BytesIO(shown["Recovered"].image.value))
    assert pixels.shape[-1] == 160
    assert (pixels[..., 5::10, 5::10] - result.images.clamp(-1, 1)).abs().max() < 1 / 127, "every pixel a square"
    assert " dB" in shown["Recovered"].caption.value
    widget.set(method="ILO")
    widget.recover().wait()
    assert widget.panels["Spread"].box.layout.display == "none", "only auto knows a spread"


def test_errors_are_shown_and_raised(widget):
    with pytest.raises(ValueError, match="nothing is painted"):
        widget.recover()
    widget.buttons["Recover"].click()
    assert "ValueError" in widget.status.value
    assert "nothing is painted" in widget.status.value
    widget.paint([(0, 0), (SIDE, SIDE)], brush=40)
    assert "all is painted" in widget.status.value, "as soon as it is so"
    widget.buttons["Save"].click()
    assert "nothing to save" in widget.status.value
    with pytest.raises(ValueError, match="nothing is being recovered"):
        Inpaint(widget.G).wait()


def test_an_error_of_the_search_is_shown_and_raised(widget, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("the <device> is gone")

    monkeypatch.setattr("ilo.widget.problem.recover", broken)
    widget.paint(EYES, brush=2)
    with pytest.raises(RuntimeError, match="the <device> is gone"):
        widget.recover().wait()
    assert "<b>RuntimeError</b>: the &lt;device&gt; is gone" in widget.status.value
    assert not widget.buttons["Recover"].disabled
    assert widget.result is None


def test_controls_that_have_no_effect_cannot_be_moved(widget):
    disabled = {name for name, c in widget.controls.controls.items() if c.disabled}
    assert disabled == {"level", "layer", "radius"}, "of painting, auto"
    widget.set(task="superres", method="ILO (whitened)", layer=1)
    assert {name for name, c in widget.controls.controls.items() if c.disabled} == set()
    assert widget.settings == Settings("superres", 4, "ILO (whitened)", 1, 1000.0, share=0.05)
    widget.set(method="CSGM", task="denoise")
    assert {name for name, c in widget.controls.controls.items() if c.disabled} == {"layer", "radius", "noise"}
    with pytest.raises(ValueError, match="radius has no effect"):
        widget.set(radius=10.0)
    with pytest.raises(TypeError, match="unknown settings colour"):
        widget.set(colour=1)
    with pytest.raises(ValueError, match="layer must lie in 0 … 2"):
        widget.set(method="ILO", layer=7)
    widget.controls.controls["level"].value = -1.0
    assert "ValueError" in widget.status.value


def test_a_photo_of_ones_own(widget, tmp_path):
    photo = Image.new("RGB", (60, 40), (255, 0, 0))
    photo.save(tmp_path / "red.png")
    widget.load(tmp_path / "red.png")
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, SIDE, SIDE)
    assert torch.equal(widget.photo, red)
    widget.load(None)
    content = memoryview((tmp_path / "red.png").read_bytes())
    about = {"type": "image/png", "size": 1, "last_modified": datetime.now(timezone.utc)}
    widget.upload.value = ({**about, "name": "red.png", "content": content},)
    assert torch.equal(widget.photo, red)
    widget.upload.value = ({**about, "name": "no.png", "content": memoryview(b"no")},)
    assert "is not an image that can be read" in widget.status.value
    with pytest.raises(ValueError, match=r"photo must have the shape \(1, 3, 16, 16\)"):
        widget.load(astronaut_face(8))


def test_saved_files_are_what_was_shown(widget, tmp_path):
    widget.paint(EYES, brush=2)
    result = widget.recover().wait()
    names = {path.name for path in widget.save(tmp_path / "kept")}
    images = {f"{name}.png" for name in ("truth", "seen", "recovered", "sharp", "spread", "mask")}
    assert names == images | {"result.safetensors"}
    assert torch.equal(ilo.load_result(tmp_path / "kept" / "result.safetensors").images, result.images)
    _, seen = ilo.images.read_seen(tmp_path / "kept" / "truth.png", tmp_path / "kept" / "mask.png")
    assert torch.equal(seen, ~widget.missing), "the mask is one of `ilo recover --mask`"
    write_image(tmp_path / "again.png", result.images.clamp(-1, 1))
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "kept" / "recovered.png").read_bytes()


def test_a_grey_generator_is_painted_too():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, SIDE * SIDE), nn.Tanh(), nn.Unflatten(1, (1, SIDE, SIDE)))
    widget = Inpaint(ilo.generators.Generator.from_sequential(model, cuts=(), latent_shape=(4,)))
    assert widget.photo.shape == (1, 1, SIDE, SIDE)
    assert "colourise" not in dict(widget.controls.controls["task"].options).values()
    widget.paint(EYES, brush=2)
    widget.set(method="CSGM", share=0.05)
    assert (
        solve(widget.G, measured(widget.photo, widget.missing, widget.settings), widget.settings).images.shape[1] == 1
    )


def test_it_is_shown_by_the_last_line_of_a_cell(widget, small):
    for shown, words in ((widget, "Inpaint(sequential, 0 of 256 pixels missing)"), (Explore(small), "Explore(")):
        bundle = shown._repr_mimebundle_()
        assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == shown.box.model_id
        assert bundle["text/plain"].startswith(words)


# looking around


def test_explore_shows_latents_what_lies_between_and_beside(small):
    own, beside = images_at(small, 4)
    assert torch.equal(own, small(small.sample(1, 4)))
    assert torch.equal(own, beside)
    assert torch.equal(images_at(small, 4, towards=9, way=1.0)[0], small(small.sample(1, 9)))
    a, b = (small.sample(1, seed)["features"] for seed in (4, 9))
    between = small({"features": 0.5 * (a + b) / 0.5**0.5})
    assert (images_at(small, 4, towards=9, way=0.5)[0] - between).abs().max() < 1e-6
    state = small.run(small.sample(1, 4), 0, 2)["features"]
    _, moved = images_at(small, 4, layer=2, radius=5.0, direction=1)
    _, further = images_at(small, 4, layer=2, radius=50.0, direction=1)
    assert state.shape == (1, 256)
    assert 0 < (moved - own).norm() < (further - own).norm()
    mean = images_at(small, 4, scale=0.0)[0]
    assert torch.equal(mean, small({"features": torch.zeros(1, 8)}))
    with pytest.raises(ValueError, match="layer must lie in 0 … 2"):
        images_at(small, layer=3)


def test_the_deviation_has_the_radius_for_its_norm(small):
    found = []
    hook = small.layers[1].register_forward_pre_hook(lambda _, given: found.append(given[0]["features"]))
    images_at(small, 4, layer=1, radius=7.0)
    hook.remove()
    assert (found[1] - found[0]).abs().sum().item() == pytest.approx(7.0, rel=1e-4)


def test_explores_sliders_move_its_images(small):
    widget = Explore(small)
    first = widget.images
    widget.set(seed=3, way=0.25, radius=100.0)
    expected = images_at(small, 3, way=0.25, radius=100.0)
    assert not torch.equal(widget.images[0], first[0])
    assert all(torch.equal(a, b) for a, b in zip(widget.images, expected, strict=True))
    assert read_image(io.BytesIO(widget.panels[1].image.value)).shape[-1] == 160
    with pytest.raises(ValueError, match="way must lie in"):
        widget.set(way=2)
    with pytest.raises(TypeError, match="unknown settings angle"):
        widget.set(angle=1)
