"""Folders of pictures: `[<split>/]<emotion>/<picture>`, anywhere below the top, FER2013's among them."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

import numpy as np

from fertool.errors import UserError
from fertool.prepare.emotions import choose_classes, class_name
from fertool.prepare.sources.archives import SourceFiles
from fertool.prepare.sources.decode import PICTURE_SUFFIXES, decode_face, opencv_silent
from fertool.prepare.sources.labelled_faces import CHALLENGE_ROWS, CHALLENGE_SPLITS, UNTOLD, LabelledFaces
from fertool.runtime.progress import progress_bar

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
_CHALLENGE_NAME = re.compile(r"^(Training|PublicTest|PrivateTest)_(\d+)$")
_BATCH = 256


@dataclass(frozen=True)
class Picture:
    """Where a picture stands: its file's name, its split (UNTOLD where the folders do not say) and class."""

    file: str
    split: str
    emotion: str


def is_picture(name: str) -> bool:
    """Whether a file is named as a picture that OpenCV reads."""
    return PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES


def read_picture_folders(files: SourceFiles, size: int, wanted: Sequence[str] | None) -> LabelledFaces:
    """Read the pictures of the classes to keep, `size` by `size` pixels, grey where all of them are.

    The file names of FER2013 tell the challenge's splits where there is no folder for val, and its rows where
    all of them lie within the challenge's range; faces stand in that order then, else in that of their sorted
    names. Raises UserError where there are no classes, a class's folder is empty, or a picture is damaged.
    """
    where = str(files.path)
    pictures, empty, stray = _layout(files)
    found = Counter(picture.emotion for picture in pictures)
    classes = choose_classes([*found, *empty], wanted, where)
    for name in classes:
        if name in empty:
            raise UserError(
                f"{where}: the folder of class '{name}' has no pictures; "
                "fill it, or leave the class out with --classes"
            )
    left_out = {name: count for name, count in sorted(found.items()) if name not in classes}
    pictures = [picture for picture in pictures if picture.emotion in classes]
    names = [_CHALLENGE_NAME.match(PurePosixPath(picture.file).stem) for picture in pictures]
    splits = [picture.split for picture in pictures]
    is_fer2013 = all(names)
    if "val" not in splits:
        splits = [_told_by_name(name, split, is_fer2013) for name, split in zip(names, splits, strict=True)]
    rows = _challenge_rows(names)
    if rows is not None:
        ids = [PurePosixPath(picture.file).stem for picture in pictures]
        order = np.argsort(rows)
    else:
        ids = [picture.file for picture in pictures]
        order = np.array(sorted(range(len(pictures)), key=lambda index: pictures[index].file), np.int64)

    position = np.empty(len(pictures), np.int64)
    position[order] = np.arange(len(pictures))
    images = _read_images(files, [picture.file for picture in pictures], position, size)
    notes: tuple[str, ...] = ()
    if stray:
        notes = (f"{stray} pictures that stand in no class's folder left out",)
    return LabelledFaces(
        name="FER2013" if is_fer2013 else _name(files),
        kind="FER2013 pictures" if is_fer2013 else "picture folders",
        images=images,
        classes=classes,
        labels=np.array([classes.index(picture.emotion) for picture in pictures], np.int64)[order],
        splits=np.array(splits)[order],
        ids=np.array(ids)[order],
        sources=np.array([picture.file for picture in pictures])[order],
        challenge_rows=None if rows is None else np.array(rows, np.int64)[order],
        left_out=left_out,
        notes=notes,
    )


def _layout(files: SourceFiles) -> tuple[list[Picture], list[str], int]:
    """The pictures in stored order, the classes of empty folders, and how many pictures are in no class.

    A folder named as a split holds the classes; where none is, the deepest folder does that all share.
    """
    names = [name for name in files.sizes if is_picture(name)]
    parents = {name: PurePosixPath(name).parent.parts for name in names}
    has_splits = any(_split_depth(parts) is not None for parts in parents.values())
    top = 0
    if not has_splits and parents:
        folders = [parts for parts in parents.values() if parts]
        if folders:
            shared = PurePosixPath(os.path.commonpath(["/".join(parts) for parts in folders]))
            top = len(shared.parts)
            if all(len(parts) == top for parts in folders):
                top -= 1  # a single folder, and that is a class

    def place(parts: tuple[str, ...]) -> tuple[str, str] | None:
        depth = _split_depth(parts)
        if has_splits and depth is None:
            return None
        start = top if depth is None else depth + 1
        if len(parts) <= start:
            return None
        return UNTOLD if depth is None else _FOLDER_SPLITS[parts[depth].lower()], class_name(parts[start])

    pictures = []
    for name in names:
        placed = place(parents[name])
        if placed is not None:
            pictures.append(Picture(name, *placed))
    filled = {picture.emotion for picture in pictures}
    placed_folders = [place(PurePosixPath(folder).parts) for folder in sorted(files.folders)]
    empty = {placed[1] for placed in placed_folders if placed is not None} - filled
    return pictures, sorted(empty), len(names) - len(pictures)


def _split_depth(parts: tuple[str, ...]) -> int | None:
    return max((depth for depth, part in enumerate(parts) if part.lower() in _FOLDER_SPLITS), default=None)


def _told_by_name(name: re.Match[str] | None, split: str, is_fer2013: bool) -> str:
    """The split as FER2013's file names tell it: PublicTest is val, also in a folder for test."""
    told = CHALLENGE_SPLITS[name[1]] if name else UNTOLD
    if split == UNTOLD and is_fer2013:
        return told
    return "val" if split == "test" and told == "val" else split


def _challenge_rows(names: list[re.Match[str] | None]) -> list[int] | None:
    """The challenge's rows as file names tell them; None where they do not (some copies number otherwise)."""
    rows = [int(name[2]) for name in names if name]
    if len(rows) < len(names) or len(set(rows)) < len(rows) or max(rows) >= CHALLENGE_ROWS:
        return None
    return rows


def _name(files: SourceFiles) -> str:
    path = files.path.resolve()
    return path.name if path.is_dir() else path.name.split(".")[0]


def _read_images(files: SourceFiles, names: list[str], position: np.ndarray, size: int) -> np.ndarray:
    """The faces of `names`, each at its `position`: read in stored order, decoded by threads."""
    images = np.empty((len(names), size, size), np.uint8)
    index = 0
    with (
        opencv_silent(),
        ThreadPoolExecutor() as threads,
        progress_bar("reading faces", len(names), "faces") as bar,
    ):
        for batch in _batches(names):
            blobs = [files.read(name) for name in batch]
            wheres = [files.where(name) for name in batch]
            for face in threads.map(decode_face, blobs, [size] * len(batch), wheres):
                if face.ndim > images.ndim - 1:
                    images = np.repeat(images[..., None], 3, axis=3)
                images[position[index]] = face if face.ndim == images.ndim - 1 else face[..., None]
                index += 1
            bar.update(len(batch))
    return images


def _batches(names: list[str]) -> Iterator[list[str]]:
    remaining = iter(names)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
