"""Docstrings, comments and messages begin with their subject: the rule that the project's words keep."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import fertool

PACKAGE = Path(fertool.__file__).parent
ROOT = Path(__file__).parents[1]
# this one holds sentences against the rule
MODULES = sorted({*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")} - {Path(__file__)})
# at the start of a text or behind the end of a sentence; a question may ask "Which", and is no sentence of this kind
CRAMPED = re.compile(r"(?:^|[.!?]\s+)(?:Of|What|Those|Which|In which)\s(?![^.!]*\?)")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Each docstring, comment and other text of a module, with its line."""
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values),
            )
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sentences_begin_with_their_subject(path: Path) -> None:
    cramped = [
        f"{path.relative_to(ROOT)}:{line}: {text[found.start() : found.start() + 60]!r}"
        for line, text in texts(path)
        if (found := CRAMPED.search(text))
    ]
    assert not cramped, "\n".join(cramped)


PAGES = [ROOT / "README.md", ROOT / "data/README.md", *sorted((ROOT / "tests").rglob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sentences_of_pages_begin_with_their_subject(path: Path) -> None:
    text = re.sub(r"^(?:[#*\s>-]|\d+\.)+", "", path.read_text(), flags=re.MULTILINE)
    cramped = [text[found.start() : found.start() + 60] for found in CRAMPED.finditer(text)]
    assert not cramped, "\n".join(cramped)


@pytest.mark.parametrize(
    ("text", "is_cramped"),
    [
        ("Of a map of zeros there are no shares.", True),
        ("It is counted. In which the rate rises.", True),
        ("It is counted.\n    Of these one is left.", True),
        ("What the user sees: tables.", True),
        ("Which emotion is read where?", False),
        ("A map of zeros has no shares. The share of zeros", False),
    ],
)
def test_the_rule_tells_them_apart(text: str, is_cramped: bool) -> None:
    assert bool(CRAMPED.search(text)) == is_cramped
