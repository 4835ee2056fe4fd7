"""Any FER data set, or synthetic faces, made into the faces of a workspace."""

from fertool.prepare.command import prepare
from fertool.prepare.sets.formats import list_formats
from fertool.prepare.settings import PrepareSettings

__all__ = ["PrepareSettings", "list_formats", "prepare"]
