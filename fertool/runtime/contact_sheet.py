"""Contact sheets: small pictures side by side in a PNG, to be looked at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fertool.errors import UserError
from fertool.runtime.files import replacing


def tiled(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size, at least one, in rows of so many; the last row ends in black."""
    filled = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % columns)]
    return np.vstack([np.hstack(filled[start : start + columns]) for start in range(0, len(filled), columns)])


def write_sheet(target: Path, sheet: np.ndarray, option: str) -> None:
    """Write a sheet, grey or BGR, as a PNG. Raises UserError, naming the option, where the file cannot be written."""
    import cv2  # training needs it for nothing else

    _, png = cv2.imencode(".png", sheet)
    try:
        with replacing(target) as handle:
            handle.write(png.tobytes())
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror}); give {option} another file"
        ) from None
