"""Damaged and forged files of weights and predictions: read whole or refused in one line, nothing else.

    python tests/torture/fuzz_weights.py [--rounds 20000] [--seed 0] [--show]

Every round damages a small file of one kind (safetensors, PyTorch's zip and legacy forms, a pickle of arrays, dlib's
.dat, an .npz of logits) by its own seed and reads it in a process that may take MEMORY_MB. `--rounds 1 --seed N`
repeats a round.
"""

import argparse
import io
import json
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fertool.errors import UserError
from fertool.models import load_model
from fertool.models.weights.dlib_reader import read_dlib_network
from fertool.models.weights.files import read_checkpoint
from fertool.models.weights.recipe import read_recipe
from fertool.runtime.reading import read_npz
from tests.models.weights.test_dlib_reader import small_network

SECONDS = 30
MEMORY_MB = 3000  # of address space beyond what the imports take
BATCH = 200  # rounds in one process
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


def one_round(seed: int, folder: Path) -> str:
    """The outcome of a round: `read`, `refused`, or the traceback of anything else."""
    generator = random.Random(seed)
    suffix = generator.choice(list(KINDS))
    write, read = KINDS[suffix]
    data = write()
    zipped = suffix in (".pth", ".npz") and generator.random() < 0.5
    path = folder / f"damaged{suffix}"
    path.write_bytes(repacked(data, generator) if zipped else damaged(data, generator))
    try:
        read(path)
    except UserError as error:
        return "refused" if str(error).isprintable() else f"FAILED: not one printable line: {error!r}"
    except BaseException:
        return f"FAILED: {traceback.format_exc()}"
    return "read"


def batch(seeds: range, folder: Path, report: int) -> None:
    """Rounds in this process, a line each into the pipe `report`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (pages + (MEMORY_MB << 20),) * 2)
    torch.set_num_threads(1)
    for seed in seeds:
        signal.alarm(SECONDS)
        outcome = one_round(seed, folder)
        signal.alarm(0)
        os.write(report, (json.dumps([seed, outcome]) + "\n").encode())


def fuzz(rounds: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """How rounds ended, and those that failed. A process that dies is a failure of the round that it was at."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as root:
        start, end = seed, seed + rounds
        while start < end:
            seeds = range(start, min(start + BATCH, end))
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reader)
                batch(seeds, Path(root), writer)
                os._exit(0)
            os.close(writer)
            with os.fdopen(reader) as lines:
                outcomes = [json.loads(line) for line in lines]
            _, status = os.waitpid(child, 0)
            for number, outcome in outcomes:
                counts[outcome.partition(":")[0]] += 1
                if outcome.startswith("FAILED"):
                    failures.append(f"round {number}: {outcome}")
            start = seeds.start + len(outcomes)
            if status:
                counts["FAILED"] += 1
                failures.append(f"round {start}: the process ended with status {status}")
                start += 1
    return counts, failures


def main() -> int:
    """The exit status: 1 where a round failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print the traceback of every failure")
    options = parser.parse_args()
    counts, failures = fuzz(options.rounds, options.seed)
    print(f"weights: {dict(counts)}")
    for failure in failures:
        print(failure if options.show else failure.splitlines()[0])
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
