"""The settings of `prepare`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fertool.errors import UserError
from fertool.prepare.synthetic.source import BACKGROUND, EVIDENCE, SYNTHETIC

LABEL_SOURCES = ("original", "ferplus")
_SIZES = range(16, 1025)


@dataclass(frozen=True)
class PrepareSettings:
    """The settings of `prepare`. Raises UserError, which names the option, for a value outside its range.

    Args:
        size: the faces' height and width in pixels, 16 to 1024. Default: 48.
        seed: the seed of the splits that the source does not tell, and of synthetic faces. Default: 0.
        classes: the classes to keep. Default: those of the seven emotions that the source has.
        group_by: a regular expression on file names; pictures in whose name it finds the same text (its first
            group, or all of it) share a split. Default: every picture stands for itself.
        ferplus: the file with the votes of FER+. Default: no votes.
        labels_from: where the labels come from: "original" for the source, or "ferplus" for the taggers' most
            frequent answer (`crowd_labels` has the rule). dataset.json has it as `labels`. Default: "original".
        drop_leaks: whether training faces with an identical twin in val or test are left out. Default: no.
        count: the number of synthetic faces. Default: 4000.
        evidence: the one region of synthetic faces that tells the class, one of EVIDENCE; all other regions
            are independent of it. Default: all regions tell it.
        spurious: the probability that a mark in the background of synthetic training faces agrees with the
            label; in val and test the mark says nothing. Default: 0, no mark.
    """

    size: int = 48
    seed: int = 0
    classes: Sequence[str] | None = None
    group_by: str | None = None
    ferplus: Path | None = None
    labels_from: str = "original"
    drop_leaks: bool = False
    count: int = 4000
    evidence: str | None = None
    spurious: float = 0.0

    def __post_init__(self) -> None:
        """Raise UserError for a value outside its range."""
        if self.size not in _SIZES:
            raise UserError(f"--size {self.size}: give {_SIZES[0]} to {_SIZES[-1]} pixels")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: give 0 or more")
        if self.labels_from not in LABEL_SOURCES:
            raise UserError(f"--labels-from {self.labels_from}: give one of {', '.join(LABEL_SOURCES)}")
        if self.labels_from == "ferplus" and self.ferplus is None:
            raise UserError("--labels-from ferplus: needs the votes; give --ferplus fer2013new.csv")
        if self.group_by is not None:
            _check_expression(self.group_by)
        for name in self.classes or ():
            _check_text("--classes", name)
        self._check_synthetic()

    def _check_synthetic(self) -> None:
        if self.count < 1:
            raise UserError(f"--count {self.count}: give at least one face")
        if self.evidence is not None and self.evidence not in EVIDENCE:
            raise UserError(f"--evidence {self.evidence}: give one of {', '.join(EVIDENCE)}")
        if not 0 <= self.spurious <= 1:
            raise UserError(f"--spurious {self.spurious}: give a probability, 0 to 1")
        if self.spurious and self.evidence == BACKGROUND:
            raise UserError("--spurious: the mark is the evidence already; leave one of the two out")

    def check_source(self, source: str | Path) -> None:
        """Raise UserError for an option that `source` cannot have."""
        if source != SYNTHETIC:
            if self.evidence is not None or self.spurious:
                raise UserError("--evidence and --spurious: only synthetic faces can have them")
            return
        if self.ferplus is not None:
            raise UserError("--ferplus: the votes are on FER2013, not on synthetic faces; leave it out")
        if self.group_by is not None:
            raise UserError("--group-by: synthetic faces have no file names; leave it out")

    def record(self, source: str | Path) -> dict[str, Any]:
        """The settings that the faces made from `source` depend on, as dataset.json keeps them."""
        # the votes of --ferplus are among the inputs
        record: dict[str, Any] = {
            "size": self.size,
            "seed": self.seed,
            "classes": None if self.classes is None else list(self.classes),
            "group_by": self.group_by,
            "labels": self.labels_from,
            "drop_leaks": self.drop_leaks,
        }
        if source == SYNTHETIC:
            record |= {"count": self.count, "evidence": self.evidence, "spurious": self.spurious}
        return record


def _check_expression(group_by: str) -> None:
    _check_text("--group-by", group_by)
    try:
        re.compile(group_by)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"--group-by '{group_by}': no regular expression ({error})") from error


def _check_text(option: str, text: str) -> None:
    """Raise UserError for text that no file of the workspace can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{option} '{text}': not in UTF-8; type it again") from error


DEFAULTS = PrepareSettings()
