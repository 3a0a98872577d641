"""The runner: parameters it refuses, what it publishes and when, and that one failure stops nobody else."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook

from ilo import profiles, reproduce
from ilo.cli.main import main

pytest.importorskip("papermill", reason="the notebook tools are not installed: pip install -e '.[notebooks]'")

PARAMETERS = 'seed: int = 0  # a seed\nlevels: list[float] = [0.1, 0.2]  # levels\noutput: str = ""  # folder'
DRAW = """
import os, pathlib
pathlib.Path(output, "figure.csv").write_text(f"{seed} {levels} {os.environ['TQDM_DISABLE']}")
"""


@pytest.fixture
def place(tmp_path):
    """A repository in small: two notebooks, of which one can be told to fail, and a profile file."""
    for name, body in {
        "experiments/good": DRAW,
        "experiments/bad": DRAW + "assert seed == 0, 'the claim fails'",
    }.items():
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        notebook = new_notebook(
            cells=[new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell(body)],
            metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}},
        )
        nbformat.write(notebook, path)
    profiles = {"quick": {"experiments/good": {"levels": [0.3]}, "experiments/bad": {"seed": 1}}, "full": {}}
    (tmp_path / "notebooks" / "profiles.yaml").write_text(yaml.safe_dump(profiles, sort_keys=False))
    return tmp_path


def planned(place, **options):
    return reproduce.plan("quick", notebooks=place / "notebooks", **options)


def test_plan_merges_defaults_profile_and_overrides(place):
    good, bad = planned(place, overrides={"seed": 5})
    assert good.name == "experiments/good"
    assert good.parameters == {"seed": 5, "levels": [0.3], "output": ""}
    assert bad.parameters["seed"] == 5
    assert [job.name for job in planned(place, only=["good"])] == ["experiments/good"]


def test_unknown_names_are_refused(place):
    with pytest.raises(reproduce.ReproduceError, match=r"declares \['speed'\]"):
        planned(place, overrides={"speed": 1})
    with pytest.raises(reproduce.ReproduceError, match="no notebook matches 'ugly'"):
        planned(place, only=["ugly"])
    (place / "notebooks" / "profiles.yaml").write_text(yaml.safe_dump({"quick": {"experiments/good": {"sed": 1}}}))
    with pytest.raises(reproduce.ReproduceError, match=r"\['sed'\].*declares"):
        planned(place)
    with pytest.raises(reproduce.ReproduceError, match="no profile 'slow'"):
        reproduce.plan("slow", notebooks=place / "notebooks")
    with pytest.raises(reproduce.ReproduceError, match=r"needs a checkout"):
        reproduce.plan(notebooks=place / "missing")


def write_profile(place, table):
    (place / "notebooks" / "profiles.yaml").write_text(yaml.safe_dump({"quick": table}, sort_keys=False))


def test_a_notebook_runs_several_times_under_names_of_their_own(place):
    runs = {"experiments/good:low": {"levels": [0.1]}, "experiments/good": None, "experiments/good:high": {"seed": 3}}
    write_profile(place, runs)
    low, plain, high = planned(place)
    assert [job.name for job in (low, plain, high)] == [
        "experiments/good-low",
        "experiments/good",
        "experiments/good-high",
    ]
    assert {job.path for job in (low, plain, high)} == {place / "notebooks" / "experiments" / "good.ipynb"}
    assert (low.parameters["levels"], low.parameters["seed"]) == ([0.1], 0)
    assert (high.parameters["levels"], high.parameters["seed"]) == ([0.1, 0.2], 3)
    assert [job.name for job in planned(place, only=["good-high"])] == ["experiments/good-high"]
    with pytest.raises(reproduce.ReproduceError, match="'good:high'; there are: experiments/good-low, experiments/go"):
        planned(place, only=["good:high"])


@pytest.mark.slow
def test_runs_of_one_notebook_keep_their_files_and_reports_apart(place):
    path = place / "notebooks" / "experiments" / "good.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source = DRAW.replace('"figure.csv"', 'f"figure{seed}.csv"')
    nbformat.write(notebook, path)
    write_profile(place, {"experiments/good:one": {"seed": 1}, "experiments/good:two": {"seed": 2}})
    done = reproduce.reproduce(planned(place), runs=place / "r", workers=2, report=lambda line: None)
    assert [o.error for o in done.outcomes] == [None, None]
    for number, name in enumerate(("good-one", "good-two"), 1):
        assert (done.folder / "experiments" / f"{name}-output" / f"figure{number}.csv").exists()
        assert (place / "r" / "figures" / f"figure{number}.csv").read_text().startswith(f"{number} ")
        executed = nbformat.read(place / "r" / "notebooks" / "experiments" / f"{name}.ipynb", as_version=4)
        assert f"seed = {number}" in executed.cells[1].source
    report = json.loads((done.folder / "report.json").read_text())
    assert [entry["notebook"] for entry in report["notebooks"]] == ["experiments/good-one", "experiments/good-two"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"experiments/good:": {}}, r"'experiments/good:' is no key.*folder/notebook:run"),
        ({"experiments/good:a:b": {}}, "'experiments/good:a:b' is no key"),
        ({"experiments/good:a/b": {}}, "'experiments/good:a/b' is no key"),
        ({":a": {}}, "':a' is no key"),
        ({3: {}}, "no notebook at .*3.ipynb"),
        ({"experiments/ugly:a": {}}, "no notebook at .*ugly.ipynb"),
        ({"experiments/good:a": {}, "experiments/good-a": {}}, "two runs are called experiments/good-a"),
        ({"experiments/good:a": ["seed"]}, r"experiments/good:a needs parameters.*\['seed'\]"),
        ({"experiments/good:a": {"sed": 1}}, r"gives experiments/good-a the parameters \['sed'\]"),
    ],
)
def test_a_bad_key_is_a_clear_error(place, table, words):
    write_profile(place, table)
    with pytest.raises(reproduce.ReproduceError, match=words):
        planned(place)


@pytest.mark.slow
def test_a_failure_publishes_nothing_of_its_own_and_stops_nobody(place):
    runs = place / "runs"
    figures = runs / "figures"
    figures.mkdir(parents=True)
    (figures / "figure.csv").write_text("the last good one")
    lines = []
    bad_first = planned(place)[::-1]
    done = reproduce.reproduce(bad_first, runs=runs, workers=2, report=lines.append)
    bad, good = done.outcomes
    assert bad.error is not None
    assert "the claim fails" in bad.error
    assert bad.figures == ()
    assert bad.notebook.exists(), "the partial copy is kept for a look"
    assert good.error is None
    assert [p.name for p in good.figures] == ["figure.csv"]
    assert (figures / "figure.csv").read_text() == "0 [0.3] 1"
    assert [str(p.relative_to(runs / "notebooks")) for p in (runs / "notebooks").rglob("*.ipynb")] == [
        os.path.join("experiments", "good.ipynb")
    ]
    record = json.loads((done.folder / "experiments" / "good-output" / "results.json").read_text())
    assert record["parameters"] == {"seed": 0, "levels": [0.3], "output": ""}
    assert {"revision", "torch", "seconds"} <= set(record)
    assert sum("FAILED" in line for line in lines) == 1
    text = reproduce.summary(done)
    assert "1 notebooks ok, 1 failed" in text
    assert "the claim fails" in text


@pytest.mark.slow
def test_exit_code_tells_whether_one_failed(place, monkeypatch, capsys):
    jobs = planned(place)
    monkeypatch.setattr(profiles, "plan", lambda *a, **k: jobs[1:])
    run = reproduce.reproduce
    monkeypatch.setattr(reproduce, "reproduce", lambda jobs, **options: run(jobs, runs=place / "r", **options))
    assert main(["reproduce"]) == 1
    said = capsys.readouterr().out
    assert said.endswith(f"report: {place / 'r' / 'report' / 'index.html'}\n")
    assert "the claim fails" in (place / "r" / "report" / "index.html").read_text(encoding="utf-8")
    monkeypatch.setattr(profiles, "plan", lambda *a, **k: jobs[:1])
    assert main(["reproduce"]) == 0
    assert "1 notebooks ok, 0 failed" in capsys.readouterr().out


def test_notebooks_are_told_the_scheduler(place, monkeypatch):
    path = place / "notebooks" / "experiments" / "good.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source = 'import os, pathlib\npathlib.Path(output, "a").write_text(os.environ["ILO_DASK"])'
    nbformat.write(notebook, path)
    jobs = planned(place, only=["good"])
    done = reproduce.reproduce(jobs, runs=place / "r", dask="tcp://some:8786", report=lambda line: None)
    assert done.outcomes[0].error is None
    assert (place / "r" / "figures" / "a").read_text() == "tcp://some:8786"


@pytest.mark.slow
def test_the_summary_and_the_report_say_wall_time(place, capsys):
    jobs = planned(place, overrides={"seed": 0})
    done = reproduce.reproduce(jobs, runs=place / "r", workers=2, report=lambda line: None)
    assert max(o.seconds for o in done.outcomes) <= done.seconds < sum(o.seconds for o in done.outcomes)
    assert f", {done.seconds:.0f} s: {done.folder}" in reproduce.summary(done)
    report = json.loads((done.folder / "report.json").read_text())
    assert report["seconds"] == round(done.seconds, 1)
    assert [entry["notebook"] for entry in report["notebooks"]] == ["experiments/good", "experiments/bad"]
    assert report["notebooks"][0]["files"] == ["figure.csv"]


DRAW_MANY = """
import pathlib
for name in names:
    pathlib.Path(output, name + ".csv").write_text(str(seed))
