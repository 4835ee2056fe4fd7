"""Which parts of the face does a facial expression model rely on? Measured, with numbers that hold up."""

__version__ = "0.1.0"
