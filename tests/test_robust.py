"""`make robust`: every arithmetic is set, its outcome is in the table, and one that fails fails all."""

import os

import pytest
import robust

LOOK = """
import os
def test_look():
    assert os.environ.get("ATEN_CPU_CAPABILITY") != "avx2"
    assert os.environ["OMP_NUM_THREADS"] in "12"
"""


@pytest.fixture
def outcome(tmp_path, monkeypatch, capfd):
    """robust.main under `names`, of one test: its exit code, and the rows of its table by their names."""
    (tmp_path / "test_look.py").write_text(LOOK)
    for name in os.environ:
        if name.startswith(("ATEN_", "ONEDNN_", "PYTEST_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # to import them takes longer than all else
    monkeypatch.chdir(tmp_path)

    def run(*names):
        code = robust.main([*names, "--jobs", "1", "--tests", str(tmp_path / "test_look.py"), "--notebooks"])
        table = capfd.readouterr().out.split("arithmetic  what")[-1]
        return code, {line.split()[0]: line for line in table.splitlines()[1:]}

    return run


@pytest.mark.slow
def test_a_table_says_what_failed_under_which(outcome, monkeypatch):
    monkeypatch.setattr(robust, "instructions", lambda environment: environment.get("ATEN_CPU_CAPABILITY"))
    code, rows = outcome()
    assert code == 1
    assert set(rows) == {"own", "threads", "avx2", "sse41"}
    assert "FAILED" in rows["avx2"]
    assert "1 failed" in rows["avx2"]
    assert all("ok" in rows[name] and "1 passed" in rows[name] for name in ("own", "threads", "sse41"))


def test_what_a_processor_computes_alike_is_run_once(outcome, monkeypatch):
    monkeypatch.setattr(robust, "instructions", lambda environment: "the only ones")
    code, rows = outcome()
    assert code == 0
    assert all("1 passed" in rows[name] for name in ("own", "threads"))
    assert all("own is the same here" in rows[name] for name in ("avx2", "sse41"))


def test_instructions_are_those_that_torch_uses():
    assert robust.instructions({"ATEN_CPU_CAPABILITY": "default"}) in ("DEFAULT", "NO AVX")


@pytest.mark.parametrize(("name", "code"), [("avx2", 1), ("sse41", 0)])
def test_each_is_selected_by_its_name(outcome, name, code):
    assert outcome(name)[0] == code


def test_an_unknown_name_is_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit) as stop:
        robust.main(["neon"])
    assert stop.value.code == 2
    assert "choose from own, threads, avx2, sse41" in capsys.readouterr().err