pathlib.Path(output, ".half-written").write_text(str(seed))
"""


@pytest.mark.slow
def test_two_runs_at_once_leave_the_files_of_one(place):
    """Whichever ends last: its files, all of them, and none of the other's; nothing hidden is copied."""
    path = place / "notebooks" / "experiments" / "good.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = PARAMETERS + '\nnames: list[str] = ["a", "b"]  # of the files'
    notebook.cells[1].source = DRAW_MANY
    nbformat.write(notebook, path)
    runs = place / "r"
    chosen = {1: ["a", "b"], 2: ["b", "c"]}
    plans = [planned(place, only=["good"], overrides={"seed": s, "names": n}) for s, n in chosen.items()]
    with ThreadPoolExecutor(2) as pool:
        going = [pool.submit(reproduce.reproduce, jobs, runs=runs, report=lambda line: None) for jobs in plans]
        done = [future.result() for future in going]
    assert done[0].folder != done[1].folder
    found = {p.stem: p.read_text() for p in (runs / "figures").iterdir()}
    assert found in [dict.fromkeys(names, str(seed)) for seed, names in chosen.items()]
    for run, (seed, names) in zip(done, chosen.items(), strict=True):
        output = run.folder / "experiments" / "good-output"
        assert {p.stem: p.read_text() for p in output.glob("*.csv")} == dict.fromkeys(names, str(seed))


