"""Pickles of NumPy arrays, read by a machine of our own: nothing in the file is called, or builds an object.

`pickle.Unpickler` is not used even with a list of allowed names: `numpy.dtype.__setstate__` lets a pickle set flags
that make NumPy follow raw bytes as pointers, and a memo index of nine bytes takes gigabytes. Here arrays and dtypes
are inert records, numbers come from `np.frombuffer`, and nothing is larger than the file.
"""

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fertool.errors import UserError

FLOATS = ("f2", "f4", "f8")
BYTE_ORDERS = ("<", ">")
MOST_OPERATIONS = 1_000_000  # an array takes some 25, and a network has some hundreds of arrays
LONGEST_CAUSE = 80  # characters of a message out of a file


def read_array_pickle(path: Path) -> dict[str, Tensor]:
    """The arrays in a pickled dictionary of names to arrays of floats, as float32.

    Raises UserError for a pickle that names anything but arrays: to load it would be to run it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, about escapes in the file's texts
            content = _ArrayMachine(path.read_bytes()).run()
    except _RefusedError as error:
        raise UserError(
            f"{path}: refused, for this pickle runs code ({_short(error)}) when it is loaded; a file of weights holds "
            "arrays only"
        ) from None
    except _NoArraysError:
        raise UserError(f"{path}: not a dictionary of names to arrays of floats") from None
    # a damaged pickle fails in as many ways as there are operations in it
    except Exception as error:
        raise UserError(f"{path}: not a whole pickle ({_short(error)}); get it again") from None
    return {name: torch.from_numpy(array) for name, array in content.items()}


class _RefusedError(Exception):
    """The pickle names something that is no part of an array."""


class _NoArraysError(Exception):
    """The pickle is whole and holds something else than arrays of floats."""


@dataclass
class _Dtype:
    """The record of a `numpy.dtype`."""

    code: str
    order: str = "<"


@dataclass
class _Array:
    """The record of a `numpy.ndarray`: its values once the pickle has given them."""

    values: np.ndarray | None = None


NDARRAY, ENCODE, RECONSTRUCT, DTYPE, FROM_BUFFER = "ndarray", "encode", "_reconstruct", "dtype", "_frombuffer"
NO_BYTES = "bytes"  # called with nothing, which stands for no bytes in old pickles
KNOWN = {
    ("__builtin__", NO_BYTES): NO_BYTES,
    ("builtins", NO_BYTES): NO_BYTES,
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): DTYPE,
    ("_codecs", "encode"): ENCODE,  # Python 3 writes bytes so into old pickles
    **{(module, RECONSTRUCT): RECONSTRUCT for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{(module, FROM_BUFFER): FROM_BUFFER for module in ("numpy.core.numeric", "numpy._core.numeric")},
}


@dataclass(frozen=True)
class _Function:
    """A name that the pickle may call, as an inert token."""

    name: str


class _ArrayMachine:
    """Goes through a pickle's operations with a stack and a memo of its own."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.stack: list[Any] = []
        self.marks: list[int] = []  # where on the stack the operation MARK was met
        self.memo: dict[int, Any] = {}
        # all arrays together, and all texts that were turned into bytes, are no larger than the file
        self.bytes_left = {"arrays": len(data), "texts": len(data)}

    def run(self) -> dict[str, np.ndarray]:
        """The arrays by name. Raises an error of this module, or any other where the pickle is damaged."""
        for count, (operation, argument, _) in enumerate(pickletools.genops(self.data)):
            if count > MOST_OPERATIONS:
                raise _NoArraysError
            if operation.name == "STOP":
                break
            if operation.name in VALUES:
                self.stack.append(argument)
            elif operation.name in OPERATIONS:
                OPERATIONS[operation.name](self, argument)
            else:
                raise _NoArraysError
        (content,) = self.stack
        if not isinstance(content, dict) or not content:
            raise _NoArraysError
        return {name: _filled(array) for name, array in content.items()}

    def spend(self, what: str, count: int) -> None:
        """Count bytes that are made. Raises ValueError once they are more than the file's."""
        self.bytes_left[what] -= count
        if self.bytes_left[what] < 0:
            raise ValueError(f"{what} larger than the file")

    def since_mark(self) -> list[Any]:
        """Take off the stack what was put there since the last MARK."""
        start = self.marks.pop()
        if start > len(self.stack):
            raise ValueError("the stack is empty")
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def tuple_of(self, count: int) -> None:
        """Put a tuple of the last `count` values on the stack in their place."""
        if len(self.stack) < count:
            raise ValueError("the stack is empty")
        values = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.stack.append(values)

    def set_items(self, pairs: list[Any]) -> None:
        """Put names and values into the dictionary at the top of the stack."""
        content = self.stack[-1]
        if not isinstance(content, dict) or len(pairs) % 2:
            raise _NoArraysError
        for name, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(name, str):
                raise _NoArraysError
            content[name] = value

    def find(self, module: str, name: str) -> None:
        """Put the token of a name on the stack, where arrays need it."""
        if (module, name) not in KNOWN:
            raise _RefusedError(f"{module}.{name}")
        self.stack.append(_Function(KNOWN[module, name]))

    def reduce(self) -> None:
        """Make the record that calling the token below the top with the tuple at the top stands for."""
        arguments = self.stack.pop()
        function = self.stack.pop()
        if not isinstance(function, _Function) or not isinstance(arguments, tuple):
            raise _NoArraysError
        if function.name not in CALLS:
            raise _NoArraysError
        self.stack.append(CALLS[function.name](self, *arguments))

    def build(self) -> None:
        """Give the record below the top the state at the top."""
        state = self.stack.pop()
        record = self.stack[-1]
        if isinstance(record, _Dtype) and isinstance(state, tuple):
            record.order = state[1]
        elif isinstance(record, _Array) and isinstance(state, tuple):
            _, shape, dtype, fortran, content = state
            record.values = self.numbers(content, dtype, shape, bool(fortran))
        else:
            raise _NoArraysError

    def numbers(self, content: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray:
        """Float32 of this shape out of raw bytes. Raises _NoArraysError for any dtype but a float's."""
        if not isinstance(dtype, _Dtype) or dtype.code not in FLOATS or dtype.order not in BYTE_ORDERS:
            raise _NoArraysError
        if isinstance(content, str):  # Python 2's
            content = self.encode(content, "latin1")
        if not isinstance(content, bytes | bytearray):
            raise _NoArraysError
        self.spend("arrays", len(content))
        values = np.frombuffer(content, dtype=np.dtype(dtype.order + dtype.code)).astype(np.float32)
        if not isinstance(shape, tuple) or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise _NoArraysError
        return np.array(values.reshape(shape, order="F" if fortran else "C"), order="C")

    def encode(self, text: str, codec: str) -> bytes:
        """The bytes that a text stands for, in the one codec that Python 3 uses for it."""
        if codec != "latin1":
            raise _RefusedError(f"_codecs.encode to {codec}")
        self.spend("texts", len(text))
        return text.encode("latin1")


def _filled(array: Any) -> np.ndarray:
    if not isinstance(array, _Array) or array.values is None:
        raise _NoArraysError
    return array.values


def _reconstruct(_machine: _ArrayMachine, kind: Any, *_: Any) -> _Array:
    if kind != _Function(NDARRAY):
        raise _NoArraysError
    return _Array()


def _dtype(_machine: _ArrayMachine, code: Any, *_: Any) -> _Dtype:
    if code not in FLOATS:
        raise _NoArraysError
    return _Dtype(code)


def _no_bytes(_machine: _ArrayMachine) -> bytes:
    return b""


def _from_buffer(machine: _ArrayMachine, content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    return _Array(machine.numbers(content, dtype, shape, order == "F"))


CALLS: dict[str, Callable[..., Any]] = {
    RECONSTRUCT: _reconstruct,
    DTYPE: _dtype,
    ENCODE: _ArrayMachine.encode,
    FROM_BUFFER: _from_buffer,
    NO_BYTES: _no_bytes,
}
# operations whose argument is the value that they put on the stack
VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip


def _put(machine: _ArrayMachine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _stack_global(machine: _ArrayMachine, _: None) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.find(module, name)


def _set_items(machine: _ArrayMachine, _: None) -> None:
    machine.set_items(machine.since_mark())


def _set_item(machine: _ArrayMachine, _: None) -> None:
    value, name = machine.stack.pop(), machine.stack.pop()
    machine.set_items([name, value])


def _dictionary(machine: _ArrayMachine, _: None) -> None:
    pairs = machine.since_mark()
    machine.stack.append({})
    machine.set_items(pairs)


def _refuse_instance(_machine: _ArrayMachine, name: str) -> None:
    raise _RefusedError(name.replace(" ", "."))


OPERATIONS: dict[str, Callable[[_ArrayMachine, Any], None]] = {
    "PROTO": lambda *_: None,
    "FRAME": lambda *_: None,
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "DICT": _dictionary,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "GLOBAL": lambda machine, name: machine.find(*name.split(" ", 1)),
    "STACK_GLOBAL": _stack_global,
    "INST": _refuse_instance,
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": _put,
    "GET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
}


def _short(error: Exception) -> str:
    """An error in a few printable characters of one line: its text may come out of the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:LONGEST_CAUSE]
