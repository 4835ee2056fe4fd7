"""Scores: what runs classify, where they look, and how far either holds up; a family of figures a suite."""

from fertool.score.command import score

__all__ = ["score"]
