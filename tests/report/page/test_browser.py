"""The page in a real browser: Debian's Chromium, headless, driven by playwright."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fertool.report import ReportSettings, write_report
from fertool.runtime.files import read_json, write_json
from fertool.workspace import Workspace

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright (extra dev)")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

HOSTILE = '<script>alert(1)</script> & "quoted" \'$a_$'
HOSTILE_FOLDER = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def report(before: Workspace) -> Path:
    """The page of three conditions, one of them and the data set with names that are markup."""
    workspace = before
    first = workspace.runs()[0]
    for name, changes in (
        (HOSTILE_FOLDER, {"lr": 0.02}),
        ("pretrained", {"weights": "imagenet", "lr": 0.03}),
    ):
        copy = workspace.run(name)
        shutil.copytree(first.folder, copy.folder)
        record = first.config() | {"name": name, "condition": name, "weights": changes.get("weights", "none")}
        record["config"] |= changes
        write_json(copy.run_json, record)
    write_json(workspace.dataset_json, read_json(workspace.dataset_json) | {"name": f"faces {HOSTILE}"})
    write_report(workspace, ReportSettings(labels={"pretrained": HOSTILE}, only=["page"]))
    return workspace.report


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Opened:
    """A page in the browser, and all that it asked for or complained of."""

    def __init__(self, browser, report: Path, width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(report.as_uri())


@pytest.fixture
def opened(browser, report: Path) -> Iterator[Opened]:
    opened = Opened(browser, report)
    yield opened
    opened.context.close()


def names_in(page) -> list[str]:
    return page.eval_on_selector_all(
        "table.conditions tbody tr:not([hidden]) th", "cells => cells.map(cell => cell.dataset.sort)"
    )


def test_it_loads_without_an_error_and_asks_for_nothing_else(opened: Opened, report: Path) -> None:
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [report.as_uri()]


def test_names_that_are_markup_are_shown_as_they_are(opened: Opened) -> None:
    assert HOSTILE in names_in(opened.page)
    assert f"faces {HOSTILE}" in opened.page.inner_text("header")
    assert opened.page.query_selector("img[src='x']") is None and opened.complaints == []


def test_a_heading_sorts_and_sorts_back(opened: Opened) -> None:
    page = opened.page
    heading = page.locator("th[aria-sort]", has_text="condition").first
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    first = names_in(page)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert names_in(page) == first[::-1] != first


def test_figures_sort_by_their_value_with_the_keyboard_alone(opened: Opened) -> None:
    page = opened.page
    page.focus("th:has-text('mouth') button.sort")
    page.keyboard.press("Enter")
    values = page.eval_on_selector_all(
        "table.conditions tbody tr:not([hidden]) td[data-label=mouth]",
        "cells => cells.map(c => +c.dataset.sortLift)",
    )
    assert values == sorted(values, reverse=True)


def test_filters_leave_the_rows_that_fit(opened: Opened) -> None:
    page = opened.page
    assert len(names_in(page)) == 3
    page.select_option("select[data-filter=pretraining]", "ImageNet")
    assert names_in(page) == [HOSTILE]
    assert page.inner_text(".rows-shown") == "1 row"
    page.select_option("select[data-filter=pretraining]", "")
    page.select_option("select[data-filter=view]", "all")
    assert len(names_in(page)) == 6


def test_the_region_columns_switch_their_measure(opened: Opened) -> None:
    page = opened.page
    cell = page.locator("table.conditions tbody tr:not([hidden]) td[data-label=mouth]").first
    lift = cell.inner_text()
    page.click("button[data-measure=share]")
    share = cell.inner_text()
    page.click("button[data-measure=causal]")
    assert len({lift, share, cell.inner_text()}) == 3
    assert page.get_attribute("button[data-measure=causal]", "aria-pressed") == "true"


def test_the_gallery_s_slider_outlines_and_enlarging(opened: Opened) -> None:
    page = opened.page
    page.fill("#heat-strength", "30")
    assert page.eval_on_selector("img.heat", "image => getComputedStyle(image).opacity") == "0.3"
    page.click("#outlines")
    assert page.eval_on_selector(".picture svg", "svg => getComputedStyle(svg).display") == "none"
    page.focus("button.face")
    page.keyboard.press("Enter")
    title = page.inner_text("#enlarged-title")
    assert title.startswith("Face ") and page.locator("#probabilities tbody tr").count() > 0
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#enlarged-title") != title
    page.keyboard.press("Escape")
    assert not page.is_visible("#enlarged") and opened.complaints == []


def test_every_picture_has_words_for_those_who_do_not_see_it(opened: Opened) -> None:
    assert opened.page.eval_on_selector_all("img:not([alt])", "found => found.length") == 0
    assert (
        opened.page.eval_on_selector_all(
            "main svg[width]:not([role]):not([aria-hidden])", "found => found.length"
        )
        == 0
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_never_scrolls_sideways(browser, report: Path, width: int, scheme: str) -> None:
    opened = Opened(browser, report, width, scheme)
    opened.page.eval_on_selector_all("details", "found => found.forEach(details => details.open = true)")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_contrast_included(browser, report: Path, scheme: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe-playwright-python (extra dev)"
    )
    opened = Opened(browser, report, 1280, scheme)
    opened.page.eval_on_selector_all("details", "found => found.forEach(details => details.open = true)")
    # colours alone depend on the scheme; of rules that are kept one place is named
    rules = {} if scheme == "light" else {"runOnly": ["color-contrast"]}
    found = axe.Axe().run(opened.page, options={"resultTypes": ["violations"], **rules}).response
    serious = [
        (fault["id"], [node["target"] for node in fault["nodes"]][:3])
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert any(rule["id"] == "color-contrast" for rule in found["passes"])
    opened.context.close()


def test_it_prints_to_pdf_with_its_details_open(opened: Opened, tmp_path) -> None:
    target = tmp_path / "page.pdf"
    opened.page.pdf(path=target, prefer_css_page_size=True)
    assert target.read_bytes().startswith(b"%PDF") and target.stat().st_size > 20_000
    opened.page.emulate_media(media="print")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.page.eval_on_selector_all("details:not([open])", "found => found.length") == 0
    assert not opened.page.is_visible("nav.contents")
    unseen = "pictures => pictures.filter(each => !(each.complete && each.naturalWidth)).length"
    assert (
        opened.page.eval_on_selector_all(".gallery img", unseen) == 0
    )  # lazy ones would be missing in print
    for needed in ("table.conditions thead button.sort", ".gallery img.heat", ".tables table"):
        assert opened.page.is_visible(needed), needed
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.page.eval_on_selector_all("details:not([open])", "found => found.length") > 0
