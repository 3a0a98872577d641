"""What an automatic result says of itself: in numbers that are right, in words that say them, saved and loaded."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from searches import small_generator

import ilo
from ilo import operators
from ilo.auto import choose, evidence
from ilo.auto.plan import Auto
from ilo.auto.posterior import image_prior
from ilo.generators import Generator
from ilo.rng import normal
from ilo.solver.summary import COLUMNS, Summary

SHAPE = (1, 8, 6)
FEW = Auto(budget=120, samples=3, draws=4, noise=0.02)


@pytest.fixture(scope="module")
def G() -> Generator:  # noqa: N802 (a generator's name throughout)
    return small_generator(SHAPE)


@pytest.fixture(scope="module")
def found(G):
    A = operators.RandomInpainting(SHAPE, keep=0.7, rng=1)
    own = G(G.sample(2, 5)).detach()
    x = torch.cat([own, normal(3, 1, SHAPE, purpose="field").clamp(-1, 1)])
    y = operators.measure(A, x, noise=0.02, rng=2)
    return A, y, ilo.recover(G, A, y, rounds=FEW)


def test_what_it_says_of_the_choice_is_what_was_tried(found):
    _, _, result = found
    for problem in range(3):
        said = result.summary(problem)
        tries = result.tries[result.tries["problem"] == problem]
        chosen = tries[tries["chosen"]].iloc[0]
        assert (said.layer, said.step) == (chosen["layer"], chosen["step"])
        assert said.radius == chosen["radius"] or (math.isnan(said.radius) and math.isnan(chosen["radius"]))
        assert said.held_out_mse == pytest.approx(chosen["held_out_mse"], rel=1e-6)
        assert said.scale == pytest.approx(chosen["scale_over_noise"] * 0.02**2, rel=1e-5)
        assert said.default == (said.held_out_mse == said.default_mse) or said.held_out_mse < said.default_mse
        mean = tries[tries["layer"] == 3]
        assert said.mean_image_mse == pytest.approx(
            mean[mean["scale_over_noise"] == 0]["held_out_mse"].item(), rel=1e-6
        )
        assert said.field_alone_mse == pytest.approx(mean["held_out_mse"].min(), rel=1e-6)
        assert (said.noise, said.noise_given) == (0.02, True)
        assert said.status == result.status[problem]


def test_the_shares_add_to_one_and_are_those_of_the_parts(G, found):
    _, _, result = found
    table = result.evidence
    assert (table[["latent_share", "deeper_share", "field_share"]].sum(1) - 1).abs().max() < 1e-5
    mean = image_prior(G).mean
    step = torch.zeros(1, *SHAPE)
    step[..., 0, 0] = 1.0
    parts = evidence.of_parts(mean + 4 * step, mean + 3 * step, mean, mean + 2 * step)
    shares = [parts[name][0] for name in ("latent_share", "deeper_share", "field_share")]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=1e-5)
    assert math.isnan(evidence.of_parts(mean, mean, None, None)["field_share"][0])


def test_noise_that_was_estimated_is_said_to_be(G):
    A = operators.RandomInpainting(SHAPE, keep=0.9, rng=1)
    y = operators.measure(A, G(G.sample(1, 5)).detach(), noise=0.1, rng=2)
    result = ilo.recover(G, A, y, rounds=replace(FEW, noise=None))
    said = result.summary()
    assert not said.noise_given
    assert said.noise == pytest.approx(result.parameters["noise"][0], abs=1e-6)
    assert f"Noise: {said.noise:.3f}, estimated." in str(said)


def test_a_hole_is_what_lies_farther_from_measurements_than_anything_that_was_held_out():
    mask = torch.ones(9, 13, dtype=torch.bool)
    mask[2:7, 4:11] = False
    A = operators.Inpainting(mask, 3)
    split = choose.hold_out(A, torch.zeros(1, *A.shape_out), Auto())
    places = evidence.of_places(A, split, 2)

    def nearest(i, j, seen):
        return min(math.hypot(i - k, j - m) for k, m in seen.nonzero().tolist())

    held, kept = (torch.zeros(9 * 13, dtype=torch.bool) for _ in range(2))
    held[split.A_held.index % (9 * 13)], kept[split.A.index % (9 * 13)] = True, True
    held, kept = held.view(9, 13), kept.view(9, 13)
    assert not (held & kept).any()
    judged = max(nearest(i, j, kept) for i, j in held.nonzero().tolist())
    distances = [nearest(i, j, mask) for i, j in (~mask).nonzero().tolist()]
    assert places["unseen"] == pytest.approx([35 / 117] * 2)
    assert places["farthest"] == pytest.approx([max(distances)] * 2)
    assert places["unjudged"] == pytest.approx([sum(d > judged for d in distances) / 117] * 2)
    assert places["unjudged"][0] > 0.01


@pytest.mark.parametrize("name", ["GaussianSensing", "PartialCirculant", "Blur", "Downsample", "Grayscale"])
def test_where_every_pixel_is_measured_there_is_no_hole(name):
    shape = (3, 8, 12)
    given = {
        "GaussianSensing": {"m": 30},
        "PartialCirculant": {"m": 30},
        "Blur": {"sigma": 1.0},
        "Downsample": {"factor": 4},
    }
    A = getattr(operators, name)(shape, **given.get(name, {}))
    split = choose.hold_out(A, torch.zeros(1, *A.shape_out), Auto())
    assert evidence.of_places(A, split, 1) == {"unseen": [0.0], "unjudged": [0.0], "farthest": [0.0]}


def test_what_is_not_measured_at_all_is_far_and_a_function_is_not_looked_into():
    nothing = operators.Inpainting(torch.eye(5, dtype=torch.bool), 1)
    assert evidence.of_places(nothing, None, 1)["unjudged"] == pytest.approx([0.8])
    assert math.isnan(evidence.of_places(lambda x: x, None, 1)["unseen"][0])


def test_it_says_where_nothing_judged(G):
    A = operators.Inpainting(torch.eye(8, 6, dtype=torch.bool)[:1].expand(8, 6) | False, 1).rows([0])
    with pytest.warns(UserWarning, match="nothing can be held out"):
        result = ilo.recover(G, A, torch.zeros(1, 1), rounds=replace(FEW, noise=None))
    said = result.summary()
    assert said.default
    assert math.isnan(said.held_out_mse)
    assert math.isnan(said.noise), "what is assumed is not estimated"
    assert any("no measurement was held out" in warning for warning in said.warnings)
    with pytest.warns(UserWarning, match="cannot be linearised"):
        result = ilo.recover(G, lambda x: x.relu().round(), torch.zeros(1, *SHAPE), rounds=FEW)
    assert "the default setting, unjudged" in str(result.summary())


SAID = Summary(
    status="converged", layer=2.0, radius=1000.0, step=30.0, mean_image=False, default=True, scale=0.3, held_out=123.0,
    held_out_mse=0.0025, default_mse=0.0025, generator_mse=0.01, mean_image_mse=0.25, field_alone_mse=0.04, noise=0.02,
    noise_given=True, latent_share=0.7, deeper_share=0.2, field_share=0.1, familiar=0.6, unseen=0.9, unjudged=0.0,
    farthest=5.0,
)  # fmt: skip


def test_its_words_are_these():
    assert str(SAID) == (
        "Chosen: layer 2 in a ball of radius 1000, iterate 30, with a smooth deviation of scale 0.3: the default "
        "setting; none of the others was better by more than chance.\n"
        "Error on the 123 measurements held out: 0.050 (the default setting 0.050, without the smooth deviation 0.100, "
        "the smooth deviation alone 0.200, the generator's mean image 0.500).\n"
        "Noise: 0.020, as given.\n"
        "Of what sets the image apart from the generator's mean image, the generator's range gives 70%, its deeper "
        "layers 20%, the smooth deviation 10%.\n"
        "Range: 60% of the generator's own images, measured alike, look as strange: nothing says that it does not make "
        "such photos."
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"radius": math.nan}, "layer 2, no ball, iterate 30"),
        ({"mean_image": True, "scale": 0.0}, "the generator's mean image, with no smooth deviation"),
        ({"default": False}, "better than the default"),
        ({"familiar": 0.002}, "less than 1% of the generator's own images"),
        ({"familiar": 0.05}, "Careful: the photo seems to be outside"),
        ({"familiar": 0.2}, "is not clear"),
        (
            {"unjudged": 0.22, "farthest": 7.0},
            "Careful: 22% of the image lies farther from every measurement (up to 7 ",
        ),
        ({"status": "diverged"}, "Careful: the search found no finite value"),
        ({"status": "improving"}, "Careful: the search was still improving"),
    ],
)
def test_what_is_otherwise_is_said_otherwise(changed, words):
    assert words in str(replace(SAID, **changed))
    assert words not in str(SAID)


def test_what_is_not_known_is_not_said():
    unknown = dict.fromkeys(("familiar", "noise", "latent_share", "held_out_mse", "unjudged"), math.nan)
    said = str(replace(SAID, **unknown))
    assert "nan" not in said
    assert not any(word in said for word in ("Range", "Noise", "apart", "Error on"))


def test_it_reloads_and_an_older_result_has_none(found, tmp_path):
    _, _, result = found
    path = result.save(tmp_path / "r.safetensors")
    loaded = ilo.load_result(path)
    pd.testing.assert_frame_equal(loaded.evidence, result.evidence)
    assert tuple(result.evidence) == COLUMNS
    assert [str(loaded.summary(b)) for b in range(3)] == [str(result.summary(b)) for b in range(3)]
    with pytest.raises(ValueError, match="problem must be an integer from 0 to 2"):
        loaded.summary(3)
    with safe_open(path, framework="pt") as file:
        words, tensors = file.metadata(), {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    words = {name: value for name, value in words.items() if name != "sha256"} | {"format": "ilo-result-1"}
    without = {name: t for name, t in tensors.items() if not name.startswith("evidence.")}
    save_file(without, path, metadata=words)
    with pytest.raises(ValueError, match="saved before there were summaries"):
        ilo.load_result(path).summary()
    save_file({name: t for name, t in tensors.items() if "familiar" not in name}, path, metadata=words)
    with pytest.raises(ValueError, match="its evidence has other columns"):
        ilo.load_result(path)


def test_a_summary_is_the_same_alone_and_in_a_batch(G, found):
    A, y, result = found
    alone = ilo.recover(G, A, y[1:2], rounds=FEW).evidence.iloc[0]
    together = result.evidence.iloc[1]
    for name in COLUMNS:
        a, b = float(alone[name]), float(together[name])
        assert a == pytest.approx(b, rel=0.05, abs=5e-3, nan_ok=True), name


def test_strangers_are_told_from_its_own(found):
    _, _, result = found
    assert [result.summary(b).outside for b in range(3)] == [False, False, True]
