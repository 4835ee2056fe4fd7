"""Near twins: pictures that are copies of one another without sharing their pixels, and frames of one sequence.

A copy may be shifted, rescaled, encoded again, lighter or darker, or carry another watermark. Nothing is sampled: every
two pictures are compared, in three steps of which each leaves fewer pairs to the next one.

1. Their look from afar: low frequencies of the cosine transform, as of pHash (Zauner 2010, 'Implementation and
   Benchmarking of Perceptual Image Hash Functions', section 3.2.1).
2. A perceptual hash of their detail: means over 8 x 8 blocks of one picture and of eight shifts of the other (Yang, Gu
   and Niu 2006, 'Block Mean Value Based Image Perceptual Hashing'). Neither hash is cut to bits: cut to 64, so many
   pairs of FER2013 differ in so few of them that millions would be left.
3. The correlation of the detail itself, one picture laid over the other at the best shift and scale.

Detail is what is left without the finest grain and without the slow changes of light, which two faces share that are
lit from the same side. With these, the correlations of copies and of merely similar faces of FER2013 overlap from 0.87
to 0.95; without them hardly a pair lies between the two. On FER2013 the three steps find 91% of the pairs that were
found by any way that was tried; 22,000 pairs reach the last one.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fertool.prepare.twins import same_pixels
from fertool.runtime.progress import progress_bar

LOOK_CORRELATION = 0.77
HASH_CORRELATION = 0.80
NEAR_CORRELATION = 0.92  # by contact sheets of FER2013: of 24 pairs from 0.90 to 0.91 some 17 are copies
DOUBTFUL_CORRELATION = 0.85  # below it a pair is not even kept to be looked at

_SIDE = 48  # pixels to which pictures are brought
_FREQUENCIES = 8  # per direction, of what is looked at from afar
_CELLS, _CELL = 8, 5  # blocks of a hash in each direction, and the side of one in pixels
_SHIFTS = (0, -3, 3)  # pixels, in each direction
_BLOCK = 128  # pictures whose looks are compared with all others at once
_MARGIN = 6  # pixels on all sides by which one picture can be shifted against the other
_SIDES = range(_SIDE - 5, _SIDE + 6)  # to which the other picture is scaled
_HOPELESS = 0.65  # a correlation without scaling from which no scale reaches NEAR_CORRELATION
_LEAST_DETAIL = 1.0  # grey levels, standard deviation: below it there is nothing to compare


@dataclass(frozen=True)
class NearPairs:
    """Pairs of pictures that are near twins or might be, each once; of identical twins the first stands for all.

    `rows` is int64 (P, 2), the first below the second; `correlations` float32 (P,), DOUBTFUL_CORRELATION to 1.
    """

    rows: np.ndarray
    correlations: np.ndarray

    @property
    def near(self) -> np.ndarray:
        """The rows of near twins, int64 (Q, 2)."""
        return self.rows[self.correlations >= NEAR_CORRELATION]

    def among(self, chosen: np.ndarray, images: np.ndarray) -> "NearPairs":
        """The pairs of pictures that are among `images[chosen]`, or have an identical twin there, by its rows.

        `chosen` is int64 (K,), `images` all N pictures.
        """
        same = same_pixels(images)
        place = np.full(int(same.max()) + 1, -1)
        place[same[chosen][::-1]] = np.arange(len(chosen))[
            ::-1
        ]  # of identical twins the first stands for all
        rows = np.sort(place[same[self.rows]], axis=1)
        kept = (rows >= 0).all(axis=1)
        return NearPairs(rows[kept], self.correlations[kept])


def find_near_pairs(images: np.ndarray) -> NearPairs:
    """The near twins among N pictures, at least one, uint8 (N, H, W[, 3]), and the pairs that are nearly some.

    The time grows with the square of N, the memory with N.
    """
    firsts = np.unique(same_pixels(images), return_index=True)[1]
    prints = _prints(images, firsts)
    pairs = _near_pairs(prints, prints)
    return NearPairs(np.sort(firsts[pairs.rows], axis=1), pairs.correlations)


def near_faces(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each of N pictures has a near twin among M others, bool (N,).

    Both are uint8, (N, H, W[, 3]) and (M, H, W[, 3]), of any two sizes. An identical one may be missed: where there is
    no detail, there is nothing to compare.
    """
    firsts, same = np.unique(same_pixels(images), return_index=True, return_inverse=True)[1:]
    other_firsts = np.unique(same_pixels(others), return_index=True)[1]
    # the shifts are those of the first, as in a workspace, where training faces stand before all others
    pairs = _near_pairs(_prints(others, other_firsts), _prints(images, firsts))
    found = np.zeros(len(firsts), dtype=bool)
    found[pairs.near[:, 1]] = True
    return found[same.reshape(-1)]


