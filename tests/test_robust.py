"""`make robust`: every arithmetic is set, its outcome is in the table, and one that fails fails all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "robust.py"
LOOK = """
import os
def test_look():
    assert os.environ.get("ATEN_CPU_CAPABILITY") != "avx2"
    assert os.environ["OMP_NUM_THREADS"] in "12"
"""


def robust(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ATEN_", "ONEDNN_", "PYTEST_"))}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # to import them takes longer than all else
    command = [sys.executable, str(SCRIPT), *arguments, "--tests", str(folder / "test_look.py"), "--notebooks"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_table_says_what_failed_under_which(tmp_path):
    (tmp_path / "test_look.py").write_text(LOOK)
    done = robust(tmp_path, "--jobs", "1")
    assert done.returncode == 1
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[-4:]}
    assert set(rows) == {"own", "threads", "avx2", "sse41"}
    assert "FAILED" in rows["avx2"]
    assert "1 failed" in rows["avx2"]
    assert all("ok" in rows[name] and "1 passed" in rows[name] for name in ("own", "threads", "sse41"))


@pytest.mark.parametrize(("name", "code"), [("avx2", 1), ("sse41", 0), ("neon", 2)])
def test_each_is_selected_by_its_name(tmp_path, name, code):
    (tmp_path / "test_look.py").write_text(LOOK)
    done = robust(tmp_path, name, "--jobs", "1")
    assert done.returncode == code
    if code == 2:
        assert "choose from own, threads, avx2, sse41" in done.stderr
