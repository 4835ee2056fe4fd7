"""Random numbers of a face: they depend on a seed and the face's row, and on nothing else.

A draw is a hash of (seed, row, number of the draw) by the finaliser of SplitMix64 (Steele, Lea and Flood 2014,
'Fast Splittable Pseudorandom Number Generators', figure 16, variant 13 of Stafford), computed for a whole batch
at once on its device. So a face gets the same numbers in any batch, any order and any sample of its split.
"""

import math
import zlib

import torch
from torch import Tensor

GOLDEN_GAMMA = 0x9E3779B97F4A7C15
MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
MANTISSA_BITS = 24  # of float32: that many bits of the hash make a number


def uniform_draws(key: str, seed: int, rows: Tensor, count: int) -> Tensor:
    """Independent uniform numbers in (0, 1), float32 (B, count), of the faces in `rows`, int64 (B,).

    Different keys and different seeds give independent numbers.
    """
    stream = _mix(torch.tensor(_signed(seed * GOLDEN_GAMMA + zlib.crc32(key.encode())), device=rows.device))
    face_stream = _mix(stream + rows * _signed(GOLDEN_GAMMA))
    numbers = torch.arange(1, count + 1, device=rows.device)
    bits = _mix(face_stream[:, None] + numbers * _signed(GOLDEN_GAMMA))
    # the half keeps 0 out, which has no logarithm
    return (_shifted(bits, 64 - MANTISSA_BITS).float() + 0.5).clamp(
        max=2**MANTISSA_BITS - 1
    ) / 2**MANTISSA_BITS


def normal_draws(key: str, seed: int, rows: Tensor, count: int) -> Tensor:
    """Independent standard normal numbers, float32 (B, count): Box and Muller (1958) of uniform ones."""
    pairs = (count + 1) // 2
    radius, angle = uniform_draws(key, seed, rows, 2 * pairs).split(pairs, dim=1)
    radius = (-2 * radius.log()).sqrt()
    angle = 2 * math.pi * angle
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def _mix(bits: Tensor) -> Tensor:
    for shift, multiplier in zip((30, 27), MULTIPLIERS, strict=True):
        bits = (bits ^ _shifted(bits, shift)) * _signed(multiplier)
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """A logical shift to the right; torch's own carries the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _signed(number: int) -> int:
    """The 64-bit integer with the same lowest 64 bits."""
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number
