"""Readers of data sets: an archive, a csv or folders -> labelled faces."""
