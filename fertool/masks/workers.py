"""Worker processes that detect: each holds its detectors, answers come in order, none outlives its parent."""

import collections
import concurrent.futures
import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fertool.errors import UserError
from fertool.masks.detection import DETECTORS, DLIB, MEDIAPIPE, TEMPLATE, Detector, detect
from fertool.masks.dlib_detector import DLIB_PADDINGS, dlib_detector
from fertool.masks.mediapipe_detector import MEDIAPIPE_PADDINGS, mediapipe_detector
from fertool.masks.regions import region_maps
from fertool.masks.template import mean_face

PADDINGS = {MEDIAPIPE: MEDIAPIPE_PADDINGS, DLIB: DLIB_PADDINGS}
BATCHES_AHEAD = 2  # handed out to each worker before their answers are taken


@dataclass(frozen=True)
class Detectors:
    """Which detectors are tried on a face, in this order, and how."""

    order: tuple[int, ...]
    confidence: float
    mediapipe_model: Path | None


@functools.cache
def running_detector(code: int, settings: Detectors) -> Detector:
    """The detector with this code, started once in a process and kept."""
    if code == MEDIAPIPE and settings.mediapipe_model is not None:
        return mediapipe_detector(settings.mediapipe_model, settings.confidence)
    if code == DLIB:
        return dlib_detector()
    raise ValueError(f"{DETECTORS[code]} is no detector to run")


def find_landmarks(settings: Detectors, faces: np.ndarray) -> dict[str, np.ndarray]:
    """The landmarks of N faces, uint8 (N, H, W[, 3]), by the first detector that finds each.

    A face that none finds gets the mean face's.

    Returns `landmarks` float32 (N, 68, 2), `detector` uint8 (N,), `confidence` float32 (N,).
    """
    landmarks = np.tile(mean_face(faces.shape[1:3]), (len(faces), 1, 1))
    codes = np.full(len(faces), TEMPLATE, np.uint8)
    confidence = np.full(len(faces), np.nan, np.float32)
    for index, face in enumerate(faces):
        for code in settings.order:
            found = detect(face, running_detector(code, settings), PADDINGS[code])
            if found is not None:
                landmarks[index], codes[index], confidence[index] = found.landmarks, code, found.confidence
                break
    return {"landmarks": landmarks, "detector": codes, "confidence": confidence}


def find_regions(settings: Detectors, margin: float, faces: np.ndarray) -> dict[str, np.ndarray]:
    """What `find_landmarks` returns, and the `regions` uint8 (N, H, W) drawn from it."""
    found = find_landmarks(settings, faces)
    return {**found, "regions": region_maps(found["landmarks"], faces.shape[1:3], margin)}


class WorkerPool:
    """Processes that apply a function to batches of faces; a context manager.

    They start at the first batch, ignore Ctrl-C (their parent ends them after the batch in hand), and end
    by themselves when their parent is killed.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def in_order(self, function: Callable[[np.ndarray], Any], batches: Iterable[np.ndarray]) -> Iterator[Any]:
        """`function` of each batch, in the order of the batches.

        Raises UserError where a worker dies, and what `function` raises.
        """
        waiting: collections.deque[concurrent.futures.Future] = collections.deque()
        try:
            for batch in batches:
                waiting.append(self._submit(function, batch))
                if len(waiting) > BATCHES_AHEAD * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "a worker process of the detectors died (out of memory?); run 'fertool masks' again to go on "
                "from where it stopped, with fewer --workers"
            ) from None

    def _submit(self, function: Callable[[np.ndarray], Any], batch: np.ndarray) -> concurrent.futures.Future:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            cores = context.SimpleQueue()
            for core in _own_cores(self._workers):
                cores.put(core)
            self._pool = concurrent.futures.ProcessPoolExecutor(
                self._workers, context, initializer=_start_worker, initargs=(cores,)
            )
        with _ctrl_c_blocked():
            return self._pool.submit(function, batch)


@contextlib.contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    # a process started meanwhile inherits the mask, so Ctrl-C cannot stop it halfway through its imports
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _own_cores(workers: int) -> list[int]:
    """A core for each worker, where there are several workers and the system can tell.

    MediaPipe starts threads for all cores that it may use, and those of several workers get in each other's
    way: with a core of its own each of two workers finds a tenth more faces a second.
    """
    if workers == 1 or not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    return [cores[worker % len(cores)] for worker in range(workers)]


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
