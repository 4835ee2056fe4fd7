"""The distance between MediaPipe's and dlib's landmarks on faces that both find."""

import functools
from typing import Any

import numpy as np

from fertool.masks.detectors.small_faces import DLIB, MEDIAPIPE
from fertool.masks.find_landmarks import BATCH_FACES, Detectors, batches_of, find_landmarks
from fertool.masks.landmarks import PARTS, interocular_distance
from fertool.runtime.partial_rows import PartialRows
from fertool.runtime.progress import progress_bar
from fertool.runtime.worker_pool import WorkerPool
from fertool.workspace import Workspace

SAMPLED_FACES = 500


def measure_agreement(mediapipe: np.ndarray, dlib: np.ndarray) -> dict[str, Any]:
    """Distances between two detectors' landmarks (N, 68, 2) of the same faces, in inter-ocular distances.

    A face's distance is the mean over the points, divided by MediaPipe's inter-ocular distance. The result holds the
    median over the faces for all 68 points and for each part, None where there is no face.
    """
    apart = np.linalg.norm(mediapipe - dlib, axis=-1) / interocular_distance(mediapipe)[:, None]

    def median(points: slice) -> float | None:
        return round(float(np.median(apart[:, points].mean(axis=1))), 4) if len(apart) else None

    return {
        "faces": len(apart),
        "median_distance_iod": median(slice(None)),
        "by_part_iod": {part: median(points) for part, points in PARTS.items()},
    }


def sampled_agreement(
    workspace: Workspace, partials: dict[str, PartialRows], pool: WorkerPool, detectors: Detectors
) -> dict[str, Any]:
    """`measure_agreement` on a fixed random sample of the faces that MediaPipe found.

    `partials` are the finished rows of each split; `pool` runs dlib on the sample.
    """
    faces = np.concatenate(
        [
            np.stack([np.full(len(rows), index), rows], axis=1)
            for index, partial in enumerate(partials.values())
            for rows in [np.flatnonzero(partial.arrays["detector"] == MEDIAPIPE)]
        ]
    )
    chosen = np.random.default_rng(0).choice(len(faces), min(SAMPLED_FACES, len(faces)), replace=False)
    chosen = faces[np.sort(chosen)]
    dlib_alone = functools.partial(find_landmarks, Detectors((DLIB,), detectors.confidence, None))
    theirs, both = [], []
    with progress_bar("agreement of detectors", len(chosen), "faces") as bar:
        for index, (split, partial) in enumerate(partials.items()):
            rows = chosen[chosen[:, 0] == index, 1]
            sample = workspace.load_faces(split)[rows]
            for answer in pool.in_order(dlib_alone, batches_of(sample, 0, BATCH_FACES)):
                theirs.append(answer)
                bar.update(len(answer["detector"]))
            both.append(partial.arrays["landmarks"][rows])
    found = np.concatenate([answer["detector"] for answer in theirs] or [np.zeros(0)]) == DLIB
    landmarks = np.concatenate([answer["landmarks"] for answer in theirs] or [np.zeros((0, 68, 2))])
    return {
        "sampled": len(chosen),
        **measure_agreement(np.concatenate(both)[found], landmarks[found]),
    }
