"""Synthetic faces as a source: with their truth, and a mark in the background where one is asked for."""

from dataclasses import replace

import numpy as np

from fertool.masks.regions import REGIONS
from fertool.prepare.emotions import EMOTIONS
from fertool.prepare.sources.labelled_faces import UNTOLD, LabelledFaces
from fertool.prepare.synthetic.faces import NOWHERE, draw_faces
from fertool.prepare.synthetic.marks import draw_marks, mark_codes

SYNTHETIC = "synthetic"
BACKGROUND = "background"
EVIDENCE = {"face" if name == "face contour" else name: code for code, name in enumerate(REGIONS)}
"""Each region that can be the only one to tell the class, and its code."""


def draw(count: int, seed: int, size: int, evidence: str | None) -> LabelledFaces:
    """Draw `count` faces, whose splits are not told yet; `evidence` is one of EVIDENCE, or None for all regions."""
    # where the background is the evidence no feature shows the label's emotion: a mark will
    synthetic = draw_faces(count, seed, size, NOWHERE if evidence == BACKGROUND else evidence)
    truth = {"landmarks": synthetic.landmarks, "region_maps": synthetic.region_maps}
    if evidence is not None and evidence != BACKGROUND:
        truth["evidence"] = synthetic.region_maps == EVIDENCE[evidence]
    return LabelledFaces(
        name="synthetic faces",
        kind="synthetic faces",
        images=synthetic.images,
        classes=list(EMOTIONS),
        labels=synthetic.labels,
        splits=np.full(count, UNTOLD),
        ids=np.array([f"drawn{number:07d}" for number in range(count)]),
        sources=np.full(count, SYNTHETIC),
        truth=truth,
    )


def marked(faces: LabelledFaces, seed: int, evidence: str | None, spurious: float) -> LabelledFaces:
    """Put marks into the background of synthetic faces: the evidence, or a shortcut that fails in val and test."""
    numbers = np.array([int(face.removeprefix("drawn")) for face in faces.ids.tolist()])
    codes = faces.labels
    if evidence != BACKGROUND:
        codes = mark_codes(faces.labels, faces.splits, numbers, spurious, len(faces.classes), seed)
    images, region_maps, marks = draw_marks(faces.images, faces.truth["region_maps"], codes, numbers, seed)
    truth = {**faces.truth, "region_maps": region_maps, "mark": marks}
    if evidence == BACKGROUND:
        truth["evidence"] = marks
    elif evidence is not None:
        truth["evidence"] = faces.truth["evidence"] & ~marks
    return replace(faces, images=images, truth=truth)
