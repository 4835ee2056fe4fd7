"""Processes that begin in the middle of things, without the seconds that imports take, and are killed at a moment."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable

import torch
from tqdm import tqdm

from fertool.errors import UserError

# a fork while the thread that watches bars holds their lock would leave it locked in the child for good
tqdm.monitor_interval = 0


def begin(work: Callable[[], object], refused: Callable[[str], None] | None = None) -> int:
    """Fork a process that does its work on one thread; its exit code is 1 where it is refused, 2 where it fails.

    `refused` is called, in that process, with the line of a refusal.
    """
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            work()
            os._exit(0)
        except UserError as error:
            (refused or complain)(str(error))
            os._exit(1)
        except BaseException as error:
            complain(repr(error))
            os._exit(2)
    return child


def complain(line: str) -> None:
    """Say a line on stderr, at once."""
    print(line, file=sys.stderr, flush=True)


def exit_code(child: int) -> int:
    """Wait for a process; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def complete(work: Callable[[], object]) -> float:
    """Do the work in a process of its own, which must end well; returns its seconds."""
    started_s = time.monotonic()
    assert exit_code(begin(work)) == 0
    return time.monotonic() - started_s


def was_killed(child: int, after_s: float) -> bool:
    """Kill a process after some seconds; false where it had ended before."""
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    return exit_code(child) == -signal.SIGKILL


def kill_until_done(work: Callable[[], object], longest_s: float, moments: random.Random) -> int:
    """Begin the work and kill it at any moment, over and over, until it ends before its kill; returns the kills."""
    kills = 0
    while was_killed(begin(work), moments.uniform(0, 1.3 * longest_s)):
        kills += 1
    return kills