def same_picture(images: np.ndarray, pairs: NearPairs) -> np.ndarray:
    """Numbers that near and identical twins share, also through other pictures: int64 (N,).

    `pairs` are those of all the pictures.
    """
    same = same_pixels(images)
    near = same[pairs.near]
    count = int(same.max()) + 1
    links = coo_array((np.ones(len(near), np.int8), (near[:, 0], near[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[1][same].astype(np.int64)


@dataclass(frozen=True)
class _Prints:
    """The prints of N pictures.

    `looks` float32 (N, _FREQUENCIES^2 - 1), `details` uint8 (N, _SIDE, _SIDE).
    """

    looks: np.ndarray
    details: np.ndarray


def _prints(images: np.ndarray, rows: np.ndarray) -> _Prints:
    """The prints of some rows of the pictures; these themselves are not kept."""
    looks = np.empty((len(rows), _FREQUENCIES**2 - 1), np.float32)
    details = np.empty((len(rows), _SIDE, _SIDE), np.uint8)
    for start in range(0, len(rows), _BLOCK):
        block = np.stack([_plain(images[row]) for row in rows[start : start + _BLOCK]])
        looks[start : start + _BLOCK] = _looks(block)
        for number, picture in enumerate(block, start):
            details[number] = _detail(picture)
    return _Prints(looks, details)


def _near_pairs(ones: _Prints, others: _Prints) -> NearPairs:
    """The pairs of one picture and another, each once where both are the same pictures."""
    rows, correlations = [], []
    with progress_bar("near twins", len(ones.details), "faces") as bar:
        for pairs, done in _candidates(ones, others):
            for one, other in pairs.tolist():
                correlation = _correlation(ones.details[one], others.details[other])
                if correlation >= DOUBTFUL_CORRELATION:
                    rows.append((one, other))
                    correlations.append(correlation)
            bar.update(done)
    return NearPairs(np.array(rows, np.int64).reshape(-1, 2), np.array(correlations, np.float32))


def _plain(picture: np.ndarray) -> np.ndarray:
    """A picture in grey, uint8 (_SIDE, _SIDE)."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.ndim == 3 else picture
    if grey.shape == (_SIDE, _SIDE):
        return grey
    return cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def _looks(pictures: np.ndarray) -> np.ndarray:
    """The look of pictures from afar, float32 (N, _FREQUENCIES^2 - 1), each of length 1 or 0.

    It is the low frequencies of their cosine transform but the mean, the lowest ones first of all: a shift by a few
    pixels hardly changes them.
    """
    frequency = np.hypot(*np.mgrid[:_FREQUENCIES, :_FREQUENCIES]).ravel()[1:]
    weights = (np.sqrt(frequency) * np.exp(-((frequency / 5) ** 2))).astype(np.float32)
    low = dctn(pictures.astype(np.float32), axes=(1, 2), norm="ortho")[:, :_FREQUENCIES, :_FREQUENCIES]
    looks = low.reshape(len(pictures), -1)[:, 1:] * weights
    length = np.linalg.norm(looks, axis=1, keepdims=True)
    return np.divide(looks, length, out=np.zeros_like(looks), where=length > 0)


def _detail(picture: np.ndarray) -> np.ndarray:
    """The detail of a grey picture, uint8 (_SIDE, _SIDE) about 128; 0 everywhere where there is hardly any."""
    grey = picture.astype(np.float32)
    detail = cv2.blur(grey, (3, 3)) - cv2.blur(grey, (17, 17))
    deviation = float(detail.std())
    if deviation < _LEAST_DETAIL:
        return np.zeros((_SIDE, _SIDE), np.uint8)
    return np.clip(128 + 32 * detail / deviation, 0, 255).astype(np.uint8)


def _hashes(details: np.ndarray, down: int = 0, right: int = 0) -> np.ndarray:
    """The hashes of pictures shifted by so many pixels, float32 (N, _CELLS^2), each of mean 0 and of length 1 or 0."""
    side = _CELLS * _CELL
    top, left = (_SIDE - side) // 2 + down, (_SIDE - side) // 2 + right
    inner = details[:, top : top + side, left : left + side].astype(np.uint16)
    # whole rows are added, then whole columns of cells: numpy is slow where it adds few values many times
    rows = functools.reduce(np.add, (inner[:, row::_CELL] for row in range(_CELL)))
    cells = functools.reduce(np.add, (rows[:, :, column::_CELL] for column in range(_CELL)))
    hashes = cells.reshape(len(details), -1) / np.float32(_CELL**2)
    hashes -= hashes.mean(axis=1, keepdims=True)
    length = np.linalg.norm(hashes, axis=1, keepdims=True)
    return np.divide(hashes, length, out=np.zeros_like(hashes), where=length > 0)


def _candidates(ones: _Prints, others: _Prints) -> Iterator[tuple[np.ndarray, int]]:
    """Pairs that look alike and whose hashes correlate at some shift, int64 (P, 2), and how many of `ones` they took.

    Where both are the same pictures, the first of a pair is below the second.
    """
    hashes, is_one_set = _hashes(others.details), ones is others
    for start in range(0, len(ones.details), _BLOCK):
        block, begin = ones.details[start : start + _BLOCK], start if is_one_set else 0
        shifted = np.stack([_hashes(block, down, right) for down in _SHIFTS for right in _SHIFTS], axis=1)
        alike = ones.looks[start : start + _BLOCK] @ others.looks[begin:].T >= LOOK_CORRELATION
        found = []
        for row in range(len(block)):
            beyond = row + 1 if is_one_set else 0
            candidates = begin + beyond + np.flatnonzero(alike[row, beyond:])
            close = (shifted[row] @ hashes[candidates].T).max(axis=0) >= HASH_CORRELATION
            found += [(start + row, other) for other in candidates[close].tolist()]
        yield np.array(found, np.int64).reshape(-1, 2), len(block)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of two pictures' detail at the best shift and scale; -1 to 1."""
    inner = one[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    best, side = _at_best_shift(inner, other, _SIDE), _SIDE
    if best < _HOPELESS:
        return best
    for step in (1, -1):
        while side + step in _SIDES and (scaled := _at_best_shift(inner, other, side + step)) > best:
            best, side = scaled, side + step
    return best


def _at_best_shift(inner: np.ndarray, detail: np.ndarray, side: int) -> float:
    """The largest correlation of a picture's middle with any part of another picture scaled to `side` pixels."""
    if side != _SIDE:
        way = cv2.INTER_AREA if side < _SIDE else cv2.INTER_LINEAR
        detail = cv2.resize(detail, (side, side), interpolation=way)
    correlation = float(cv2.matchTemplate(detail, inner, cv2.TM_CCOEFF_NORMED).max())
    return correlation if math.isfinite(correlation) else -1.0
