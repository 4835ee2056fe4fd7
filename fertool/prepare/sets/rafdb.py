"""RAF-DB, basic emotions: as it is handed out, and as folders 1 to 7."""

import re
from dataclasses import replace

from fertool.errors import UserError
from fertool.prepare.sets.codes import RAF_DB, in_words
from fertool.prepare.sets.data_set import Candidate, DataSet
from fertool.prepare.sources.list_file import plain_label
from fertool.prepare.sources.listing import Listed, Listing
from fertool.prepare.sources.tables import TextTable

_LIST = re.compile(r"(?:^|/)EmoLabel/list_patition_label\.txt$")
_FILE = re.compile(r"^(train|test)_\d+")
_ATTRIBUTES = {
    "sex": {"0": "male", "1": "female", "2": "unsure"},
    "race": {"0": "Caucasian", "1": "African-American", "2": "Asian"},
    "age": {"0": "0-3", "1": "4-19", "2": "20-39", "3": "40-69", "4": "70+"},
}
"""The last three lines of Annotation/manual/*_manu_attri.txt, after five landmarks."""


def find(candidate: Candidate) -> Listing | None:
    """The faces of EmoLabel/list_patition_label.txt, aligned ones where they are there."""
    name = candidate.only(_LIST)
    if name is None:
        return None
    top = name[: -len("EmoLabel/list_patition_label.txt")]
    is_aligned = f"{top}Image/aligned" in candidate.files.folders
    has_attributes = f"{top}Annotation/manual" in candidate.files.folders
    table = TextTable(candidate.files, name)
    if len(table.first) != 2:
        raise UserError(
            f"{table.where}: {len(table.first)} columns where a name and a code belong; get it again"
        )
    faces = []
    for where, (picture, code) in table.rows([0, 1], has_header=False):
        prefix = _FILE.match(picture)
        if prefix is None:
            raise UserError(
                f"{where}: '{picture[:60]}' begins neither with train_ nor with test_; get it again"
            )
        stem = picture.rpartition(".")[0]
        file = f"Image/aligned/{stem}_aligned.jpg" if is_aligned else f"Image/original/{picture}"
        faces.append(
            Listed(
                picture=candidate.require(top + file, where),
                label=plain_label(code),
                split=prefix[1],
                where=where,
                id=stem,
                columns=_attributes(candidate, f"{top}Annotation/manual/{stem}_manu_attri.txt")
                if has_attributes
                else (),
            )
        )
    return Listing(
        name="RAF-DB",
        kind=f"RAF-DB basic, {'aligned faces' if is_aligned else 'original pictures'} ({in_words(RAF_DB)})",
        store=candidate.store,
        faces=faces,
        codes=RAF_DB,
        columns=tuple(_ATTRIBUTES) if has_attributes else (),
        whole_scenes=not is_aligned,
    )


def _attributes(candidate: Candidate, name: str) -> tuple[str, ...]:
    """Sex, race and age of a face; empty where there is no file for it."""
    if name not in candidate.files.sizes:
        return ("",) * len(_ATTRIBUTES)
    lines = candidate.files.read(name).decode(errors="replace").split("\n")
    codes = [line.strip() for line in lines if line.strip()][-len(_ATTRIBUTES) :]
    values = [meanings.get(code) for code, meanings in zip(codes, _ATTRIBUTES.values(), strict=False)]
    if len(values) != len(_ATTRIBUTES) or None in values:
        raise UserError(
            f"{candidate.files.where(name)}: ends with {', '.join(codes)[:60]}, not with codes of sex, race and age; "
            "get it again"
        )
    return tuple(value or "" for value in values)


def find_folders(candidate: Candidate) -> Listing | None:
    """Folders 1 to 7 whose pictures are named train_00001 and test_0001: no other set has both."""
    listing = candidate.filled_folders
    if listing is None or candidate.settings.label_map is not None:
        return None
    if not {face.label for face in listing.faces} <= set(RAF_DB):
        return None
    if not all(_FILE.match(face.picture.rpartition("/")[2]) for face in listing.faces):
        return None
    return replace(
        listing,
        name="RAF-DB",
        kind=f"RAF-DB as folders 1 to 7 of pictures train_... and test_... ({in_words(RAF_DB)})",
        codes=RAF_DB,
    )


_LICENCE = "non-commercial research, asked for by an institution; not passed on"
_CITATION = "Li, Deng, Du 2017 (CVPR); Li, Deng 2019 (IEEE TIP)"

RAF_DB_BASIC = DataSet(
    name="RAF-DB basic",
    form="EmoLabel/list_patition_label.txt beside Image/aligned or Image/original; sex, race and age from "
    "Annotation/manual",
    codes=in_words(RAF_DB),
    splits="train and test, by the files' prefix; val is a tenth of train",
    licence=_LICENCE,
    citation=_CITATION,
    find=find,
)
RAF_DB_FOLDERS = DataSet(
    name="RAF-DB, folders",
    form="{train,test}/{1..7}/ without 0, files named train_... and test_...",
    codes=in_words(RAF_DB),
    splits="the folders; val is a tenth of train",
    licence=_LICENCE,
    citation=_CITATION,
    find=find_folders,
)
