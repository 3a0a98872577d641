"""The site as a reader sees it. It is what `make site` built last; pictures of it go to build/screenshots."""

import json
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from ilo import theory

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "site"
PICTURES = ROOT / "build" / "screenshots"
FIGURES = sorted((ROOT / "figures").glob("*.png"))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def site():
    """The address of the site, served from this machine."""
    if not (SITE / "index.html").is_file():
        pytest.fail(f"no site in {SITE}: make site")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def picture(page, name):
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")


def unloaded(page) -> list[str]:
    """Images of the page that are not there, of all of it: what waits for the reader to come is sent for."""
    page.evaluate("document.querySelectorAll('img').forEach((i) => (i.loading = 'eager'))")
    page.wait_for_function("[...document.images].every((i) => i.complete)")
    return page.evaluate("[...document.images].filter((i) => i.naturalWidth === 0).map((i) => i.src)")


def test_home_has_a_figure_two_commands_and_a_table(page, site):
    page.goto(f"{site}/index.html")
    article = page.locator("article.bd-article")
    assert "Intermediate Layer Optimization" in article.locator("h1").inner_text()
    assert article.locator("img").count() == 1
    assert unloaded(page) == []
    assert re.findall(r"^make (\w+)", article.locator("pre").inner_text(), re.MULTILINE) == ["reproduce", "test"]
    assert article.locator("table").count() == 1
    assert article.locator("table tbody tr").count() == 9
    assert article.locator("math").count() >= 2
    picture(page, "home")


def test_the_gallery_shows_every_figure(page, site):
    page.goto(f"{site}/gallery/index.html")
    cards = page.locator(".cards a")
    targets = {cards.nth(i).get_attribute("href") for i in range(cards.count())}
    assert targets == {f"{path.stem}.html" for path in FIGURES}
    assert unloaded(page) == []
    picture(page, "gallery")


def test_a_figures_page_has_its_rows_and_its_record(page, site):
    page.goto(f"{site}/gallery/quantitative_psnr.html")
    assert unloaded(page) == []
    rows = pd.read_csv(ROOT / "figures" / "quantitative_psnr.csv")
    shown = page.locator(".rows table")
    assert shown.locator("tbody tr").count() == min(len(rows), 40)
    assert shown.locator("thead th").all_inner_texts() == [name for name in rows if name != "cell"]
    record = json.loads((ROOT / "figures" / "quantitative_psnr.json").read_text())
    assert record["revision"] in page.locator("article").inner_text()
    with page.expect_download() as started:
        page.locator("a.download", has_text="rows").click()
    assert Path(started.value.path()).read_bytes() == (ROOT / "figures" / "quantitative_psnr.csv").read_bytes()
    picture(page, "figure")


@pytest.mark.parametrize(("words", "target"), [("project_l1_ball", "api/ilo.html"), ("Lipschitz", "02_lipschitz.html")])
def test_search_finds(page, site, words, target):
    page.goto(f"{site}/search.html?q={words}")
    page.wait_for_selector("#search-results ul.search li a")
    page.wait_for_function("/found/.test(document.querySelector('#search-results .search-summary').textContent)")
    links = page.locator("#search-results ul.search li a").evaluate_all("all => all.map((a) => a.href)")
    assert any(target in link for link in links), links
    picture(page, f"search-{words}")


def test_search_from_the_header(page, site):
    page.goto(f"{site}/index.html")
    page.keyboard.press("Control+K")
    page.keyboard.type("whitened")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=whitened*")
    page.wait_for_selector("#search-results ul.search li a")


GIVEN = {"k": 20, "p": 4096, "L1": 3.5, "L2": 12.25, "r1": 6, "delta": 0.3, "gamma": 0.7, "K": 5, "epsilon": 1.5}


