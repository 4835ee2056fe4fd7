"""Scores: classification, and attention over regions."""

from fertool.score.score import score

__all__ = ["score"]
