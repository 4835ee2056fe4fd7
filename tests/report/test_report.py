from html.parser import HTMLParser

import pytest

from fertool.errors import UserError
from fertool.report import write_report
from fertool.score import score
from fertool.workspace import Workspace


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value for name, value in attributes if name in ("src", "href", "xlink:href") and value
        ]


def test_the_page_holds_the_figures_and_needs_no_other_file(trained: Workspace) -> None:
    scores = score(trained, device="cpu").data
    write_report(trained)
    text = trained.report.read_text()
    page = Page(text)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert "script" not in page.tags and "link" not in page.tags
    assert page.tags.count("svg") == 3 and page.tags.count("img") == 1
    accuracy = scores["classification"][0]["accuracy"]
    assert f"{100 * accuracy:.1f} [" in text
    overall = scores["attention"][0]["overall"]
    for region, share in overall["share"].items():
        low, high = overall["share_interval"][region]
        assert f"{100 * share:.1f} [{100 * low:.1f}, {100 * high:.1f}]" in text, region


def test_the_page_is_the_same_when_written_again(trained: Workspace) -> None:
    score(trained, device="cpu")
    write_report(trained)
    first = trained.report.read_bytes()
    write_report(trained)
    assert trained.report.read_bytes() == first


def test_without_scores_it_says_what_to_do(drawn: Workspace) -> None:
    with pytest.raises(UserError, match="no run is scored on 'test'; run 'fertool score' first"):
        write_report(drawn)
