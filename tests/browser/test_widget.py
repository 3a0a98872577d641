"""The widget as a person meets it: JupyterLab in a browser, a mask painted with the mouse, Recover, and the picture.

JupyterLab runs as `make lab` starts it, from folders of its own, on the tutorial up to the cell that shows the widget.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
from jupyter_client import BlockingKernelClient
from playwright.sync_api import Browser, Page, expect

from ilo.widget.problem import stroke

torch = pytest.importorskip("torch")
TUTORIAL = Path(__file__).resolve().parents[2] / "notebooks" / "tutorials" / "09_paint_a_mask.ipynb"
SHOTS = os.environ.get("ILO_SCREENSHOTS")  # a folder, to look at what was seen
# What JupyterLab 4.5 itself writes to the console when nothing is wrong: words that the message holds.
NOISE = ("favicon",)
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}
READ = """
import base64 as _b, ilo.widget.problem as _p
print(_b.b64encode(_p.bytes_of(widget.missing)).decode(), widget.result is not None, widget.is_running)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the tutorial, without outputs, up to the cell whose last line is the widget."""
    root = tmp_path_factory.mktemp("lab")
    notebook = nbformat.read(TUTORIAL, as_version=4)
    shows = next(i for i, cell in enumerate(notebook.cells) if cell.source == "widget")
    notebook.cells = notebook.cells[: shows + 1]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    (root / "notebooks").mkdir()
    nbformat.write(notebook, root / "notebooks" / TUTORIAL.name)
    settings = root / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(NO_NEWS), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def lab(folder) -> Iterator[str]:
    """The address, with its token, of the tutorial in a JupyterLab that is running."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = {name: str(folder / name.split("_")[-2].lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    own |= {f"JUPYTERLAB_{name.upper()}_DIR": str(folder / name) for name in ("settings", "workspaces")}
    own["IPYTHONDIR"] = str(folder / "ipython")
    flags = (
        *("--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
        *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder / 'notebooks'}"),
        "--LabApp.news_url=None",
    )
    with open(folder / "lab.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *flags], env=os.environ | own, stdout=log, stderr=log
        )
        try:
            _answers(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "lab.log")
            yield f"http://127.0.0.1:{port}/lab/tree/{TUTORIAL.name}?token={token}"
        finally:
            server.terminate()
            server.wait(30)


def _answers(address: str, server: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"JupyterLab does not answer:\n{log.read_text(encoding='utf-8')[-3000:]}")