def test_the_calculator_computes_what_the_package_does(page, site):
    page.goto(f"{site}/theorem.html")
    for name, value in GIVEN.items():
        page.locator(f"#field-{name}").fill(str(value))
    found = {n: float(page.locator(f"output[name={n}]").get_attribute("data-value")) for n in ("r2", "m", "bound")}
    setting = theory.Setting(*(GIVEN[name] for name in ("k", "p", "L1", "L2", "r1")))
    expected = {
        "r2": theory.extended_radius(5, 0.3, 12.25),
        "m": theory.sample_complexity(setting, 5, 0.3, 0.7),
        "bound": theory.error_bound(1.5, 4096, 5, 0.3, 0.7),
    }
    assert found == pytest.approx(expected, rel=1e-12, abs=0)
    shown = float(page.locator("output[name=m]").inner_text().replace(",", ""))
    assert shown == pytest.approx(expected["m"], rel=1e-5)
    picture(page, "calculator")


def test_the_calculator_says_what_it_cannot_take(page, site):
    page.goto(f"{site}/theorem.html")
    page.locator("#field-K").fill("100")
    assert page.locator("#wrong-K").inner_text() == "must be between 1 and √p"
    assert page.locator("output[name=m]").inner_text() == "–"
    page.locator("#field-K").fill("")
    assert page.locator("#wrong-K").inner_text() != ""
    page.locator("#field-K").fill("8")
    assert page.locator("#wrong-K").inner_text() == ""
    assert float(page.locator("output[name=m]").get_attribute("data-value")) > 0


def test_every_page_fits_a_narrow_screen(page, site):
    """And none of them writes an error or asks for anything elsewhere: the fixture looks."""
    page.set_viewport_size({"width": 390, "height": 844})
    wide = {}
    pages = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html") if "_static" not in p.parts)
    assert len(pages) > 80
    for name in pages:
        page.goto(f"{site}/{name}", wait_until="load")
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 390:
            wide[name] = width
        if name in ("index.html", "gallery/index.html", "gallery/quantitative_psnr.html", "theorem.html"):
            picture(page, f"narrow-{Path(name).parent.name or 'root'}-{Path(name).stem}")
    assert wide == {}


def test_the_menu_of_a_narrow_screen_leads_to_every_part(page, site):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{site}/index.html")
    page.locator("button.primary-toggle").click()
    page.get_by_role("link", name="Gallery", exact=True).locator("visible=true").first.click()
    page.wait_for_url("**/gallery/index.html")


def test_dark_mode_by_the_readers_choice_and_by_the_systems(page, site):
    background = "getComputedStyle(document.body).backgroundColor"
    page.goto(f"{site}/theorem.html")
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    page.reload()
    dark = page.evaluate(background)
    page.emulate_media(color_scheme="light")
    page.reload()
    page.locator("button.theme-switch-button").first.click()
    page.get_by_text("Dark", exact=True).locator("visible=true").first.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(background) == dark
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (light, dark)]
    assert brightness[0] > 700
    assert brightness[1] < 120
    picture(page, "dark")


def test_a_newcomers_path_from_home_to_the_reference_and_back(page, site):
    page.goto(f"{site}/index.html")
    page.get_by_role("link", name="Every figure with its numbers").click()
    page.get_by_role("link", name="Time to quality").locator("visible=true").last.click()
    page.get_by_role("link", name="experiments/08_time_to_quality").first.click()
    assert "08_time_to_quality" in page.url
    picture(page, "notebook")
    page.locator(".highlight a[href*='api/'] >> text=recover").first.click()
    assert "/api/ilo.html#ilo.recover" in page.url, "a name in the code of a notebook leads to what it is"
    picture(page, "reference")
    entry = page.locator("dl.py:has(> dt[id='ilo.recover'])")
    entry.locator("summary").first.click(position={"x": 20, "y": 8})  # not the name in it, which is a link
    entry.get_by_role("link", name="Experiment 08").first.click()
    assert "08_time_to_quality" in page.url, "and back"
