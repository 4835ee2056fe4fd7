"""Weights of transformers in several files: an index of JSON beside them says which tensor lies in which."""

import hashlib
import json
from pathlib import Path

from fertool.errors import UserError
from fertool.runtime.files import file_sha256

INDEX = "model.safetensors.index.json"
MOST_INDEX_BYTES = 1 << 26  # some hundred bytes a tensor
AGAIN = "get it again"


def is_index(path: Path) -> bool:
    """Whether a path is that of an index of weights."""
    return path.name == INDEX


def shards(index: Path) -> dict[str, set[str]]:
    """The files of an index, each with the names of its tensors.

    Raises UserError for what is no such index, and for the name of a file that does not lie beside it.
    """
    try:
        if index.stat().st_size > MOST_INDEX_BYTES:
            raise UserError(
                f"{index}: more than {MOST_INDEX_BYTES >> 20} MB, and no index of weights; {AGAIN}"
            )
        placed = json.loads(index.read_text())["weight_map"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{index}: no index of weights ({type(error).__name__}); {AGAIN}") from None
    found: dict[str, set[str]] = {}
    for tensor, file in placed:
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise UserError(f"{index}: {str(file)[:100]!r} is no .safetensors beside it; {AGAIN}")
        found.setdefault(file, set()).add(tensor)
    return found


def is_whole(index: Path) -> bool:
    """Whether all files of an index are there. Raises UserError as `shards` does."""
    return all((index.parent / file).is_file() for file in shards(index))


def weights_sha256(path: Path) -> str:
    """The SHA-256 of a file of weights, or of the hashes of an index and of its files, in the order of their names."""
    if not is_index(path):
        return file_sha256(path)
    files = [path, *(path.parent / file for file in sorted(shards(path)))]
    if missing := next((file for file in files if not file.is_file()), None):
        raise UserError(f"{path}: there is no {missing.name} beside it; put it there")
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()
