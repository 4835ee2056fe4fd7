"""The tensors in a file of weights, whoever wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from fertool.errors import UserError
from fertool.models.weights.array_pickle import read_array_pickle
from fertool.models.weights.shards import is_index, shards
from fertool.models.weights.torch_file import SAVE_STATE_DICT, load_torch_file

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".pkl")
# names under which training programs keep a network's weights in a checkpoint; averaged weights come first
PARTS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "params_ema", "ema",
    "state_dict", "model_state_dict", "model", "net", "network", "params", "weights",
)  # fmt: skip
WRAPPERS = ("module.", "_orig_mod.")  # DistributedDataParallel and torch.compile put them before every name
MOST_UNPACKED_BYTES = 1 << 31  # that tensors may have beyond the file's size, as expanded ones do


@dataclass(frozen=True)
class Checkpoint:
    """The weights in a file, and what else it says."""

    tensors: dict[str, Tensor]  # on the CPU
    part: str = ""  # the name under which they lay in the file; empty: at its top
    prefix: str = ""  # of a wrapper, taken off every name
    more: Mapping[str, Any] | None = None  # the rest of the file, where it holds more than tensors


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights in a .safetensors, an index of several, a file of PyTorch (`load_torch_file`) or a .pkl of NumPy's.

    A checkpoint that holds more than weights gives one of `PARTS`. Raises UserError for another suffix, for a
    damaged file, for one that runs code when it is loaded, and for the last.pt of a run.
    """
    if is_index(path):
        return _read_shards(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: not a file of weights; those end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a file of weights")
    if path.suffix == ".pkl":
        return Checkpoint(read_array_pickle(path))
    if path.suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        return _unwrapped(path, tensors, "", metadata)
    content = load_torch_file(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds no tensors by name; {SAVE_STATE_DICT}")
    if isinstance(content.get("network"), Mapping) and "optimizer" in content:
        raise UserError(
            f"{path}: the state of a training, which does not say what its model is; give best.safetensors beside it"
        )
    part = next((name for name in PARTS if _tensors(content.get(name))), "")
    return _unwrapped(path, _tensors(content.get(part) if part else content), part, content)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors. Raises UserError for what is no whole one."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a whole file of weights ({type(error).__name__}); get it again"
        ) from None


def _read_shards(index: Path) -> Checkpoint:
    tensors: dict[str, Tensor] = {}
    for file, names in shards(index).items():
        path = index.parent / file
        if not path.is_file():
            raise UserError(f"{index}: there is no {file} beside it; put it there")
        part, _ = read_safetensors(path)
        _require_fitting_size(path, part)
        if part.keys() != names:
            raise UserError(f"{path}: holds other tensors than {index.name} says; get both again")
        tensors |= part
    if not tensors:
        raise UserError(f"{index}: names no tensors; get it again")
    return Checkpoint(tensors)


def _require_fitting_size(path: Path, tensors: Mapping[str, Tensor]) -> None:
    unpacked = sum(value.numel() * value.element_size() for value in tensors.values())
    if unpacked > path.stat().st_size + MOST_UNPACKED_BYTES:
        raise UserError(
            f"{path}: its tensors would take {unpacked / 2**30:.0f} GB, more than is in the file; get it again"
        )


def _tensors(content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    return {
        name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)
    }


def _unwrapped(path: Path, tensors: dict[str, Tensor], part: str, more: Mapping[str, Any]) -> Checkpoint:
    if not tensors:
        raise UserError(f"{path}: holds no tensors by name; {SAVE_STATE_DICT}")
    _require_fitting_size(path, tensors)
    prefix = ""
    while wrapper := next((one for one in WRAPPERS if all(name.startswith(one) for name in tensors)), ""):
        tensors = {name.removeprefix(wrapper): value for name, value in tensors.items()}
        prefix += wrapper
    return Checkpoint(tensors, part, prefix, more)