def test_folders_of_runs_that_start_in_the_same_second_differ(tmp_path):
    folders = [reproduce.new_folder(tmp_path / "runs") for _ in range(5)]
    assert len(set(folders)) == 5
    assert all(folder.is_dir() for folder in folders)


INTERRUPTED = """
import signal, sys
from pathlib import Path
from ilo import profiles, reproduce
from ilo.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell puts in the background has it ignored
place = Path(sys.argv[1])
jobs = reproduce.plan("quick", notebooks=place / "notebooks")
run = reproduce.reproduce
profiles.plan = lambda *a, **k: jobs
reproduce.reproduce = lambda jobs, **k: run(jobs, runs=place / "r", **k)
reproduce.GRACE = 1
sys.exit(main(["reproduce", "--jobs", "1"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_notebooks_that_run_and_starts_no_other(place, how):
    path = place / "notebooks" / "experiments" / "good.ipynb"
    notebook = nbformat.read(path, as_version=4)
    started = place / "started"
    notebook.cells[
        1
    ].source = f"import os, pathlib, time\npathlib.Path({str(started)!r}).write_text(str(os.getpid()))\ntime.sleep(300)"
    nbformat.write(notebook, path)
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(place)],
        env=os.environ | {"PYTHONPATH": str(Path(reproduce.__file__).parent.parent)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(started.exists, 60)
        time.sleep(0.2)
        child.send_signal(how)
        stderr = child.communicate(timeout=60)[1]
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == 130
    assert stderr.strip().splitlines()[-1] == "ilo: interrupted"
    assert "Traceback" not in stderr
    wait_until(lambda: not alive(int(started.read_text())), 30)
    assert not list((place / "r").rglob("bad.ipynb"))
    assert not (place / "r" / "figures").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_runner_leaves_no_kernel_behind(place):
    path = place / "notebooks" / "experiments" / "good.ipynb"
    notebook = nbformat.read(path, as_version=4)
    started = place / "started"
    body = f"import os, pathlib, time\npathlib.Path({str(started)!r}).write_text(f'{{os.getpid()}} {{os.getppid()}}')\n"
    notebook.cells[1].source = body + "time.sleep(300)"
    nbformat.write(notebook, path)
    environment = os.environ | {"PYTHONPATH": str(Path(reproduce.__file__).parent.parent)}
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(place)], env=environment)
    wait_until(lambda: started.exists() and started.read_text(), 60)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    for process in started.read_text().split():  # the kernel, and papermill that started it
        wait_until(lambda process=int(process): not alive(process), 30)


@pytest.mark.parametrize(
    ("text", "told"),
    [("[1, 2]", "no profile"), ("quick: 3", "no table"), ("quick: [a]", "no table"),
     ("quick: {a: 3}", "needs parameters"), ("quick: {a: [", "no YAML"), ("", "no profile"), ("\x00", "no YAML")],
)  # fmt: skip
def test_a_profile_file_of_another_kind_is_told_by_name(place, text, told):
    (place / "notebooks" / "profiles.yaml").write_text(text)
    with pytest.raises(reproduce.ReproduceError, match=f"(?s)profiles.yaml.*{told}|{told}.*profiles.yaml"):
        planned(place)


@pytest.mark.parametrize(
    ("flags", "told"),
    [(["--device", "warp"], "no device"), (["--device", "meta"], "computes nothing"), (["--device", "cuda:99"], "99"),
     (["--generator", "stylegan9"], "stylegan9"), (["--images", "{empty}"], "no image files"),
     (["--images", "{empty}/none"], "no folder"), (["--dask", "tcp://127.0.0.1:1"], "no Dask scheduler answers"),
     (["--dask", "nonsense"], "expected tcp://HOST:PORT"), (["--jobs", "0"], "at least 1")],
)  # fmt: skip
def test_what_notebooks_would_fail_by_is_told_before_they_start(place, capsys, monkeypatch, flags, told):
    (place / "empty").mkdir()
    monkeypatch.setattr(reproduce, "run_notebook", lambda *a, **k: pytest.fail("a notebook was started"))
    monkeypatch.setattr(reproduce, "runs_folder", lambda: place / "r")
    flags = [flag.format(empty=place / "empty") for flag in flags]
    assert main(["reproduce", "--only", "inpainting", *flags]) == 2
    assert told in capsys.readouterr().err


def test_a_folder_called_as_a_device_is_no_device(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    (place / "cpu").mkdir()
    assert main(["reproduce", "--list", "--only", "inpainting", "--device", "cpu"]) == 0
    assert '"device": "cpu"' in capsys.readouterr().out


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z" if Path("/proc").exists() else True
