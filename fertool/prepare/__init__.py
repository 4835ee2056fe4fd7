"""Any FER data set, or faces that the program draws itself, made into the faces of a workspace."""

from fertool.prepare.command import prepare

__all__ = ["prepare"]
