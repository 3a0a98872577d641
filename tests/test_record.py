"""The script of the reference rows: where they go, that `ilo verify` takes them. The work itself is left out."""

import itertools
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import ilo
from ilo import study
from ilo.cli.main import main
from ilo.study.methods import ANSWERS, shortened

SCHEMES = "ILO (schemes)"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script with two problems and rows that cost nothing; `script.asked`: what was to be run."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent)
    from benchmarks import record

    def rows(images, problems, methods, *, G):
        names, truth = images
        assert len(names) == len(truth)
        asked.append((problems[0].task, [*methods], len(names)))
        table = [
            {"image": name, "task": p.task, "level": p.level, "noise": p.noise, "method": answer, "seed": 0}
            for p in problems
            for method in methods
            for answer in record.FOUND.get(method, (method,))
            for name in names
        ]
        return pd.DataFrame(table).assign(mse=0.04, psnr=20.0, ssim=0.5, lpips=0.1, evaluations=1150, cell="c")

    def settings(rows):
        return rows[["image"]].assign(layer=1, radius=None, step=40, scale=0.3, psnr=20.0)

    asked = []
    two = [study.inpainting(0.1), study.gaussian(0.05)]
    monkeypatch.setattr(record, "asked", asked, raising=False)
    monkeypatch.setattr(study, "PROBLEMS", two)
    monkeypatch.setitem(record.ONLY_AT, "ILO (release)", [("inpainting", 0.1)])
    monkeypatch.setattr(study, "csgm_test_images", lambda size: torch.zeros(64, 3, size, size))
    monkeypatch.setattr(study, "run", rows)
    monkeypatch.setattr(study, "tried_settings", settings)
    return record


def test_rows_go_to_the_file_that_is_named_and_can_be_verified(script, tmp_path, capsys):
    before = (script.reference() / "celeba.csv").read_bytes()
    fresh = tmp_path / "fresh" / "celeba.csv"
    script.main(["--to", str(fresh), "--images", "8"])
    assert [(task, len(methods), images) for task, methods, images in script.asked] == [
        ("inpainting", 10, 8), ("Gaussian", 10, 8),
    ]  # fmt: skip
    assert (script.reference() / "celeba.csv").read_bytes() == before, "the committed rows are as they were"
    (tmp_path / "reference").mkdir()
    rows = pd.read_csv(fresh)
    assert rows["image"].nunique() == 8
    rows.assign(psnr=20.1).to_csv(tmp_path / "reference" / "celeba.csv", index=False)
    assert main(["verify", str(fresh.parent), "--reference", str(tmp_path / "reference")]) == 0
    assert "celeba.csv" in capsys.readouterr().out


def test_what_is_there_is_not_run_again(script, tmp_path):
    fresh = tmp_path / "celeba.csv"
    script.main(["--to", str(fresh), "--images", "2", "--methods", SCHEMES, "TV"])
    script.main(["--to", str(fresh), "--images", "2", "--methods", SCHEMES, "TV"])
    assert script.asked == [("inpainting", [SCHEMES, "TV"], 2), ("Gaussian", [SCHEMES, "TV"], 2)]
    script.asked.clear()
    script.main(["--to", str(fresh), "--images", "3", "--methods", "TV", "PULSE", "--problems", "Gaussian:0.05"])
    assert script.asked == [("Gaussian", ["PULSE", "TV"], 3)], "an image more"
    script.asked.clear()
    script.main(["--to", str(fresh), "--images", "3", "--methods", "TV", SCHEMES, "--problems", "Gaussian"])
    assert script.asked == [("Gaussian", [SCHEMES], 3)], "only what lacks one"
    rows = pd.read_csv(fresh)
    assert not rows.duplicated(["image", "task", "level", "method"]).any()
    assert set(rows["method"]) == {*ANSWERS[SCHEMES], "TV", "PULSE"}


def test_a_level_that_was_rounded_in_the_file_is_known_again(script, tmp_path, monkeypatch):
    """That of a region: the share of pixels that is seen, 0.904296875."""
    monkeypatch.setattr(study, "PROBLEMS", [study.region("mouth")])
    for _ in range(2):
        script.main(["--to", str(tmp_path / "auto.csv"), "--images", "2", "--methods", "ILO auto"])
    assert len(script.asked) == 1
    assert len(pd.read_csv(tmp_path / "auto.csv")) == 2 * 3


def test_a_recording_that_takes_days_is_put_aside(script, tmp_path):
    script.main(["--folder", str(tmp_path / "aside"), "--images", "1"])
    assert {p.stem for p in (tmp_path / "aside").iterdir()} == {*(Path(n).stem for n in script.FILES), "auto_settings"}
    with pytest.raises(SystemExit):
        script.main(["--folder", str(tmp_path), "--to", str(tmp_path / "celeba.csv")])


