"""--list: a table of pictures with their labels, and if it has them their splits, persons, boxes and columns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from fertool.errors import UserError
from fertool.prepare.emotions import class_name
from fertool.prepare.sets.codes import CODES, fitting, in_words
from fertool.prepare.settings import PrepareSettings
from fertool.prepare.sources.labelled_faces import UNTOLD
from fertool.prepare.sources.list_columns import Columns, find_columns, parse_box
from fertool.prepare.sources.listing import Listed, Listing
from fertool.prepare.sources.picture_folders import source_name
from fertool.prepare.sources.read_pictures import FileStore
from fertool.prepare.sources.source_files import SourceFiles
from fertool.prepare.sources.split_names import KNOWN, split_named
from fertool.prepare.sources.tables import Table, TableRow


def list_from_table(files: SourceFiles, table: Table, settings: PrepareSettings) -> Listing:
    """The faces that a table lists; their pictures are among `files`.

    Raises UserError naming file and row for a picture that is not there, a split without a known name, a box that is
    none, and where labels are numbers of which nothing says what they mean.
    """
    columns = find_columns(table.first, table.is_named, settings.columns, settings.keep, table.where)
    faces = list(rows_listed(files, table, columns, settings.keeps))
    if not faces:
        raise UserError(f"{table.where}: lists no face below its header; get it again")
    if settings.label_map is None:
        refuse_bare_codes(faces, table.where)
    return Listing(
        name=source_name(files),
        kind=f"a list, {table.where.rpartition('/')[2]}",
        store=FileStore(files),
        faces=with_numbered_ids(faces),
        columns=tuple(columns.kept),
        is_table=True,
    )


def rows_listed(
    files: SourceFiles,
    table: Table,
    columns: Columns,
    is_kept: Callable[[str], bool],
    *,
    split: str = UNTOLD,
    top: str | None = None,
) -> Iterator[Listed]:
    """The rows of a table as faces.

    Args:
        files: the source, which holds the pictures.
        table: the list.
        columns: the list's columns.
        is_kept: whether faces of a label are kept: pictures and boxes of others need not be there.
        split: the split of all rows, where no column tells it.
        top: the folder, with its slash, that paths start from. Default: where the first picture is found.
    """
    finder = PictureFinder(files, top)
    roles = [role for role in ("path", "label", "split", "person") if role in columns.roles]
    for row in table.rows(columns.numbers(roles), columns.has_header):
        values = dict(zip(roles, row.values, strict=False))
        face = listed_row(row, roles, columns, is_kept, split)
        picture = values["path"]
        if is_kept(face.label):
            picture = finder.find(picture, row.where)
        yield face.placed(picture)


def listed_row(
    row: TableRow, roles: Sequence[str], columns: Columns, is_kept: Callable[[str], bool], split: str
) -> Listed:
    """A row of a table as a face, its picture's name left empty.

    Args:
        row: values of `columns.numbers(roles)`.
        roles: those of path, label, split and person that the values begin with.
        columns: the table's columns.
        is_kept: whether faces of a label are kept: only these need a box.
        split: the face's split, where no column tells it.
    """
    values = dict(zip(roles, row.values, strict=False))
    rest = row.values[len(roles) :]
    box, kept = rest[: len(columns.box_roles)], rest[len(columns.box_roles) :]
    label = plain_label(values["label"])
    if not label:
        raise UserError(f"{row.where}: has no label; fill it in, or take the row out")
    return Listed(
        picture="",
        label=label,
        split=_split(values["split"], row.where) if "split" in values else split,
        person=values.get("person", ""),
        box=parse_box(columns.box_roles, box, row.where) if box and is_kept(label) else None,
        where=row.where,
        columns=tuple(kept),
    )


def plain_label(label: str) -> str:
    """A label without what programs add to codes: `3.0`, `3.0000000e+00` and ` 3` are `3`."""
    label = label.strip()
    try:
        number = float(label)
    except ValueError:
        return label
    return str(int(number)) if number.is_integer() and abs(number) < 10**6 else label


def _split(name: str, where: str) -> str:
    split = split_named(name)
    if split is None:
        raise UserError(f"{where}: unknown split '{name[:40]}' ({KNOWN} are known); rename it")
    return split


class PictureFinder:
    """Finds the pictures that a list names below one folder of the source, the same for all of them."""

    def __init__(self, files: SourceFiles, top: str | None = None) -> None:
        self._files = files
        self._top = top

    def find(self, path: str, where: str) -> str:
        """The picture's name. Raises UserError where there is none, or the first one could be several."""
        name = self._within_source(path.strip().replace("\\", "/").removeprefix("./"))
        if self._top is None:
            self._top = self._find_top(name, where)
        picture = self._top + name
        if picture not in self._files.sizes:
            raise UserError(
                f"{where}: names the picture '{path[:200]}', which is not in {self._files.path}; fetch it, or take "
                "the row out"
            )
        return picture

    def _within_source(self, path: str) -> str:
        """A path without the source's own folder: lists hold whole paths, or such as start beside the source."""
        source = self._files.path.resolve()
        name = path.removeprefix(f"{source.as_posix()}/").lstrip("/")
        inner = name.removeprefix(f"{source.name}/")
        return inner if name not in self._files.sizes and inner in self._files.sizes else name

    def _find_top(self, name: str, where: str) -> str:
        """The folder that the first picture's path starts from, with its slash: the source's top, or one below."""
        if name in self._files.sizes:
            return ""
        tops = [file[: -len(name)] for file in self._files.sizes if name and file.endswith(f"/{name}")]
        if len(tops) > 1:
            raise UserError(
                f"{where}: '{name[:200]}' could be {tops[0]}{name[:80]} or {tops[1]}{name[:80]}; give the folder that "
                "the list's paths start from"
            )
        return tops[0] if tops else ""


def refuse_bare_codes(faces: Sequence[Listed], where: str) -> None:
    """Raise UserError where labels are numbers: which emotions they mean differs between sets."""
    labels = {face.label for face in faces}
    bare = sorted(label for label in labels if class_name(label).lstrip("-").isdecimal())
    if not bare:
        return
    sets = fitting(labels)
    first = next(face for face in faces if face.label == bare[0])
    could_be = f" could be those of {' or '.join(sets)}" if sets else " are of no set that is known"
    example = f"--label-map {sets[0]} ({in_words(CODES[sets[0]])}), or " if sets else ""
    raise UserError(
        f"{first.where or where}: label '{bare[0]}' is a number, and the codes {', '.join(bare[:12])}{could_be}; say "
        f"what they mean with {example}--label-map '0=angry,1=...'"
    )


def with_numbered_ids(faces: Sequence[Listed]) -> list[Listed]:
    """The faces with ids of their own: the picture's name, and from the second face of a picture on its number."""
    counts: dict[str, int] = {}
    numbered = []
    for face in faces:
        counts[face.picture] = count = counts.get(face.picture, 0) + 1
        numbered.append(face if count == 1 else replace(face, id=f"{face.picture}#{count}"))
    return numbered
