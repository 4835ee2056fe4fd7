"""ExpW, SFEW 2.0 and CAER-S: faces from the web and from films."""

import re
from dataclasses import replace

from fertool.errors import UserError
from fertool.prepare.sets.codes import EXPW, in_words
from fertool.prepare.sets.data_set import Candidate, DataSet
from fertool.prepare.sources.list_columns import Columns
from fertool.prepare.sources.list_file import rows_listed, with_numbered_ids
from fertool.prepare.sources.listing import Listed, Listing
from fertool.prepare.sources.picture_folders import is_picture
from fertool.prepare.sources.tables import TextTable

_EXPW_LIST = re.compile(r"(?:^|/)label/label\.lst$")
_EXPW_COLUMNS = Columns(
    roles={"path": 0, "top": 2, "left": 3, "right": 4, "bottom": 5, "label": 7},
    kept={"confidence": 6},
    has_header=False,
)
_EXPW_WIDTH = 8

_SFEW_FILE = re.compile(r"(?:^|/)(Train|Val|Test)/\1_Aligned_Faces[^/]*/(?:(.+)/)?[^/]+$")

_CAER_CLASSES = {"Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"}
_CAER_FILE = re.compile(r"(?:^|/)\d{4}\.png$")


def find_expw(candidate: Candidate) -> Listing | None:
    """The rows of label/label.lst, each face cut out of image/origin by its box."""
    name = candidate.only(_EXPW_LIST)
    if name is None:
        return None
    table = TextTable(candidate.files, name)
    if len(table.first) != _EXPW_WIDTH:
        raise UserError(
            f"{table.where}: {len(table.first)} columns where {_EXPW_WIDTH} belong (name, face number, top, left, "
            "right, bottom, confidence, label); get it again"
        )
    faces = rows_listed(
        candidate.files,
        table,
        _EXPW_COLUMNS,
        lambda label: candidate.settings.keeps(label, EXPW),
        top=f"{name.removesuffix('label/label.lst')}image/origin/",
    )
    return Listing(
        name="ExpW",
        kind=f"ExpW, label/label.lst ({in_words(EXPW)})",
        store=candidate.store,
        faces=with_numbered_ids(list(faces)),
        codes=EXPW,
        columns=("confidence",),
    )


def find_sfew(candidate: Candidate) -> Listing | None:
    """The aligned faces of Train and Val; those of Test have no labels and are left out."""
    found = [(name, match) for name, match in candidate.matches(_SFEW_FILE) if is_picture(name)]
    if not any(match[1] != "Test" for _, match in found):
        return None
    faces = [
        Listed(
            picture=name,
            label=match[2].rpartition("/")[2],
            split=match[1].lower(),
            where=candidate.files.where(name),
        )
        for name, match in sorted(found, key=lambda pair: pair[0])
        if match[1] != "Test" and match[2]
    ]
    unlabelled = sum(match[1] == "Test" for _, match in found)
    notes = (f"{unlabelled:,} pictures of Test have no labels and are left out",) if unlabelled else ()
    return Listing(
        name="SFEW 2.0",
        kind="SFEW 2.0, aligned faces in folders of classes",
        store=candidate.store,
        faces=faces,
        notes=notes,
    )


def find_caer(candidate: Candidate) -> Listing | None:
    """CAER-S is known by its seven folders' spelling, its splits train and test, and files of four digits."""
    listing = candidate.filled_folders
    if listing is None or {face.label for face in listing.faces} != _CAER_CLASSES:
        return None
    if {face.split for face in listing.faces} != {"train", "test"}:
        return None
    if not all(_CAER_FILE.search(face.picture) for face in listing.faces):
        return None
    return replace(
        listing, name="CAER-S", kind="CAER-S, whole scenes in folders of classes", whole_scenes=True
    )


EXPW_SET = DataSet(
    name="ExpW",
    form="label/label.lst beside image/origin/; faces are cut out by their boxes (--margin)",
    codes=in_words(EXPW),
    splits="80/10/10",
    licence="non-commercial research; not passed on",
    citation="Zhang, Luo, Loy, Tang 2018 (IJCV)",
    find=find_expw,
)
SFEW = DataSet(
    name="SFEW 2.0",
    form="{Train,Val}/{Train,Val}_Aligned_Faces/<class>/",
    codes="names",
    splits="train; val serves as test, val is a tenth of train; the official test has no labels",
    licence="non-commercial research, an agreement signed by an institution",
    citation="Dhall, Goecke, Lucey, Gedeon 2011 (ICCV workshops); Dhall et al. 2015 (ICMI)",
    find=find_sfew,
)
CAER_S = DataSet(
    name="CAER-S",
    form="{train,test}/{Anger,Disgust,Fear,Happy,Neutral,Sad,Surprise}/0001.png; whole scenes: --crop-faces",
    codes="names",
    splits="train and test; val is a tenth of train",
    licence="non-commercial research",
    citation="Lee, Kim, Kim, Park, Sohn 2019 (ICCV)",
    find=find_caer,
)
