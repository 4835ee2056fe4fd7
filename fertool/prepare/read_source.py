"""The files of a source -> labelled faces, whatever its form is."""

from collections import Counter
from collections.abc import Sequence

from fertool.errors import UserError
from fertool.prepare.sets.data_set import Candidate
from fertool.prepare.sets.fer2013 import named
from fertool.prepare.sets.laboratory import KDEF
from fertool.prepare.sets.registry import recognise
from fertool.prepare.settings import PrepareSettings
from fertool.prepare.sources.challenge_csv import advice, has_challenge_columns, read_challenge_csv
from fertool.prepare.sources.label_from import list_by_expression
from fertool.prepare.sources.labelled_faces import LabelledFaces
from fertool.prepare.sources.list_file import list_from_table, refuse_bare_codes
from fertool.prepare.sources.listing import Listing
from fertool.prepare.sources.open_source import open_source
from fertool.prepare.sources.parquet import ParquetTable, is_parquet, list_parquet
from fertool.prepare.sources.picture_folders import refuse_empty_test, suffix
from fertool.prepare.sources.read_listing import read_listing
from fertool.prepare.sources.source_files import SourceFiles
from fertool.prepare.sources.tables import Table, TextTable


def read_source(files: SourceFiles, settings: PrepareSettings, wanted: Sequence[str] | None) -> LabelledFaces:
    """Recognise the form of a source and read the faces of the classes to keep.

    Args:
        files: the source.
        settings: the size of the faces, and what they say of lists, labels and boxes.
        wanted: the classes to keep. Default: those of the seven emotions that there are.

    Raises:
        UserError: where the source is in no form that is known, and for anything wrong with it.
    """
    candidate = Candidate(files, settings)
    listing = _told_listing(files, settings) or recognise(candidate) or list_parquet(files, settings)
    if listing is None:
        table = _challenge_csv(files)
        if table is not None:
            _refuse_for_csv(settings)
            return read_challenge_csv(files, table, settings).with_classes(wanted, str(files.path))
        listing = _folders(candidate)
    _check_options(listing, settings)
    return read_listing(named(listing), settings, wanted)


def _told_listing(files: SourceFiles, settings: PrepareSettings) -> Listing | None:
    """The listing of a source whose labels the user says where to find; None: the form is to be recognised."""
    if settings.label_from is not None:
        return list_by_expression(files, settings)
    path = settings.list_file
    if path is None:
        return None
    if path.is_file():
        with open_source(path) as lists:
            return list_from_table(files, _table(lists, next(iter(lists.sizes))), settings)
    if path.as_posix() not in files.sizes:
        raise UserError(f"{path}: no such file, and none of that name in {files.path}; check --list")
    return list_from_table(files, _table(files, path.as_posix()), settings)


def _table(files: SourceFiles, name: str) -> Table:
    return ParquetTable(files, name) if is_parquet(name) else TextTable(files, name)


def _check_options(listing: Listing, settings: PrepareSettings) -> None:
    """Raise UserError for an option that a listing has no use for."""
    where = listing.store.path
    if settings.columns is not None and not listing.is_table:
        raise UserError(f"--columns: {where} was read as {listing.kind}, which names none; leave it out")
    if settings.angles and listing.name != KDEF.name:
        raise UserError(f"--angles: only {KDEF.name} has angles; leave it out")
    has_boxes = any(face.box is not None for face in listing.faces)
    if settings.crop_faces and has_boxes:
        raise UserError(f"--crop-faces: {where} comes with boxes of the faces; leave it out")
    if settings.margin and not (has_boxes or settings.crop_faces):
        raise UserError(
            f"--margin: {where} has no boxes of faces to grow; leave it out, or find faces with --crop-faces"
        )
    columns = [column.lower() for column in listing.columns]
    for name in settings.keep:
        if name.lower() not in columns:
            there = ", ".join(listing.columns) or "none"
            raise UserError(
                f"--keep {name}: {where} has no such column (there are: {there}); add it with --list"
            )


def _refuse_for_csv(settings: PrepareSettings) -> None:
    """Raise UserError for an option that the challenge's csv, which holds pixels, has no use for."""
    for option, is_given in (
        ("--margin", settings.margin > 0),
        ("--crop-faces", settings.crop_faces),
        ("--columns", settings.columns is not None),
        ("--angles", bool(settings.angles)),
    ):
        if is_given:
            raise UserError(f"{option}: the challenge's csv has pixels in fixed columns; leave it out")


def _challenge_csv(files: SourceFiles) -> str | None:
    """The first of a source's tables that has the challenge's columns."""
    return next((name for name in _tables(files) if has_challenge_columns(files, name)), None)


def _tables(files: SourceFiles) -> list[str]:
    if len(files.sizes) == 1 and not files.packed and files.path.is_file():
        return list(files.sizes)
    return [name for name in files.sizes if name.lower().endswith(".csv")]


def _folders(candidate: Candidate) -> Listing:
    files, settings, listing = candidate.files, candidate.settings, candidate.folders
    if listing is not None:
        refuse_empty_test(files, listing)
        if settings.wanted is None and settings.label_map is None:
            _refuse_numbered_folders(listing)
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
