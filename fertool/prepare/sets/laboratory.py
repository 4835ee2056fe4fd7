"""JAFFE and KDEF: pictures from a laboratory, whose names tell person and emotion."""

import re
from collections.abc import Mapping

from fertool.errors import UserError
from fertool.prepare.sets.codes import in_words
from fertool.prepare.sets.data_set import Candidate, DataSet
from fertool.prepare.sources.listing import Listed, Listing
from fertool.prepare.sources.picture_folders import is_picture

_JAFFE_FILE = re.compile(r"(?:^|/)([A-Z]{2})\.([A-Z]{2})\d\.\d+\.tiff?$")
_KDEF_FILE = re.compile(r"(?:^|/)([AB])([FM])(\d{2})([A-Z]{2})(S|[HF][LR])\.jpe?g$", re.IGNORECASE)
_JAFFE = {
    "NE": "neutral", "HA": "happy", "SA": "sad", "SU": "surprise", "AN": "angry", "DI": "disgust", "FE": "fear",
}  # fmt: skip
_KDEF = {
    "AF": "fear", "AN": "angry", "DI": "disgust", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise",
}  # fmt: skip
FRONTAL = ("S",)
_ANGLES = {"S": "straight", "HL": "half left", "HR": "half right", "FL": "full left", "FR": "full right"}
_SEXES: Mapping[str, str] = {"F": "female", "M": "male"}


def _matching(candidate: Candidate, pattern: re.Pattern[str]) -> tuple[list[tuple[str, re.Match[str]]], int]:
    """The pictures that are named as a set names its own, where most are, and how many others there are."""
    found = sorted(candidate.matches(pattern), key=lambda pair: pair[0])
    if not found:
        return [], 0
    others = sum(map(is_picture, candidate.files.sizes)) - len(found)
    return ([], 0) if others > len(found) else (found, others)


def _stray(others: int, form: str) -> tuple[str, ...]:
    return (f"{others:,} pictures that are not named as {form} left out",) if others else ()


def find_jaffe(candidate: Candidate) -> Listing | None:
    """Pictures named KA.AN1.39.tiff: person, emotion and number, running number."""
    found, others = _matching(candidate, _JAFFE_FILE)
    if not found:
        return None
    return Listing(
        name="JAFFE",
        kind=f"JAFFE, by its file names ({in_words(_JAFFE)})",
        store=candidate.store,
        faces=[
            Listed(picture=name, label=match[2], person=match[1], where=candidate.files.where(name))
            for name, match in found
        ],
        codes=_JAFFE,
        whole_scenes=True,
        notes=_stray(others, "KA.AN1.39.tiff"),
    )


def find_kdef(candidate: Candidate) -> Listing | None:
    """Pictures named AF01ANS.JPG: series, sex, person, emotion, angle; those of the wanted angles."""
    found, others = _matching(candidate, _KDEF_FILE)
    if not found:
        return None
    angles = tuple(candidate.settings.angles) or FRONTAL
    faces = [
        Listed(
            picture=name,
            label=match[4].upper(),
            # the same person in both series
            person=f"{match[2]}{match[3]}".upper(),
            where=candidate.files.where(name),
            columns=(match[1].upper(), _SEXES[match[2].upper()], match[5].upper()),
        )
        for name, match in found
        if match[5].upper() in angles
    ]
    for angle in angles:
        if not any(face.columns[2] == angle for face in faces):
            raise UserError(f"{candidate.files.path}: no picture of angle {angle}; correct --angles")
    words = " and ".join(_ANGLES[angle] for angle in angles)
    return Listing(
        name="KDEF",
        kind=f"KDEF, by its file names, {words} ({in_words(_KDEF)})",
        store=candidate.store,
        faces=faces,
        codes=_KDEF,
        columns=("series", "sex", "angle"),
        whole_scenes=True,
        notes=(
            f"angles: {','.join(angles)}; {len(found) - len(faces):,} pictures of other angles left out",
            *_stray(others, "AF01ANS.JPG"),
        ),
    )


JAFFE = DataSet(
    name="JAFFE",
    form="files named KA.AN1.39.tiff: person, emotion and number, running number",
    codes=in_words(_JAFFE),
    splits="80/10/10 or --folds 10, by person",
    licence="non-commercial research; not passed on, few pictures may be printed",
    citation="Lyons, Akamatsu, Kamachi, Gyoba 1998 (FG)",
    find=find_jaffe,
    revision=2,  # before, persons in folders of classes were not told
)
KDEF = DataSet(
    name="KDEF",
    form="AF01/AF01ANS.JPG: series, sex, person, emotion, angle; --angles S,HL,HR (default S)",
    codes=in_words(_KDEF),
    splits="80/10/10 or --folds 10, by person",
    licence="non-commercial research; not passed on, only named pictures may be printed",
    citation="Lundqvist, Flykt, Öhman 1998 (Karolinska Institutet)",
    find=find_kdef,
    revision=2,  # before, persons in folders of classes were not told
)
