"""Synthetic faces, drawn from known landmarks, so that the truth about each is known."""
