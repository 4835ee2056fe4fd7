"""The progress bar that every long stage shows: with a rate, after two seconds, on terminals only."""

import logging
import sys

from tqdm import tqdm

from fertool.runtime.ranks import started_as_first

BAR_DELAY_S = 2.0

log = logging.getLogger("fertool")


def progress_bar(what: str, total: int, unit: str, done: int = 0) -> tqdm:
    """A bar on stderr, as a context manager; `bar.update(n)` counts n more units.

    It appears once the work has taken two seconds, and never when stderr is no terminal. `done` is what an
    earlier, interrupted call had finished: it counts towards the total and not towards the rate. With several
    processes on one job only the first shows it.
    """
    return tqdm(
        desc=what, total=total, initial=done, unit=f" {unit}", unit_scale=True, delay=BAR_DELAY_S,
        disable=None if started_as_first() else True, file=sys.stderr, dynamic_ncols=True, leave=False,
    )  # fmt: skip
