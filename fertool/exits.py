"""Exit codes and last lines: 0 when done, 1 with one line on what to put right, 130 when interrupted."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Generator
from types import FrameType

from fertool.errors import Interrupted, UserError
from fertool.runtime.ranks import started_as_first

INTERRUPTED = 130
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
GOES_ON = "the same command goes on from what is finished"


@contextlib.contextmanager
def ctrl_c_ends_at_once() -> Generator[None]:
    """While modules are imported: Ctrl-C ends the process with one line, for there is nothing to put in order.

    A KeyboardInterrupt in the middle of an import may come out as an ImportError, or not at all.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # ignored, as in a script's background; or somebody else's
        return
    with _ctrl_c(_end_at_once):
        yield


@contextlib.contextmanager
def ctrl_c_interrupts() -> Generator[None]:
    """While a stage works: Ctrl-C raises KeyboardInterrupt, and what is open is put in order."""
    if signal.getsignal(signal.SIGINT) is not _end_at_once:
        yield
        return
    with _ctrl_c(signal.default_int_handler):
        yield


@contextlib.contextmanager
def _ctrl_c(handler: Callable[[int, FrameType | None], object]) -> Generator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    if started_as_first():
        os.write(2, b"fertool: interrupted\n")
    os._exit(INTERRUPTED)


@contextlib.contextmanager
def one_line_exits() -> Generator[None]:
    """Turn what a user can cause into an exit with one line on stderr; everything else is raised as it is."""
    try:
        yield
    except UserError as error:
        _leave(str(error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.filename is None and error.errno not in NO_ROOM:
            raise
        _leave(f"{error.filename or 'standard output'}: {error.strerror}")
    except (RuntimeError, MemoryError) as error:
        _leave_without_memory(error)
    except EOFError as error:
        # typer would say 'Aborted.' and nothing else
        raise RuntimeError("a file ended before its content did") from error
    except KeyboardInterrupt as error:
        if started_as_first():
            goes_on = str(error) if isinstance(error, Interrupted) else GOES_ON
            print(f"fertool: interrupted; {goes_on}", file=sys.stderr, flush=True)
        sys.exit(INTERRUPTED)


def _leave(line: str) -> None:
    sys.exit(f"fertool: {line}")


def _leave_without_memory(error: RuntimeError | MemoryError) -> None:
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        _leave("the memory is full: free some, take a smaller --batch-size or --image-size")
    if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported for its name alone
        raise error
    _leave("the GPU's memory is full: free it, take a smaller --batch-size, or --device cpu")
