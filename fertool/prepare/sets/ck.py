"""CK+: the sequences of pictures as they are handed out, and single frames in folders (CK+48)."""

import re
from collections import defaultdict
from dataclasses import replace

from fertool.errors import UserError
from fertool.prepare.emotions import class_name
from fertool.prepare.sets.codes import CK, CKEXTENDED, in_words
from fertool.prepare.sets.data_set import Candidate, DataSet
from fertool.prepare.sources.list_file import plain_label
from fertool.prepare.sources.listing import Listed, Listing

_FRAME = re.compile(r"(?:^|/)cohn-kanade-images/((S\d{3})/\d{3})/S\d{3}_\d{3}_(\d{8})\.png$")
_EMOTION = re.compile(r"(?:^|/)Emotion(?:_labels)?/((S\d{3})/\d{3})/[^/]+_emotion\.txt$")
_FRAME_FILE = re.compile(r"^(S\d{3})_\d{3}_\d{8}\.\w+$")
_NEUTRAL = "0"
_PEAK_FRAMES = 3
"""The last frames of a sequence, at the height of the emotion; the first one is neutral."""

_LONGEST = 100  # bytes of a file with one number


def find(candidate: Candidate) -> Listing | None:
    """The last three frames of each labelled sequence, and its first one as neutral."""
    sequences: dict[str, list[str]] = defaultdict(list)
    for name, match in candidate.matches(_FRAME):
        sequences[match[1]].append(name)
    if not sequences:
        return None
    emotions = {match[1]: name for name, match in candidate.matches(_EMOTION)}
    if not emotions:
        raise UserError(
            f"{candidate.files.path}: has CK+'s cohn-kanade-images and not its Emotion folder; unpack it beside "
            "the pictures"
        )
    faces: list[Listed] = []
    for sequence, name in sorted(emotions.items()):
        faces += _faces(candidate, sequence, sorted(sequences.get(sequence, ())), name)
    return Listing(
        name="CK+",
        kind=f"CK+, sequences ({in_words(CK)})",
        store=candidate.store,
        faces=faces,
        codes=CK,
        columns=("sequence",),
        whole_scenes=True,
        notes=(
            f"{len(emotions):,} of {len(sequences):,} sequences have a label: their last {_PEAK_FRAMES} frames are "
            "taken, and their first one as neutral",
        ),
    )


def _faces(candidate: Candidate, sequence: str, frames: list[str], emotion: str) -> list[Listed]:
    where = candidate.files.where(emotion)
    if len(frames) <= _PEAK_FRAMES:
        raise UserError(
            f"{where}: its sequence has {len(frames)} frames, too few for a neutral one and {_PEAK_FRAMES} of the "
            "emotion; get cohn-kanade-images again"
        )
    text = (
        ""
        if candidate.files.sizes[emotion] > _LONGEST
        else candidate.files.read(emotion).decode(errors="replace")
    )
    labels = [(frames[0], _NEUTRAL), *((frame, plain_label(text)) for frame in frames[-_PEAK_FRAMES:])]
    return [
        Listed(
            picture=frame,
            label=label,
            person=sequence[:4],
            where=where,
            id=frame.rpartition("/")[2].rpartition(".")[0],
            columns=(sequence.replace("/", "_"),),
        )
        for frame, label in labels
    ]


def find_folders(candidate: Candidate) -> Listing | None:
    """Frames named as CK+ names them, S010_004_00000017, in folders of classes."""
    if not any(_FRAME_FILE.match(name.rpartition("/")[2]) for name in candidate.files.sizes):
        return None
    listing = candidate.filled_folders
    if listing is None or any(class_name(face.label) not in CK.values() for face in listing.faces):
        return None
    matches = [_FRAME_FILE.match(face.picture.rpartition("/")[2]) for face in listing.faces]
    if not all(matches):
        return None
    faces = [
        replace(face, person=match[1])
        for face, match in zip(listing.faces, matches, strict=True)
        if match is not None
    ]
    return replace(listing, name="CK+", kind="CK+ frames in folders of classes, as CK+48", faces=faces)


_LICENCE = "non-commercial research, a signed agreement; only the persons who allow it may be shown"
_CITATION = "Kanade, Cohn, Tian 2000; Lucey et al. 2010 (CVPR workshops)"

CK_SEQUENCES = DataSet(
    name="CK+",
    form="cohn-kanade-images/S005/001/S005_001_00000001.png beside Emotion/S005/001/*_emotion.txt",
    codes=in_words(CK),
    splits="80/10/10 or --folds 10, by person",
    licence=_LICENCE,
    citation=_CITATION,
    find=find,
)
CK_FOLDERS = DataSet(
    name="CK+48",
    form="folders of classes, files named S010_004_00000017.png",
    codes="names",
    splits="80/10/10 or --folds 10, by person",
    licence=_LICENCE,
    citation=_CITATION,
    find=find_folders,
    revision=2,  # before, they were any folders of pictures, and a person stood in several splits
)
CK_EXTENDED = DataSet(
    name="ckextended.csv",
    form="its file name; the challenge's columns emotion, pixels, Usage",
    codes=in_words(CKEXTENDED),
    splits="Usage; persons are not told",
    licence=_LICENCE,
    citation=_CITATION,
    find=lambda _candidate: None,  # the reader of the challenge's csv knows it
)
