"""The grid: its rows, what it keeps and trusts, and that a run killed anywhere ends as one that was not."""

import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

import ilo
from ilo import metrics, study
from ilo.generators import Generator
from ilo.study import cells

SHAPE = (3, 16, 16)
calls = []


def tiny_generator(seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    layers = [nn.Linear(4, 48), nn.ReLU(), nn.Unflatten(1, (3, 4, 4)), nn.Upsample(scale_factor=4), nn.Conv2d(3, 3, 3)]
    layers[-1] = nn.Conv2d(3, 3, 3, padding=1)
    return Generator.from_sequential(nn.Sequential(*layers, nn.Tanh()), cuts=(2,), latent_shape=(4,))


def photos(n: int = 5, G: Generator | None = None) -> dict[str, torch.Tensor]:
    x = (G or tiny_generator())(tiny_generator().sample(n, 7))
    return {f"photo {i}": x[i] for i in range(n)}


def back(A, y, *, G, rng, noise):
    """The simplest method: the adjoint."""
    calls.append(len(y))
    return A.adjoint(y)


def search(A, y, *, G, rng, noise, steps=6):
    """ILO and its first round, which is CSGM, of one run."""
    rounds = [ilo.Round(0, steps, 0.1), ilo.Round(1, steps, 0.05, radius=10.0)]
    result = ilo.recover(G, A, y, rounds=rounds, rng=rng, progress=False)
    return {"CSGM": result.rounds[0].images, "ILO": study.Answer(result.images, {"status": result.status})}


def slow_search(A, y, *, G, rng, noise):
    time.sleep(0.06)
    return search(A, y, G=G, rng=rng, noise=noise)


def breaks_in_other_letters(A, y, *, G, rng, noise):
    raise ValueError("‖A·x − y‖ = ∞ \udcff" if noise > 0.1 else "−")


def breaks_on_noise(A, y, *, G, rng, noise):
    if noise > 0.1:
        raise ZeroDivisionError("the method's own words")
    return A.adjoint(y)


def answers_nan(A, y, *, G, rng, noise):
    return torch.full((len(y), *SHAPE), torch.nan)


def run(folder, images=None, problems=None, methods=None, **options):
    G = options.pop("G", None) or tiny_generator()
    problems = problems or [study.inpainting(0.3), study.gaussian(0.1)]
    options = {"lpips": False, "progress": False, "batch": 2, **options}
    return study.run(images or photos(), problems, methods or {"back": back}, G=G, folder=folder, **options)


def without_times(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns="seconds")


def test_rows_are_those_of_the_pieces_put_together_by_hand(tmp_path):
    images = photos()
    rows = run(tmp_path, images, methods={"ILO": search, "back": back}, seeds=(3, 5))
    assert list(rows)[:6] == study.KEYS
    assert len(rows) == 5 * 2 * 3 * 2
    assert rows["method"].drop_duplicates().tolist() == ["CSGM", "ILO", "back"]
    assert rows["image"][:5].tolist() == list(images)
    A = ilo.operators.RandomInpainting(SHAPE, keep=0.3, rng=5)
    names = list(images)[2:4]
    x = torch.stack([images[n] for n in names])
    y = ilo.operators.measure(A, x, noise=0.02, rng=[cells.image_seed(5, n) for n in names])
    expected = metrics.evaluate(search(A, y, G=tiny_generator(), rng=5, noise=0.02)["CSGM"], x, lpips=False)
    found = rows.query("task == 'inpainting' and method == 'CSGM' and seed == 5 and image in @names")
    for column in ("mse", "psnr", "ssim"):
        torch.testing.assert_close(torch.tensor(found[column].values), torch.tensor(expected[column].values))
    assert (rows["seconds"] > 0).all()
    assert rows.query("method == 'ILO'")["status"].notna().all()


def test_a_second_run_computes_nothing_and_a_larger_grid_only_what_is_new(tmp_path):
    first = run(tmp_path)
    calls.clear()
    again = run(tmp_path)
    assert calls == []
    pd.testing.assert_frame_equal(first, again)  # the seconds too: they stay with the cell
    more = run(tmp_path, problems=[study.gaussian(0.1), study.inpainting(0.3), study.denoising(0.2)], seeds=(0, 1))
    assert calls == [2, 2, 1] * 4
    kept = more.merge(first, on=[*study.KEYS, "cell"])
    assert len(kept) == len(first)
    assert (kept["seconds_x"] == kept["seconds_y"]).all()


def test_an_image_draws_the_same_however_it_is_batched(tmp_path):
    images = photos()
    two = run(tmp_path, images, batch=2).set_index(study.KEYS)
    five = run(tmp_path, dict(reversed(images.items())), batch=5).set_index(study.KEYS)
    assert set(two["cell"]).isdisjoint(five["cell"])
    torch.testing.assert_close(
        torch.tensor(two["mse"].values), torch.tensor(five.loc[two.index, "mse"].values), rtol=1e-5, atol=0
    )
    alone = run(tmp_path, {"photo 3": images["photo 3"]}).set_index(study.KEYS)
    torch.testing.assert_close(
        torch.tensor(alone["mse"].values), torch.tensor(two.loc[alone.index, "mse"].values), rtol=1e-5, atol=0
    )
    noise = run(tmp_path, images, [study.denoising(0.3)])["mse"]
    assert noise.nunique() == 5, "the noise of two images is not the same"


@pytest.mark.parametrize("change", ["weights", "image", "name", "noise", "level", "seed", "argument", "lpips"])
def test_everything_that_determines_a_row_makes_another_cell(tmp_path, change):
    images, problem, method, options = photos(2), study.denoising(0.02), partial(search, steps=2), {}
    before = run(tmp_path, images, [problem], {"m": method})
    if change == "weights":
        options["G"] = tiny_generator(1)
    elif change == "image":
        images["photo 0"] = images["photo 0"] * 0.99
    elif change == "name":
        images = {"other": images.pop("photo 0"), **images}
    elif change == "noise":
        problem = study.denoising(0.03)
    elif change == "level":
        problem = study.inpainting(0.4)
    elif change == "seed":
        options["seeds"] = (1,)
    elif change == "argument":
        method = partial(search, steps=3)
    else:
        images = {n: nn.functional.interpolate(x[None], scale_factor=2) for n, x in images.items()}
        options = {"lpips": True, "G": bigger(tiny_generator())}
    after = run(tmp_path, images, [problem], {"m": method}, **options)
    assert set(before["cell"]).isdisjoint(after["cell"])


def bigger(G: Generator) -> Generator:
    model = nn.Sequential(nn.Linear(4, 3 * 32 * 32), nn.Unflatten(1, (3, 32, 32)), nn.Tanh())
    return Generator.from_sequential(model, cuts=(1,), latent_shape=(4,))


def test_a_method_that_raises_stops_no_other_and_is_named(tmp_path):
    problems = [study.denoising(0.5), study.denoising(0.05)]
    methods = {"breaks": breaks_on_noise, "nan": answers_nan, "back": back}
    with pytest.raises(study.StudyError) as caught:
        run(tmp_path, photos(2), problems, methods)
    message = str(caught.value)
    assert "3 of 6 cells failed" in message
    assert "breaks, denoising at 0.5, noise 0.5, seed 0, images photo 0 … photo 1: ZeroDivisionError" in message
    assert "the method's own words" in message
    assert "NaN" in message
    assert caught.value.rows["method"].value_counts().to_dict() == {"back": 4, "breaks": 2}
    errors = list(tmp_path.glob("*.error.txt"))
    assert len(errors) == 3
    assert any("breaks_on_noise" in e.read_text() and "Traceback" in e.read_text() for e in errors)
    calls.clear()
    with pytest.raises(study.StudyError):
        run(tmp_path, photos(2), problems, methods)
    assert calls == [], "what had finished is kept; what had failed is tried again"


def test_what_does_not_fit_is_refused_before_the_work(tmp_path):
    x = torch.stack(list(photos(3).values()))
    with pytest.raises(ValueError, match="a name of its own"):
        run(tmp_path, (["a", "a", "b"], x))
    with pytest.raises(ValueError, match="all of one shape"):
        run(tmp_path, {"a": x[0], "b": x[0, :, :8]})
    with pytest.raises(ValueError, match="generator makes images"):
        run(tmp_path, (["a", "b", "c"], x[..., :12]))
    with pytest.raises(ValueError, match="batch"):
        run(tmp_path, batch=0)
    with pytest.raises(ValueError, match="at least one problem"):
        run(tmp_path, seeds=())
    with pytest.raises(TypeError, match="cannot be told"):
        run(tmp_path, methods={"m": partial(back, threading.Lock())})
    with pytest.raises(ValueError, match="rows of the same name"):
        run(tmp_path, methods={"back": back, "again": partial(_named_answer, "back")})
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"):
        run(tmp_path / "file" / "below")


def _named_answer(name, A, y, *, G, rng, noise):
    return {name: A.adjoint(y)}


def test_no_generator_is_needed_for_methods_without_one(tmp_path):
    options = {"lpips": False, "progress": False}
    rows = study.run(photos(2), [study.superres(2)], {"back": back}, G=None, folder=tmp_path, **options)
    assert len(rows) == 2


# A process that has imported everything forks one run after another, and kills them.
KILLS = """
import glob, os, random, signal, sys, time
import torch
torch.set_num_threads(1)
import test_grid as here
from ilo import study

def grid(folder):
    problems = [study.inpainting(0.2), study.gaussian(0.1)]
    return here.run(folder, here.photos(6), problems, {"ILO": here.slow_search}, seeds=(0, 1, 2), keep_images=True)

def start(folder):
    child = os.fork()
    if child == 0:
        try:
            grid(folder)
        finally:
            os._exit(0)
    return child

def finished():
    return len(glob.glob(os.path.join(folder, "*.json")))  # but not .temporary ones

folder, random = sys.argv[1], random.Random(int(sys.argv[2]))
here.run(folder + "-warm", here.photos(1), [study.denoising(0.1)], {"ILO": here.slow_search}, keep_images=True)
killed, counts = 0, []
for _ in range(10):
    enough = finished() + random.randint(0, 1)
    child = start(folder)
    while finished() < enough:
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.06))  # less than a cell takes
    os.kill(child, signal.SIGKILL)
    killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    counts.append(finished())
pair = [start(folder), start(folder)]  # what is left, by two processes at once
assert all(os.waitpid(child, 0)[1] == 0 for child in pair)
grid(folder).to_csv(sys.argv[3], index=False)
grid(folder + "-uninterrupted").to_csv(sys.argv[4], index=False)
print(killed, *counts)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_grid_killed_ten_times_ends_with_the_rows_of_one_that_was_not(tmp_path):
    paths = [str(tmp_path / name) for name in ("cells", "killed.csv", "whole.csv")]
    place = os.pathsep.join([str(Path(__file__).parent), str(Path(ilo.__file__).parent.parent)])
    ended = subprocess.run(
        [sys.executable, "-c", KILLS, paths[0], "12", *paths[1:]],
        env=os.environ | {"PYTHONPATH": place, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    killed, *counts = map(int, ended.stdout.split())
    assert killed == 10, "each was killed while it ran"
    assert 0 < counts[-1] < 18, f"the kills fell into the work: {counts}"
    one, other = (pd.read_csv(path) for path in paths[1:])
    assert len(one) == 6 * 2 * 3 * 2
    pd.testing.assert_frame_equal(without_times(one), without_times(other), check_exact=True)
    for path in Path(paths[0]).glob("*.npz"):
        twin = Path(paths[0] + "-uninterrupted") / path.name
        assert path.read_bytes() == twin.read_bytes()
        assert json.loads(path.with_suffix(".json").read_text())["body"]


@pytest.mark.parametrize("seed", [1.5, "1", True, -1, None, 1.0])
def test_a_seed_is_a_whole_number(tmp_path, seed):
    with pytest.raises(ValueError, match="each of seeds must be an integer of at least 0"):
        run(tmp_path, photos(1), seeds=[1, seed])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_failing_cell_with_signs_of_its_own_stops_nobody_in_an_old_locale(tmp_path):
    """Under LC_ALL=C and without UTF-8 mode Python's text files are ASCII."""
    script = (
        "import sys, test_grid; from ilo import study\n"
        "try: test_grid.run(sys.argv[1], test_grid.photos(1), methods={'\\u2212': test_grid.breaks_in_other_letters,"
        " 'back': test_grid.back})\n"
        "except study.StudyError as error: print(len(error.rows), ascii(str(error)))"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parent, env=environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 0, "the other method's rows are there"
    (told, *_) = tmp_path.glob("*.error.txt")
    assert "−" in told.read_text(encoding="utf-8")
