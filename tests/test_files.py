"""Files that are whole or not there: what the disk refuses, links, devices, and what killed processes leave."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ilo.files import sweep, written_atomically


def write(path: Path, text: str = "new") -> None:
    with written_atomically(path) as temporary:
        temporary.write_text(text)


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    target, link = tmp_path / "far" / "file.txt", tmp_path / "link.txt"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    dangling = tmp_path / "dangling.txt"
    dangling.symlink_to(tmp_path / "far" / "not yet.txt")
    write(dangling)
    assert dangling.is_symlink()
    assert (tmp_path / "far" / "not yet.txt").read_text() == "new"


def test_what_is_no_file_is_left_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "folder", Path("/dev/null")):
        with pytest.raises(OSError, match="not a file to write: name another"):
            write(path)
    assert not Path("/dev/null").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "pipe"]


LIMITED = """
import resource, sys, torch
from safetensors.torch import save_file
from ilo.files import written_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with written_atomically(sys.argv[1]) as temporary:
        save_file({"x": torch.zeros(10_000)}, temporary)
except OSError as error:
    print(error.errno, error)
"""


def test_what_the_disk_refuses_safetensors_is_an_oserror(tmp_path):
    """A limit on the size of files stands for the full disk, which takes a system's rights to make."""
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(1)}, path)
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True)
    assert done.stderr == ""
    assert "File too large" in done.stdout
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000, "the limit is the child's alone"


def test_sweep_takes_old_halves_of_these_names_alone(tmp_path):
    old = [tmp_path / ".weights-abcd1234.bin", tmp_path / ".weights-abcd1234"]
    others = [tmp_path / ".weights-abcd123.bin", tmp_path / ".other-abcd1234.bin", tmp_path / "weights-abcd1234.bin"]
    for path in (*old, *others):
        path.touch()
        os.utime(path, (0, 0))
    young = tmp_path / ".weights-abcd1235.bin"
    young.touch()
    sweep(tmp_path, "weights")
    assert sorted(tmp_path.iterdir()) == sorted([*others, young])
    sweep(tmp_path / "nowhere", "weights")
