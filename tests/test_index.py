"""The index's client: HTML and JSON pages, mirrors, folders and passwords, from a server on this machine."""

import base64
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from test_assets import WEIGHTS, cached, parts_of, source_archive

from ilo import assets, index
from ilo.assets import AssetError


class Shelf(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        kind, body = self.server.pages.get(self.path, (None, b""))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Shelf) as http:
        http.pages, http.asked = {}, []
        http.address = f"127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield http
        http.shutdown()


@pytest.fixture
def toy(tmp_path, monkeypatch, server):
    """A source archive on the server's files/, which leaves a mark if anything of it is run, and an empty cache."""
    monkeypatch.setenv("ILO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ILO_ASSETS", raising=False)
    for name in [n for n in os.environ if n.startswith("PIP_") or n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{server.address}/simple")
    archive = source_archive(tmp_path, tmp_path / "ran")
    monkeypatch.setattr(assets, "PARTS", parts_of(archive, "toy_weights-1.0/"))
    server.pages["/files/toy_weights-1.0.tar.gz"] = ("application/octet-stream", archive.read_bytes())
    return archive


HTML = b'<!DOCTYPE html><a href="../../files/toy_weights-0.9.tar.gz">old</a>' + (
    b'<a href="../../files/toy%5Fweights-1.0.tar.gz#sha256=00" data-yanked="">toy</a>'
)
JSON = json.dumps({"files": [{"filename": "x", "url": "/files/toy_weights-1.0.tar.gz"}]}).encode()
PAGES = {
    "html": ("text/html; charset=utf-8", HTML),
    "json": ("application/vnd.pypi.simple.v1+json", JSON),
    "html with a base": ("text/html", b'<base href="/files/"><a href="toy_weights-1.0.tar.gz">toy</a>'),
}


@pytest.mark.parametrize("page", PAGES)
def test_an_archive_is_taken_as_it_is_and_not_built(toy, server, page):
    server.pages["/simple/toy-weights/"] = PAGES[page]
    server.pages["/files/toy%5Fweights-1.0.tar.gz"] = server.pages["/files/toy_weights-1.0.tar.gz"]
    assert assets.fetch("second").read_bytes() == WEIGHTS["second"]
    assert assets.fetch("first").read_bytes() == WEIGHTS["first"]
    assert len(server.asked) == 2, "one page, one archive"
    assert not (toy.parent / "ran").exists(), "its own code ran"
    assert cached() == sorted(part.path for part in assets.PARTS.values())


def test_the_hash_comes_first(toy, server, monkeypatch):
    server.pages["/simple/toy-weights/"] = PAGES["json"]
    genuine = server.pages["/files/toy_weights-1.0.tar.gz"][1]
    monkeypatch.setattr(assets.tarfile, "open", lambda **_: pytest.fail("it was opened"))
    for forged in (genuine[:-1], genuine + b"!", genuine[:-1] + b"!", b"", b"x" * (1 << 22)):
        server.pages["/files/toy_weights-1.0.tar.gz"] = ("application/octet-stream", forged)
        with pytest.raises(AssetError, match=r"another file.*its sha256 is .*, expected .*pip download"):
            assets.fetch("first")
    assert cached() == []


def test_a_forged_copy_of_one_place_does_not_hide_the_genuine_of_another(toy, server, tmp_path, monkeypatch):
    server.pages["/simple/toy-weights/"] = PAGES["json"]
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / toy.name).write_bytes(b"forged")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    assert assets.fetch("first").read_bytes() == WEIGHTS["first"]


def test_pips_configuration_is_used(toy, server, tmp_path, monkeypatch):
    """An extra index in a file, with a password; and a local index."""
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nextra-index-url =\n    http://me:se%23cret@{server.address}/private/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    server.pages["/private/simple/toy-weights/"] = PAGES["json"]
    assert assets.fetch("first").read_bytes() == WEIGHTS["first"]
    assert ("/simple/toy-weights/", None) in server.asked
    assert ("/private/simple/toy-weights/", "Basic " + base64.b64encode(b"me:se#cret").decode()) in server.asked
    server.pages.clear()
    assets.PARTS["first"].path.unlink()
    with pytest.raises(AssetError) as caught:
        assets.fetch("first")
    assert "cret" not in str(caught.value), "a password is not shown"

    local = tmp_path / "simple" / "toy-weights"
    local.mkdir(parents=True)
    (local / "index.html").write_text(f'<a href="../../{toy.name}">toy</a>')
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    assert assets.fetch("first").read_bytes() == WEIGHTS["first"]


BROKEN = {
    "nothing": None,
    "not json": ("application/vnd.pypi.simple.v1+json", b"<html>"),
    "another json": ("application/vnd.pypi.simple.v1+json", b'{"files": 3}'),
    "no such file": ("text/html", b'<a href="toy_weights-1.0.tar.gz">gone</a>'),
    "another scheme": ("text/html", b'<a href="ftp://127.0.0.1/toy_weights-1.0.tar.gz">far</a>'),
    "not text": ("text/html", bytes(range(256))),
}


@pytest.mark.parametrize("page", BROKEN)
def test_what_each_place_answered_is_told(toy, server, page):
    if BROKEN[page]:
        server.pages["/simple/toy-weights/"] = BROKEN[page]
    with pytest.raises(AssetError, match=r"^could not download toy-weights 1\.0; looked for.*/simple/toy-weights/: "):
        assets.fetch("first")
    assert cached() == []


def test_a_connection_that_breaks_is_told(toy, server, monkeypatch):
    server.pages["/simple/toy-weights/"] = PAGES["json"]
    monkeypatch.setattr(
        Shelf, "do_GET", lambda self: self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nab")
    )
    with pytest.raises(AssetError, match="could not download"):
        assets.fetch("first")


def test_a_pip_that_does_not_answer_is_told(toy, monkeypatch):
    monkeypatch.setattr(index, "ASK", "raise SystemExit('no pip')")
    with pytest.raises(AssetError, match=r"no pip.*ensurepip.*pip download"):
        assets.fetch("first")
