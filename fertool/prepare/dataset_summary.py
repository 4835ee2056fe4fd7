"""What `prepare` says of the faces that it made."""

from typing import Any

from fertool.summary import Summary, Table


def dataset_summary(dataset: dict[str, Any], first_notes: list[str]) -> Summary:
    """What was recognised and made, for people and scripts, of a dataset.json; `first_notes` come first."""
    names = dataset["classes"]
    splits = dataset["splits"]
    rows = [
        [split, *(f"{figures['classes'][name]:,}" for name in names), f"{figures['count']:,}"]
        for split, figures in splits.items()
    ]
    totals = [sum(figures["classes"][name] for figures in splits.values()) for name in names]
    rows.append(["all", *(f"{total:,}" for total in totals), f"{sum(totals):,}"])
    shape = dataset["image_shape"]
    twins = dataset["twins"]
    notes = [
        *first_notes,
        f"recognised: {dataset['kind']} ({dataset['source']['name']}), {shape[1]} x {shape[0]} pixels, "
        + ("colour" if len(shape) == 3 else "grey"),
        f"splits: {dataset['split_origin']}",
        f"identical twins: {twins['groups']:,} groups, {twins['images']:,} images; "
        f"{twins['straddling']:,} groups straddle splits, {twins['disagreeing']:,} disagree on the label; "
        f"{twins['test_in_train']:,} test images have a twin in train",
    ]
    if dataset["settings"]["drop_leaks"]:
        notes.append(
            f"leaks: {dataset['leaks_dropped']:,} faces with a twin in val or test left out of train"
        )
    if dataset["left_out"]:
        left_out = ", ".join(f"{name} ({count:,})" for name, count in dataset["left_out"].items())
        notes.append(f"classes left out: {left_out}; keep them with --classes")
    if dataset["ferplus"] is not None:
        left_out = dataset["ferplus"]["left_out"]
        if left_out is None:
            notes.append("FER+ votes added; the labels are the challenge's")
        else:
            counts = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in left_out.items())
            notes.append(f"labels are FER+'s most frequent answer; faces left out for want of one: {counts}")
    notes += dataset["notes"]
    data = {key: value for key, value in dataset.items() if key != "made_from"}
    table = Table(f"Faces of {dataset['name']}", ["split", *names, "all"], rows)
    return Summary(data=data, tables=[table], notes=notes)
