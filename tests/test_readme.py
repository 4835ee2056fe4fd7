"""The pages for users: their commands exist, their links lead somewhere, and the first page stays short."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from fertool.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    "data/README.md",
    "tests/benchmarks/README.md",
    "tests/studies/guided.md",
    "tests/studies/study.md",
]
MAX_WORDS = 1800


def commands(page: str) -> list[list[str]]:
    """The arguments of every call of `fertool` on a page, in blocks of code and between backticks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    lines += [" ".join(code.split()) for code in re.findall(r"`(fertool [^`]+)`", text)]
    calls = [shlex.split(call, comments=True) for line in lines for call in line.split("&&")]
    return [
        words[words.index("fertool") + 1 :]
        for words in calls
        if words and words[0] in ("fertool", "torchrun")
    ]


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_parsed_by_the_command_itself(page: str) -> None:
    root = typer.main.get_command(app)
    root_options = {option for parameter in root.params for option in parameter.opts}
    found = commands(page)
    assert found
    for name, *arguments in found:
        if name.startswith("--"):
            assert name in root_options
        else:
            # raises UsageError for an option or value that there is not
            root.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings
            }


@pytest.mark.parametrize("page", PAGES)
def test_sentences_begin_with_their_subject(page: str) -> None:
    prose = re.sub(r"`[^`]*`", "code", (ROOT / page).read_text(encoding="utf-8"))
    begins = re.findall(
        r"(?:^[#|*\s-]*|[.!?:]\s+|\|\s)(Of|What|Those|Which|In which|By|How)\b", prose, re.MULTILINE
    )
    assert not begins


@pytest.mark.parametrize("page", PAGES)
def test_files_of_the_repository_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for path in re.findall(r"(?:fertool|tests)/[\w./]*\w", re.sub(r"https?://\S+", "", text)):
        assert (ROOT / path).exists(), path


def test_the_first_page_is_short() -> None:
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    assert (
        sum(any(letter.isalnum() for letter in word) for word in words) <= MAX_WORDS
    )  # a table's lines are no words
