"""Worker processes, mostly for pictures: answers come in order, Ctrl-C is their parent's, none outlives it."""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2

from fertool.errors import UserError

BATCHES_AHEAD = 2  # handed out to each worker before their answers are taken


class WorkerPool:
    """Processes that apply a function to batches of pictures; a context manager.

    They start at the first batch, ignore Ctrl-C, are killed where the block ends by an exception (Ctrl-C in their
    parent is one), and end by themselves when their parent is killed.
    """

    def __init__(self, workers: int, advice: str, *, before: int = 0) -> None:
        """`advice` is what the user is to do where a worker dies; `before` counts workers of other pools beside it."""
        self._workers = workers
        self._before = before
        self._advice = advice
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None
        self._processes: set[multiprocessing.process.BaseProcess] = set()

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        if kind is not None:  # nobody waits for the batches in hand, nor for a worker that is still importing
            for process in self._processes:
                process.kill()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            # with it go its semaphores, of which Python warns where Ctrl-C then ends the process without its finalizers
            self._pool = None

    def in_order(self, function: Callable[[Any], Any], batches: Iterable[Any]) -> Iterator[Any]:
        """`function` of each batch, in the order of the batches.

        Raises UserError where a worker dies, and what `function` raises.
        """
        waiting: collections.deque[concurrent.futures.Future] = collections.deque()
        with self._deaths_told():
            for batch in batches:
                waiting.append(self._submit(function, batch))
                if len(waiting) > BATCHES_AHEAD * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def begun(self, function: Callable[[Any], Any], batches: Sequence[Any]) -> Iterator[Any]:
        """As `in_order`, but the workers begin now; what none has begun when answers are asked for is done here."""
        with self._deaths_told():
            futures = [self._submit(function, batch) for batch in batches]
        return self._answers(function, batches, futures)

    def _answers(
        self,
        function: Callable[[Any], Any],
        batches: Sequence[Any],
        futures: Sequence[concurrent.futures.Future],
    ) -> Iterator[Any]:
        done_here = {
            number: function(batches[number])
            for number, future in reversed(list(enumerate(futures)))  # workers come from the other end
            if future.cancel()
        }
        with self._deaths_told():
            for number, future in enumerate(futures):
                yield done_here[number] if number in done_here else future.result()

    @contextlib.contextmanager
    def _deaths_told(self) -> Generator[None]:
        try:
            yield
        except BrokenProcessPool:
            raise UserError(f"a worker process died (out of memory?); {self._advice}") from None

    def _submit(self, function: Callable[[Any], Any], batch: Any) -> concurrent.futures.Future:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            cores = context.SimpleQueue()
            for core in own_cores(self._workers, self._before):
                cores.put(core)
            self._pool = concurrent.futures.ProcessPoolExecutor(
                self._workers, context, initializer=_start_worker, initargs=(cores,)
            )
        with _ctrl_c_blocked(), _no_main_script():
            others = set(multiprocessing.active_children()) - self._processes
            future = self._pool.submit(function, batch)
            self._processes |= set(multiprocessing.active_children()) - others
            return future


def usable_cores() -> int:
    """How many cores this process may use: all of the machine's, where the system cannot tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _ctrl_c_blocked() -> Generator[None]:
    # a process started meanwhile inherits the mask, so Ctrl-C cannot stop it halfway through its imports
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextlib.contextmanager
def _no_main_script() -> Generator[None]:
    # a worker imports its parent's script: one that has no `if __name__ == "__main__"` would run again in each of them
    script, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def own_cores(workers: int, before: int = 0) -> list[int]:
    """A core for each worker after so many others', where there are several workers and the system can tell.

    MediaPipe starts threads for all cores that it may use, and those of several workers get in each other's
    way: with a core of its own each of two workers finds a tenth more faces a second.
    """
    if workers == 1 or not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    return [cores[(before + worker) % len(cores)] for worker in range(workers)]


def _start_worker(cores: multiprocessing.SimpleQueue) -> None:
    if not cores.empty():
        os.sched_setaffinity(0, {cores.get()})
    cv2.setNumThreads(1)
    # MediaPipe logs every start and every odd picture from C++; errors come back as exceptions
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
