"""Folders of pictures: `[<split>/]<emotion>/<picture>`, anywhere below the top, FER2013's among them."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from fertool.errors import UserError
from fertool.prepare.emotions import choose_classes, class_name
from fertool.prepare.sources.decode import PICTURE_SUFFIXES
from fertool.prepare.sources.labelled_faces import (
    CHALLENGE_NAME,
    CHALLENGE_ROWS,
    CHALLENGE_SPLITS,
    UNTOLD,
    LabelledFaces,
)
from fertool.prepare.sources.read_pictures import read_pictures
from fertool.prepare.sources.source_files import SourceFiles
from fertool.runtime.printable import printable

_FOLDER_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "publictest": "val",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}
_CHALLENGE_FILE = re.compile(r"^(Training|PublicTest|PrivateTest)_(\d{1,9})$")
_MOST_SUFFIXES = 8  # that a note names


@dataclass(frozen=True)
class Picture:
    """Where a picture stands: its file's name, its split (UNTOLD where the folders do not say) and class."""

    file: str
    split: str
    emotion: str

    @property
    def stem(self) -> str:
        """The file's name without folders and suffix."""
        return PurePosixPath(self.file).stem

    @property
    def challenge_name(self) -> re.Match[str] | None:
        """Usage and row as FER2013's file names have them, `Training_123.jpg`; None for another name."""
        return _CHALLENGE_FILE.match(self.stem)


def is_picture(name: str) -> bool:
    """Whether a file is named as a picture."""
    return suffix(name) in PICTURE_SUFFIXES


def suffix(name: str) -> str:
    """The suffix of a file's name in lower case, with its dot; empty where it has none."""
    return PurePosixPath(name).suffix.lower()


def read_picture_folders(files: SourceFiles, size: int, wanted: Sequence[str] | None) -> LabelledFaces:
    """Read the pictures of the classes to keep, `size` by `size` pixels, grey where all of them are.

    The file names of FER2013 tell the challenge's splits where there is no folder for val, and its rows where
    all of them lie within the challenge's range; faces stand in that order then, else in that of their sorted
    names. Raises UserError where there are no classes, a class's folder is empty, or a picture is damaged.
    """
    where = str(files.path)
    pictures, empty, stray = _layout(files)
    found = Counter(picture.emotion for picture in pictures)
    is_whole = len(pictures) == CHALLENGE_ROWS and all(picture.challenge_name for picture in pictures)
    classes = _choose(found, empty, wanted, where)
    pictures = [picture for picture in pictures if picture.emotion in classes]
    is_challenge = all(picture.challenge_name for picture in pictures)
    rows = _challenge_rows(pictures)
    pictures.sort(key=lambda picture: picture.file)
    if rows is not None:
        pictures.sort(key=lambda picture: rows[picture.file])
    images, notes = read_pictures(files, {picture.file: row for row, picture in enumerate(pictures)}, size)
    return LabelledFaces(
        name=CHALLENGE_NAME if is_whole else _name(files),
        kind=f"{CHALLENGE_NAME} pictures" if is_challenge else "picture folders",
        images=images,
        classes=classes,
        labels=np.array([classes.index(picture.emotion) for picture in pictures], np.int64),
        splits=np.array(_splits(pictures, is_challenge)),
        ids=np.array([picture.file if rows is None else picture.stem for picture in pictures]),
        sources=np.array([picture.file for picture in pictures]),
        challenge_rows=None if rows is None else np.array([rows[p.file] for p in pictures], np.int64),
        left_out={name: count for name, count in sorted(found.items()) if name not in classes},
        notes=(*_left_out_notes(files, stray), *notes),
    )


def _choose(
    found: Mapping[str, int], empty: Sequence[str], wanted: Sequence[str] | None, where: str
) -> list[str]:
    classes = choose_classes([*found, *empty], wanted, where)
    for name in classes:
        if name in empty:
            raise UserError(
                f"{where}: the folder of class '{name}' has no pictures; "
                "fill it, or leave the class out with --classes"
            )
    return classes


def _left_out_notes(files: SourceFiles, stray: int) -> Iterator[str]:
    if stray:
        yield f"{stray:,} pictures that stand in no class's folder left out"
    others = Counter(suffix(name) or "without suffix" for name in files.sizes if not is_picture(name))
    if others:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in others.most_common(_MOST_SUFFIXES))
        more = ", ..." if len(others) > _MOST_SUFFIXES else ""
        yield f"{others.total():,} files that are no pictures left out: {printable(counts)}{more}"


def _layout(files: SourceFiles) -> tuple[list[Picture], list[str], int]:
    """The pictures in stored order, the classes of empty folders, and how many pictures are in no class.

    A folder named as a split holds the classes; where none is, the deepest folder that all share does.
    """
    names = [name for name in files.sizes if is_picture(name)]
    folders = {name: PurePosixPath(name).parent.parts for name in names}
    has_splits = any(_split_depth(parts) is not None for parts in folders.values())
    top = 0 if has_splits else _classes_depth([parts for parts in folders.values() if parts])

    def split_and_class(parts: tuple[str, ...]) -> tuple[str, str] | None:
        depth = _split_depth(parts)
        if has_splits and depth is None:
            return None
        start = top if depth is None else depth + 1
        if len(parts) <= start:
            return None
        return UNTOLD if depth is None else _FOLDER_SPLITS[parts[depth].lower()], class_name(parts[start])

    pictures = []
    for name in names:
        placed = split_and_class(folders[name])
        if placed is not None:
            pictures.append(Picture(name, *placed))
    filled = {picture.emotion for picture in pictures}
    placed_folders = [split_and_class(PurePosixPath(folder).parts) for folder in sorted(files.folders)]
    empty = {placed[1] for placed in placed_folders if placed is not None} - filled
    return pictures, sorted(empty), len(names) - len(pictures)


def _classes_depth(folders: list[tuple[str, ...]]) -> int:
    """The number of folders above the classes' own: all pictures share them."""
    if not folders:
        return 0
    depth = len(PurePosixPath(os.path.commonpath(["/".join(parts) for parts in folders])).parts)
    # a single folder is a class
    return depth - 1 if all(len(parts) == depth for parts in folders) else depth


def _split_depth(parts: tuple[str, ...]) -> int | None:
    return max((depth for depth, part in enumerate(parts) if part.lower() in _FOLDER_SPLITS), default=None)


def _splits(pictures: list[Picture], is_challenge: bool) -> list[str]:
    """The splits as folders tell them, and as FER2013's names do where there is no folder for val."""
    splits = [picture.split for picture in pictures]
    if "val" in splits:
        return splits
    return [_told_by_name(picture, is_challenge) for picture in pictures]


def _told_by_name(picture: Picture, is_challenge: bool) -> str:
    """The split as FER2013's file names tell it: PublicTest is val, also in a folder for test."""
    match = picture.challenge_name
    told = CHALLENGE_SPLITS[match[1]] if match else UNTOLD
    if picture.split == UNTOLD and is_challenge:
        return told
    return "val" if picture.split == "test" and told == "val" else picture.split


def _challenge_rows(pictures: list[Picture]) -> dict[str, int] | None:
    """The challenge's row of each file, as names tell it; None where they do not (some copies number otherwise)."""
    rows = {picture.file: int(match[2]) for picture in pictures if (match := picture.challenge_name)}
    if len(rows) < len(pictures) or len(set(rows.values())) < len(rows):
        return None
    return rows if max(rows.values()) < CHALLENGE_ROWS else None


def _name(files: SourceFiles) -> str:
    path = files.path.resolve()
    return printable(path.name if path.is_dir() else path.name.split(".")[0])
