"""The name of a data set in a report."""

from collections.abc import Mapping
from typing import Any

FER2013, FER2013_FACES = "FER2013", 35_887


def dataset_title(dataset: Mapping[str, Any]) -> str:
    """The name of a data set; FER2013 only where it is the whole of it, faces that were left out counted."""
    name = str(dataset["name"])
    if name != FER2013:
        return name
    faces = sum(int(split["count"]) for split in dataset["splits"].values())
    left_out = sum(count for count in dataset.get("left_out", {}).values() if isinstance(count, int))
    whole = faces + left_out + int(dataset.get("leaks_dropped") or 0) == FER2013_FACES
    return name if whole else f"faces in the form of {FER2013}, not the whole set"
