"""What is kept of a finished cell, and what is trusted when it is read again."""

import json
import os

import pandas as pd
import pytest
import torch
from test_grid import back, calls, photos, run, search, without_times

from ilo import metrics, provenance, study


@pytest.mark.parametrize("damage", ["truncated", "empty", "altered", "not json", "another json"])
def test_a_damaged_cell_is_computed_again(tmp_path, damage):
    before = run(tmp_path, keep_images=True)
    path = tmp_path / f"{before['cell'][0]}.json"
    text = path.read_text()
    broken = {
        "truncated": text[: len(text) // 2],
        "empty": "",
        "altered": text.replace("psnr", "qsnr"),
        "not json": "\x00" * 100,
        "another json": "[1, 2]",
    }
    path.write_text(broken[damage])
    calls.clear()
    after = run(tmp_path, keep_images=True)
    assert len(calls) == 1
    pd.testing.assert_frame_equal(without_times(before), without_times(after))


def test_kept_images_are_what_was_scored(tmp_path):
    images = photos()
    rows = run(tmp_path, images, methods={"ILO": search, "back": back}, keep_images=True)
    some = rows[rows["method"].isin(["ILO", "back"])].sample(8, random_state=0)
    x = study.kept_images(some, tmp_path)
    truth = torch.stack([images[name] for name in some["image"]])
    found = metrics.mse(x, truth)
    torch.testing.assert_close(found, torch.tensor(some["mse"].values), rtol=0.05, atol=1e-4)
    (tmp_path / f"{some['cell'].iloc[0]}.npz").write_bytes(b"no archive")
    calls.clear()
    with pytest.raises(ValueError, match="keep_images=True"):
        study.kept_images(some.iloc[:1], tmp_path)
    run(tmp_path, images, methods={"ILO": search, "back": back}, keep_images=True)
    torch.testing.assert_close(study.kept_images(some, tmp_path), x)


def test_abandoned_temporary_files_are_swept_and_nothing_else(tmp_path):
    key = "0" * 64
    abandoned = [
        tmp_path / name for name in (f".{key}-abcd_123.json", f".{key}-abcd_123.npz", f".{key}.error-abcd_123.txt")
    ]
    fresh = tmp_path / f".{key}-abcd_124.json"
    theirs = [tmp_path / name for name in (".pre-commit-config.yaml", ".gitlab-ci.yml", ".old-abcd_123.json", ".a-b")]
    for path in (*abandoned, fresh, *theirs):
        path.write_text("half")
    folders = [tmp_path / f".{key}-abcd_125.json", tmp_path / ".venv-3.12"]
    for folder in folders:
        folder.mkdir()
    for path in (*abandoned, *theirs, *folders):
        os.utime(path, (0, 0))
    run(tmp_path, photos(1))
    assert not any(path.exists() for path in abandoned)
    assert all(path.exists() for path in (fresh, *theirs, *folders))


def test_a_cell_is_one_json_document(tmp_path):
    rows = run(tmp_path, photos(2))
    document = json.loads((tmp_path / f"{rows['cell'][0]}.json").read_text())
    assert [row["image"] for row in document["body"]["rows"]] == ["photo 0", "photo 1"]
    assert document["body"]["made"]["torch"] == torch.__version__


def test_cells_go_to_the_checkout_else_to_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ILO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(provenance, "checkout", lambda: tmp_path)
    rows = run(None, photos(1), [study.denoising(0.1)], keep_images=True)
    assert len(list((tmp_path / "runs" / "cells").glob("*.json"))) == 1
    monkeypatch.setattr(provenance, "checkout", lambda: None)
    again = run(None, photos(1), [study.denoising(0.1)], keep_images=True)
    assert (tmp_path / "cache" / "cells" / f"{again['cell'][0]}.json").exists()
    assert study.kept_images(rows).shape == (1, 3, 16, 16)
