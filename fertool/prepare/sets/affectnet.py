"""AffectNet: folders with an annotation a picture, and the lists of the manually annotated pictures."""

import io
import re

import numpy as np

from fertool.errors import UserError
from fertool.prepare.sets.codes import AFFECTNET, in_words
from fertool.prepare.sets.data_set import Candidate, DataSet
from fertool.prepare.sources.list_columns import find_columns
from fertool.prepare.sources.list_file import plain_label, rows_listed, with_numbered_ids
from fertool.prepare.sources.listing import Listed, Listing
from fertool.prepare.sources.picture_folders import is_picture
from fertool.prepare.sources.tables import TextTable

_PICTURE = re.compile(r"(?:^|/)(train|val)_set/images/([^/]+)\.\w+$")
_ANNOTATION = re.compile(r"(?:^|/)(?:train|val)_set/annotations/[^/]+_(exp|val|aro)\.npy$")
_KEPT = {"valence": "val", "arousal": "aro"}
_LISTS = {"training.csv": "train", "validation.csv": "val"}
_MOST_BYTES = 4096  # of a file that holds one number


def find(candidate: Candidate) -> Listing | None:
    """The pictures of train_set and val_set with their annotations; valence and arousal with --keep."""
    pictures = [(name, match) for name, match in candidate.matches(_PICTURE) if is_picture(name)]
    if not pictures or not any(candidate.matches(_ANNOTATION)):
        return None
    kept = [name for name in _KEPT if name in candidate.settings.keep]
    values = _annotations(candidate, {"exp", *(_KEPT[name] for name in kept)})
    faces = []
    for name, match in sorted(pictures, key=lambda pair: pair[0]):
        stem = f"{name[: match.start(1)]}{match[1]}_set/annotations/{match[2]}"
        where = candidate.files.where(name)
        if f"{stem}_exp.npy" not in values:
            raise UserError(
                f"{where}: has no annotation {stem}_exp.npy; get the set again, or remove the picture"
            )
        faces.append(
            Listed(
                picture=name,
                label=plain_label(values[f"{stem}_exp.npy"]),
                split=match[1],
                where=candidate.files.where(f"{stem}_exp.npy"),
                id=name,
                columns=tuple(values.get(f"{stem}_{_KEPT[column]}.npy", "") for column in kept),
            )
        )
    return Listing(
        name="AffectNet",
        kind=f"AffectNet, a folder of annotations beside the pictures ({in_words(AFFECTNET)})",
        store=candidate.store,
        faces=faces,
        codes=AFFECTNET,
        columns=tuple(kept),
    )


def _annotations(candidate: Candidate, kinds: set[str]) -> dict[str, str]:
    """The numbers in annotation files by their names, read in stored order."""
    values = {}
    for name, match in candidate.matches(_ANNOTATION):
        if match[1] not in kinds:
            continue
        where = candidate.files.where(name)
        try:
            if candidate.files.sizes[name] > _MOST_BYTES:
                raise ValueError("too large")
            values[name] = str(np.load(io.BytesIO(candidate.files.read(name)), allow_pickle=False).item())
        except (ValueError, EOFError, OSError, SyntaxError, TypeError):
            raise UserError(f"{where}: not an .npy file with one number; get it again") from None
    return values


def find_lists(candidate: Candidate) -> Listing | None:
    """The rows of training.csv and validation.csv, each face cut out by its box."""
    settings = candidate.settings
    tables = [
        (split, TextTable(candidate.files, name))
        for file, split in _LISTS.items()
        for name in candidate.files.sizes
        if name.rpartition("/")[2] == file and candidate.files.sizes[name] > 0
    ]
    tables = [
        (split, table)
        for split, table in tables
        if {"subdirectory_filepath", "expression"} <= {name.lower() for name in table.first}
    ]
    if not tables:
        return None
    faces: list[Listed] = []
    kept: tuple[str, ...] = ()
    for split, table in tables:
        columns = find_columns(table.first, False, None, settings.keep, table.where)
        if kept and tuple(columns.kept) != kept:
            raise UserError(f"{table.where}: has other columns than the list before it; get it again")
        kept = tuple(columns.kept)
        faces += rows_listed(
            candidate.files, table, columns, lambda label: settings.keeps(label, AFFECTNET), split=split
        )
    return Listing(
        name="AffectNet",
        kind=f"AffectNet, the lists of annotated pictures ({in_words(AFFECTNET)})",
        store=candidate.store,
        faces=with_numbered_ids(faces),
        codes=AFFECTNET,
        columns=kept,
    )


_LICENCE = "non-commercial research, an agreement signed by an institution; not passed on"
_CITATION = "Mollahosseini, Hasani, Mahoor 2019 (IEEE Trans. Affective Computing)"
_SPLITS = "train; the official val serves as test, val is a tenth of train"

AFFECTNET_FOLDERS = DataSet(
    name="AffectNet",
    form="{train,val}_set/images/N.jpg with annotations/N_exp.npy; valence and arousal with --keep",
    codes=in_words(AFFECTNET),
    splits=_SPLITS,
    licence=_LICENCE,
    citation=_CITATION,
    find=find,
)
AFFECTNET_LISTS = DataSet(
    name="AffectNet, lists",
    form="training.csv and validation.csv with subDirectory_filePath, face_x, ..., expression, beside the pictures",
    codes=in_words(AFFECTNET),
    splits=_SPLITS,
    licence=_LICENCE,
    citation=_CITATION,
    find=find_lists,
)
