"""A named data set: how it is recognised, what its codes are, what its licence asks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from re import Match, Pattern

from fertool.errors import UserError
from fertool.prepare.settings import PrepareSettings
from fertool.prepare.sources.listing import Listing
from fertool.prepare.sources.picture_folders import is_picture, list_picture_folders
from fertool.prepare.sources.read_pictures import FileStore
from fertool.prepare.sources.source_files import SourceFiles


class Candidate:
    """A source that may be one of the named sets."""

    def __init__(self, files: SourceFiles, settings: PrepareSettings) -> None:
        self.files = files
        self.settings = settings
        self.store = FileStore(files)

    @cached_property
    def folders(self) -> Listing | None:
        """The source read as `[<split>/]<class>/<picture>` folders, None where it has no pictures in folders."""
        if not self.files.folders or not any(is_picture(name) for name in self.files.sizes):
            return None
        return list_picture_folders(self.files, self.settings.keeps)

    @property
    def filled_folders(self) -> Listing | None:
        """`folders`, None where no class has a picture."""
        return self.folders if self.folders is not None and self.folders.faces else None

    def matches(self, pattern: Pattern[str]) -> Iterator[tuple[str, Match[str]]]:
        """The files in whose names a pattern is found, and what it finds."""
        for name in self.files.sizes:
            if match := pattern.search(name):
                yield name, match

    def only(self, pattern: Pattern[str]) -> str | None:
        """The one file in whose name a pattern is found, None where there is none; UserError where there are two."""
        names = [name for name, _ in self.matches(pattern)]
        if len(names) > 1:
            raise UserError(
                f"{self.files.path}: both {names[0]} and {names[1]}; give the folder of one of them"
            )
        return names[0] if names else None

    def require(self, picture: str, where: str) -> str:
        """`picture`, which must be among the files; `where` names what asks for it."""
        if picture not in self.files.sizes:
            raise UserError(f"{where}: its picture {picture} is not in {self.files.path}; get the set again")
        return picture


@dataclass(frozen=True)
class DataSet:
    """A named data set.

    Args:
        name: its name.
        form: what it is recognised by, in words.
        codes: its codes for emotions, in words.
        splits: its splits, in words.
        licence: what its licence asks of its users, in words.
        citation: the publication to cite.
        find: the listing of a source that has the set's form; None where it has not.
        revision: of the reading; raise it when the same source would give other faces, persons or splits. Default: 1.
    """

    name: str
    form: str
    codes: str
    splits: str
    licence: str
    citation: str
    find: Callable[[Candidate], Listing | None]
    revision: int = 1
