"""A contact sheet: faces with the outlines of their regions, to be looked at."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from fertool.masks.detectors.small_faces import DETECTORS
from fertool.masks.region_colours import REGION_COLOURS
from fertool.masks.regions import REGIONS
from fertool.runtime.contact_sheet import tiled, write_sheet
from fertool.runtime.printable import printable
from fertool.workspace import Workspace

# as OpenCV takes them
COLOURS_BGR = {name: tuple(bytes.fromhex(REGION_COLOURS[name][1:]))[::-1] for name in REGIONS[1:]}
PREVIEW_FACES = 40
COLUMNS = 8
TILE_SIDE = 192
CAPTION_HEIGHT = 18


def choose_preview_faces(detector: np.ndarray) -> np.ndarray:
    """Rows of the faces to show, at most PREVIEW_FACES, given the detectors' codes (N,).

    Every detector, however rare, has up to an eighth of the sheet; the other faces are drawn from all. The choice is
    always the same, in the order of the codes.
    """
    shuffled = np.random.default_rng(0).permutation(len(detector))
    by_detector = [shuffled[detector[shuffled] == code] for code in np.unique(detector)]
    rare = np.concatenate([faces[: PREVIEW_FACES // 8] for faces in by_detector]) if by_detector else shuffled
    chosen = np.concatenate([rare, np.setdiff1d(shuffled, rare, assume_unique=True)])[:PREVIEW_FACES]
    return chosen[np.argsort(detector[chosen], kind="stable")]


def draw_regions(face: np.ndarray, region_map: np.ndarray) -> np.ndarray:
    """A face, uint8 (H, W) or RGB (H, W, 3), enlarged to about TILE_SIDE pixels, its regions outlined; BGR."""
    scale = max(1, round(TILE_SIDE / max(face.shape[:2])))
    colour = cv2.cvtColor(face, cv2.COLOR_GRAY2BGR if face.ndim == 2 else cv2.COLOR_RGB2BGR)
    size = (face.shape[1] * scale, face.shape[0] * scale)
    picture = cv2.resize(colour, size, interpolation=cv2.INTER_CUBIC)
    regions = cv2.resize(region_map, size, interpolation=cv2.INTER_NEAREST)
    for name, bgr in COLOURS_BGR.items():
        inside = (regions == REGIONS.index(name)).astype(np.uint8)
        contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, bgr, 1)
    return picture


def write_preview(
    target: Path,
    faces: Sequence[np.ndarray],
    region_maps: Sequence[np.ndarray],
    detector: Sequence[int],
    names: Sequence[str],
) -> None:
    """Write faces with their regions as a PNG, each captioned with its detector and its name.

    Args:
        target: the PNG.
        faces: uint8 (H, W) or RGB (H, W, 3) each.
        region_maps: region codes, uint8 (H, W) each.
        detector: codes of the detectors.
        names: captions.

    Raises:
        UserError: the file cannot be written.
    """
    tiles = []
    for face, region_map, code, name in zip(faces, region_maps, detector, names, strict=True):
        picture = draw_regions(face, region_map)
        caption = np.full((CAPTION_HEIGHT, picture.shape[1], 3), 32, np.uint8)
        text = f"{DETECTORS[code]} {_ascii(name)}"
        cv2.putText(caption, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (230, 230, 230), 1, cv2.LINE_AA)
        tiles.append(np.vstack([caption, picture]))
    rows = tiled(tiles, COLUMNS)
    legend = np.full((CAPTION_HEIGHT + 6, rows.shape[1], 3), 32, np.uint8)
    left = 4
    for name, bgr in COLOURS_BGR.items():
        cv2.putText(legend, name, (left, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, bgr, 1, cv2.LINE_AA)
        left += cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0] + 16
    write_sheet(target, np.vstack([legend, rows]), "--preview")


def _ascii(name: str) -> str:
    """A name with a question mark for every character that OpenCV's font has not."""
    return printable(name).encode("ascii", "replace").decode("ascii")


def preview_masks(workspace: Workspace, splits: Sequence[str], target: Path) -> None:
    """Write some faces of the splits with their regions, see `choose_preview_faces` and `write_preview`."""
    codes = [workspace.load_landmarks(split, ["detector"])["detector"] for split in splits]
    detector = np.concatenate(codes)
    faces_of_all = [
        (split, row)
        for split, split_codes in zip(splits, codes, strict=True)
        for row in range(len(split_codes))
    ]
    faces = {split: workspace.load_faces(split) for split in splits}
    maps = {split: workspace.load_region_maps(split) for split in splits}
    labels = {split: workspace.load_labels(split) for split in splits}
    classes = workspace.dataset()["classes"]
    chosen = choose_preview_faces(detector)
    shown = [faces_of_all[index] for index in chosen]
    write_preview(
        target,
        [np.asarray(faces[split][row]) for split, row in shown],
        [np.asarray(maps[split][row]) for split, row in shown],
        detector[chosen].tolist(),
        [f"{classes[labels[split][row]]} {split} {row}" for split, row in shown],
    )
