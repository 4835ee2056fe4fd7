"""The errors that a user can cause, and the interruption."""

from fertool.runtime.printable import printable


class UserError(Exception):
    """Something the user can put right: one line that says what is wrong, where, and what to do.

    The command line prints it behind `fertool: ` and exits with 1; from Python it is an ordinary exception. Names in
    it come from files: line breaks and what would move a terminal's cursor are shown as codes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class DamagedError(UserError):
    """A file of the workspace is not what was written: cut, changed, or another kind of file."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with the line that the user is to read: `raise Interrupted("the same command goes on from epoch 3")`.

    The command line prints it behind `fertool: interrupted; ` and exits with 130, as for any other KeyboardInterrupt.
    """
