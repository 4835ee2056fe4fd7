"""The faces of a claim among those of a prepared workspace."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from fertool.score.audit.claims import Claim
from fertool.score.audit.official import SPLIT_OF, Match
from fertool.score.evaluated_run import twins_in_train
from fertool.workspace import Workspace


@dataclass(frozen=True)
class ClaimedFaces:
    """Where a claim's faces lie: their split and their rows int64 (N,); `relabelled` counts labels that differ."""

    split: str
    rows: np.ndarray
    relabelled: int

    def without_twin(self, workspace: Workspace) -> np.ndarray:
        """Whether each face has no identical twin in train, bool (N,)."""
        return ~twins_in_train(workspace, self.split)[self.rows]


def find_faces(workspace: Workspace, claim: Claim, match: Match) -> ClaimedFaces | None:
    """The faces of a claim by their ids, by their rows, or by the order of their labels; None where they are not here.

    Rows and order count only where every label is the workspace's; ids count wherever they are all known.
    """
    if claim.labels is None or not workspace.dataset_json.exists():
        return None
    splits = list(workspace.dataset()["splits"])
    official = [SPLIT_OF[usage] for usage in match.usages]
    for split in sorted(splits, key=lambda split: split not in official):
        if claim.ids is not None and (found := _by_id(workspace, split, claim)) is not None:
            return found
        if claim.rows is not None:
            rows = claim.rows
        elif len(claim.labels) == len(workspace.load_labels(split)):
            rows = np.arange(len(claim.labels))
        else:
            continue
        if rows.max() < len(workspace.load_labels(split)) and not _relabelled(workspace, split, rows, claim):
            return ClaimedFaces(split, rows, 0)
    return None


def _by_id(workspace: Workspace, split: str, claim: Claim) -> ClaimedFaces | None:
    known = {
        PurePosixPath(row["id"]).stem: number
        for number, row in enumerate(workspace.load_face_rows(split, ["id"]))
    }
    numbers = [known.get(name) for name in claim.ids or []]
    rows = np.array([number for number in numbers if number is not None], dtype=np.int64)
    if len(rows) < len(numbers):
        return None
    return ClaimedFaces(split, rows, _relabelled(workspace, split, rows, claim))


def _relabelled(workspace: Workspace, split: str, rows: np.ndarray, claim: Claim) -> int:
    """The number of the claim's labels are not those of the workspace."""
    own = np.array(workspace.dataset()["classes"])[workspace.load_labels(split)[rows]]
    return int((own != np.array(claim.classes)[claim.labels]).sum())
