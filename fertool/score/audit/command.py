"""`fertool score --audit`: what a reviewer asks of a FER2013 result, in one table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fertool.errors import UserError
from fertool.score.audit.claims import Claim, read_claim
from fertool.score.audit.differences import (
    Difference,
    accuracy_interval,
    paired_difference,
    unpaired_difference,
)
from fertool.score.audit.faces import ClaimedFaces, find_faces
from fertool.score.audit.history import Chosen, read_history
from fertool.score.audit.official import SPLIT_OF, Match, match_counts
from fertool.score.results.tables import with_interval
from fertool.score.statistics.contrasts import holm
from fertool.summary import Summary, Table
from fertool.workspace import Workspace

ON_TEST = ("PrivateTest",)


@dataclass(frozen=True)
class AuditSettings:
    """The options of an audit. Raises UserError for histories without claims.

    Args:
        claims: csv files, each of predictions (a row a face) or a confusion matrix of counts.
        histories: csv files with accuracies on val and test by epoch, the first of the first claim, and so on.
    """

    claims: Sequence[Path]
    histories: Sequence[Path] = ()

    def __post_init__(self) -> None:
        """Raise UserError where there are more histories than claims."""
        if len(self.histories) > len(self.claims):
            raise UserError(
                f"--history {self.histories[len(self.claims)]}: is of no claim; give an --audit FILE for each --history"
            )


def settings_of_audit(
    claims: Sequence[Path] | None, histories: Sequence[Path] | None
) -> AuditSettings | None:
    """The settings of an audit as the command line has them; None where none is asked for."""
    return AuditSettings(claims or (), histories or ()) if claims or histories else None


@dataclass(frozen=True)
class Audited:
    """A claim and what was found out about it."""

    claim: Claim
    match: Match
    transposed: bool
    faces: ClaimedFaces | None
    without_twin: tuple[int, int] | None  # right, and all, of the faces without a twin in train
    chosen: Chosen | None


def audit_claims(workspace: Workspace, settings: AuditSettings) -> Summary:
    """Check claims about FER2013: their split, accuracy, twins, chosen epoch, and differences.

    Args:
        workspace: where FER2013 is prepared; where nothing is, twins are not known.
        settings: the claims, and the histories of their trainings.

    Returns:
        One table, a row a claim.

    Raises:
        UserError: a file is no claim, or no history.
    """
    histories = [*settings.histories, *[None] * (len(settings.claims) - len(settings.histories))]
    audited = [
        _audit(workspace, read_claim(file), history)
        for file, history in zip(settings.claims, histories, strict=True)
    ]
    differences = [_difference(audited[0], other) for other in audited[1:]]
    p_holm = holm(np.array([each.p for each in differences])).tolist() if differences else []
    data = [_figures(each) for each in audited]
    for figures, difference, corrected in zip(data[1:], differences, p_holm, strict=True):
        figures["less_the_first"] = {**asdict(difference), "p_holm": corrected}
    rows = [
        [*_cells(each), *cells]
        for each, cells in zip(
            audited, [["-"] * 2, *map(_difference_cells, differences, p_holm)], strict=True
        )
    ]
    columns = [
        "claim", "faces", "official split", "accuracy, %", "no twin in train, %", "chosen on val", "best on test",
        "less the first, points", "p",
    ]  # fmt: skip
    kept = [
        number for number, name in enumerate(columns) if number < 4 or any(row[number] != "-" for row in rows)
    ]
    table = Table(
        "claims about FER2013",
        [columns[number] for number in kept],
        [[row[number] for number in kept] for row in rows],
        [note for each in audited for note in _notes(workspace, each)] + _test_notes(differences),
    )
    return Summary({"claims": data}, [table])


def _audit(workspace: Workspace, claim: Claim, history: Path | None) -> Audited:
    match, transposed = match_counts(claim.confusion.sum(axis=1), claim.classes), False
    if claim.labels is None and not match.usages:
        across = match_counts(claim.confusion.sum(axis=0), claim.classes)
        if across.usages:
            match, transposed = across, True
            claim = replace(claim, confusion=claim.confusion.T)
    faces = find_faces(workspace, claim, match)
    without_twin = None
    if faces is not None and claim.correct is not None and faces.split != "train":
        alone = faces.without_twin(workspace)
        without_twin = int(claim.correct[alone].sum()), int(alone.sum())
    return Audited(claim, match, transposed, faces, without_twin, read_history(history) if history else None)


def _difference(first: Audited, second: Audited) -> Difference:
    """The accuracy of the second claim less the first's, on the faces that both are of where these are known."""
    pairs = _pairs(first, second)
    if pairs is not None and first.claim.correct is not None and second.claim.correct is not None:
        return paired_difference(first.claim.correct[pairs[0]], second.claim.correct[pairs[1]])
    return unpaired_difference(
        (first.claim.right, first.claim.faces), (second.claim.right, second.claim.faces)
    )


def _pairs(first: Audited, second: Audited) -> tuple[np.ndarray, np.ndarray] | None:
    """Places of the same faces in both claims, int64 (n,) each; None where they are not known, or there are none."""
    for keys in (_workspace_keys, _id_keys, _row_keys):
        mine, theirs = keys(first), keys(second)
        if mine is None or theirs is None:
            continue
        place = {key: number for number, key in enumerate(theirs)}
        both = [(number, place[key]) for number, key in enumerate(mine) if key in place]
        if both:
            return np.array([one for one, _ in both]), np.array([other for _, other in both])
    labels = _names(first.claim)
    if labels and labels == _names(second.claim):
        return np.arange(len(labels)), np.arange(len(labels))
    return None


def _workspace_keys(audited: Audited) -> list[Any] | None:
    found = audited.faces
    return None if found is None else [(found.split, row) for row in found.rows.tolist()]


