"""The report of a run, opened from the disk, as a reader sees it."""

from fake_run import fake_run
from test_site import picture, unloaded

from ilo import report


def test_the_report_opens_from_the_disk(page, tmp_path):
    page.goto(report.write_report(*fake_run(tmp_path)).as_uri())
    assert unloaded(page) == []
    assert page.locator("figure img").count() == 5
    colour = "(e) => getComputedStyle(e).color"
    good, bad = (page.locator(f"#numbers ~ .wide td.{word}").first.evaluate(colour) for word in ("good", "bad"))
    assert good != bad
    page.locator("summary", has_text="which").click()
    assert page.get_by_text("task inpainting, method B: psnr 27.5 → 28.5").is_visible()
    picture(page, "report")
    page.get_by_role("link", name="experiments/one").click()
    assert page.locator("math").count() == 2
    picture(page, "report-notebook")
    page.get_by_role("link", name="What ran").click()
    assert page.url.endswith("index.html")


def test_the_report_fits_a_narrow_screen_and_the_dark(page, tmp_path):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    page.goto(report.write_report(*fake_run(tmp_path)).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    picture(page, "report-narrow-dark")
