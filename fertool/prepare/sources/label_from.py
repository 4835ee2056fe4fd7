"""--label-from: labels, persons and splits that a regular expression finds in the paths of pictures."""

import re

from fertool.errors import UserError
from fertool.prepare.settings import PrepareSettings
from fertool.prepare.sources.labelled_faces import UNTOLD
from fertool.prepare.sources.list_file import plain_label, refuse_bare_codes
from fertool.prepare.sources.listing import Listed, Listing
from fertool.prepare.sources.picture_folders import is_picture, left_out_notes, source_name
from fertool.prepare.sources.read_pictures import FileStore
from fertool.prepare.sources.source_files import SourceFiles
from fertool.prepare.sources.split_names import KNOWN, split_named


def list_by_expression(files: SourceFiles, settings: PrepareSettings) -> Listing:
    """The pictures of a source, their labels found in their paths by the expression of the settings.

    Its named groups `person` and `split` are the person and the split; other named groups are columns. Raises
    UserError for a picture in whose path it finds nothing, and for a split without a known name.
    """
    pattern = re.compile(settings.label_from or "")
    columns = tuple(name for name in pattern.groupindex if name not in ("label", "person", "split"))
    for name in settings.keep:
        if name not in columns:
            raise UserError(
                f"--keep {name}: --label-from has no group of that name; write it as (?P<{name}>...)"
            )
    pictures = sorted(name for name in files.sizes if is_picture(name))
    if not pictures:
        raise UserError(f"{files.path}: holds no pictures; check the path")
    faces = [_listed(files, picture, pattern, columns) for picture in pictures]
    if settings.label_map is None:
        refuse_bare_codes(faces, str(files.path))
    return Listing(
        name=source_name(files),
        kind="pictures, labelled by --label-from",
        store=FileStore(files),
        faces=faces,
        columns=columns,
        notes=tuple(left_out_notes(files, 0)),
    )


def _listed(files: SourceFiles, picture: str, pattern: re.Pattern[str], columns: tuple[str, ...]) -> Listed:
    where = files.where(picture)
    match = pattern.search(picture)
    if match is None or not match["label"]:
        raise UserError(
            f"{where}: --label-from '{pattern.pattern}' finds no label in its path ('{picture}'); correct the "
            "expression, or remove the picture"
        )
    groups = match.groupdict(default="")
    return Listed(
        picture=picture,
        label=plain_label(match["label"]),
        split=_split(groups["split"], where) if "split" in groups else UNTOLD,
        person=groups.get("person", ""),
        where=where,
        columns=tuple(groups[name] for name in columns),
    )


def _split(name: str, where: str) -> str:
    split = split_named(name)
    if split is None:
        raise UserError(f"{where}: unknown split '{name[:40]}' ({KNOWN} are known); correct --label-from")
    return split
