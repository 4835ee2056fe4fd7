"""Reading the workspace: one function for each kind of file, which returns it whole or says in one line what is wrong.

Each takes a `remedy`, the second half of that line: what makes the file again, as "run 'fertool masks --force'"
(`Workspace.remedy` knows it for every path). Each raises DamagedError, a UserError, where the file is not there, is
cut, or is not of its kind.
"""

import csv
import hashlib
import io
import json
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import numpy as np

from fertool.errors import DamagedError

REMAKE = "remove it and run the stage again"
RECORD_HASH = "record_sha256"  # the key of a record's hash of itself, see `write_record`
NO_HASH = "0" * 64

# what numpy and zipfile raise for files that are cut, changed, or of another kind
_NOT_WHOLE = (
    ValueError, EOFError, OSError, SyntaxError, TypeError, LookupError, OverflowError, MemoryError, AttributeError,
    NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error, tokenize.TokenError,
)  # fmt: skip

Value = TypeVar("Value")


def damaged(path: Path, what: str, remedy: str = REMAKE) -> DamagedError:
    """The error to raise for a damaged file, in one line: the file, what is wrong with it, what to do."""
    return DamagedError(f"{path}: {' '.join(what.split())}; {remedy}")


def read_json(path: Path, remedy: str = REMAKE, keys: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The JSON object in a file, which must be what was written where it has a hash of itself.

    `keys` are those that it must have, and what each holds: a type, `list[str]`, or `object` for anything.
    """
    text = read_text(path, remedy)
    try:
        # NaN stood in figures of early versions
        content = json.loads(text, parse_constant=lambda _name: None)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"not valid JSON ({error})", remedy) from None
    if not isinstance(content, dict):
        raise damaged(path, "not a JSON object", remedy)
    if not _is_as_written(text, content.pop(RECORD_HASH, None)):
        raise damaged(path, "changed since it was written", remedy)
    for key, kind in (keys or {}).items():
        if key not in content:
            raise damaged(path, f"has no '{key}'", remedy)
        if not _is_a(content[key], kind):
            raise damaged(path, f"'{key}' is not what belongs there", remedy)
    return content


def _is_a(value: object, kind: Any) -> bool:
    """Whether a value is of a type, and the items of a list of theirs."""
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return isinstance(value, list) and all(_is_a(each, item) for each in value)
    return isinstance(value, kind) and (kind is not int or not isinstance(value, bool))


def _is_as_written(text: str, digest: object) -> bool:
    """Whether the text of a record has this hash; a record of earlier versions has none."""
    if digest is None:
        return True
    if not isinstance(digest, str) or len(digest) != len(NO_HASH):
        return False
    head, _, tail = text.rpartition(digest)
    return hashlib.sha256((head + NO_HASH + tail).encode()).hexdigest() == digest


def read_csv(
    path: Path, remedy: str = REMAKE, columns: Iterable[str] = (), rows: int | None = None
) -> list[dict[str, str]]:
    """The rows of a CSV file as dictionaries; every row must be whole.

    Args:
        path: the file, UTF-8, with a header.
        remedy: what to do where it is damaged.
        columns: names that the header must have.
        rows: the number of rows that there must be; None: any.
    """
    reader = csv.DictReader(io.StringIO(read_text(path, remedy), newline=""), strict=True)
    try:
        header = reader.fieldnames or []
        if missing := [name for name in columns if name not in header]:
            raise damaged(path, f"has no column '{missing[0]}'", remedy)
        content = list(reader)
    except csv.Error as error:
        raise damaged(path, f"line {reader.line_num}: {error}", remedy) from None
    for number, row in enumerate(content, start=2):
        if None in row or None in row.values():
            raise damaged(path, f"line {number} has not {len(header)} values, as its header has", remedy)
    if rows is not None and len(content) != rows:
        raise damaged(path, f"{len(content)} rows where {rows} belong", remedy)
    return content


def csv_column(
    path: Path,
    rows: Sequence[dict[str, str]],
    name: str,
    convert: Callable[[str], Value],
    remedy: str = REMAKE,
) -> list[Value]:
    """One column of rows that `read_csv` read, each value converted.

    Args:
        path: the file, which errors name.
        rows: its rows, from line 2 on.
        name: the column.
        convert: text -> value, for instance `int`.
        remedy: what the user is to do about a damaged file. Default: remove it and run the stage again.

    Returns:
        A value for each row.

    Raises:
        DamagedError: the file has no such column, or a value cannot be converted.
    """
    values = []
    for number, row in enumerate(rows, start=2):
        try:
            values.append(convert(row[name]))
        except KeyError:
            raise damaged(path, f"has no column '{name}'", remedy) from None
        except (ValueError, OverflowError):
            raise damaged(
                path, f"line {number}: {name} is '{row[name]}', which cannot be read", remedy
            ) from None
    return values


def read_npy(
    path: Path,
    remedy: str = REMAKE,
    *,
    shape: Sequence[int | None] | None = None,
    kinds: str = "biuf",
    mapped: bool = True,
) -> np.ndarray:
    """The array in an .npy file.

    Args:
        path: the file.
        remedy: what to do where it is damaged.
        shape: lengths that the array must have, None for any length; without it any shape.
        kinds: letters of `dtype.kind` that the array may have (numbers by default).
        mapped: map the file into memory instead of reading it.
    """
    _require_file(path, remedy)
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except PermissionError:
        raise
    except _NOT_WHOLE:
        raise damaged(path, "not a whole .npy file", remedy) from None
    if not isinstance(array, np.ndarray):  # an .npz under another name
        array.close()
        raise damaged(path, "not an .npy file", remedy)
    _check_array(path, "", array, shape, kinds, remedy)
    return array


def read_npz(
    path: Path, remedy: str = REMAKE, names: Iterable[str] | None = None, rows: int | None = None
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, whose checksums are verified.

    Args:
        path: the file.
        remedy: what to do where it is damaged.
        names: the arrays to read, all of which must be there; None: every array that is there.
        rows: the length that each of them must have; None: any.
    """
    _require_file(path, remedy)
    try:
        with np.load(path, allow_pickle=False) as stored:
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise damaged(path, "not an .npz file", remedy)
            wanted = stored.files if names is None else list(names)
            if missing := [name for name in wanted if name not in stored.files]:
                raise damaged(path, f"holds no array '{missing[0]}'", remedy)
            arrays = {name: stored[name] for name in wanted}
    except PermissionError:
        raise
    except _NOT_WHOLE:
        raise damaged(path, "not a whole .npz file", remedy) from None
    for name, array in arrays.items():
        # numpy gives the bytes of a member that does not begin as an .npy
        if not isinstance(array, np.ndarray):
            raise damaged(path, f"{name}: not an array", remedy)
        _check_array(path, f"{name}: ", array, None if rows is None else (rows, ...), None, remedy)
    return arrays


def _check_array(
    path: Path,
    which: str,
    array: np.ndarray,
    shape: Sequence[Any] | None,
    kinds: str | None,
    remedy: str,
) -> None:
    if kinds is not None and array.dtype.kind not in kinds:
        raise damaged(
            path, f"{which}holds {array.dtype}, which is no kind of number that belongs here", remedy
        )
    if shape is None:
        return
    wanted = list(shape)
    if wanted and wanted[-1] is ...:
        wanted = wanted[:-1] + [None] * (array.ndim - len(wanted) + 1)
    fits = len(wanted) == array.ndim and all(
        length is None or length == own for length, own in zip(wanted, array.shape, strict=True)
    )
    if not fits:
        words = ", ".join("any" if length is None else str(length) for length in wanted)
        raise damaged(path, f"{which}shape {array.shape} where ({words}) belongs", remedy)


def _require_file(path: Path, remedy: str) -> None:
    if not path.exists():
        raise damaged(path, "no such file", remedy)
    if not path.is_file():
        raise damaged(path, "not a file", remedy)
    if path.stat().st_size == 0:
        raise damaged(path, "the file is empty", remedy)


def read_text(path: Path, remedy: str = REMAKE) -> str:
    """The text of a file, UTF-8."""
    _require_file(path, remedy)
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise damaged(path, "not UTF-8 text", remedy) from None
