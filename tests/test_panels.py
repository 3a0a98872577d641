"""The figures of levels and of differences: one range a row, levels as numbers, legends outside, bars where there are
any."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from ilo.study import panels


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def rows(images=3, tasks=(("inpainting", (0.2, 0.05)), ("super-resolution", (2, 8)))):
    return pd.DataFrame(
        [
            {"image": i, "task": task, "level": level, "method": method, "kind": kind, "psnr": 20 + i + 5 * len(kind)}
            for kind in ("photo", "in range")
            for task, levels in tasks
            for level in levels
            for method in ("ILO", "TV")
            for i in range(images)
        ]
    )


def bars(axis):
    return [line for line in axis.get_children() if type(line).__name__ == "LineCollection"]


def test_a_row_has_one_range_and_its_levels_are_sorted():
    figure = panels.by_level(rows(), "psnr", "PSNR (dB)")
    axes = figure.axes
    assert len(axes) == 4
    assert axes[0].get_ylim() == axes[1].get_ylim() != axes[2].get_ylim()
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["0.05", "0.2"]
    assert axes[0].get_ylabel() == "photo: PSNR (dB)\n3 images, ± 1 standard error"
    assert axes[0].get_title() == "inpainting"
    assert axes[0].get_xlabel() == "fraction of the pixels seen"
    assert [axis.get_legend() for axis in axes] == [None] * 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ILO", "TV"]
    assert all(bars(axis) for axis in axes)


def test_one_image_has_no_bars_and_says_so():
    figure = panels.by_level(rows(images=1), "psnr", "PSNR (dB)")
    assert figure.axes[0].get_ylabel() == "photo: PSNR (dB)\none image"
    assert not any(bars(axis) for axis in figure.axes)


def test_tasks_of_one_level_stand_together_and_a_lone_one_is_left_out():
    one = (("colourisation", (0.0,)), ("deblurring", (2.0,)))
    several = (("inpainting", (0.05, 0.2)),)
    figure = panels.by_level(rows(tasks=several + one), "psnr", "PSNR")
    assert [axis.get_title() for axis in figure.axes[:2]] == ["inpainting", "one level each"]
    assert [t.get_text() for t in figure.axes[1].get_xticklabels()] == ["colourisation", "deblurring 2"]
    figure = panels.by_level(rows(tasks=several + one[:1]), "psnr", "PSNR")
    assert len(figure.axes) == 2
    figure = panels.by_level(rows(tasks=one[:1]), "psnr", "PSNR")
    assert len(figure.axes) == 2


def test_counts_and_fractions_of_measurements_are_told_apart():
    for levels, words in (((200, 1000), "number of measurements"), ((0.05, 0.1), "measurements / unknowns")):
        figure = panels.by_level(rows(tasks=(("Gaussian", levels),)), "psnr", "PSNR")
        assert figure.axes[0].get_xlabel() == words


def test_methods_to_draw_must_be_there():
    assert len(panels.by_level(rows(), "psnr", "PSNR", methods=["TV"], log=True).legends[0].get_texts()) == 1
    with pytest.raises(ValueError, match="no rows to draw"):
        panels.by_level(rows(), "psnr", "PSNR", methods=["PULSE"])


def test_differences_have_a_line_a_problem_and_the_first_method_on_top():
    table = pd.DataFrame(
        [
            {"task": "inpainting", "level": 0.1, "method": "TV", "mean": -1.0, "sem": 0.1},
            {"task": "inpainting", "level": 0.1, "method": "oracle", "mean": 0.1, "sem": 0.1},
            {"task": "colourisation", "level": 0.0, "method": "TV", "mean": -6.0, "sem": float("nan")},
        ]
    )
    figure = panels.by_problem(table, "dB", ["oracle", "TV", "PULSE"], "ILO auto")
    axis = figure.axes[0]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["inpainting 0.1", "colourisation"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["oracle", "TV"]
    order = {line.get_color(): line.get_zorder() for line in axis.get_lines() if line.get_marker() in "xP"}
    assert order["#C4C4C4"] > order["#CC79A7"]
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # from the top down