@pytest.fixture
def lab_page(browser: Browser, lab: str) -> Iterator[Page]:
    """JupyterLab with the tutorial open and its cells run. An error in the console that is not of `NOISE` fails the
    test, and so does a request that leaves this machine."""
    context = browser.new_context(viewport={"width": 1280, "height": 1250})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    wrong: list[str] = []
    here = ("data:", "blob:", "http://127.0.0.1", "ws://127.0.0.1")
    opened.on("request", lambda r: None if r.url.startswith(here) else wrong.append(f"asked for {r.url}"))
    opened.on("console", lambda m: wrong.append(f"console: {m.text} {m.location}") if m.type == "error" else None)
    opened.on("pageerror", lambda error: wrong.append(f"threw: {error}"))
    opened.goto(lab)
    # not the first editor: a rendered text cell hides its own
    opened.locator(".jp-CodeCell .jp-InputArea-editor:visible").first.wait_for()
    expect(opened.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible()  # before that it would ask for a kernel
    opened.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
    opened.get_by_text("Run All Cells", exact=True).click()
    yield opened
    shot(opened, "0-last")
    context.close()
    assert [text for text in wrong if not any(words in text for words in NOISE)] == []


@pytest.fixture
def kernel(folder) -> Iterator[BlockingKernelClient]:
    """A second client of the kernel that the browser's notebook runs in, to ask it what it holds."""
    client = BlockingKernelClient()
    yield client
    client.stop_channels()


def held(kernel: BlockingKernelClient, folder: Path) -> tuple[torch.Tensor, bool, bool]:
    """The mask, (64, 64), whether there is a result, and whether a search is going on, as the kernel has them."""
    import base64

    if not kernel.channels_running:
        [file] = (folder / "runtime").glob("kernel-*.json")
        kernel.load_connection_file(str(file))
        kernel.start_channels()
        kernel.wait_for_ready(timeout=60)
    said: list[str] = []
    kernel.execute_interactive(READ, output_hook=lambda m: said.append(m["content"].get("text", "")), timeout=60)
    mask, found, running = "".join(said).split()
    pixels = np.frombuffer(base64.b64decode(mask), dtype=np.uint8).reshape(64, 64)
    return torch.from_numpy(pixels.astype(bool)), found == "True", running == "True"


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def drag(page: Page, points: list[tuple[float, float]]) -> None:
    """Drag the mouse over the canvas along points in pixels of the photo."""
    page.locator("canvas.ilo-mask").scroll_into_view_if_needed()
    box = page.locator("canvas.ilo-mask").bounding_box()
    places = [(box["x"] + x / 64 * box["width"], box["y"] + y / 64 * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def test_paint_recover_stop_and_erase(lab_page: Page, kernel, folder):
    canvas = lab_page.locator("canvas.ilo-mask")
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    recovered = lab_page.locator(".widget-vbox:has(> .widget-html:has-text('Recovered')) > img")
    button = lambda name: lab_page.get_by_role("button", name=name, exact=True)  # noqa: E731
    shot(lab_page, "1-begun")

    drag(lab_page, [(20, 32), (46, 32)])  # over the eyes
    expect(lab_page.locator(".widget-html", has_text="Seen")).to_be_visible()
    mask, found, _ = held(kernel, folder)
    expected = stroke(torch.zeros(64, 64, dtype=torch.bool), [(20.0, 32.0), (46.0, 32.0)], 4.0)
    assert torch.equal(mask, expected), "the mouse paints the pixels that the same stroke by code does"
    assert not found
    assert _red_share(lab_page) > 0.05, "and the canvas shows them"
    shot(lab_page, "2-painted")

    button("Recover").click()
    expect(button("Stop")).to_be_enabled()
    recovered.wait_for(state="visible")
    during = recovered.get_attribute("src")
    lab_page.wait_for_function("([e, s]) => e.src != s", arg=[recovered.element_handle(), during])
    shot(lab_page, "3-searching")
    expect(lab_page.locator(".widget-html", has_text="status: ")).to_be_visible(timeout=120_000)
    expect(lab_page.locator(".widget-html", has_text="Spread")).to_be_visible()
    assert recovered.get_attribute("src") != during, "the picture appears as it is found"
    assert _pixels(recovered).std() > 20, "and is a picture"
    assert held(kernel, folder)[1:] == (True, False)
    shot(lab_page, "4-recovered")
    first = _pixels(recovered)

    lab_page.get_by_role("button", name="Erase", exact=True).click()
    drag(lab_page, [(16, 32), (33, 32)])
    lab_page.get_by_role("button", name="Paint", exact=True).click()
    drag(lab_page, [(24, 44), (40, 44)])
    mask, *_ = held(kernel, folder)
    expected = stroke(expected, [(16.0, 32.0), (33.0, 32.0)], 4.0, erase=True)
    assert torch.equal(mask, stroke(expected, [(24.0, 44.0), (40.0, 44.0)], 4.0))

    lab_page.locator(".widget-dropdown:has-text('Method') select").select_option("ILO")
    button("Recover").click()
    button("Stop").click()
    expect(lab_page.locator(".widget-html", has_text="status: stopped")).to_be_visible()
    assert (_pixels(recovered) != first).mean() > 0.1, "another mask, another search, another picture"
    shot(lab_page, "5-stopped")

    button("Clear").click()
    button("Recover").click()
    expect(lab_page.locator(".widget-html", has_text="nothing is painted")).to_be_visible()
    shot(lab_page, "6-refused")


def _pixels(image) -> np.ndarray:
    """The pixels of an image on the page, (H, W, 4)."""
    values = image.evaluate(
        """async (e) => { await e.decode(); const c = new OffscreenCanvas(e.naturalWidth, e.naturalHeight);
        const to = c.getContext("2d"); to.drawImage(e, 0, 0);
        return [c.width, c.height, ...to.getImageData(0, 0, c.width, c.height).data]; }"""
    )
    width, height = values[:2]
    return np.array(values[2:]).reshape(height, width, 4)


def _red_share(page: Page) -> float:
    """The share of the canvas that is of the colour of what is missing."""
    values = page.locator("canvas.ilo-mask").evaluate(
        "(c) => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    r, g, b, _ = np.array(values).reshape(-1, 4).T
    return float(((r > 160) & (g < 90) & (b > 90)).mean())
