import math
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fertool.errors import UserError
from fertool.models.backbones.dlibface import dlib_network_file
from fertool.models.weights.dlib_reader import DlibStream, read_dlib_network


def stream(data: bytes) -> DlibStream:
    return DlibStream(data, Path("some.dat"))


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def integers(*values: int) -> bytes:
    return b"".join(map(integer, values))


def number(value: float) -> bytes:
    fraction, exponent = math.frexp(value)
    return integers(int(fraction * 2**53), exponent - 53)


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode()


def tensor(shape: tuple[int, int, int, int], values: list[float]) -> bytes:
    return integers(2, *shape) + struct.pack(f"<{len(values)}f", *values)


NO_TENSOR = tensor((0, 0, 0, 0), [])
STATE = b"101" + 3 * NO_TENSOR
MULTIPLIERS = b"".join(map(number, (1.0, 1.0, 1.0, 0.0)))
KERNEL = [float(value) for value in range(2 * 3 * 1 * 2)]


def small_network() -> bytes:
    """Input, convolution, affine, a tag, ReLU, pooling over everything, a linear layer, a metric loss."""
    versions = integers(2, 2, 2, 1, 2, 3)
    loss = integer(1) + text("loss_metric_2") + number(0.04) + number(0.6)
    images = text("input_rgb_image_sized") + b"".join(map(number, (122.5, 117.0, 104.25)))
    convolution = (
        text("con_4")
        + tensor((14, 1, 1, 1), [*KERNEL, 0.5, -0.5])
        + integers(2, 1, 2, 3, 2, 0, 1)
        + integers(1, 2, 3, 1, 2)
        + integers(1, 1, 2, 1, 1)
        + MULTIPLIERS
    )
    affine = text("affine_") + tensor((2, 2, 1, 1), [3.0, 4.0, -1.0, -2.0])
    affine += integers(1, 1, 2, 1, 1) + integers(1, 1, 2, 1, 1) + integer(0)
    pooling = text("avg_pool_2") + integers(0, 0, 1, 1, 0, 0)
    linear = text("fc_2") + integers(3, 2) + tensor((2, 3, 1, 1), [1, 2, 3, 4, 5, 6])
    linear += integers(1, 2, 3, 1, 1) + integers(1, 0, 0, 0, 0) + integer(1) + MULTIPLIERS
    above = [affine, text("relu_"), pooling, linear]
    return (
        loss + versions + images + integers(40, 30) + convolution + STATE + integer(1)
        + b"".join(layer + STATE for layer in above)
    )  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.dat"
    path.write_bytes(small_network())
    return path


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("0100", 0),
        ("0105", 5),
        ("8105", -5),
        ("022c01", 300),
        ("8400000080", -(2**31)),
        ("08" + "ff" * 8, 2**64 - 1),
    ],
)
def test_integers_as_dlib_writes_them(data: str, value: int) -> None:
    assert stream(bytes.fromhex(data)).integer() == value


@given(st.integers(-(2**63), 2**64 - 1))
def test_integers_come_back(value: int) -> None:
    source = stream(integer(value) + b"rest")
    assert source.integer() == value
    assert source.data[source.position :] == b"rest"


@pytest.mark.parametrize("data", ["00", "09" + "00" * 9, "1101", "4101", "", "0201"])
def test_what_is_no_integer_is_refused(data: str) -> None:
    with pytest.raises(UserError, match=r"^some\.dat, byte \d: "):
        stream(bytes.fromhex(data)).integer()


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("0362 90f5 8111", 122.78199768066406),  # 16093282 / 2**17: the mean of red in the published file
        ("0100 0100", 0.0),
        ("8101 8101", -0.5),
        ("0101 0102", 4.0),
        ("0100 02007d", math.inf),
        ("0100 02017d", -math.inf),
    ],
)
def test_numbers_as_dlib_writes_them(data: str, value: float) -> None:
    assert stream(bytes.fromhex(data)).number() == value


def test_not_a_number() -> None:
    assert math.isnan(stream(integers(0, 32002)).number())


