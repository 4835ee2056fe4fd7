from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from fertool.masks.detectors.small_faces import DLIB, MEDIAPIPE, TEMPLATE
from fertool.masks.preview import PREVIEW_FACES, choose_preview_faces, draw_regions, write_preview
from fertool.masks.region_colours import REGION_COLOURS
from fertool.masks.regions import REGIONS


def test_rare_detectors_are_shown_too() -> None:
    codes = np.full(1000, MEDIAPIPE)
    codes[[3, 500, 700]], codes[10:300] = DLIB, TEMPLATE
    chosen = choose_preview_faces(codes)
    assert len(set(chosen.tolist())) == PREVIEW_FACES
    assert {3, 500, 700} <= set(chosen.tolist())
    assert (codes[chosen] == TEMPLATE).sum() >= PREVIEW_FACES // 8
    assert (np.diff(codes[chosen]) >= 0).all()
    assert np.array_equal(chosen, choose_preview_faces(codes))
    assert len(choose_preview_faces(codes[:7])) == 7


def test_regions_are_outlined_in_the_colours_that_they_have_everywhere() -> None:
    regions = np.zeros((48, 48), np.uint8)
    regions[10:20, 10:38], regions[30:40, 10:38] = REGIONS.index("eyes"), REGIONS.index("mouth")
    picture = draw_regions(np.full((48, 48), 128, np.uint8), regions)[:, :, ::-1]
    eye_colour, mouth_colour = (
        np.rint(np.array(to_rgb(REGION_COLOURS[name])) * 255) for name in ("eyes", "mouth")
    )
    assert (picture[40, 40:152] == eye_colour).all()
    assert (picture[120, 40:152] == mouth_colour).all()
    assert (picture[100] == 128).all() and (picture[60, 60] == 128).all()


@pytest.mark.parametrize("name", ["f\udcfcr", "日本語", "a\x1b[31mb\nc", "$a_$"])
def test_names_of_any_characters_are_captions(name: str, tmp_path: Path) -> None:
    """OpenCV's font is ASCII; a byte that is no UTF-8 made it end the process."""
    faces = np.full((2, 48, 48), 128, np.uint8)
    write_preview(tmp_path / "sheet.png", faces, np.zeros_like(faces), [MEDIAPIPE, DLIB], [name, "b"])
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] == 8 * 192
