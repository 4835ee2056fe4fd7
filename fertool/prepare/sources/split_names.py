"""The names that data sets give their splits."""

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "publictest": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}

KNOWN = "train, val (valid, validation, dev, PublicTest) and test (PrivateTest)"
"""The names in words."""

FOLDERS = frozenset(_SPLITS) - {"dev"}
"""The names that a folder above classes may have: one called `dev` may hold anything."""


def split_named(name: str) -> str | None:
    """The split that a name means, train, val or test, in any case; None where it means none."""
    return _SPLITS.get(name.strip().lower())