def test_a_number_beyond_all_floats_is_refused() -> None:
    with pytest.raises(UserError, match="no float"):
        stream(integers(1, 31000)).number()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back(value: float) -> None:
    assert stream(number(value)).number() == value


def test_tensors_are_float32_in_order() -> None:
    source = stream(tensor((1, 2, 1, 2), [0.0, -1.5, 1e-30, 3e38]))
    assert torch.equal(source.tensor(), torch.tensor([0.0, -1.5, 1e-30, 3e38]))
    assert source.position == len(source.data)


def test_truth_values() -> None:
    assert [stream(b"1").boolean(), stream(b"0").boolean()] == [True, False]
    with pytest.raises(UserError, match="no truth value"):
        stream(b"\x01").boolean()


def test_a_network_by_hand(small: Path) -> None:
    layers = read_dlib_network(small)
    assert [layer.kind for layer in layers] == [
        "input_rgb_image_sized", "con_4", "affine_", "relu_", "avg_pool_2", "fc_2"
    ]  # fmt: skip
    images, convolution, affine, _, pooling, linear = layers
    assert images.settings == {"rows": 40, "columns": 30}
    assert images.tensors["mean"].tolist() == [122.5, 117.0, 104.25]
    assert convolution.settings == {
        "filters": 2, "rows": 1, "columns": 2,
        "stride_y": 3, "stride_x": 2, "padding_y": 0, "padding_x": 1,
    }  # fmt: skip
    assert torch.equal(convolution.tensors["weight"], torch.tensor(KERNEL).view(2, 3, 1, 2))
    assert convolution.tensors["bias"].tolist() == [0.5, -0.5]
    assert affine.tensors["weight"].tolist() == [3, 4]
    assert affine.tensors["bias"].tolist() == [-1, -2]
    assert pooling.settings["rows"] == 0
    assert linear.tensors["weight"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert linear.tensors["bias"].shape == (0,)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        read_dlib_network(path)
    message = str(refused.value)
    assert message.startswith(str(path)), "names the file"
    assert "\n" not in message
    return message


def test_a_file_cut_anywhere_is_one_line(tmp_path: Path) -> None:
    data = small_network()
    path = tmp_path / "cut.dat"
    for end in range(len(data)):
        path.write_bytes(data[:end])
        assert "the file ends" in refusal(path)


def test_a_file_with_more_behind_is_one_line(small: Path) -> None:
    small.write_bytes(small.read_bytes() + b"more")
    assert "4 bytes too many" in refusal(small)


def test_a_layer_that_is_not_there_is_named(small: Path) -> None:
    small.write_bytes(small.read_bytes().replace(b"\x05relu_", b"\x05elu\n_"))
    assert r"a layer 'elu\n_'" in refusal(small)


def test_parameters_that_do_not_add_up_are_refused(small: Path) -> None:
    small.write_bytes(small.read_bytes().replace(integers(1, 2, 3, 1, 1), integers(1, 2, 4, 1, 1)))
    assert "6 parameters where 8 are announced" in refusal(small)


@pytest.mark.parametrize(
    "data", [b"", b"emotion,pixels,Usage\n0,1 2 3,Training\n", b"PK\x03\x04" + bytes(100), bytes(1000)]
)
def test_a_foreign_file_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "foreign.dat"
    path.write_bytes(data)
    assert "face_recognition_models" in refusal(path)


def test_no_file_and_a_folder_are_one_line(tmp_path: Path) -> None:
    assert "cannot be read (No such file" in refusal(tmp_path / "none.dat")
    assert "cannot be read (Is a directory" in refusal(tmp_path)


@given(st.data())
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(small_network())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.dat"
    path.write_bytes(damaged)
    try:
        read_dlib_network(path)
    except UserError as refused:
        assert "\n" not in str(refused)


@pytest.mark.parametrize("name", ["mmod_human_face_detector.dat", "shape_predictor_5_face_landmarks.dat"])
def test_dlibs_other_files_are_one_line(name: str) -> None:
    installed = dlib_network_file()
    if installed is None:
        pytest.skip("needs the package face_recognition_models (extra dlib)")
    assert "not dlib's face-recognition network" in refusal(installed.with_name(name))
