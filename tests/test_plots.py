"""Figures: laid out as asked, the same file twice, never without their numbers."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb

from ilo import plots


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def images(n, channels=3, size=8):
    return torch.linspace(-1, 1, n * channels * size * size).reshape(n, channels, size, size)


def test_pixels_are_clipped_and_grey_is_repeated():
    x = torch.tensor([[[-3.0, 0.0, 1.0]]])
    assert plots.as_pixels(x).tolist() == [[[0.0] * 3, [0.5] * 3, [1.0] * 3]]
    with pytest.raises(ValueError, match="expected an image"):
        plots.as_pixels(torch.zeros(2, 4, 4))


def test_grid_shows_every_image_where_it_belongs():
    columns = {"Truth": images(2), "Seen": images(2, size=4), "ILO": images(2, channels=1)}
    figure = plots.comparison_grid(columns, rows=["a", "b"], captions={"ILO": ["20 dB", "21 dB"]})
    assert len(figure.axes) == 6
    assert [axis.get_title() for axis in figure.axes[:3]] == ["Truth", "Seen", "ILO"]
    assert [figure.axes[i].get_ylabel() for i in (0, 3)] == ["a", "b"]
    assert [figure.axes[i].get_xlabel() for i in (2, 5)] == ["20 dB", "21 dB"]
    shown = torch.as_tensor(figure.axes[3].images[0].get_array())
    torch.testing.assert_close(shown, torch.as_tensor(plots.as_pixels(columns["Truth"][1])))


@pytest.mark.parametrize(
    "options",
    [
        {"columns": {"a": images(2), "b": images(3)}},
        {"columns": {"a": images(2)}, "rows": ["one"]},
        {"columns": {"a": images(2)}, "captions": {"a": ["one"]}},
    ],
)
def test_labels_that_do_not_fit_are_clear_errors(options):
    with pytest.raises(ValueError, match="needs"):
        plots.comparison_grid(options.pop("columns"), **options)


def test_a_column_of_maps_has_one_scale_of_colours_and_its_bar():
    spread = torch.stack([torch.eye(8), torch.full((8, 8), 0.5)])
    figure = plots.comparison_grid({"Truth": images(2), "Spread": spread})
    truth, first, _, second, bar = figure.axes
    assert {axis.images[0].get_clim() for axis in (first, second)} == {(0.0, 1.0)}
    torch.testing.assert_close(torch.as_tensor(second.images[0].get_array()), spread[1])
    assert bar.get_ylim() == (0.0, 1.0)
    assert truth.images[0].get_array().shape == (8, 8, 3)
    with pytest.raises(ValueError, match="a map holds finite values of at least 0"):
        plots.comparison_grid({"Truth": images(2), "Spread": -spread})


def test_a_title_wider_than_its_column_breaks_between_words():
    columns = {"ILO auto, sharp": images(1), "TV": images(1)}
    for scale, title in ((1.25, "ILO auto,\nsharp"), (1.6, "ILO auto, sharp")):
        figure = plots.comparison_grid(columns, scale=scale)
        assert [axis.get_title() for axis in figure.axes] == [title, "TV"]


def test_maps_share_one_scale_of_colours():
    figure = plots.maps({"Error": torch.eye(8), "Spread": torch.full((8, 8), 0.5)}, label="standard deviation")
    *drawn, bar = figure.axes
    assert [axis.get_title() for axis in drawn] == ["Error", "Spread"]
    assert {axis.images[0].get_clim() for axis in drawn} == {(0.0, 1.0)}
    assert bar.get_ylabel() == "standard deviation"
    torch.testing.assert_close(torch.as_tensor(drawn[0].images[0].get_array()), torch.eye(8))


@pytest.mark.parametrize("values", [torch.zeros(1, 4, 4), -torch.ones(4, 4), torch.full((4, 4), torch.nan)])
def test_what_is_no_map_is_a_clear_error(values):
    with pytest.raises(ValueError, match=r"a map holds finite values .*'Spread'"):
        plots.maps({"Spread": values}, label="")


def test_methods_differ_in_colour_and_marker():
    colours, markers = zip(*plots.METHODS.values(), strict=True)
    assert len(set(colours)) == len(set(markers)) == len(plots.METHODS)
    assert {"ILO auto", "ILO auto, sharp", "oracle", "ILO (release)"} <= set(plots.METHODS)


def test_methods_of_one_figure_differ_to_a_colour_blind_reader():
    """Red and green become one channel, in linear light (Viénot, Brettel and Mollon 1999)."""
    beside = ("ILO (no ball)", "CSGM (published)", "CSGM (Adam)", "release steps", "Deep decoder (mean of 4)")
    names = [name for name in plots.METHODS if name not in beside]  # second settings, never in one figure with all
    seen = {name: seen_by_a_deuteranope(plots.METHODS[name][0]) for name in names}
    nearest = min((np.linalg.norm(seen[a] - seen[b]), a, b) for a in names for b in names if a < b)
    assert nearest[0] > 0.09, nearest


def seen_by_a_deuteranope(colour):
    linear = np.array(to_rgb(colour)) ** 2.2
    reduced = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]) @ linear
    return reduced.clip(0, 1) ** (1 / 2.2)


def test_saved_figure_comes_with_rows_and_provenance_and_repeats(tmp_path):
    rows = pd.DataFrame({"method": ["ILO"], "psnr": [20.0]})
    contents = []
    for name in ("one", "two"):
        figure = plots.comparison_grid({"Truth": images(1)})
        paths = plots.save_figure(figure, rows, tmp_path / name, "fig", {"seed": 3})
        assert {p.suffix for p in paths} == {".png", ".pdf", ".csv", ".json"}
        contents.append([p.read_bytes() for p in paths])
    assert contents[0] == contents[1]
    assert json.loads((tmp_path / "one" / "fig.json").read_text()) == {"seed": 3}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "one" / "fig.csv"), rows)


def test_no_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert plots.save_figure(plt.figure(), pd.DataFrame(), "", "fig", {}) == []
    assert list(tmp_path.iterdir()) == []


def test_curves_show_the_means_and_their_standard_errors():
    rows = pd.DataFrame(
        {"method": ["TV"] * 4 + ["ILO"] * 2, "level": [0.1, 0.1, 0.2, 0.2, 0.1, 0.2], "psnr": [1.0, 3, 5, 9, 4, 8]}
    )
    axis = plots.curves(rows, "psnr", labels=("fraction", "PSNR (dB)"))
    drawn = {c.get_label(): c.lines[0].get_ydata().tolist() for c in axis.containers}
    assert drawn == {"ILO": [4, 8], "TV": [2, 7]}
    bars = axis.containers[1].lines[2][0].get_segments()
    assert [tuple(bar[:, 1]) for bar in bars] == [(1, 3), (5, 9)]  # the error of the mean of (1, 3) is 1, of (5, 9) 2
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("fraction", "PSNR (dB)")
    with pytest.raises(ValueError, match="BM3D"):
        plots.curves(rows.assign(method="BM3D"), "psnr")
