"""Parquet: tables of pictures or of paths to them, as data hubs hand out data sets. Read with pyarrow, an extra."""

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from fertool.errors import UserError
from fertool.prepare.emotions import class_name
from fertool.prepare.settings import PrepareSettings
from fertool.prepare.sources.labelled_faces import UNTOLD
from fertool.prepare.sources.limits import (
    refuse_bomb,
    refuse_large_picture,
    refuse_many_files,
    refuse_memory,
)
from fertool.prepare.sources.list_columns import Columns, find_columns
from fertool.prepare.sources.list_file import listed_row, refuse_bare_codes
from fertool.prepare.sources.listing import Listed, Listing
from fertool.prepare.sources.picture_folders import source_name
from fertool.prepare.sources.read_pictures import StoredPicture
from fertool.prepare.sources.source_files import SourceFiles
from fertool.prepare.sources.split_names import split_named
from fertool.prepare.sources.tables import TableRow

INSTALL = "pip install pyarrow"  # what the extra `parquet` holds
_BATCH_PICTURES = 64
_BATCH_ROWS = 4096
_WORD = re.compile(r"[A-Za-z]+")


def is_parquet(name: str) -> bool:
    """Whether a file is named as Parquet."""
    return PurePosixPath(name).suffix.lower() in (".parquet", ".pq")


class ParquetTable:
    """One Parquet file: a table whose columns have names, with or without pictures in it."""

    is_named = True

    def __init__(self, files: SourceFiles, name: str) -> None:
        """Open the file. Raises UserError where pyarrow is missing, and where the file is damaged."""
        self.where = files.where(name)
        self.name = name
        self._arrow = _arrow(self.where)
        with self._damage_named():
            self._file = self._arrow.parquet.ParquetFile(_stream(files, name), pre_buffer=False)
        metadata = self._file.metadata
        refuse_many_files(files.path, metadata.num_rows)
        unpacked = sum(
            metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)
        )
        refuse_bomb(files.path, self.name, unpacked, files.sizes[name])
        self.first = list(self._file.schema_arrow.names)

    def _damage_named(self) -> "_DamageNamed":
        return _DamageNamed(self.where, self._arrow)

    def picture_column(self, number: int) -> str | None:
        """The leaf that holds the bytes of pictures, where a column does: itself, or the field `bytes` in it."""
        field = self._file.schema_arrow.field(number)
        types = self._arrow.types
        if types.is_binary(field.type) or types.is_large_binary(field.type):
            return str(field.name)
        if types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return f"{field.name}.bytes"
        return None

    def stored_names(self, number: int) -> dict[str, str] | None:
        """The class of each code of a column, as the file's metadata store it; None where they do not."""
        metadata = self._file.schema_arrow.metadata or {}
        try:
            features = json.loads(metadata[b"huggingface"])["info"]["features"]
            names = features[self.first[number]]["names"]
        except (KeyError, ValueError, TypeError, RecursionError):
            return None
        if isinstance(names, Mapping):
            names = [names.get(str(code)) for code in range(len(names))]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return None
        return {str(code): class_name(name) for code, name in enumerate(names)}

    def rows(self, columns: Sequence[int], _has_header: bool = True) -> Iterator[TableRow]:
        """The values of some columns as text, row by row."""
        names = [self.first[column] for column in columns]
        for column, name in zip(columns, names, strict=True):
            if self.picture_column(column) is not None:
                raise UserError(
                    f"{self.where}: column '{name}' holds pictures, no text; give this file as the source"
                )
        row = 0
        for batch in self._batches(names, _BATCH_ROWS):
            with self._damage_named():
                lists = [batch.column(batch.schema.get_field_index(name)).to_pylist() for name in names]
            for values in zip(*lists, strict=True):
                row += 1
                yield TableRow(self.row_named(row), ["" if value is None else str(value) for value in values])

    def pictures(self, leaf: str) -> Iterator[tuple[int, bytes | None]]:
        """The row, from 1, and the bytes of each picture."""
        row = 0
        top, _, field = leaf.partition(".")
        for batch in self._batches([leaf], _BATCH_PICTURES):
            column = batch.column(batch.schema.get_field_index(top))
            if field:
                column = column.field(field)
            for value in column:
                row += 1
                yield row, value.as_py()

    def row_named(self, row: int) -> str:
        """The name of a row in messages."""
        return f"{self.where}: row {row}"

    def _batches(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        with self._damage_named():
            yield from self._file.iter_batches(batch_size=rows, columns=list(columns))


class _DamageNamed:
    """Raise UserError, naming the file, for what pyarrow raises for damaged ones."""

    def __init__(self, where: str, arrow: Any) -> None:
        self._where = where
        self._arrow = arrow

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, _trace: Any) -> None:
        damage = (self._arrow.ArrowException, OSError, ValueError, MemoryError, OverflowError)
        if isinstance(error, damage) and not isinstance(error, UserError):
            reason = " ".join(str(error).split())[:160]
            raise UserError(f"{self._where}: not a whole Parquet file ({reason}); get it again") from error


