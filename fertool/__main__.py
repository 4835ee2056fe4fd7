"""Where the program begins: `fertool`, `python -m fertool`, and so `torchrun -m fertool`."""

import os
import sys

from fertool.exits import INTERRUPTED, ctrl_c_ends_at_once


def main() -> None:
    """Run the command line; until a command's work begins Ctrl-C ends the process at once."""
    with ctrl_c_ends_at_once():
        from fertool import cli

        try:
            cli.main()
        except SystemExit as end:
            if end.code != INTERRUPTED:
                raise
            # an ordinary end waits for threads, and they for the large picture that they decode
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