def _id_keys(audited: Audited) -> list[Any] | None:
    return audited.claim.ids


def _row_keys(audited: Audited) -> list[Any] | None:
    """Rows with their labels: the same row of other faces has another label soon enough, and is no pair then."""
    claim = audited.claim
    return None if claim.rows is None else list(zip(claim.rows.tolist(), _names(claim), strict=True))


def _names(claim: Claim) -> list[str]:
    classes = claim.classes or []
    return [classes[code] for code in ([] if claim.labels is None else claim.labels.tolist())]


# --- figures and cells --------------------------------------------------------------------------------------


def _figures(audited: Audited) -> dict[str, Any]:
    claim, match, chosen = audited.claim, audited.match, audited.chosen
    figures: dict[str, Any] = {
        "claim": str(claim.file),
        "faces": claim.faces,
        "right": claim.right,
        "official_splits": list(match.usages),
        "nearest_splits": list(match.nearest),
        "faces_apart": match.apart if match.nearest else None,
        "class_order": list(match.order) if match.order else None,
        "columns_are_true_classes": audited.transposed,
        "accuracy": claim.right / claim.faces,
        "accuracy_interval": list(accuracy_interval(claim.right, claim.faces)),
        "without_twins_in_train": None,
        "history": None if chosen is None else {**asdict(chosen), "gap": chosen.gap},
    }
    if audited.without_twin and audited.without_twin[1]:
        right, faces = audited.without_twin
        figures["without_twins_in_train"] = {
            "faces": faces,
            "accuracy": right / faces,
            "accuracy_interval": list(accuracy_interval(right, faces)),
        }
    return figures


def _cells(audited: Audited) -> list[str]:
    claim, chosen = audited.claim, audited.chosen
    alone = "-"
    if audited.without_twin and audited.without_twin[1]:
        right, faces = audited.without_twin
        alone = f"{with_interval(right / faces, accuracy_interval(right, faces))} ({faces:,} faces)"
    return [
        claim.file.name,
        f"{claim.faces:,}",
        _split(audited.match),
        with_interval(claim.right / claim.faces, accuracy_interval(claim.right, claim.faces)),
        alone,
        "-" if chosen is None else f"{100 * chosen.accuracy:.1f} (epoch {chosen.epoch})",
        "-"
        if chosen is None
        else f"{100 * chosen.best_accuracy:.1f} (epoch {chosen.best_epoch}), {100 * chosen.gap:+.1f} points",
    ]


def _split(match: Match) -> str:
    if match.usages:
        return " and ".join(f"{usage} ({SPLIT_OF[usage]})" for usage in match.usages)
    if match.nearest:
        return f"none; nearest is {' and '.join(match.nearest)}, {match.apart:,} faces apart"
    return "none"


def _difference_cells(difference: Difference, p_holm: float) -> list[str]:
    faces = "" if difference.faces is None else f", {difference.faces:,} faces"
    cell = with_interval(difference.difference, difference.interval)
    return [cell, f"{p_holm:.2g} ({difference.test}{faces})"]


# --- notes --------------------------------------------------------------------------------------------------


def _notes(workspace: Workspace, audited: Audited) -> list[str]:
    """The remarks on a claim that stand below the table."""
    claim, match, name = audited.claim, audited.match, audited.claim.file.name
    notes = []
    if match.usages and match.usages != ON_TEST:
        notes.append(
            f"{name}: its class counts are those of {_split(match)}, not of PrivateTest (test): no result on test."
        )
    if audited.transposed:
        notes.append(f"{name}: its columns are the true classes, by their counts.")
    if match.order and claim.classes:
        notes.append(
            f"{name}: the counts say that its rows are {', '.join(match.order)}, other than their names."
        )
    elif match.order:
        notes.append(f"{name}: the counts say that its rows are {', '.join(match.order)}.")
    if not match.usages:
        notes.append(
            f"{name}: its faces are no official split, so that its accuracy has nothing to stand beside."
        )
    if audited.faces is not None and audited.faces.relabelled:
        notes.append(
            f"{name}: {audited.faces.relabelled:,} labels are others than those of {workspace.root}."
        )
    if audited.faces is None:
        notes.append(f"{name}: {_why_no_twins(workspace, claim)}")
    return [*notes, *_epoch_notes(audited)]


def _why_no_twins(workspace: Workspace, claim: Claim) -> str:
    if claim.labels is None:
        return "twins in train are not known of a confusion matrix; a csv of predictions tells them."
    if not workspace.dataset_json.exists():
        return f"twins in train are not known: nothing is prepared in {workspace.root}; run 'fertool prepare' first."
    return (
        f"its faces are not found in {workspace.root} by id, row or order, so that twins in train are not known; add "
        "a column 'id' or 'row'."
    )


def _epoch_notes(audited: Audited) -> list[str]:
    claim, chosen = audited.claim, audited.chosen
    if chosen is None or round(1000 * chosen.gap) == 0:
        return []
    accuracy = claim.right / claim.faces
    if round(1000 * accuracy) == round(1000 * chosen.best_accuracy):
        return [
            f"{claim.file.name}: its accuracy is that of the best epoch on test, so that the epoch was chosen on test: "
            f"{100 * chosen.gap:.1f} points above the one chosen on val."
        ]
    return []


def _test_notes(differences: Sequence[Difference]) -> list[str]:
    if not differences:
        return []
    notes = ["Less the first: accuracy less that of the first claim, with its 95% interval; p is two-sided"]
    notes[0] += ", Holm-corrected." if len(differences) > 1 else "."
    if any(difference.faces is None for difference in differences):
        notes.append(
            "Two proportions: the claims' faces are not matched, as if they were others; where they are the same, "
            "predictions with ids tell more."
        )
    return notes
