"""The FER2013 challenge's own form: a csv with the columns emotion, pixels, Usage, a row a face."""

import codecs
from collections.abc import Iterator
from itertools import islice
from typing import IO, NamedTuple

import numpy as np

from fertool.errors import UserError
from fertool.prepare.emotions import EMOTIONS
from fertool.prepare.sources.archives import SourceFiles
from fertool.prepare.sources.decode import fit
from fertool.prepare.sources.labelled_faces import CHALLENGE_SPLITS, LabelledFaces, challenge_id
from fertool.runtime.progress import progress_bar

COLUMNS = ("emotion", "pixels", "usage")
SIDE = 48
PIXELS = SIDE * SIDE
_CHUNK_ROWS = 1024
_LONGEST_LINE = 2**17
"""Bytes; a row has some 9,300 at most. A longer line is cut here, and so refused by its number of pixels."""


def has_challenge_columns(files: SourceFiles, name: str) -> bool:
    """Whether a file begins with the challenge's header (names are compared without blanks and case)."""
    with files.reading(name) as stream:
        line = stream.readline(4096)
    return set(COLUMNS) <= set(_header(line))


def read_challenge_csv(files: SourceFiles, name: str, size: int) -> LabelledFaces:
    """Read `fer2013.csv` or `icml_face_data.csv`.

    Raises UserError naming file and row for a row with another number of pixels than 48 x 48, a pixel that
    is not a whole number from 0 to 255, an emotion outside 0..6 or an unknown Usage. Rows are counted from 1
    without the header, lines with it.
    """
    where = files.where(name)
    chunks: list[np.ndarray] = []
    ids: list[str] = []
    labels: list[int] = []
    splits: list[str] = []
    with files.reading(name) as stream, progress_bar("reading faces", files.sizes[name], "B") as bar:
        rows = _rows(stream, where)
        while chunk := list(islice(rows, _CHUNK_ROWS)):
            chunks.append(_fitted(_parse_pixels(chunk), size))
            for row in chunk:
                if row.emotion not in _CODES:
                    raise UserError(
                        f"{row.where}: emotion '{row.emotion}' is not one of 0 to {len(EMOTIONS) - 1}"
                    )
                if row.usage not in CHALLENGE_SPLITS:
                    raise UserError(
                        f"{row.where}: unknown Usage '{row.usage}' "
                        "(Training, PublicTest and PrivateTest are known)"
                    )
                ids.append(challenge_id(row.usage, len(ids)))
                labels.append(_CODES[row.emotion])
                splits.append(CHALLENGE_SPLITS[row.usage])
            bar.update(sum(len(row.pixels) for row in chunk))
    if not labels:
        raise UserError(f"{where}: no rows below the header; get the file again")
    return LabelledFaces(
        name="FER2013",
        kind="challenge csv",
        images=np.concatenate(chunks),
        classes=list(EMOTIONS),
        labels=np.array(labels, np.int64),
        splits=np.array(splits),
        ids=np.array(ids),
        sources=np.full(len(labels), name),
        challenge_rows=np.arange(len(labels)),
    )


_CODES = {str(code): code for code in range(len(EMOTIONS))}


class _Row(NamedTuple):
    where: str
    emotion: str
    pixels: bytes
    usage: str


def _rows(stream: IO[bytes], where: str) -> Iterator[_Row]:
    lines = enumerate(iter(lambda: stream.readline(_LONGEST_LINE), b""), 1)
    header = _header(next(lines)[1])
    emotion, pixels, usage = (header.index(column) for column in COLUMNS)
    row = 0
    for number, line in lines:
        if line.isspace():
            continue
        row += 1
        here = f"{where}: row {row} (line {number})"
        fields = _columns(line)
        if len(fields) != len(header):
            raise UserError(
                f"{here}: {len(fields)} columns where {len(header)} belong; "
                "the file is truncated or damaged, get it again"
            )
        yield _Row(here, fields[emotion].decode(), fields[pixels], fields[usage].decode())


def _header(line: bytes) -> list[str]:
    return [
        column.decode(errors="replace").lower() for column in _columns(line.removeprefix(codecs.BOM_UTF8))
    ]


def _columns(line: bytes) -> list[bytes]:
    # no field of this form holds a comma or a line break, so csv's own reader, which is slow on rows as
    # long as these, has nothing to add but the quotes around fields that some programs write
    return [field.strip(b' "\r\n') for field in line.split(b",")]


def _parse_pixels(rows: list[_Row]) -> np.ndarray:
    """The pixels of some rows, uint8 (rows, PIXELS): all at once, row by row only where that fails."""
    joined = b" ".join(row.pixels for row in rows)
    if all(row.pixels.count(b" ") == PIXELS - 1 for row in rows) and not joined.translate(
        None, b"0123456789 "
    ):
        values = np.fromstring(joined, dtype=np.int64, sep=" ")
        if values.size == len(rows) * PIXELS and values.max() <= 255:
            return values.astype(np.uint8).reshape(-1, PIXELS)
    return np.stack([_parse_row(row) for row in rows])


def _parse_row(row: _Row) -> np.ndarray:
    values = row.pixels.split()
    for number, value in enumerate(values, 1):
        if not (value.isdigit() and len(value) <= 3 and int(value) <= 255):
            shown = value[:20].decode(errors="replace")
            raise UserError(f"{row.where}: pixel {number} is '{shown}', not a whole number from 0 to 255")
    if len(values) != PIXELS:
        raise UserError(f"{row.where}: {len(values)} pixels where {SIDE} x {SIDE} = {PIXELS} belong")
    return np.array([int(value) for value in values], dtype=np.uint8)


def _fitted(pixels: np.ndarray, size: int) -> np.ndarray:
    faces = pixels.reshape(-1, SIDE, SIDE)
    return faces if size == SIDE else np.stack([fit(face, size) for face in faces])
