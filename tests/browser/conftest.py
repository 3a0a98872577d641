"""A real browser: headless Chromium, driven by Playwright. Not part of `make test`; `make browser` runs what is here.

`page` fails a test whose page wrote an error to its console, threw, or asked for anything beyond this machine.
"""

import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

# It is to be alone: what it would send by itself is not to be mistaken for the page's.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
HERE = ("localhost", "127.0.0.1", "::1")
LOCAL = ("file", "data", "blob", "about")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, with a new profile, which Playwright makes for each launch."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.fail("no chromium on the path: install it (Debian: apt-get install chromium), then make browser")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def page(browser) -> Iterator[Page]:
    """A page of a context of its own, in the light, 1280 pixels wide. What went wrong in it fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    wrong: list[str] = []
    context.on("request", lambda request: wrong.append(f"asked for {request.url}") if _leaves(request.url) else None)
    context.on("console", lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None)
    context.on("weberror", lambda error: wrong.append(f"threw: {error.error}"))
    yield opened
    context.close()
    assert wrong == []


def _leaves(url: str) -> bool:
    """Whether a request leaves this machine."""
    parts = urlsplit(url)
    return parts.scheme not in LOCAL and parts.hostname not in HERE
