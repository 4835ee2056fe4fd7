from fertool.report.page.contents import Entry, contents_of
from fertool.report.sections import Section

FIRST = ["The answer", "The conditions", "The questions"]
LAST = ["Reproduction", "All tables in full"]


def of_views(topic: str, *views: str) -> list[Section]:
    return [Section(f"{topic}-{view}", topic, view=view) for view in views]


def test_many_sections_of_a_topic_stand_under_one_entry_by_their_views() -> None:
    sections = [
        Section("classification", "Recognition"),
        *of_views("Attention", "gradcam", "rise", "rollout"),
        *of_views("Sanity", "gradcam", "rise"),
    ]
    entries = contents_of(sections, has_gallery=True)
    names = ["Recognition", "Attention", "Sanity: gradcam", "Sanity: rise", "Gallery"]
    assert [entry.name for entry in entries] == [*FIRST, *names, *LAST]
    attention = entries[4]
    assert attention.beneath == [
        Entry("gradcam", "Attention-gradcam"),
        Entry("rise", "Attention-rise"),
        Entry("rollout", "Attention-rollout"),
    ]
    assert not any(entry.beneath for entry in entries if entry is not attention)


def test_every_section_is_linked_once() -> None:
    sections = [
        *of_views("Attention", "a", "b", "c", "d"),
        *of_views("Guidance", "cnn"),
        Section("t", "Training"),
    ]
    entries = contents_of(sections, has_gallery=False)
    anchors = [link.anchor for entry in entries for link in (entry.beneath or [entry])]
    assert [anchor for anchor in anchors if anchor in {section.anchor for section in sections}] == [
        section.anchor for section in sections
    ]
    assert all(anchors) and "gallery" not in anchors
