"""The page's table of contents: sections of one topic, of several explainers, stand under one entry."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from fertool.report.sections import Section

MOST_APART = 2  # sections of one topic that stand beside the others


@dataclass(frozen=True)
class Entry:
    """A link, or a name with links beneath it."""

    name: str
    anchor: str = ""
    beneath: "list[Entry]" = field(default_factory=list)


def contents_of(sections: Sequence[Section], *, has_gallery: bool) -> list[Entry]:
    """The entries of a page with these sections, in its order."""
    entries = [
        Entry("The answer", "answer"),
        Entry("The conditions", "conditions-heading"),
        Entry("The questions", "answers"),
    ]
    for topic, found in groupby(sections, lambda section: section.topic):
        of_topic = list(found)
        if len(of_topic) <= MOST_APART:
            entries += [Entry(section.name, section.anchor) for section in of_topic]
        else:
            beneath = [Entry(section.view or section.name, section.anchor) for section in of_topic]
            entries.append(Entry(topic, beneath=beneath))
    if has_gallery:
        entries.append(Entry("Gallery", "gallery"))
    return [*entries, Entry("Reproduction", "reproduction"), Entry("All tables in full", "all-tables")]