def _arrow(where: str) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
        import pyarrow.types
    except ImportError:
        raise UserError(
            f"{where}: reading Parquet needs pyarrow, the extra 'parquet'; run {INSTALL}"
        ) from None
    return pyarrow


def _stream(files: SourceFiles, name: str) -> Any:
    """A Parquet file as a stream that can be read from any place: within an archive all of it is read."""
    if not files.packed:
        return files.open(name)
    refuse_memory(files.where(name), files.sizes[name])
    return io.BytesIO(files.read(name))


class ParquetStore:
    """The pictures in the rows of Parquet files."""

    def __init__(self, files: SourceFiles, tables: Mapping[str, tuple[ParquetTable, str]]) -> None:
        """`tables` holds the tables by their files' names, each with the leaf that holds pictures."""
        self.path = files.path
        self._tables = tables

    def stored(self, wanted: Mapping[str, object]) -> Iterator[StoredPicture]:
        """The pictures of these names, row by row."""
        for name, (table, leaf) in self._tables.items():
            for row, data in table.pictures(leaf):
                picture = _picture_name(name, row)
                if picture not in wanted:
                    continue
                where = table.row_named(row)
                if not data:
                    raise UserError(f"{where}: holds no picture, only its name; get the set again")
                refuse_large_picture(where, len(data))
                yield StoredPicture(picture, where, data)


def _picture_name(file: str, row: int) -> str:
    return f"{file}#{row}"


def list_parquet(files: SourceFiles, settings: PrepareSettings) -> Listing | None:
    """The faces of a source's Parquet files that hold pictures; None where there is no such file.

    The split of a file is told by its name (`train-00000-of-00001.parquet`) or its folder's, where no column tells it;
    the class of a code by the names that the file stores. Raises UserError for a file without pictures or labels, for
    files whose stored names differ, and for codes without names.
    """
    names = sorted(name for name in files.sizes if is_parquet(name))
    if not names:
        return None
    opened: dict[str, tuple[ParquetTable, str]] = {}
    faces: list[Listed] = []
    found: list[tuple[dict[str, str] | None, tuple[str, ...], str]] = []
    for name in names:
        table = ParquetTable(files, name)
        columns, leaf = _find_columns(table, settings)
        opened[name] = table, leaf
        codes = table.stored_names(columns.roles["label"])
        found.append((codes, tuple(columns.kept), table.where))
        faces += _faces(table, name, columns, settings, codes)
    codes, kept, _ = found[0]
    for other_codes, other_kept, where in found:
        if other_codes != codes or other_kept != kept:
            raise UserError(
                f"{where}: stores other names of classes or columns than {found[0][2]}; give one of them"
            )
    if codes is None and settings.label_map is None:
        refuse_bare_codes(faces, str(files.path))
    return Listing(
        name=source_name(files),
        kind="Parquet" if codes is None else "Parquet, classes by the names stored in it",
        store=ParquetStore(files, opened),
        faces=faces,
        codes=codes,
        columns=kept,
        is_table=True,
    )


def _find_columns(table: ParquetTable, settings: PrepareSettings) -> tuple[Columns, str]:
    """The columns of a table, and the leaf that holds its pictures."""
    columns = find_columns(table.first, True, settings.columns, settings.keep, table.where)
    leaf = table.picture_column(columns.roles["path"])
    if leaf is None:
        raise UserError(
            f"{table.where}: column '{table.first[columns.roles['path']]}' holds no pictures; give the folder of the "
            "pictures, and this file with --list"
        )
    return columns, leaf


def _faces(
    table: ParquetTable,
    name: str,
    columns: Columns,
    settings: PrepareSettings,
    codes: Mapping[str, str] | None,
) -> Iterator[Listed]:
    roles = [role for role in ("label", "split", "person") if role in columns.roles]
    split = _split_of_file(name)
    for number, row in enumerate(table.rows(columns.numbers(roles)), 1):
        face = listed_row(row, roles, columns, lambda label: settings.keeps(label, codes), split)
        yield face.placed(_picture_name(name, number))


def _split_of_file(name: str) -> str:
    """The split that a file's name begins with, else its folder's name."""
    path = PurePosixPath(name)
    for word in (path.stem, path.parent.name):
        match = _WORD.match(word)
        split = split_named(match[0]) if match else None
        if split is not None:
            return split
    return UNTOLD