def test_several_processes_may_add_to_one_file(script, tmp_path):
    """Each reads, waits and writes: without a lock most rows would be lost."""
    path, root = tmp_path / "rows.csv", Path(__file__).resolve().parent.parent
    code = f"""
import sys, pandas as pd
from pathlib import Path
from benchmarks.rows import put
for i in range(20):
    row = pd.DataFrame({{"who": [sys.argv[1]], "i": [i], "level": [0.904296875]}})
    put(Path({str(path)!r}), row, ["who", "level", "i"])
"""
    words = [sys.executable, "-c", code]
    running = [subprocess.Popen([*words, name], cwd=root) for name in ("a", "b", "c")]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert sorted(pd.read_csv(path)[["who", "i"]].itertuples(index=False, name=None)) == [
        (who, i) for who in "abc" for i in range(20)
    ]
    again = script.put(path, pd.DataFrame({"who": ["a"], "i": [3], "level": [0.9043], "more": [1.0]}), ["who", "level"])
    assert again["who"].value_counts().to_dict() == {"b": 20, "c": 20, "a": 1}


def test_a_file_has_its_images_and_methods_by_its_name(script, tmp_path):
    script.main(["--to", str(tmp_path / "auto.csv"), "--images", "4"])
    assert script.asked == [("inpainting", ["ILO auto", "ILO (release)"], 4), ("Gaussian", ["ILO auto"], 4)]
    rows = pd.read_csv(tmp_path / "auto.csv")
    assert rows["image"].unique().tolist() == ["CelebA 33", "CelebA 34", "CelebA 35", "CelebA 36"]
    assert set(rows["method"]) == {"ILO auto", "ILO auto, sharp", "oracle", "ILO (release)"}
    settings = pd.read_csv(tmp_path / "auto_settings.csv")
    assert settings["task"].tolist() == ["inpainting", "Gaussian"]
    script.main(["--to", str(tmp_path / "all.csv"), "--images", "1"])
    rows = pd.read_csv(tmp_path / "all.csv")
    assert set(rows["image"]) == {"CelebA 33"}
    assert {"TV", "ILO auto"} <= set(rows["method"])
    averaged = rows.drop_duplicates("method").set_index("method")["solutions"]
    assert (averaged["TV"], averaged["Deep decoder (mean of 4)"], averaged["ILO auto"]) == (1, 4, 5)


def test_what_is_taken_apart_has_a_file_of_its_own(script, tmp_path):
    script.main(["--to", str(tmp_path / "auto_parts.csv"), "--images", "2"])
    script.main(["--to", str(tmp_path / "paper_settings.csv"), "--images", "2"])
    apart = [["auto's parts"], ["the paper's settings"]]
    assert [methods for _, methods, _ in script.asked] == [apart[0], apart[1], apart[1]], "at some of the problems"
    assert set(pd.read_csv(tmp_path / "auto_parts.csv")["method"]) == {*script.parts.PARTS}
    assert len(set(pd.read_csv(tmp_path / "paper_settings.csv")["method"])) == 16


def test_auto_taken_apart_ends_where_auto_does_but_for_the_choice(script, dcgan):
    """In the range, where nothing is to be chosen; and each part is an image of its own."""
    truth = dcgan(dcgan.sample(2, 3)).clamp(-1, 1)
    A = ilo.operators.RandomInpainting(dcgan.image_shape, keep=0.2, rng=0)
    y = ilo.operators.measure(A, truth, noise=0.02, rng=0)
    found = script.parts.auto_parts(A, y, G=dcgan, rng=0, noise=0.02)
    assert tuple(found) == script.parts.PARTS
    images = [answer.images for answer in found.values()]
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(images))
    auto = ilo.recover(dcgan, A, y, rounds=ilo.Auto(noise=0.02), rng=0, progress=False)
    last, before = found["+ smooth field"], found["latent"]
    assert (last.images - auto.images).square().mean() < 0.1 * (before.images - auto.images).square().mean()
    assert last.columns["evaluations"] < auto.parameters["evaluations"] <= ilo.Auto.budget


def test_the_papers_settings_go_on_from_one_latent_inside_their_balls(script, dcgan, monkeypatch):
    monkeypatch.setattr(script.parts, "paper_rounds", lambda G, radius: shortened(ilo.paper_rounds(G, radius), 0.05))
    truth = dcgan(dcgan.sample(2, 3)).clamp(-1, 1)
    A = ilo.operators.RandomInpainting(dcgan.image_shape, keep=0.2, rng=0)
    found = script.parts.paper_settings(A, A(truth), G=dcgan, rng=0, noise=0.0)
    assert tuple(found) == script.parts.SETTINGS
    moved = [
        (found[f"layer 1, {ball}"].images - found["CSGM"].images).square().mean().item()
        for ball in ("radius 100", "radius 1000")
    ]
    assert 0 < moved[0] < moved[1]


@pytest.mark.parametrize("words", [["--problems", "painting"], ["--methods", "BM3D"], ["--problems", "Gaussian:0.3"]])
def test_names_that_there_are_not_are_told(script, words, capsys):
    with pytest.raises(SystemExit):
        script.main(["--to", "x.csv", *words])
    assert words[1] in capsys.readouterr().err
    assert script.asked == []


@pytest.mark.parametrize("arguments", [["--images", "8"], ["--images", "0", "--to", "x.csv"], ["--images", "65"]])
def test_part_of_the_images_cannot_replace_the_committed_rows(script, arguments):
    with pytest.raises(SystemExit) as stop:
        script.main(arguments)
    assert stop.value.code == 2
    assert script.asked == []
