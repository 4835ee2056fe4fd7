"""Damaged and forged files of weights and predictions: read whole or refused in one line, nothing else.

    python tests/torture/fuzz_weights.py [--rounds 60000] [--seed 0] [--show]

Every round damages a small file of one kind (safetensors, PyTorch's zip and legacy forms, a pickle of arrays, dlib's
.dat, an .npz of logits) by its own seed and reads it in a watched process. `--rounds 1 --seed N` repeats a round.
"""

import io
import json
import pickle
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fertool.models import load_model
from fertool.models.weights.dlib_reader import read_dlib_network
from fertool.models.weights.files import read_checkpoint
from fertool.models.weights.recipe import read_recipe
from fertool.runtime.reading import read_npz
from tests.models.weights.test_dlib_reader import small_network
from tests.processes.rounds import run_rounds

STATE = {"conv.weight": torch.arange(24.0).reshape(4, 3, 2), "conv.bias": torch.ones(4), "n": torch.tensor(3)}
RECIPE = {"name": "cnn", "classes": 7, "dropout": None, "image_size": None, "mean": [0.5], "views": None}


def torch_bytes(zipped: bool) -> bytes:
    """A checkpoint as PyTorch writes it now, or as it did before 1.6."""
    handle = io.BytesIO()
    torch.save(
        {"state_dict": STATE, "epoch": 3, "classes": ["a", "b"]},
        handle,
        _use_new_zipfile_serialization=zipped,
    )
    return handle.getvalue()


def npz_bytes() -> bytes:
    """Predictions."""
    handle = io.BytesIO()
    np.savez(handle, logits=np.zeros((5, 7), np.float32), labels=np.arange(5))
    return handle.getvalue()


def repacked(data: bytes, generator: random.Random) -> bytes:
    """A zip with one member changed and whole checksums, so that the damage gets past them."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        members = source.infolist()
        chosen = generator.randrange(len(members))
        for number, member in enumerate(members):
            content = source.read(member)
            target.writestr(member.filename, damaged(content, generator) if number == chosen else content)
    return out.getvalue()


def damaged(data: bytes, generator: random.Random) -> bytes:
    """The bytes with some changed, cut off, doubled or put in."""
    content = bytearray(data)
    for _ in range(generator.randint(1, 6)):
        if not content:
            break
        place, kind = generator.randrange(len(content)), generator.randrange(6)
        if kind < 3:
            content[place] = generator.choice([0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)])
        elif kind == 3:
            del content[place : place + generator.randint(1, 40)]
        elif kind == 4:
            content[place:place] = content[place : place + generator.randint(1, 40)]
        else:
            content[place : place + 4] = generator.choice(
                [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x10"]
            )
    return bytes(content)


def read_weights(path: Path) -> object:
    """The tensors and the recipe of a file."""
    found = read_checkpoint(path)
    read_recipe(path)
    if path.suffix == ".safetensors":
        load_model(path)
    return found


KINDS: dict[str, tuple[Callable[[], bytes], Callable[[Path], object]]] = {
    ".safetensors": (lambda: save(STATE, {"fertool": json.dumps(RECIPE)}), read_weights),
    ".pth": (lambda: torch_bytes(True), read_weights),
    ".pt": (lambda: torch_bytes(False), read_weights),
    ".pkl": (
        lambda: pickle.dumps({"a": np.zeros((2, 3), np.float32), "b": np.ones(4)}, protocol=2),
        read_weights,
    ),
    ".dat": (small_network, read_dlib_network),
    ".npz": (npz_bytes, read_npz),
}


def one_round(generator: random.Random, folder: Path) -> object:
    """Damage one file and read it."""
    suffix = generator.choice(list(KINDS))
    write, read = KINDS[suffix]
    data = write()
    zipped = suffix in (".pth", ".npz") and generator.random() < 0.5
    path = folder / f"damaged{suffix}"
    path.write_bytes(repacked(data, generator) if zipped else damaged(data, generator))
    return read(path)


if __name__ == "__main__":
    sys.exit(run_rounds("weights", one_round, __doc__, 60_000))
