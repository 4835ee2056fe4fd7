"""The files of a source -> labelled faces, whatever its form is."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fertool.errors import UserError
from fertool.prepare.settings import PrepareSettings
from fertool.prepare.sources.challenge_csv import advice, has_challenge_columns, read_challenge_csv
from fertool.prepare.sources.label_from import list_by_expression
from fertool.prepare.sources.labelled_faces import LabelledFaces
from fertool.prepare.sources.list_file import list_from_table, refuse_bare_codes
from fertool.prepare.sources.listing import Listing
from fertool.prepare.sources.open_source import open_source
from fertool.prepare.sources.picture_folders import is_picture, list_picture_folders, suffix
from fertool.prepare.sources.read_listing import read_listing
from fertool.prepare.sources.source_files import SourceFiles
from fertool.prepare.sources.tables import TextTable


def read_source(files: SourceFiles, settings: PrepareSettings, wanted: Sequence[str] | None) -> LabelledFaces:
    """Recognise the form of a source and read the faces of the classes to keep.

    Args:
        files: the source.
        settings: the size of the faces, and what they say of lists, labels and boxes.
        wanted: the classes to keep. Default: those of the seven emotions that there are.

    Raises:
        UserError: where the source is in no form that is known, and for anything wrong with it.
    """
    listing = _told_listing(files, settings)
    if listing is None:
        table = _challenge_csv(files)
        if table is not None:
            return read_challenge_csv(files, table, settings).with_classes(wanted, str(files.path))
        listing = _folders(files, settings)
    return read_listing(listing, settings, wanted)


def _told_listing(files: SourceFiles, settings: PrepareSettings) -> Listing | None:
    """The listing of a source whose labels the user says where to find; None: the form is to be recognised."""
    if settings.label_from is not None:
        return list_by_expression(files, settings)
    path = settings.list_file
    if path is None:
        return None
    if path.is_file():
        with open_source(path) as lists:
            return list_from_table(files, TextTable(lists, next(iter(lists.sizes))), settings)
    name = Path(path).as_posix()
    if name not in files.sizes:
        raise UserError(f"{path}: no such file, and none of that name in {files.path}; check --list")
    return list_from_table(files, TextTable(files, name), settings)


def _challenge_csv(files: SourceFiles) -> str | None:
    """The first of a source's tables that has the challenge's columns."""
    return next((name for name in _tables(files) if has_challenge_columns(files, name)), None)


def _tables(files: SourceFiles) -> list[str]:
    if len(files.sizes) == 1 and not files.packed and files.path.is_file():
        return list(files.sizes)
    return [name for name in files.sizes if name.lower().endswith(".csv")]


def _folders(files: SourceFiles, settings: PrepareSettings) -> Listing:
    if any(is_picture(name) for name in files.sizes) and files.folders:
        listing = list_picture_folders(files, settings.keeps)
        if settings.wanted is None and settings.label_map is None:
            _refuse_numbered_folders(listing)
        for name in settings.keep:
            raise UserError(f"--keep {name}: folders of pictures have no columns; give them with --list")
        return listing
    if tables := _tables(files):
        raise UserError(advice(files, tables))
    kinds = Counter(suffix(name) or "without suffix" for name in files.sizes)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(4))
    raise UserError(
        f"{files.path}: holds neither the challenge's csv nor <emotion>/<picture> folders"
        + (f" (its files: {counts})" if counts else "")
        + "; check the path"
    )


def _refuse_numbered_folders(listing: Listing) -> None:
    """Raise UserError where all folders of classes are numbers: which emotions they mean differs between sets."""
    if listing.faces and all(face.label.isdecimal() for face in listing.faces):
        refuse_bare_codes(listing.faces, str(listing.store.path))
