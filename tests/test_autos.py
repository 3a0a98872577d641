"""`rounds="auto"` in a grid: its three answers, scored as any other."""

from functools import partial

import pytest

from ilo import study
from ilo.study.autos import automatic


@pytest.mark.slow
def test_its_rows_are_the_mean_the_sharp_image_and_the_oracle(dcgan, tmp_path):
    images = {f"face {i}": dcgan(dcgan.sample(2, 5))[i].clamp(-1, 1) for i in range(2)}
    options = {"G": dcgan, "folder": tmp_path, "lpips": False, "progress": False}
    rows = study.run(images, [study.inpainting(0.2)], {"ILO auto": partial(automatic, budget=40)}, **options)
    by_method = rows.pivot_table(index="image", columns="method", values="psnr", sort=False)
    assert list(by_method.columns) == ["ILO auto", "ILO auto, sharp", "oracle"]
    assert (by_method["oracle"] >= by_method["ILO auto"] - 1e-4).all(), "what was chosen was tried"
    auto = rows[rows["method"] == "ILO auto"]
    assert auto["covered"].between(0.3, 1).all()
    assert (auto["evaluations"] <= 40).all()
    assert rows.loc[rows["method"] == "oracle", "evaluations"].isna().all()
    settings = study.tried_settings(rows[rows["method"] == "oracle"], tmp_path)
    assert {"layer", "radius", "step", "scale", "psnr"} <= set(settings)
    assert settings.groupby("image")["psnr"].max().tolist() == pytest.approx(by_method["oracle"].tolist())
    assert settings["scale"].drop_duplicates().tolist() == [0.0, 0.1, 0.3, 1.0]  # in units of the generator's variance
