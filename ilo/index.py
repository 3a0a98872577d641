"""Archives from the package index that pip is set up for: found and downloaded, and nothing in them is run.

`pip download` builds the metadata of a source archive, by code of the archive's own. Here pip is only asked where the
user has it look (configuration files and PIP_ variables: index, mirrors, folders, proxy, certificate). The index's page
is read as PEP 503 (HTML) or PEP 691 (JSON) has it, and the archive comes as it is.
"""

import base64
import json
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener, url2pathname

PAGES = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
LARGEST_PAGE = 32 * 2**20  # bytes
# pip's own parser merges its files and variables; the names are those of its options.
ASK = """
import json
from pip._internal.commands import create_command
options, _ = create_command("download").parse_args(["x"])
names = "index_url extra_index_urls no_index find_links trusted_hosts cert proxy timeout".split()
print(json.dumps({name: getattr(options, name) for name in names}, default=str))
"""


class NotFoundError(RuntimeError):
    """The archive could not be had; the message says where it was looked for."""


@dataclass(frozen=True)
class Settings:
    """Where pip looks. indices, folders: URLs, or paths for `folders` (pip's find-links); trusted: hosts whose
    certificate is not asked for; certificate, proxy: None for the system's. timeout: in seconds."""

    indices: tuple[str, ...]
    folders: tuple[str, ...]
    trusted: tuple[str, ...] = ()
    certificate: str | None = None
    proxy: str | None = None
    timeout: float = 15.0


def pip_settings() -> Settings:
    """Ask this Python's pip. NotFoundError where it has none, or one that does not answer."""
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True)
    try:
        told: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise NotFoundError(
            f"the pip of {sys.executable} could not be asked where to look ({last}); run "
            f"`{sys.executable} -m ensurepip --upgrade` and try again"
        ) from None
    indices = [] if told["no_index"] else [told["index_url"], *told["extra_index_urls"]]
    return Settings(
        indices=tuple(indices),
        folders=tuple(told["find_links"]),
        trusted=tuple(told["trusted_hosts"]),
        certificate=told["cert"],
        proxy=told["proxy"] or None,
        timeout=float(told["timeout"]),
    )


def copies(name: str, archive: str, settings: Settings) -> Iterator[tuple[str, BinaryIO]]:
    """Yield (address, open stream) of every file called `archive` of the package `name`, place by place.

    NotFoundError, with what each place answered, when there is no other.
    """
    opener = _opener(settings)
    project = re.sub(r"[-_.]+", "-", name).lower()
    answers = []
    for place in (*settings.folders, *(f"{index.rstrip('/')}/{project}/" for index in settings.indices)):
        try:
            links = [link for link in _links(place, settings, opener) if _file_name(link) == archive]
            for link in links:
                with _open(link, settings, opener) as stream:
                    yield _without_password(link), stream
            answers.append(f"{_without_password(place)}: {'another file' if links else f'no {archive}'}")
        except (HTTPException, OSError, ValueError) as error:
            answers.append(f"{_without_password(place)}: {getattr(error, 'reason', None) or error}")
    told = "; ".join(answers) or "pip has no index and no folder to look in"
    raise NotFoundError(f"looked for {archive} where pip looks: {' '.join(told.split())}")


def _links(place: str, settings: Settings, opener: OpenerDirector) -> list[str]:
    """The addresses of the files that a folder or a page lists."""
    folder = _as_path(place)
    if folder is not None and folder.is_dir():
        page = folder / "index.html"
        if not page.is_file():
            return [path.as_uri() for path in folder.resolve().iterdir()]
        place = page.resolve().as_uri()
    elif folder is not None:
        place = folder.resolve().as_uri()
    with _open(place, settings, opener, PAGES) as stream:
        kind = stream.headers.get_content_type()
        text = stream.read(LARGEST_PAGE).decode("utf-8", errors="replace")
        base = stream.geturl()
    if kind.endswith("json"):
        try:
            found = [file["url"] for file in json.loads(text)["files"]]
        except (KeyError, TypeError) as error:
            raise ValueError("its page is no list of files (PEP 691)") from error
    else:
        parser = _Anchors()
        parser.feed(text)
        found, base = parser.links, urljoin(base, parser.base)
    return [urldefrag(urljoin(base, link)).url for link in found]


class _Anchors(HTMLParser):
    """The links of a page."""

    def __init__(self):
        super().__init__()
        self.links: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if href and tag == "a":
            self.links.append(href)
        elif href and tag == "base":
            self.base = href


def _open(url: str, settings: Settings, opener: OpenerDirector, accept: str = "*/*") -> Any:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "file"):
        raise ValueError(f"no way to open {parts.scheme or 'such'} addresses")
    headers = {"Accept": accept, "User-Agent": "ilo", "Accept-Encoding": "identity"}
    if parts.username is not None:
        both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(both.encode()).decode()
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return opener.open(Request(url, headers=headers), timeout=settings.timeout)


def _opener(settings: Settings) -> OpenerDirector:
    context = ssl.create_default_context(cafile=settings.certificate)
    hosts = {urlsplit(f"//{host}").hostname for host in settings.trusted}
    if hosts and hosts >= {urlsplit(index).hostname for index in settings.indices}:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as pip; the archive has a sha256 anyway
    proxies = [] if settings.proxy is None else [ProxyHandler({"http": settings.proxy, "https": settings.proxy})]
    return build_opener(HTTPSHandler(context=context), *proxies)


def _as_path(place: str) -> Path | None:
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if parts.scheme in ("http", "https") else Path(place).expanduser()


def _file_name(link: str) -> str:
    return unquote(urlsplit(link).path.rpartition("/")[2])


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else url
