"""Folders of pictures: `[<split>/]<emotion>/<picture>`, anywhere below the top, FER2013's among them."""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np

from fertool.errors import UserError
from fertool.prepare.emotions import class_name
from fertool.prepare.sources.decode import PICTURE_SUFFIXES
from fertool.prepare.sources.labelled_faces import (
    CHALLENGE_NAME,
    CHALLENGE_ROWS,
    CHALLENGE_SPLITS,
    UNTOLD,
)
from fertool.prepare.sources.listing import Listed, Listing
from fertool.prepare.sources.read_pictures import FileStore
from fertool.prepare.sources.source_files import SourceFiles
from fertool.prepare.sources.split_names import FOLDERS, split_named
from fertool.runtime.printable import printable

_CHALLENGE_FILE = re.compile(r"^(Training|PublicTest|PrivateTest)_(\d{1,9})$")
_MOST_SUFFIXES = 8  # that a note names


@dataclass(frozen=True)
class Picture:
    """Where a picture stands: its file's name, its split (UNTOLD where the folders do not say) and its folder."""

    file: str
    split: str
    label: str

    @property
    def stem(self) -> str:
        """The file's name without folders and suffix."""
        return posixpath.splitext(posixpath.basename(self.file))[0]

    @cached_property
    def challenge_name(self) -> re.Match[str] | None:
        """Usage and row as FER2013's file names have them, `Training_123.jpg`; None for another name."""
        return _CHALLENGE_FILE.match(self.stem)


def is_picture(name: str) -> bool:
    """Whether a file is named as a picture."""
    return suffix(name) in PICTURE_SUFFIXES


def suffix(name: str) -> str:
    """The suffix of a file's name in lower case, with its dot; empty where it has none."""
    return posixpath.splitext(name)[1].lower()


def list_picture_folders(files: SourceFiles, keeps: Callable[[str], bool]) -> Listing:
    """List the pictures in folders of classes; `keeps` says whether the pictures of a folder will be kept.

    The file names of FER2013 tell the challenge's splits where there is no folder for val, and its rows where
    all of them lie within the challenge's range; faces stand in that order then, else in that of their sorted
    names.
    """
    pictures, empty, stray = _layout(files)
    kept = [picture for picture in pictures if keeps(picture.label)]
    is_whole = len(pictures) == CHALLENGE_ROWS and all(picture.challenge_name for picture in pictures)
    is_challenge = bool(kept) and all(picture.challenge_name for picture in kept)
    rows = _challenge_rows(kept)
    pictures.sort(key=lambda picture: picture.file)
    if rows is not None:
        pictures.sort(key=lambda picture: rows.get(picture.file, CHALLENGE_ROWS))
    return Listing(
        name=CHALLENGE_NAME if is_whole else source_name(files),
        kind=f"{CHALLENGE_NAME} pictures" if is_challenge else "picture folders",
        store=FileStore(files),
        faces=[
            Listed(
                picture=picture.file,
                label=picture.label,
                split=split,
                id=picture.file if rows is None else picture.stem,
            )
            for picture, split in zip(pictures, _splits(pictures, is_challenge), strict=True)
        ],
        empty_classes=empty,
        challenge_rows=None
        if rows is None
        else np.array([rows.get(picture.file, -1) for picture in pictures], np.int64),
        notes=tuple(left_out_notes(files, stray)),
    )


def refuse_empty_test(files: SourceFiles, listing: Listing) -> None:
    """Raise UserError where there is a folder for test and no picture in it: val would serve as test in silence."""
    if not listing.faces or any(face.split == "test" for face in listing.faces):
        return
    folder = next((name for name in files.folders if split_named(PurePosixPath(name).name) == "test"), None)
    if folder is not None:
        raise UserError(
            f"{files.path}: split 'test' is empty ({folder} holds no picture); fill it or remove it"
        )


def left_out_notes(files: SourceFiles, stray: int) -> Iterator[str]:
    """A note on `stray` pictures that are in no class, and one on files that are no pictures."""
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
        return UNTOLD if depth is None else split_named(parts[depth]) or UNTOLD, parts[start]

    pictures = []
    for name in names:
        placed = split_and_class(folders[name])
        if placed is not None:
            pictures.append(Picture(name, *placed))
    filled = {class_name(picture.label) for picture in pictures}
    placed_folders = [split_and_class(PurePosixPath(folder).parts) for folder in sorted(files.folders)]
    empty = {class_name(placed[1]) for placed in placed_folders if placed is not None} - filled
    return pictures, sorted(empty), len(names) - len(pictures)


def _classes_depth(folders: list[tuple[str, ...]]) -> int:
    """The number of folders above the classes' own: all pictures share them."""
    if not folders:
        return 0
    depth = len(PurePosixPath(os.path.commonpath(["/".join(parts) for parts in folders])).parts)
    # a single folder is a class
    return depth - 1 if all(len(parts) == depth for parts in folders) else depth


def _split_depth(parts: tuple[str, ...]) -> int | None:
    return max((depth for depth, part in enumerate(parts) if part.lower() in FOLDERS), default=None)


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
    if not rows or len(rows) < len(pictures) or len(set(rows.values())) < len(rows):
        return None
    return rows if max(rows.values()) < CHALLENGE_ROWS else None


def source_name(files: SourceFiles) -> str:
    """The name of a data set that has no other: its file's or folder's, without suffix."""
    path = files.path.resolve()
    return printable(path.name if path.is_dir() else path.name.split(".")[0])
