"""Detectors: a face's pixels -> 68 landmarks, an outline and a confidence."""
