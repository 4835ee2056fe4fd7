"""The settings of `prepare`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fertool.errors import UserError
from fertool.prepare.emotions import EIGHT, EMOTIONS, class_name
from fertool.prepare.sets.codes import CODES
from fertool.prepare.synthetic.source import BACKGROUND, EVIDENCE, SYNTHETIC
from fertool.prepare.twins import NEAR

LABEL_SOURCES = ("original", "ferplus")
_SIZES = range(16, 1025)
_FOLDS = range(3, 101)
KDEF_ANGLES = ("S", "HL", "HR", "FL", "FR")
"""The angles of KDEF's pictures: straight, half left, half right, full left, full right."""

_LIST_OPTIONS = (
    "list_file",
    "columns",
    "label_map",
    "label_from",
    "margin",
    "crop_faces",
    "keep",
    "angles",
    "folds",
)


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
        drop_leaks: whether training faces with an identical twin in val or test are left out; "near": those with a
            near twin too. Default: no.
        eight: whether contempt is kept beside the seven emotions. Default: no.
        list_file: a csv, tsv, text or Parquet file that lists pictures and labels; a path, or the name of a file in
            the source. Default: the form of the source is recognised.
        columns: the list's columns, as `path=0,label=emotion`: numbers from 0, or names of its header; the roles are
            path, label, split, person, left, top, right, bottom, width, height. Default: found by their usual names.
        label_map: the class of each label, as `1=surprise,2=fear`, or the name of a set whose codes they are, one of
            CODES. Default: the codes of the set that is recognised, else labels are names.
        label_from: a regular expression on each picture's path with a group named `label`, and if wanted `person` and
            `split`; other named groups become columns. Default: labels come from the form that is recognised.
        margin: the margin around a face's box, in shares of its longer side, 0 to 1. Default: 0.
        crop_faces: whether the face in each picture is found and cut out. Default: the whole picture is taken.
        keep: further columns of the source to have in faces/<split>.csv. Default: those of usual names, as age.
        angles: the angles of KDEF to keep, some of KDEF_ANGLES. Default: S, the frontal one.
        folds: the number of folds by person, 3 to 100; fold `fold` is test, the next one val. Default: 80/10/10.
        fold: the fold that is test, from 0. Default: 0.
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
    drop_leaks: bool | str = False
    eight: bool = False
    list_file: Path | None = None
    columns: str | None = None
    label_map: str | None = None
    label_from: str | None = None
    margin: float = 0.0
    crop_faces: bool = False
    keep: Sequence[str] = ()
    angles: Sequence[str] = ()
    folds: int | None = None
    fold: int = 0
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
        if self.drop_leaks not in (False, True, NEAR):
            raise UserError(f"--drop-leaks {self.drop_leaks}: give identical or near")
        if self.group_by is not None:
            _check_expression("--group-by", self.group_by)
        for name in self.classes or ():
            _check_text("--classes", name)
        for name in self.keep:
            _check_text("--keep", name)
        self._check_list()
        self._check_labels()
        self._check_folds()
        self._check_synthetic()

    def _check_list(self) -> None:
        if self.columns is not None:
            _check_text("--columns", self.columns)
        if self.list_file is not None and self.label_from is not None:
            raise UserError("--list and --label-from: both tell the labels; give one of them")
        if not 0 <= self.margin <= 1:
            raise UserError(f"--margin {self.margin:g}: give a share of the box's longer side, 0 to 1")
        for angle in self.angles:
            if angle not in KDEF_ANGLES:
                raise UserError(f"--angles {angle}: give some of {','.join(KDEF_ANGLES)}")

    def _check_labels(self) -> None:
        if self.eight and self.classes is not None:
            raise UserError("--eight and --classes: both name the classes; give one of them")
        if self.label_from is not None:
            groups = _check_expression("--label-from", self.label_from).groupindex
            if "label" not in groups:
                hint = "; --labels-from is another option" if self.label_from in LABEL_SOURCES else ""
                raise UserError(
                    f"--label-from '{self.label_from}': has no group named label; write it as (?P<label>...){hint}"
                )
        if self.label_map is not None:
            _check_text("--label-map", self.label_map)
            _parse_label_map(self.label_map)

    def _check_folds(self) -> None:
        if self.folds is None:
            if self.fold:
                raise UserError(f"--fold {self.fold}: says which of --folds is test; give both")
        elif self.folds not in _FOLDS:
            raise UserError(f"--folds {self.folds}: give {_FOLDS[0]} to {_FOLDS[-1]}")
        elif not 0 <= self.fold < self.folds:
            raise UserError(f"--fold {self.fold}: give 0 to {self.folds - 1}, the fold that is test")

    @property
    def wanted(self) -> Sequence[str] | None:
        """The classes to keep; None: those of the seven emotions that the source has."""
        return EIGHT if self.eight else self.classes

    @property
    def tells_labels(self) -> bool:
        """Whether they say where labels are found, so that the source's form is not recognised."""
        return self.list_file is not None or self.label_from is not None

    @property
    def label_classes(self) -> Mapping[str, str] | None:
        """The class of each label as --label-map has it."""
        return None if self.label_map is None else _parse_label_map(self.label_map)

    def keeps(self, label: str, codes: Mapping[str, str] | None = None) -> bool:
        """Whether a face with this label, whose class a set's `codes` tell, can be among the classes to keep."""
        classes = self.label_classes if self.label_map is not None else codes
        name = class_name(label) if classes is None else classes.get(label, label)
        return name in (EMOTIONS if self.wanted is None else {class_name(each) for each in self.wanted})

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
        if self.drop_leaks == NEAR:
            raise UserError(
                "--drop-leaks near: each synthetic face is drawn for itself, and near twins are not looked for; "
                "leave it out"
            )
        for name in _LIST_OPTIONS:
            if getattr(self, name) != getattr(DEFAULTS, name):
                option = "list" if name == "list_file" else name.replace("_", "-")
                raise UserError(f"--{option}: synthetic faces come as they are; leave it out")

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
        # records of earlier versions have none of these
        for name in ("eight", *_LIST_OPTIONS[1:], "fold"):
            if (value := getattr(self, name)) != getattr(DEFAULTS, name):
                record[name] = list(value) if isinstance(value, tuple | list) else value
        if source == SYNTHETIC:
            record |= {"count": self.count, "evidence": self.evidence, "spurious": self.spurious}
        return record


def _check_expression(option: str, expression: str) -> re.Pattern[str]:
    _check_text(option, expression)
    try:
        return re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"{option} '{expression}': no regular expression ({error})") from error


def _parse_label_map(text: str) -> Mapping[str, str]:
    """The class of each label: `text` is the name of a set with codes, or `label=class` with commas between."""
    if text.strip().lower() in CODES:
        return CODES[text.strip().lower()]
    classes: dict[str, str] = {}
    for pair in text.split(","):
        label, equals, name = (part.strip() for part in pair.partition("="))
        if not (label and equals and name):
            raise UserError(
                f"--label-map '{pair.strip()}': write label=class with commas between, as 1=surprise,2=fear, or the "
                f"name of a set with codes ({', '.join(CODES)})"
            )
        if classes.setdefault(label, class_name(name)) != class_name(name):
            raise UserError(
                f"--label-map: '{label}' is {classes[label]} and {name}; give each label one class"
            )
    return classes


def _check_text(option: str, text: str) -> None:
    """Raise UserError for text that no file of the workspace can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{option} '{text}': not in UTF-8; type it again") from error


DEFAULTS = PrepareSettings()
