"""FER+: ten taggers' votes for each face of FER2013.

Barsoum, Zhang, Canton Ferrer, Zhang: Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution, ICMI 2016; the file is `fer2013new.csv` of github.com/microsoft/FERPlus.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fertool.errors import UserError
from fertool.prepare.emotions import EMOTIONS
from fertool.prepare.sources.labelled_faces import CHALLENGE_SPLITS, challenge_id

ANSWERS = (*EMOTIONS, "contempt", "unknown", "not_face")
"""What a tagger could answer, the seven emotions first."""

_COLUMNS = (
    "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt", "unknown", "NF",
)  # fmt: skip
"""The file's names of ANSWERS."""


@dataclass(frozen=True)
class CrowdVotes:
    """The votes of a file.

    `votes` is int64 (rows, 10), a row a face in the challenge's order, a column an answer of ANSWERS; `usages` has
    each row's Usage.
    """

    path: Path
    votes: np.ndarray
    usages: list[str]

    def votes_on(self, challenge_rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """The votes on the faces that stand in `challenge_rows` (N,), int64 (N, 10).

        Raises UserError where a face's row is not there or its Usage, as its id (N,) tells it, is another:
        the file is not this data set's then.
        """
        for row, face in zip(challenge_rows.tolist(), ids.tolist(), strict=True):
            if row >= len(self.usages):
                raise UserError(
                    f"{self.path}: has {len(self.usages)} rows, and none for {face}; get it again"
                )
            if challenge_id(self.usages[row], row) != face:
                raise UserError(
                    f"{self.path}: row {row + 1} is of {self.usages[row]}, and so not on {face}; "
                    "rows are missing, or these are votes on other faces"
                )
        return self.votes[challenge_rows]


def read_ferplus(path: Path) -> CrowdVotes:
    """Read `fer2013new.csv`. Raises UserError naming file and row where it is not in that form."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; --ferplus takes fer2013new.csv of FER+")
    votes, usages = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            missing = {"Usage", *_COLUMNS} - set(reader.fieldnames or ())
            if missing:
                raise UserError(
                    f"{path}: no column {', '.join(sorted(missing))}; it is not FER+'s fer2013new.csv"
                )
            for row, line in enumerate(reader):
                where = f"{path}: row {row + 1} (line {reader.line_num})"
                answers = [line[column] or "" for column in _COLUMNS]
                if not all(answer.isdecimal() for answer in answers):
                    raise UserError(f"{where}: votes are not whole numbers ({','.join(answers)})")
                if line["Usage"] not in CHALLENGE_SPLITS:
                    raise UserError(f"{where}: unknown Usage '{line['Usage']}'")
                votes.append([int(answer) for answer in answers])
                usages.append(line["Usage"])
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a readable csv ({error})") from error
    return CrowdVotes(path, np.array(votes, np.int64).reshape(-1, len(ANSWERS)), usages)


def crowd_shares(votes: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The share of each of `classes` in the votes for any of them, float32 (N, C), from votes (N, 10).

    Votes for other answers do not count; a row without any that counts is nan. Barsoum et al. 2016, section 3.4
    ('cross-entropy loss'), there over all answers.
    """
    counted = votes[:, [ANSWERS.index(name) for name in classes]].astype(np.float32)
    total = counted.sum(axis=1, keepdims=True)
    return np.divide(counted, total, out=np.full_like(counted, np.nan), where=total > 0)


def crowd_labels(votes: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """The labels that most taggers gave: int64 (N,), codes of EMOTIONS or -1; and how many are -1, by reason.

    A face's label is the answer that more taggers gave than any other. A face has none (-1), and is left out
    by `prepare`, where that answer is contempt, unknown or not a face, where two answers lead together (a
    tie), and where nobody voted. How many voted does not count beyond that: a few faces have fewer than ten.
    """
    best = votes.max(axis=1, initial=0)
    leader = votes.argmax(axis=1)
    tie = (votes == best[:, None]).sum(axis=1) > 1
    reasons = {
        "no votes": best == 0,
        "tie": tie & (best > 0),
        **{ANSWERS[code]: ~tie & (leader == code) for code in range(len(EMOTIONS), len(ANSWERS))},
    }
    labels = np.where(np.any(list(reasons.values()), axis=0), -1, leader).astype(np.int64)
    return labels, {reason: int(faces.sum()) for reason, faces in reasons.items()}
