"""The tensors in a file of weights, whoever wrote it."""

import json
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from fertool.errors import UserError
from fertool.models.weights.array_pickle import read_array_pickle
from fertool.models.weights.checkpoint import METADATA_KEY

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".pkl")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Names and tensors, on the CPU, of a .safetensors, a checkpoint of PyTorch (weights only), or a .pkl.

    Of a checkpoint that holds more than weights, the part of the name `state_dict` or `model`. Raises UserError for
    another suffix, for a damaged file, for one that runs code when it is loaded, and for the last.pt of a run.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: not a file of weights; those end in {', '.join(SUFFIXES)}")
    if path.suffix == ".pkl":
        return read_array_pickle(path)
    from timm.models import load_state_dict

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about pickles that it then refuses
            tensors = load_state_dict(str(path), weights_only=True)
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        LookupError,
    ) as error:
        cause = error.__cause__ or error
        if code := re.search(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)", str(cause)):
            raise UserError(
                f"{path}: refused, for this checkpoint runs code ({code[1]}) when it is loaded; save the "
                "state_dict alone, or as .safetensors"
            ) from None
        raise UserError(
            f"{path}: not a whole file of weights ({type(cause).__name__}); get it again"
        ) from None
    except (AttributeError, TypeError):  # no dictionary, or not one of names
        tensors = {}
    if isinstance(tensors.get("network"), dict) and "optimizer" in tensors:
        raise UserError(
            f"{path}: where a training stands, which does not say what its model is; give best.safetensors "
            "beside it"
        )
    tensors = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{path}: holds no tensors by name; save the network's state_dict")
    return tensors


def read_recipe(path: Path) -> dict[str, Any] | None:
    """The arguments of build_model in a file that one of our own runs wrote; None for any other."""
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {}).get(METADATA_KEY, "null"))
    except (SafetensorError, ValueError):
        return None
