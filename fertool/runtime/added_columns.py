"""Columns that users add to a CSV of ours: the rest of the file is still known by its hash."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path


def header_of(path: Path) -> list[str]:
    """The names of a CSV's columns."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return next(csv.reader(file), [])


def without_added_columns(path: Path, columns: Sequence[str]) -> bytes | None:
    """The content that a CSV of `write_csv` had when it had these columns alone.

    None where it has no others, lacks one of them, or is damaged: it then is what it is.
    """
    try:
        if header_of(path) == list(columns):
            return None
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file, strict=True)
        places = [header.index(column) for column in columns]
        own = [[row[place] for place in places] for row in (header, *rows)]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, IndexError):
        return None
    if any(len(row) != len(header) for row in rows):
        return None
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(own)
    return text.getvalue().encode()
