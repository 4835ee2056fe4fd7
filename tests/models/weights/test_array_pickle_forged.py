"""Pickles that were forged to write to memory, to take all of it, or to run code: each ends in one line."""

import pickle
import random
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fertool.errors import UserError
from fertool.models.weights.array_pickle import read_array_pickle

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


def dtype_state(flags: int) -> bytes:
    """A dtype whose state sets NumPy's flags by hand: with 63 its eight bytes are taken for pointers."""
    return (
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01\x85"
        b"cnumpy\ndtype\nU\x02V8K\x00K\x01\x87R(K\x03U\x01|NNNK\x08K\x01K"
        + bytes([flags])
        + b"tb\x89U\x08AAAAAAAAtbs."
    )


FORGED = {
    "dtype flags": dtype_state(63),
    "object dtype": dtype_state(63).replace(b"V8", b"O8"),
    "float dtype with flags": dtype_state(63).replace(b"V8", b"f8"),
    "memo": b"\x80\x02}r\xff\xff\xff\x0f.",
    "memo behind four gigabytes": b"\x80\x02}r\xff\xff\xff\xff.",
    "800 million numbers": (
        b"\x80\x02}U\x01acnumpy\nndarray\nJ\x00\x08\xaf/\x85\x85Rs."  # ndarray((800000000,))
    ),
    "bytes of 64 gigabytes": b"\x80\x05\x96" + (1 << 36).to_bytes(8, "little") + b".",
    "one text turned into bytes again and again": (
        b"\x80\x02}(c_codecs\nencode\nq\x00X"
        + (100_000).to_bytes(4, "little") + b"a" * 100_000
        + b"q\x01U\x06latin1\x86q\x02" + b"h\x00h\x02R" * 50_000 + b"."
    ),
    "a tuple as deep as the stack": b"\x80\x02}" + b")" + b"\x85" * 500_000 + b"K\x01s.",
    "a long list of marks": b"\x80\x02}" + b"N" * 400_000 + b"(t" * 200_000 + b".",
    "too many operations": b"\x80\x02}" + b"N" * 3_000_000 + b".",
    "a negative side": pickle.dumps({"a": ARRAY}, protocol=2).replace(b"K\x02K\x03\x86", b"J\xff\xff\xff\xffK\x06\x86"),
    "a text that says nothing printable": b"\x80\x02c\x1b[31m\nx\n.",
}  # fmt: skip

READ_EACH = """
import sys
from pathlib import Path
from fertool.errors import UserError
from fertool.models.weights.array_pickle import read_array_pickle
for path in sys.argv[1:]:
    try:
        read_array_pickle(Path(path))
        print(path, "was read")
    except UserError as error:
        print(error)
"""


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))


def test_forged_pickles_are_one_line_each_and_take_no_memory(tmp_path: Path) -> None:
    """In a process of its own, which a forged pickle would end."""
    for number, content in enumerate(FORGED.values()):
        (tmp_path / f"{number}.pkl").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", READ_EACH, *(str(tmp_path / f"{number}.pkl") for number in range(len(FORGED)))],
        capture_output=True, text=True, timeout=300, preexec_fn=limited, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(lines) == len(FORGED) and all(line.isprintable() for line in lines)
    for number, line in enumerate(lines):
        assert line.startswith(str(tmp_path / f"{number}.pkl: "))


@given(st.integers(0, 2**32), st.sampled_from([0, 2, 4, 5]))
def test_a_mutated_pickle_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, seed: int, protocol: int
) -> None:
    random_numbers = random.Random(seed)
    content = bytearray(pickle.dumps({"a": ARRAY, "b": np.zeros(3)}, protocol=protocol))
    for _ in range(random_numbers.randint(1, 5)):
        content[random_numbers.randrange(len(content))] = random_numbers.randrange(256)
    path = tmp_path_factory.getbasetemp() / "mutated.pkl"
    path.write_bytes(content)
    try:
        tensors = read_array_pickle(path)
    except UserError as refused:
        assert str(refused).isprintable()
    else:
        assert sum(tensor.numel() for tensor in tensors.values()) <= 2 * len(content)
