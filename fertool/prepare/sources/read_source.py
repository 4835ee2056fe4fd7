"""The files of a source -> labelled faces, whatever its form is."""

from collections import Counter
from collections.abc import Sequence

from fertool.errors import UserError
from fertool.prepare.sources.challenge_csv import advice, has_challenge_columns, read_challenge_csv
from fertool.prepare.sources.labelled_faces import LabelledFaces
from fertool.prepare.sources.picture_folders import is_picture, read_picture_folders, suffix
from fertool.prepare.sources.source_files import SourceFiles


def read_source(files: SourceFiles, size: int, classes: Sequence[str] | None) -> LabelledFaces:
    """Recognise the form of a source and read the faces of `classes`, `size` by `size` pixels.

    Raises UserError where it is in no form that is known, and for anything wrong with it.
    """
    where = str(files.path)
    if len(files.sizes) == 1 and not files.packed and files.path.is_file():
        tables = list(files.sizes)
    else:
        tables = [name for name in files.sizes if name.lower().endswith(".csv")]
    for name in tables:
        if has_challenge_columns(files, name):
            return read_challenge_csv(files, name, size).with_classes(classes, where)
    if any(is_picture(name) for name in files.sizes) and files.folders:
        return read_picture_folders(files, size, classes)
    if tables:
        raise UserError(advice(files, tables))
    kinds = Counter(suffix(name) or "without suffix" for name in files.sizes)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(4))
    raise UserError(
        f"{where}: holds neither the challenge's csv nor <emotion>/<picture> folders"
        + (f" (its files: {counts})" if counts else "")
        + "; check the path"
    )
