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
from fertool.prepare.sources.limits import MAX_VOTES_BYTES

_LEAST_AGREEMENT = 0.4
_ENOUGH_TO_AGREE = 50  # faces

ANSWERS = (*EMOTIONS, "contempt", "unknown", "not_face")
"""The answers that a tagger could give, the seven emotions first."""

_MOST_DIGITS = 6  # of a number of votes

_COLUMNS = (
    "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt", "unknown", "NF",
)  # fmt: skip
"""The file's names of ANSWERS."""


@dataclass(frozen=True)
class CrowdVotes:
    """The votes of a file.

    `votes` is int64 (rows, 10), a row a face in the challenge's order, a column an answer of ANSWERS; `usages` and
    `pictures` have each row's Usage and image name (empty where FER+ left the face out).
    """

    path: Path
    votes: np.ndarray
    usages: list[str]
    pictures: list[str]

    def votes_on(self, challenge_rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """The votes on the faces of `challenge_rows` (N,), int64 (N, 10).

        Raises UserError where a face's row is missing, or its Usage is not the one in the face's id (N,): the file is
        another data set's then.
        """
        for row, face in zip(challenge_rows.tolist(), ids.tolist(), strict=True):
            if row >= len(self.usages):
                raise UserError(
                    f"{self.path}: has {len(self.usages)} rows, and none for {face}; get it again"
                )
            if challenge_id(self.usages[row], row) != face:
                raise UserError(
                    f"{self.path}: row {row + 1} is on a face of {self.usages[row]}, and so not on {face}; "
                    "rows are missing, or these are votes on other faces"
                )
        return self.votes[challenge_rows]

    def rows_of_pictures(self, files: np.ndarray) -> np.ndarray | None:
        """The rows of pictures by FER+'s image names, as `fer0000123.png`: int64 (N,) for file names (N,).

        None where one of them is not named so.
        """
        rows = {Path(name).stem: row for row, name in enumerate(self.pictures) if name}
        found = [rows.get(Path(file).stem) for file in files.tolist()]
        return None if None in found else np.array(found, np.int64)

    def check_agreement(self, votes: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
        """Raise UserError where the taggers' majority is hardly ever the label: the votes are on other faces then.

        On FER2013 the two agree for 63% of the faces, and votes on other faces agree by chance, 17%.

        Args:
            votes: int64 (N, 10).
            labels: int64 (N,), codes into `classes`.
            classes: the names of the labels' classes.
        """
        answers = np.array([ANSWERS.index(name) if name in ANSWERS else -1 for name in classes])[labels]
        told = (answers >= 0) & (votes.sum(axis=1) > 0)
        agreement = float((votes.argmax(axis=1) == answers)[told].mean()) if told.any() else 1.0
        if told.sum() >= _ENOUGH_TO_AGREE and agreement < _LEAST_AGREEMENT:
            raise UserError(
                f"{self.path}: its majority is the label of {agreement:.0%} of the faces, and of 63% on FER2013; the "
                "faces stand in another order than the votes: give the challenge's own csv, or pictures with its names"
            )


def read_ferplus(path: Path) -> CrowdVotes:
    """Read `fer2013new.csv`. Raises UserError naming file and row where it is not in that form."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; --ferplus takes fer2013new.csv of FER+")
    if path.stat().st_size > MAX_VOTES_BYTES:
        raise UserError(f"{path}: over {MAX_VOTES_BYTES >> 20} MB; it is not FER+'s fer2013new.csv")
    votes, usages, pictures = [], [], []
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
                if not all(answer.isdecimal() and len(answer) <= _MOST_DIGITS for answer in answers):
                    raise UserError(f"{where}: votes are not whole numbers ({','.join(answers)[:60]})")
                if line["Usage"] not in CHALLENGE_SPLITS:
                    raise UserError(f"{where}: unknown Usage '{str(line['Usage'])[:20]}'")
                votes.append([int(answer) for answer in answers])
                usages.append(line["Usage"])
                pictures.append(line.get("Image name") or "")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a readable csv ({error})") from error
    return CrowdVotes(path, np.array(votes, np.int64).reshape(-1, len(ANSWERS)), usages, pictures)


def crowd_shares(votes: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The share of each of `classes` in the votes for any of them, float32 (N, C), from votes (N, 10).

    Votes for other answers do not count; a row without any that counts is nan. Barsoum et al. 2016, section 3.4
    ('cross-entropy loss'), there over all answers.
    """
    counted = votes[:, [ANSWERS.index(name) for name in classes]].astype(np.float32)
    total = counted.sum(axis=1, keepdims=True)
    return np.divide(counted, total, out=np.full_like(counted, np.nan), where=total > 0)


def crowd_labels(votes: np.ndarray, classes: Sequence[str] = EMOTIONS) -> tuple[np.ndarray, dict[str, int]]:
    """The labels that most taggers gave: int64 (N,), codes of `classes` or -1; and how many are -1, by reason.

    A face's label is the answer that more taggers gave than any other. A face has none (-1), and is left out
    by `prepare`, where that answer is none of `classes` (the first answers of ANSWERS, by default without contempt),
    where two answers lead together (a tie), and where nobody voted. The number of voters does not count beyond that: a
    few faces have fewer than ten.
    """
    best = votes.max(axis=1, initial=0)
    leader = votes.argmax(axis=1)
    tie = (votes == best[:, None]).sum(axis=1) > 1
    reasons = {
        "no votes": best == 0,
        "tie": tie & (best > 0),
        **{ANSWERS[code]: ~tie & (leader == code) for code in range(len(classes), len(ANSWERS))},
    }
    labels = np.where(np.any(list(reasons.values()), axis=0), -1, leader).astype(np.int64)
    return labels, {reason: int(faces.sum()) for reason, faces in reasons.items()}
