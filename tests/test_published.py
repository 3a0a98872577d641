"""Published generators: asked for, accepted, resumed, verified; from a server of this test's own."""

import hashlib
import http.server
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
import torch
from nvidia_writer import nvidia_pickle

from ilo.assets import AssetError
from ilo.cli.main import main
from ilo.generators import load, published, random_stylegan2
from ilo.generators.resumed import BLOCK
from ilo.generators.stylegan.build import stylegan2

NAME = "stylegan2-ffhq-1024"


@dataclass
class Site:
    """What a server sends, and how it misbehaves: breaks off after so many bytes, knows no ranges, pauses at blocks."""

    content: bytes
    version: str = '"one"'
    status: int = 200
    kind: str = "application/octet-stream"
    breaks_after: int | None = None
    ranges: bool = True
    pause: float = 0.0
    sent: list[tuple[int, int]] = field(default_factory=list)  # (first byte, bytes) of every answer
    url: str = ""


@contextmanager
def serving(site: Site):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            begin, wanted = 0, self.headers.get("Range", "")
            if site.ranges and wanted and self.headers.get("If-Range", site.version) == site.version:
                begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            if begin > len(site.content) or (begin and begin == len(site.content)):
                self.send_response(416)
                self.end_headers()
                return
            body = site.content[begin:]
            self.send_response(206 if begin else site.status)
            self.send_header("Content-Type", site.kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", site.version)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(site.content) - 1}/{len(site.content)}")
            self.end_headers()
            body = body if site.breaks_after is None else body[: site.breaks_after]
            site.sent.append((begin, len(body)))
            for at in range(0, len(body), 2**20):
                try:
                    self.wfile.write(body[at : at + 2**20])
                except ConnectionError:
                    return
                time.sleep(site.pause)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}/network.pkl"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def network():
    return nvidia_pickle(random_stylegan2(8, channel_base=256, channel_max=48, z_dim=8, w_dim=8, mapping_layers=2))


