"""The answer to a question: sentences from stored figures, and what would have to be trained where it fails."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fertool.report.words import listed


@dataclass(frozen=True)
class Sentence:
    """A statement, and the test behind it.

    `is_detail`: another sentence sums it up, and it stands behind the rest, folded away on the page.
    """

    text: str
    test: str = ""
    is_detail: bool = False

    @property
    def markdown(self) -> str:
        """The statement with its test in brackets."""
        return f"{self.text} ({self.test})" if self.test else self.text


@dataclass(frozen=True)
class Missing:
    """A question that cannot be answered, and the shell lines that would make the runs or scores it needs."""

    what: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentence before the shell lines."""
        return f"Cannot be answered from these runs: {self.what}; run:"


@dataclass(frozen=True)
class Answer:
    """A question of the study with what the runs say to it."""

    anchor: str
    question: str
    sentences: Sequence[Sentence] = ()
    missing: Sequence[Missing] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def main_sentences(self) -> list[Sentence]:
        """The sentences that are no details."""
        return [sentence for sentence in self.sentences if not sentence.is_detail]

    @property
    def details(self) -> list[Sentence]:
        """The sentences that others sum up."""
        return [sentence for sentence in self.sentences if sentence.is_detail]

    @property
    def markdown(self) -> str:
        """The answer as Markdown."""
        lines = [f"## {self.question}", ""]
        for sentence in self.main_sentences:
            lines += [sentence.markdown, ""]
        for note in self.notes:
            lines += [note, ""]
        for missing in self.missing:
            lines += [missing.text, "", *(f"    {line}" for line in missing.lines), ""]
        if self.details:
            lines += ["### In detail", ""]
        for sentence in self.details:
            lines += [sentence.markdown, ""]
        return "\n".join(lines)


def left_out(names: Sequence[str]) -> list[Sentence]:
    """A sentence on conditions of which nothing is said, since their accuracy is not shown to be above guessing."""
    if not names:
        return []
    verb = "is" if len(names) == 1 else "are"
    return [
        Sentence(f"{listed(names)} {verb} left out here: the accuracy is not shown to be above guessing.")
    ]


def paired(images: int, *, several_seeds: bool) -> str:
    """The test behind a difference: what its interval is over."""
    over = "images and seeds" if several_seeds else "images alone"
    return f"paired difference over {images:,} faces, 95% interval over {over}"
