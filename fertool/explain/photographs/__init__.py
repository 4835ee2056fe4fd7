"""Explanations of the faces in any photograph, drawn beside it."""
