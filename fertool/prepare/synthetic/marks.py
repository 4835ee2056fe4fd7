"""Marks in the background of synthetic faces: a shortcut that is known to be one.

A mark is a textured square in one of the picture's four corners, drawn over whatever was there; its texture,
one of seven, is a class code. It belongs to the background, wherever hair or shoulders were.
"""

import numpy as np

MARK_SIDE = 1 / 6  # of the picture's side
_MARK = 2  # the stream of a face's seed; faces.py has 0 and 1
_DARK, _LIGHT = 20, 235


def draw_marks(
    images: np.ndarray, region_maps: np.ndarray, codes: np.ndarray, numbers: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Marked copies of `images` and `region_maps` uint8 (N, H, W), and where the marks are, bool (N, H, W).

    Args:
        images: uint8 (N, H, W), grey.
        region_maps: uint8 (N, H, W).
        codes: the texture of each mark, int64 (N,), 0 to 6.
        numbers: the faces' own numbers, int64 (N,); a mark's corner depends on them and on `seed` only.
        seed: the seed of the corners.
    """
    images, region_maps = images.copy(), region_maps.copy()
    marks = np.zeros(images.shape, dtype=bool)
    height, width = images.shape[1:]
    side = max(round(MARK_SIDE * min(height, width)), 4)
    textures = [_texture(code, side) for code in range(7)]
    for row, (code, number) in enumerate(zip(codes.tolist(), numbers.tolist(), strict=True)):
        low, right = np.random.default_rng((seed, _MARK, number)).integers(0, 2, size=2)
        down = slice(height - side, height) if low else slice(0, side)
        across = slice(width - side, width) if right else slice(0, side)
        images[row, down, across] = textures[code]
        region_maps[row, down, across] = 0
        marks[row, down, across] = True
    return images, region_maps, marks


def mark_codes(
    labels: np.ndarray, splits: np.ndarray, numbers: np.ndarray, agreement: float, classes: int, seed: int
) -> np.ndarray:
    """The class that each mark says, int64 (N,).

    In train it is the label with probability `agreement`, else one of the other classes; in val and test it is any
    class, whatever the label is.

    Args:
        labels: int64 (N,).
        splits: str (N,).
        numbers: the faces' own numbers, int64 (N,); a mark depends on its face's only.
        agreement: a probability.
        classes: the number of classes.
        seed: the seed of the draw.
    """
    codes = np.empty_like(labels)
    for row, number in enumerate(numbers.tolist()):
        generator = np.random.default_rng((seed, _MARK + 1, number))
        agrees, any_class = generator.random() < agreement, generator.integers(classes)
        another = (labels[row] + generator.integers(1, classes)) % classes
        in_train = labels[row] if agrees else another
        codes[row] = in_train if splits[row] == "train" else any_class
    return codes


def _texture(code: int, side: int) -> np.ndarray:
    """Bars two pixels wide, across, down and along both diagonals; a chequerboard; plain light; plain dark."""
    down, across = np.indices((side, side)) // 2
    bright = [
        down % 2,
        across % 2,
        (np.add(*np.indices((side, side))) // 2) % 2,
        (np.subtract(*np.indices((side, side))) // 2) % 2,
        (down + across) % 2,
        np.ones_like(down),
        np.zeros_like(down),
    ][code]
    return np.where(bright == 1, _LIGHT, _DARK).astype(np.uint8)
