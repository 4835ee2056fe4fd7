"""Several processes on one job, as torchrun starts them; without it there is one, and nothing here costs anything.

    torchrun --nproc-per-node 2 -m fertool train ...

The processes ('ranks') do the same in step; only the first one writes.
"""

import contextlib
import datetime
import functools
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

Value = TypeVar("Value")
Job = TypeVar("Job")


@dataclass(frozen=True)
class Ranks:
    """The number of this process among all of them. All of them must call the methods that exchange, in step."""

    rank: int = 0
    count: int = 1

    on_this_machine: int = 1  # processes of the job
    number_here: int = 0  # this one's number among them

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when all are here."""
        if self.count > 1:
            _distributed().barrier()

    def broadcast_from_rank0(self, make: Callable[[], Value]) -> Value:
        """Hand on what the first process makes, or the error that it raises, to all others, which do not make it.

        The first process is alone meanwhile: what it calls exchanges nothing with the others.
        """
        if self.count == 1:
            return make()
        told: list[Any] = [None, None]
        if self.is_first:
            try:
                with _alone():
                    told[0] = make()
            except Exception as error:
                told[1] = error
        _distributed().broadcast_object_list(told, src=0)
        if told[1] is not None:
            raise told[1]
        return told[0]

    def in_order(self, jobs: Iterable[Job], do: Callable[[Job], Value]) -> Iterator[Value]:
        """`do` of each job, jobs dealt out in turn; the first process gets all in order, the others nothing."""
        if self.count == 1:
            yield from map(do, jobs)
            return
        jobs = iter(jobs)
        while dealt := tuple(itertools.islice(jobs, self.count)):
            done = do(dealt[self.rank]) if self.rank < len(dealt) else None
            gathered: list[Any] | None = [None] * self.count if self.is_first else None
            _distributed().gather_object(done, gathered, dst=0)
            if gathered is not None:
                yield from gathered[: len(dealt)]

    def share_out(self, jobs: Iterable[Job], do: Callable[[Job], object]) -> None:
        """`do` each job in one of the processes, dealt out in turn, and go on when all are done.

        A process is alone at its jobs: what they call exchanges nothing with the others.
        """
        with _alone():
            for job in itertools.islice(jobs, self.rank, None, self.count):
                do(job)
        self.wait()

    def sum(self, tensor: Any) -> Any:
        """The sum of a tensor over all processes, in place."""
        if self.count > 1:
            _distributed().all_reduce(tensor)
        return tensor

    def share(self, tensors: Iterable[Any]) -> None:
        """Give all processes the first one's tensors, in place."""
        if self.count > 1:
            for tensor in tensors:
                _distributed().broadcast(tensor, src=0)


def join_ranks() -> Ranks:
    """Join the processes that torchrun started with this one, by NCCL where each has a GPU, else by gloo."""
    ranks = _join()
    return replace(ranks, rank=0, count=1) if _is_alone else ranks


_is_alone = False


@contextlib.contextmanager
def _alone() -> Generator[None]:
    """Let what this process calls exchange nothing with the others."""
    global _is_alone
    was_alone, _is_alone = _is_alone, True
    try:
        yield
    finally:
        _is_alone = was_alone


@functools.cache
def _join() -> Ranks:
    if _process_count() == 1:
        return Ranks()
    import torch

    here = _count_in_environment("LOCAL_WORLD_SIZE", 1)
    number_here = _count_in_environment("LOCAL_RANK", 0)
    has_own_gpu = torch.cuda.device_count() >= here
    if has_own_gpu:
        torch.cuda.set_device(number_here)
    distributed = _distributed()
    if not distributed.is_initialized():
        # the first may wait for another job's lock; where one of them dies torchrun ends the others
        backend = "cpu:gloo,cuda:nccl" if has_own_gpu else "gloo"
        distributed.init_process_group(backend, timeout=datetime.timedelta(days=7))
    return Ranks(distributed.get_rank(), distributed.get_world_size(), here, number_here)


def started_as_first() -> bool:
    """Whether this process is the first of its job, without joining the others."""
    return _process_count() == 1 or _count_in_environment("RANK", 0) == 0


def _process_count() -> int:
    # RANK alone says nothing: job arrays export one as well
    return _count_in_environment("WORLD_SIZE", 1)


def _count_in_environment(variable: str, default: int) -> int:
    """A variable that torchrun sets; `default` where it is empty, or is no number and so somebody else's."""
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdigit() else default


def _distributed() -> Any:
    from torch import distributed

    return distributed
