"""The one kind of error that a user can cause."""


class UserError(Exception):
    """Something the user can put right: one line that says what is wrong, where, and what to do.

    The command line prints it behind `fertool: ` and exits with 1; from Python it is an ordinary exception.
    """
