"""The batches of an epoch, and what each process takes of one."""

from itertools import pairwise

from fertool.runtime.ranks import Ranks


def batch_slices(face_count: int, batch_size: int) -> list[slice]:
    """Each step's slice of the epoch's order; one face left over joins the step before, as batch norms need two."""
    starts = list(range(0, face_count, batch_size))
    if face_count - starts[-1] == 1 < batch_size and len(starts) > 1:
        del starts[-1]
    return [slice(start, stop) for start, stop in pairwise([*starts, face_count])]


def own_part(batch: slice, ranks: Ranks) -> tuple[slice, float]:
    """This process's part of a batch, and which share of the batch it is.

    A process that gets faces gets two or more, as batch norms need two. The others take the batch's first faces with
    weight 0, because all processes take part in the exchange of gradients.
    """
    if ranks.count == 1:
        return batch, 1.0
    size = batch.stop - batch.start
    sharing = min(ranks.count, max(1, size // 2))
    if ranks.rank >= sharing:
        return slice(batch.start, batch.start + min(2, size)), 0.0
    return slice(batch.start + ranks.rank, batch.stop, sharing), len(range(ranks.rank, size, sharing)) / size
