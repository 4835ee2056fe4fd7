"""Pretrained and trained weights: where they come from, how they are read and written."""
