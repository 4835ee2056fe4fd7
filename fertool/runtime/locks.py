"""Files that are made by one process at a time, where the file system knows locks; where it does not nobody waits.

A lock is the system's (flock) on a file that stays: it ends with the process that holds it, however that ends.
"""

import contextlib
import errno
import fcntl
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import IO

from fertool.runtime.files import open_lock
from fertool.runtime.progress import log
from fertool.runtime.ranks import join_ranks

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def make_alone(
    targets: Iterable[Path], is_current: Callable[[], bool], make: Callable[[], None], *, force: bool = False
) -> bool:
    """Call `make` unless what it makes is current, while no other process makes it; return whether it was called.

    Another process may have made it while this one waited. All processes of one job call this, and `make` with it;
    the first of them asks and holds the locks.

    Args:
        targets: the files that `make` makes.
        is_current: whether they are there and up to date.
        make: makes them.
        force: call `make` even so.
    """
    ranks = join_ranks()
    if not force and ranks.broadcast_from_rank0(is_current):
        return False
    with contextlib.ExitStack() as held:
        ranks.broadcast_from_rank0(lambda: held.enter_context(alone(targets)))
        if not force and ranks.broadcast_from_rank0(is_current):
            return False
        make()
        return True


@contextlib.contextmanager
def alone(targets: Iterable[Path]) -> Generator[None]:
    """Make these files while no other process does: whoever else asks for one of them waits until the end."""
    with contextlib.ExitStack() as held:
        for target in sorted(targets):  # in one order, so that nobody waits for each other
            target.parent.mkdir(parents=True, exist_ok=True)
            handle = held.enter_context(open_lock(target.with_name(f".{target.name}.lock")))
            if not lock(handle):
                log.info("%s: another process is making it; waiting", target)
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def lock(handle: IO[bytes]) -> bool:
    """Hold an open file for this process, or say that another one does; held too where the system knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.debug("%s: this file system knows no locks", handle.name)
    return True
