"""Whether every link of a built site leads somewhere, and nothing of it is fetched from elsewhere."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself, as against what a reader may follow.
FETCHED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("video", "src")}
LINKED = FETCHED | {("a", "href")}


class Page(HTMLParser):
    """The links of a page, (tag, attribute, address), and the ids that can be linked."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[tuple[str, str, str]] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.ids.add(value)
            if (tag, name) in LINKED and value:
                self.links.append((tag, name, value))


def broken(site: Path) -> list[str]:
    """One sentence for each link from a page of `site` to a file or a place in a page that is not there, and for each
    thing that a page would fetch from elsewhere."""
    found = sorted(path.resolve() for path in site.rglob("*.html") if "_static" not in path.parts)  # the theme's parts
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in found}
    return [f"{path.relative_to(site.resolve())}: {what}" for path in pages for what in _broken(path, pages)]


def _broken(path: Path, pages: dict[Path, Page]) -> Iterator[str]:
    for tag, name, address in dict.fromkeys(pages[path].links):
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            # rel="canonical" and the like are links, but this site has none
            if (tag, name) in FETCHED and parts.scheme != "data":
                yield f"<{tag} {name}> is fetched from elsewhere, {address}"
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        if not target.is_file():
            yield f"no file {address}"
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids | {"", "top"}:
            yield f"no place {address}"
