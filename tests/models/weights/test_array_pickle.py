import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from fertool.errors import UserError
from fertool.models.weights.array_pickle import read_array_pickle

ARRAYS = {"conv1.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bn1.bias": np.full(2, 0.1)}
# {'a': numpy.array([1.5, -2.0], numpy.float32)} by Python 2.7, protocol 2: the numbers are a str of bytes
PYTHON2 = (
    b"\x80\x02}q\x00U\x01aq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04"
    b"U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02\x85q\x08cnumpy\ndtype\nq\tU\x02f4q\nK\x00K\x01\x87q\x0bRq\x0c(K\x03"
    b"U\x01<q\rNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89U\x08\x00\x00\xc0?\x00\x00\x00\xc0q\x0ftq\x10bs."
)


@pytest.mark.parametrize("protocol", range(5))
def test_arrays_come_back(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(ARRAYS, protocol=protocol))
    tensors = read_array_pickle(tmp_path / "w.pkl")
    assert list(tensors) == list(ARRAYS)
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
    assert all(np.allclose(tensors[name], array) for name, array in ARRAYS.items())


def test_arrays_of_python_2(tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(PYTHON2)
    assert torch.equal(read_array_pickle(tmp_path / "w.pkl")["a"], torch.tensor([1.5, -2.0]))


class Runs:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Runs(os.mkdir, "made"), "posix.mkdir"),
        (Runs(eval, "1"), r"__builtin__\.eval|builtins\.eval"),
        (Runs(getattr, "", "join"), r"__builtin__\.getattr|builtins\.getattr"),
        (Runs(np.load, "made"), r"numpy.*\.load"),
        (torch.nn.Linear, "torch.nn"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object, named: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"conv1.weight": ARRAYS["conv1.weight"], "x": value}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(UserError, match=rf"w\.pkl: refused, for this pickle runs code \(({named})") as error:
        read_array_pickle(tmp_path / "w.pkl")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(ARRAYS, protocol=2)[:-20], "not a whole pickle"),
        (b"", "not a whole pickle"),
        (pickle.dumps([1, 2]), "not a dictionary of names to arrays of floats"),
        (pickle.dumps({"a": 3.0}), "not a dictionary of names to arrays of floats"),
        (pickle.dumps({"a": np.array([None])}, protocol=2), "not a dictionary of names to arrays of floats"),
    ],
)
def test_what_is_no_file_of_arrays_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w.pkl").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_array_pickle(tmp_path / "w.pkl")
    assert "\n" not in str(error.value)
