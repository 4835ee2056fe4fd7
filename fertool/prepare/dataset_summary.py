"""The record that `prepare` keeps of the faces that it made in dataset.json, and says of them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fertool.prepare.ferplus import CrowdVotes
from fertool.prepare.make_faces import MadeFaces
from fertool.prepare.sources.labelled_faces import LabelledFaces
from fertool.prepare.synthetic.source import SYNTHETIC
from fertool.prepare.twins import NEAR, TwinGroups, twin_figures
from fertool.runtime.printable import printable
from fertool.summary import Summary, Table
from fertool.workspace import SPLITS


def dataset_record(
    made: MadeFaces,
    twins: TwinGroups,
    source: str | Path,
    crowd: CrowdVotes | None,
    made_from: dict[str, Any],
) -> dict[str, Any]:
    """The content of dataset.json.

    Args:
        made: the faces.
        twins: the faces' twin groups.
        source: where the faces come from.
        crowd: the votes of FER+, where there are any.
        made_from: what the faces depend on.
    """
    faces, inputs = made.faces, made_from["inputs"]
    is_synthetic = source == SYNTHETIC
    return {
        "name": faces.name,
        "kind": faces.kind,
        "classes": faces.classes,
        "image_shape": list(faces.images.shape[1:]),
        "splits": _split_figures(faces),
        "split_origin": made.split_origin,
        "left_out": dict(faces.left_out),
        "source": {
            "name": SYNTHETIC if is_synthetic else printable(Path(source).resolve().name),
            "sha256": None if is_synthetic else inputs["source"],
        },
        "twins": asdict(twin_figures(twins.identical, faces.labels, faces.splits)),
        "near_twins": None
        if twins.near is None
        else asdict(twin_figures(twins.near, faces.labels, faces.splits)),
        "leaks_dropped": made.leaks_dropped,
        "ferplus": None
        if crowd is None
        else {
            "name": printable(crowd.path.name),
            "sha256": inputs["ferplus"],
            "left_out": made.crowd_left_out,
        },
        "settings": made_from["settings"],
        "notes": list(faces.notes),
        "made_from": made_from,
    }


def _split_figures(faces: LabelledFaces) -> dict[str, Any]:
    """The number of faces of each split, all of them and by class."""
    return {
        split: {
            "count": int((faces.splits == split).sum()),
            "classes": {
                name: int(((faces.splits == split) & (faces.labels == code)).sum())
                for code, name in enumerate(faces.classes)
            },
        }
        for split in SPLITS
    }


def dataset_summary(dataset: dict[str, Any], first_notes: list[str]) -> Summary:
    """The table of classes by splits and the notes that follow from a dataset.json; `first_notes` come first."""
    names = dataset["classes"]
    splits = dataset["splits"]
    rows = [
        [split, *(f"{figures['classes'][name]:,}" for name in names), f"{figures['count']:,}"]
        for split, figures in splits.items()
    ]
    totals = [sum(figures["classes"][name] for figures in splits.values()) for name in names]
    rows.append(["all", *(f"{total:,}" for total in totals), f"{sum(totals):,}"])
    shape = dataset["image_shape"]
    notes = [
        *first_notes,
        f"recognised: {dataset['kind']} ({dataset['source']['name']}), {shape[1]} x {shape[0]} pixels, "
        + ("colour" if len(shape) == 3 else "grey"),
        f"splits: {dataset['split_origin']}",
    ]
    if dropped := dataset["settings"]["drop_leaks"]:
        kind = "a near twin" if dropped == NEAR else "a twin"
        notes.append(
            f"leaks: {dataset['leaks_dropped']:,} faces left out of train, for {kind} in val or test"
        )
    if dataset["left_out"]:
        left_out = ", ".join(f"{name} ({count:,})" for name, count in dataset["left_out"].items())
        notes.append(f"classes left out: {left_out}; keep them with --classes")
    if dataset["ferplus"] is not None:
        left_out = dataset["ferplus"]["left_out"]
        if left_out is None:
            notes.append("FER+ votes added; labels: the source's")
        else:
            counts = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in left_out.items())
            notes.append(f"labels: the most frequent answer of FER+; faces left out without one: {counts}")
    notes += dataset["notes"]
    data = {key: value for key, value in dataset.items() if key not in ("made_from", "products")}
    table = Table(f"Faces of {dataset['name']}", ["split", *names, "all"], rows)
    return Summary(data=data, tables=[table, _twin_table(dataset)], notes=notes)


def _twin_table(dataset: dict[str, Any]) -> Table:
    """Counts of identical twins and, where they were looked for, of near ones."""
    rows = []
    for kind, figures in (("identical", dataset["twins"]), ("near or identical", dataset.get("near_twins"))):
        if figures is not None:
            counts = ("groups", "images", "straddling", "disagreeing", "test_in_train")
            rows.append([kind, *(f"{figures[count]:,}" for count in counts)])
    columns = [
        "groups",
        "images",
        "groups across splits",
        "groups of several labels",
        "test images with one in train",
    ]
    notes = ["Near twins are copies of one picture that differ in their pixels, and frames of one sequence."]
    return Table("Twins", ["twins", *columns], rows, notes if len(rows) > 1 else [])
