"""Tables of text: csv, tsv, and lists with blanks between, row by row, with the place of each row for messages."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol

from fertool.errors import UserError
from fertool.prepare.sources.limits import refuse_many_files
from fertool.prepare.sources.source_files import SourceFiles

_LONGEST_LINE = 2**20  # characters: AffectNet's lists have 136 coordinates a row
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".lst", ".list")


class TableRow(NamedTuple):
    """The wanted values of a row, and the file and row for messages."""

    where: str
    values: list[str]


class Table(Protocol):
    """A table whose first row may be a header: the reader decides, for lists often have none."""

    where: str
    first: list[str]
    """The first row: names, or values of a table without header."""

    is_named: bool
    """Whether the first row is certain to be names."""

    def rows(self, columns: Sequence[int], has_header: bool, /) -> Iterator[TableRow]:
        """The values of some columns, row by row."""


class TextTable:
    """A table in a text file: columns are separated by tabs, commas, semicolons, or by blanks where there are none."""

    is_named = False

    def __init__(self, files: SourceFiles, name: str) -> None:
        self._files = files
        self._name = name
        self.where = files.where(name)
        self._delimiter = self._find_delimiter()
        self.first = next((fields for _, fields in self._lines()), [])
        if not self.first:
            raise UserError(f"{self.where}: the list is empty; get it again")

    def _find_delimiter(self) -> str | None:
        with self._files.reading(self._name) as stream:
            line = stream.readline(_LONGEST_LINE).decode("utf-8-sig", errors="replace")
        return next((mark for mark in "\t,;" if mark in line), None)

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """The fields of each line that is not blank, and the number of the line."""
        with self._files.reading(self._name) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            lines = _short_lines(text, self.where)
            try:
                if self._delimiter is None:
                    yield from (
                        (number, line.split()) for number, line in enumerate(lines, 1) if line.strip()
                    )
                    return
                reader = csv.reader(lines, delimiter=self._delimiter, skipinitialspace=True)
                yield from (
                    (reader.line_num, [field.strip() for field in fields])
                    for fields in reader
                    if any(field.strip() for field in fields)
                )
            except (UnicodeDecodeError, csv.Error) as error:
                raise UserError(
                    f"{self.where}: not a readable list in UTF-8 ({error}); save it again"
                ) from error

    def rows(self, columns: Sequence[int], has_header: bool) -> Iterator[TableRow]:
        """The values of some columns; UserError for a row of another width than the first."""
        width = len(self.first)
        for row, (line, fields) in enumerate(islice(self._lines(), int(has_header), None), 1):
            where = f"{self.where}: row {row} (line {line})"
            if len(fields) != width:
                raise UserError(
                    f"{where}: {len(fields)} columns where {width} belong; the list is truncated or damaged, or a "
                    "value has the mark between columns in it: put it in quotes"
                )
            refuse_many_files(self._files.path, row)
            yield TableRow(where, [fields[column] for column in columns])


def _short_lines(text: io.TextIOWrapper, where: str) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: text.readline(_LONGEST_LINE), ""), 1):
        if len(line) == _LONGEST_LINE:
            raise UserError(
                f"{where}: line {number} has over {_LONGEST_LINE:,} characters; it is no list of faces"
            )
        yield line


def is_table(name: str) -> bool:
    """Whether a file is named as a table of text."""
    return PurePosixPath(name).suffix.lower() in TABLE_SUFFIXES
