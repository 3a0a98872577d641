"""What auto tried and promised, held against the truth."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

import ilo
from ilo import metrics, plots
from ilo.study import choices
from ilo.study.problems import face_regions


@pytest.fixture(scope="module")
def found(dcgan):
    truth = dcgan(dcgan.sample(2, 5)).clamp(-1, 1)
    A = ilo.operators.RandomInpainting(dcgan.image_shape, keep=0.2, rng=0)
    y = ilo.operators.measure(A, truth, noise=0.02, rng=0)
    return ilo.recover(dcgan, A, y, rounds=ilo.Auto(budget=40, noise=0.02), rng=0, progress=False), truth


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.mark.slow
def test_every_try_has_its_true_error(found):
    result, truth = found
    tried = choices.tries_by_truth(result, truth)
    assert tried.columns.tolist() == [*result.tries.columns, "true_mse"]
    chosen = tried[tried["chosen"]].set_index("problem")["true_mse"]
    for problem in range(2):  # renders say what a setting leads to if chosen for all problems
        expected = metrics.mse(result.images, truth)[problem].item()
        assert chosen[problem] == pytest.approx(expected, rel=1e-3)
    with pytest.raises(ValueError, match="must agree in shape"):
        choices.tries_by_truth(result, truth[:1])


def test_coverage_grows_with_the_level(found):
    result, truth = found
    within = choices.coverage(result, truth, ["a", "b"], [0.5, 0.9])
    assert within["image"].tolist() == ["a", "b", "a", "b"]
    low, high = result.interval(0.9)
    by_hand = ((low <= truth) & (truth <= high)).float().mean((1, 2, 3))
    assert within.loc[within["interval"] == 0.9, "inside"].tolist() == pytest.approx(by_hand.tolist())
    wide = within.pivot_table(index="image", columns="interval", values="inside")
    assert (wide[0.5] < wide[0.9]).all()
    assert set(within["region"]) == {"all"}
    expected = metrics.crps(result.images, result.spread, truth).tolist()
    assert within.loc[within["interval"] == 0.5, "crps"].tolist() == pytest.approx(expected)


def test_coverage_by_region_adds_up_to_that_of_the_image(found):
    result, truth = found
    regions = face_regions(64, 64)
    assert torch.stack([*regions.values()]).sum(0).eq(1).all()
    parts = choices.coverage(result, truth, ["a", "b"], [0.9], regions)
    share = parts["region"].map({name: where.double().mean().item() for name, where in regions.items()})
    whole = choices.coverage(result, truth, ["a", "b"], [0.9]).set_index("image")
    for column in ("inside", "crps"):
        sums = (parts[column] * share).groupby(parts["image"]).sum()
        assert sums.tolist() == pytest.approx(whole[column].tolist())


def test_the_figure_of_tries_leaves_out_what_is_far_off_and_counts_it(found):
    result, truth = found
    tried = choices.tries_by_truth(result, truth)
    tried = tried[tried["problem"] == 0].assign(task="inpainting")
    figure = choices.draw_tries(tried, image_layer=5)
    near = (tried["true_mse"] ** 0.5 <= 1.35 * tried["true_mse"].min() ** 0.5).sum()
    assert figure.axes[0].get_title() == f"inpainting\n{near} of {len(tried)} settings; the others are further off"
    dots = sum(len(c.get_offsets()) for c in figure.axes[0].collections)
    assert dots == near + 2  # and the rings about what was chosen and what is best
    assert figure.axes[0].get_legend() is None
    assert [t.get_text() for t in figure.legends[0].get_texts()][-2:] == ["chosen", "oracle"]


def test_the_figure_of_coverage_says_of_how_many_images():
    within = pd.DataFrame({"task": "t", "kind": ["photo", "face", "face"], "image": [0, 1, 2], "interval": 0.9})
    figure = choices.draw_coverage(within.assign(inside=0.8, region="all"))
    assert [axis.get_title() for axis in figure.axes] == [""]
    both = pd.concat([within.assign(inside=0.8, region=region) for region in ("eyes", "rest")])
    assert [axis.get_title() for axis in choices.draw_coverage(both).axes] == ["eyes", "rest"]
    said = [t.get_text() for t in figure.legends[0].get_texts()]
    assert said == ["t, photo (one image)", "t, face (mean of 2)", "as promised"]


def test_maps_take_the_place_of_columns_in_one_scale():
    blank = torch.zeros(2, 3, 8, 8)
    figure = plots.comparison_grid({"Truth": blank, "Error": blank, "Spread": blank})
    maps = torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    choices.show_maps(figure, ["Error", "Spread"], maps, "standard deviation")
    *cells, bar = figure.axes
    assert torch.allclose(torch.as_tensor(cells[5].images[0].get_array()), maps[1, 1])
    assert len({cells[i].images[0].get_clim() for i in (1, 2, 4, 5)}) == 1
    assert cells[0].images[0].get_array().shape == (8, 8, 3)
    assert bar.get_ylabel() == "standard deviation"
    with pytest.raises(ValueError, match="last columns"):
        choices.show_maps(plots.comparison_grid({"Truth": blank}), ["Spread"], maps[:1], "")
