"""Measure which parts of the face a facial expression model relies on, with numbers that hold up."""

__version__ = "0.1.0"