@pytest.fixture
def site(network, monkeypatch, tmp_path):
    """A server of a small StyleGAN2 under the name of a large one, and an empty cache."""
    monkeypatch.setenv("ILO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(published.ACCEPT, raising=False)
    with serving(Site(network)) as site:
        entry = published.Published(site.url, 8, "NVIDIA", hashlib.sha256(network).hexdigest(), len(network))
        monkeypatch.setitem(published.PUBLISHED, NAME, entry)
        yield site


def leftovers():
    folder = published.path_of(NAME).parent
    return {p.name.removeprefix("network.pkl") for p in folder.iterdir()} if folder.is_dir() else set()


def test_nothing_is_downloaded_without_being_asked(site):
    with pytest.raises(AssetError, match=r"ilo fetch stylegan2-ffhq-1024 --accept-licence.*NVIDIA Source Code"):
        load(NAME)
    assert site.sent == []
    assert not published.present(NAME)


def test_fetched_by_its_name_it_is_a_generator_and_is_not_fetched_again(site, capsys):
    assert main(["fetch", NAME, "--accept-licence", "--quiet"]) == 0
    said = capsys.readouterr()
    assert f"{NAME}: {published.path_of(NAME)}" in said.out
    assert "NVIDIA Source Code License" in said.err
    G = load(NAME)
    assert (G.name, G.image_shape) == (NAME, (3, 8, 8))
    assert len(site.sent) == 1
    assert leftovers() <= {"", ".part.lock"}


def test_the_environment_accepts_as_well(site, monkeypatch):
    monkeypatch.setenv(published.ACCEPT, "1")
    assert load(NAME, space="w").image_shape == (3, 8, 8)


def test_the_list_says_what_is_here(site, capsys):
    assert main(["generators"]) == 0
    before = capsys.readouterr().out.splitlines()
    published.get(NAME, accept_licence=True, progress=False)
    assert main(["generators", "--paths"]) == 0
    after = capsys.readouterr().out.splitlines()
    assert len(before) == len(after) == 4 + len(published.PUBLISHED)
    assert next(words for words in map(str.split, before) if words[0] == NAME)[1:5] == ["8", "NVIDIA", "?", "no"]
    assert next(words for words in map(str.split, after) if words[0] == NAME)[4] == "here"


@pytest.mark.parametrize(("times", "cut"), [(1, 1), (2, 70_000)], ids=["at once", "twice, later"])
def test_a_download_that_breaks_off_goes_on_where_it_was(site, times, cut):
    site.breaks_after = cut
    for _ in range(times):
        with pytest.raises(AssetError, match=r"broke off.*kept, and the next try goes on"):
            published.get(NAME, accept_licence=True, progress=False)
        assert not published.present(NAME)
    site.breaks_after = None
    path = published.get(NAME, accept_licence=True, progress=False)
    assert path.read_bytes() == site.content
    assert [begin for begin, _ in site.sent] == [i * (cut // BLOCK) * BLOCK for i in range(times + 1)]


@pytest.mark.parametrize("how", ["another version", "no ranges"])
def test_what_cannot_be_joined_begins_anew(site, how, monkeypatch):
    site.breaks_after = 5000
    with pytest.raises(AssetError, match="broke off"):
        published.get(NAME, accept_licence=True, progress=False)
    site.breaks_after = None
    if how == "another version":
        site.content, site.version = site.content[:-1] + b"!", '"two"'
        entry = replace(published.PUBLISHED[NAME], sha256=hashlib.sha256(site.content).hexdigest())
        monkeypatch.setitem(published.PUBLISHED, NAME, entry)
    else:
        site.ranges = False
    assert published.get(NAME, accept_licence=True, progress=False).read_bytes() == site.content
    assert site.sent[-1] == (0, len(site.content))


def test_another_file_is_refused_and_not_kept(site):
    site.content = site.content[:-9] + b"malicious"
    with pytest.raises(AssetError, match=r"is not the file that was published.*Nothing of it was opened or kept"):
        published.get(NAME, accept_licence=True, progress=False)
    assert leftovers() <= {".part.lock"}


def test_a_damaged_copy_is_replaced(site):
    path = published.get(NAME, accept_licence=True, progress=False)
    path.write_bytes(b"damaged")
    assert published.get(NAME, progress=False).read_bytes() == site.content


def test_without_a_published_hash_the_first_is_recorded_and_another_refused(site, monkeypatch, capsys):
    monkeypatch.setitem(published.PUBLISHED, NAME, replace(published.PUBLISHED[NAME], sha256=None))
    path = published.get(NAME, accept_licence=True, progress=False)
    found = hashlib.sha256(site.content).hexdigest()
    assert f"this one's is recorded: {found}" in capsys.readouterr().err
    path.unlink()
    site.content, site.version = site.content[:-9] + b"malicious", '"two"'
    with pytest.raises(AssetError, match=f"another than {found}"):
        published.get(NAME, accept_licence=True, progress=False)
    assert not path.exists()


FAULTS = {
    "404": ({"status": 404}, r"answers 404 Not Found: the file may have moved"),
    "403": ({"status": 403}, r"answers 403 Forbidden"),
    "a page by its kind": ({"kind": "text/html; charset=utf-8"}, "sends a web page and not the file"),
    "a page by its content": ({"content": b"<!DOCTYPE html><p>Log in"}, "sends a web page and not the file"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults_are_a_sentence(site, case, capsys):
    changes, message = FAULTS[case]
    for name, value in changes.items():
        setattr(site, name, value)
    with pytest.raises(AssetError, match=message):
        published.get(NAME, accept_licence=True, progress=False)
    assert main(["fetch", NAME, "--accept-licence", "--quiet"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert not published.present(NAME)


def test_no_network_is_a_sentence(site, monkeypatch):
    entry = replace(published.PUBLISHED[NAME], url="http://127.0.0.1:9/network.pkl")
    monkeypatch.setitem(published.PUBLISHED, NAME, entry)
    with pytest.raises(AssetError, match="Check the network"):
        published.get(NAME, accept_licence=True, progress=False)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_a_full_disk_is_a_sentence_and_keeps_nothing_half(site):
    path = published.path_of(NAME)
    path.parent.mkdir(parents=True)
    (path.parent / "network.pkl.part").symlink_to("/dev/full")
    with pytest.raises(AssetError, match="The disk is full: make room, or set ILO_CACHE"):
        published.get(NAME, accept_licence=True, progress=False)
    assert not path.exists()


def test_unknown_names_are_told_which_there_are(capsys):
    with pytest.raises(ValueError, match="choose from 'stylegan2-ffhq-1024'"):
        published.get("stylegan7")
    assert main(["fetch", "stylegan7"]) == 2
    assert "unknown: stylegan7; there are dcgan-digiface64" in capsys.readouterr().err


FETCH = """
import sys
from ilo.generators import published
from dataclasses import replace
entry = published.PUBLISHED["stylegan2-ffhq-1024"]
published.PUBLISHED["stylegan2-ffhq-1024"] = replace(entry, url=sys.argv[1], sha256=sys.argv[2])
published.get("stylegan2-ffhq-1024", accept_licence=True, progress=False)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_at_random_points_it_is_whole_in_the_end(tmp_path, monkeypatch):
    """NVIDIA's format, 19 MB killed at two points; ILO_LARGE=360 has 398 MB, a network of 1024 pixels, and five."""
    large = os.environ.get("ILO_LARGE") == "360"
    weights = random_stylegan2(1024) if large else random_stylegan2(16, channel_max=128, w_dim=256)
    content = nvidia_pickle(weights, beside={name: t + 1 for name, t in weights.items()})
    kills, blocks = (5 if large else 2), len(content) / 2**20
    monkeypatch.setenv("ILO_CACHE", str(tmp_path))
    draw = random.Random(1)
    with serving(Site(content, pause=1.5 / blocks)) as site:
        command = [sys.executable, "-c", FETCH, site.url, hashlib.sha256(content).hexdigest()]
        part = tmp_path / "generators" / "network.pkl.part"
        for kill in range(kills):
            child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            enough = len(content) * (kill + draw.random()) / (kills + 1)
            while child.poll() is None and not (part.exists() and part.stat().st_size > enough):
                time.sleep(0.01)
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert subprocess.run(command, check=True, stderr=subprocess.DEVNULL).returncode == 0
    path = tmp_path / "generators" / "network.pkl"
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(content).digest()
    assert sum(begin > 0 for begin, _ in site.sent) >= kills - 1, "it went on where it was"
    G = load(path)
    assert G.image_shape[-1] == (1024 if large else 16)
    assert torch.equal(G(G.sample(1, 0)), stylegan2(weights)(G.sample(1, 0)))
