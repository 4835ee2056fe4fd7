"""Pickles of NumPy arrays, as Python 2 wrote them, read without running what else a pickle may hold."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fertool.errors import UserError


def read_array_pickle(path: Path) -> dict[str, Tensor]:
    """The arrays in a pickled dictionary of names to arrays of floats, as float32.

    Raises UserError for a pickle that names anything but arrays: to load it would be to run it.
    """
    try:
        content = _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except _RefusedError as error:
        raise UserError(
            f"{path}: refused, for this pickle runs code ({error}) when it is loaded; a file of weights holds "
            "arrays only"
        ) from None
    # a damaged pickle fails in as many ways as there are operations in it
    except Exception as error:
        raise UserError(f"{path}: not a whole pickle ({error}); get it again") from None
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(array, np.ndarray) and array.dtype.kind == "f"
        for name, array in content.items()
    ):
        raise UserError(f"{path}: not a dictionary of names to arrays of floats")
    return {
        name: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        for name, array in content.items()
    }


class _RefusedError(Exception):
    """A pickle names something that is no part of an array."""


def _latin1_bytes(text: str, codec: str) -> bytes:
    """What Python 3 writes into an old pickle for bytes, `_codecs.encode`, for the one codec that it uses."""
    if codec != "latin1":
        raise _RefusedError(f"_codecs.encode to {codec}")
    return text.encode("latin1")


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler to which nothing exists but what an array of NumPy is pickled as."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _latin1_bytes
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if name == "_reconstruct" and module in {"numpy.core.multiarray", "numpy._core.multiarray"}:
            return np.ndarray.__reduce__(np.empty(0))[0]
        raise _RefusedError(f"{module}.{name}")
