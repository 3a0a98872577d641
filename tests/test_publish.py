"""What a run draws becomes the committed figures only from a clean commit, and whole."""

import json
import multiprocessing
import shutil
import subprocess

import pytest

from ilo import publish
from ilo.cli.main import main
from ilo.files import locked


def commit(folder, message):
    who = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for words in (["add", "-A"], [*who, "commit", "-qm", message]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    return subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A checkout in small, with one commit, which is the one that `ilo` finds."""
    home = tmp_path / "home"
    (home / "notebooks").mkdir(parents=True)
    (home / "pyproject.toml").write_text('[project]\nname = "ilo"\n')
    (home / ".gitignore").write_text("runs/\n")
    subprocess.run(["git", "init", "-q"], cwd=home, check=True)
    for name in ("checkout", "runs_folder"):
        monkeypatch.setattr(publish, name, lambda where=home / ("runs" if name == "runs_folder" else ""): where)
    return home, commit(home, "one")


def draw(home, revision, name="figure"):
    folder = home / "runs" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.csv").write_text("a\n1\n")
    (folder / f"{name}.json").write_text(json.dumps({"revision": revision}))
    return folder


def test_a_run_of_a_clean_commit_is_published_whole(place, capsys):
    home, revision = place
    folder = draw(home, revision)
    (folder / ".figure-half.csv").write_text("half")
    (home / "README.md").write_text("changed since")
    assert commit(home, "two") != revision, "an ancestor of HEAD is as good"
    assert main(["publish"]) == 0
    assert sorted(p.name for p in (home / "figures").iterdir()) == ["figure.csv", "figure.json"]
    assert "2 files written to" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["{}-dirty", "unknown", "0123456789ab", "no record"])
def test_a_run_of_another_revision_is_refused_in_a_sentence(place, capsys, word):
    home, revision = place
    draw(home, revision, "good")
    folder = draw(home, word.format(revision), "bad")
    if word == "no record":
        (folder / "bad.json").unlink()
    assert main(["publish"]) == 2
    said = capsys.readouterr().err
    assert f"bad ({word.format(revision)})" in said
    assert "good (" not in said
    assert said.count("\n") == 1
    assert not (home / "figures").exists(), "nothing is written, the good ones neither"


def test_a_commit_of_another_branch_is_no_history(place, tmp_path):
    home, _ = place
    other = tmp_path / "other"
    shutil.copytree(home, other)
    (other / "file").write_text("other")
    draw(home, commit(other, "elsewhere"))
    assert main(["publish"]) == 2


def test_what_a_notebook_no_longer_draws_goes(tmp_path):
    output, runs = tmp_path / "output", tmp_path / "runs"
    output.mkdir()
    for name in ("a.csv", "b.csv", "results.json", "parameters.yaml", ".hidden.csv"):
        (output / name).write_text(name)
    assert [p.name for p in publish.collect("one", output, runs)] == ["a.csv", "b.csv"]
    (output / "a.csv").unlink()
    publish.collect("two", output, runs)
    publish.collect("one", output, runs)
    assert [p.name for p in (runs / "figures").iterdir()] == ["b.csv"], "a.csv was one's alone"
    shutil.rmtree(output)
    output.mkdir()
    publish.collect("one", output, runs)
    assert [p.name for p in (runs / "figures").iterdir()] == ["b.csv"], "two has drawn it too"


def add_many(path, lock):
    for _ in range(200):
        with locked(lock):
            number = int(path.read_text())
            path.write_text(str(number + 1))


def test_a_lock_lets_one_process_in(tmp_path):
    path = tmp_path / "number"
    path.write_text("0")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=add_many, args=(path, tmp_path / "lock")) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert path.read_text() == "600"
