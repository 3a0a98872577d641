"""The benchmark of CelebA: where its rows go, and that `ilo verify` takes them. The work itself is left out."""

from pathlib import Path

import pandas as pd
import pytest
import torch

import ilo
from ilo.cli.main import main


@pytest.fixture
def celeba(tmp_path, monkeypatch):
    """The benchmark with two problems and rows that cost nothing; `celeba.asked`: how many images were asked for."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent)
    from benchmarks import celeba

    def rows(images, problems, *, G):
        names, truth = images
        assert len(names) == len(truth)
        asked.append(len(names))
        table = [
            {"image": name, "task": p.task, "level": p.level, "noise": p.noise, "method": method, "seed": 0}
            for p in problems
            for method in (*sorted({*ilo.methods.methods_for(p)} - {"searches"}), "CSGM", "ILO")
            for name in names
        ]
        return pd.DataFrame(table).assign(mse=0.04, psnr=20.0, ssim=0.5, lpips=0.1, evaluations=1150)

    asked = []
    monkeypatch.setattr(celeba, "asked", asked, raising=False)
    monkeypatch.setattr(celeba, "PROBLEMS", [ilo.study.inpainting(0.1), ilo.study.gaussian(0.05)])
    monkeypatch.setattr(celeba, "RUNNING", tmp_path / "running")
    monkeypatch.setattr(celeba, "csgm_test_images", lambda size: torch.zeros(64, 3, size, size))
    monkeypatch.setattr(celeba.methods, "compare", rows)
    return celeba


def test_rows_go_to_the_file_that_is_named_and_can_be_verified(celeba, tmp_path, capsys):
    before = celeba.ROWS.read_bytes()
    fresh = tmp_path / "fresh" / "celeba.csv"
    celeba.main(["--to", str(fresh), "--images", "8"])
    assert celeba.asked == [8, 8]
    assert celeba.ROWS.read_bytes() == before, "the committed rows are as they were"
    assert list((tmp_path / "running").iterdir()) == []
    (tmp_path / "reference").mkdir()
    rows = pd.read_csv(fresh)
    assert rows["image"].nunique() == 8
    rows.assign(psnr=20.1).to_csv(tmp_path / "reference" / "celeba.csv", index=False)
    assert main(["verify", str(fresh.parent), "--reference", str(tmp_path / "reference")]) == 0
    assert "celeba.csv" in capsys.readouterr().out


def test_what_is_there_is_not_run_again(celeba, tmp_path):
    fresh = tmp_path / "celeba.csv"
    celeba.main(["--to", str(fresh), "--images", "2"])
    celeba.main(["--to", str(fresh), "--images", "2"])
    assert celeba.asked == [2, 2]
    celeba.main(["--to", str(fresh), "--images", "3"])
    assert celeba.asked == [2, 2, 3, 3], "an image more"
    rows = pd.read_csv(fresh)
    assert not rows.duplicated(["image", "task", "level", "method"]).any()


@pytest.mark.parametrize("arguments", [["--images", "8"], ["--images", "0", "--to", "x.csv"], ["--images", "65"]])
def test_part_of_the_images_cannot_replace_the_committed_rows(celeba, arguments):
    with pytest.raises(SystemExit) as stop:
        celeba.main(arguments)
    assert stop.value.code == 2
    assert celeba.asked == []
