"""FER+ as its own script writes it: a folder a Usage, a label.csv with votes in each."""

import re
from collections.abc import Iterator

import numpy as np

from fertool.errors import UserError
from fertool.prepare.emotions import EIGHT, EMOTIONS
from fertool.prepare.ferplus import ANSWERS, crowd_labels
from fertool.prepare.sets.data_set import Candidate, DataSet
from fertool.prepare.sources.listing import Listed, Listing
from fertool.prepare.sources.picture_folders import is_picture
from fertool.prepare.sources.tables import TableRow, TextTable

_LABELS = re.compile(r"(?:^|/)FER2013(Train|Valid|Test)/label\.csv$")
_SPLITS = {"Train": "train", "Valid": "val", "Test": "test"}
_VOTES = (
    "neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt", "unknown", "not_face",
)  # fmt: skip
"""The columns after name and box, as ANSWERS calls them."""

_ORDER = [_VOTES.index(answer) for answer in ANSWERS]
_WHOLE = "(0, 0, 48, 48)"
_MOST_DIGITS = 6  # of a number of votes


def find(candidate: Candidate) -> Listing | None:
    """The faces of each folder's label.csv, labelled by the answer that more taggers gave than any other."""
    tables = [(name, match[1]) for name, match in candidate.matches(_LABELS)]
    if not tables:
        return None
    faces: list[tuple[str, str, str]] = []
    votes: list[list[int]] = []
    for name, part in tables:
        folder = name.removesuffix("label.csv")
        for row in _rows(candidate, name):
            faces.append((candidate.require(folder + row.values[0], row.where), _SPLITS[part], row.where))
            votes.append(_votes(row))
    counts = np.array(votes, np.int64).reshape(-1, len(ANSWERS))[:, _ORDER]
    labels = _labels(counts, EIGHT if candidate.settings.eight else EMOTIONS)
    unlisted = sum(map(is_picture, candidate.files.sizes)) - len(faces)
    return Listing(
        name="FER+",
        kind="FER+ folders, labelled by the most frequent answer of the taggers",
        store=candidate.store,
        faces=[
            Listed(
                picture=picture,
                label=label,
                split=split,
                where=where,
                id=picture.rpartition("/")[2].rpartition(".")[0],
            )
            for (picture, split, where), label in zip(faces, labels, strict=True)
        ],
        votes=counts,
        notes=(f"{unlisted:,} pictures that no label.csv lists left out",) if unlisted else (),
    )


def _rows(candidate: Candidate, name: str) -> Iterator[TableRow]:
    table = TextTable(candidate.files, name)
    width = 2 + len(_VOTES)
    if len(table.first) != width:
        raise UserError(
            f"{table.where}: {len(table.first)} columns where {width} belong (name, box, ten numbers of votes); get it "
            "again"
        )
    yield from table.rows(range(width), has_header=False)


def _votes(row: TableRow) -> list[int]:
    box, votes = row.values[1], row.values[2:]
    if box != _WHOLE:
        raise UserError(
            f"{row.where}: its box is {box[:40]} and not {_WHOLE}, all of a face of FER2013; get it again"
        )
    if not all(vote.isdecimal() and len(vote) <= _MOST_DIGITS for vote in votes):
        raise UserError(f"{row.where}: votes are not whole numbers ({','.join(votes)[:60]}); get it again")
    return [int(vote) for vote in votes]


def _labels(votes: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """The class of each face, or why it has none: a tie, no votes, an answer that is no class."""
    codes, _ = crowd_labels(votes, classes)
    leaders = votes.argmax(axis=1)
    best = votes.max(axis=1)
    is_tie = (votes == best[:, None]).sum(axis=1) > 1
    return [
        classes[code] if code >= 0 else "no votes" if most == 0 else "tie" if tie else ANSWERS[leader]
        for code, leader, most, tie in zip(
            codes.tolist(), leaders.tolist(), best.tolist(), is_tie.tolist(), strict=True
        )
    ]


FER_PLUS = DataSet(
    name="FER+",
    form="FER2013{Train,Valid,Test}/fer0028638.png beside label.csv",
    codes="votes for neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, not a face",
    splits="the folders: train, val (Valid), test",
    licence="the votes MIT; the pictures as FER2013",
    citation="Barsoum, Zhang, Canton Ferrer, Zhang 2016 (ICMI)",
    find=find,
)
