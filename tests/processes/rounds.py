"""Rounds of a fuzz, in processes that are watched: a death, too much memory or too long a time fails its round."""

import argparse
import json
import os
import random
import resource
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from fertool.errors import UserError

SECONDS = 30
MEMORY_MB = 1000  # beyond what the imports take
ADDRESS_MB = 3000  # likewise: what is asked for is never all used
BATCH = 200  # rounds in one process

Round = Callable[[random.Random, Path], object]
"""One round, given its draws and an empty folder. A UserError is a refusal; anything else that it raises, a failure."""


def outcome(one_round: Round, seed: int, folder: Path) -> str:
    """How a round ended: `read`, `refused`, or the traceback of anything else."""
    try:
        one_round(random.Random(seed), folder)
    except UserError as error:
        return "refused" if str(error).isprintable() else f"FAILED: not one printable line: {error!r}"
    except BaseException:
        return f"FAILED: {traceback.format_exc()}"
    return "read"


def _resident_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _batch(one_round: Round, seeds: range, folder: Path, report: int) -> None:
    """Rounds in this process, a line each into the pipe `report`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (pages + (ADDRESS_MB << 20),) * 2)
    torch.set_num_threads(1)
    before_mb = _resident_mb()
    for seed in seeds:
        signal.alarm(SECONDS)
        ended = outcome(one_round, seed, folder)
        signal.alarm(0)
        if (taken_mb := _resident_mb() - before_mb) > MEMORY_MB:
            ended = f"FAILED: {taken_mb} MB"
        os.write(report, (json.dumps([seed, ended]) + "\n").encode())


def fuzz(one_round: Round, rounds: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
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
                _batch(one_round, seeds, Path(root), writer)
                os._exit(0)
            os.close(writer)
            with os.fdopen(reader) as lines:
                outcomes = [json.loads(line) for line in lines]
            _, status = os.waitpid(child, 0)
            for number, ended in outcomes:
                counts[ended.partition(":")[0]] += 1
                if ended.startswith("FAILED"):
                    failures.append(f"round {number}: {ended}")
            start = seeds.start + len(outcomes)
            if status:
                counts["FAILED"] += 1
                failures.append(f"round {start}: the process ended with status {status}")
                start += 1
    return counts, failures


def run_rounds(what: str, one_round: Round, description: str, default_rounds: int) -> int:
    """The command line of a fuzz: --rounds, --seed, --show; returns the exit status, 1 where a round failed."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=default_rounds)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print the traceback of every failure")
    options = parser.parse_args()
    counts, failures = fuzz(one_round, options.rounds, options.seed)
    print(f"{what}: {dict(counts)}")
    for failure in failures:
        print(failure if options.show else " ".join([failure.splitlines()[0], failure.splitlines()[-1]]))
    return int(bool(failures))
