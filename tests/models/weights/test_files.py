import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fertool.errors import UserError
from fertool.models import build_model, save_model
from fertool.models.weights.files import read_tensors
from fertool.models.weights.recipe import read_recipe

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}


class RunsCode:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("made",)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt", "w.bin"])
def test_names_and_tensors_come_back(tmp_path: Path, name: str) -> None:
    (save_file if name.endswith("safetensors") else torch.save)(STATE, tmp_path / name)
    tensors = read_tensors(tmp_path / name)
    assert set(tensors) == set(STATE)
    assert all(torch.equal(tensors[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE},
        {f"module.{name}": value for name, value in STATE.items()},
    ],
)
def test_weights_among_other_things(tmp_path: Path, wrapped: dict) -> None:
    torch.save(wrapped, tmp_path / "w.pt")
    assert set(read_tensors(tmp_path / "w.pt")) == set(STATE)


def test_where_a_training_stands_is_no_file_of_weights(tmp_path: Path) -> None:
    torch.save({"network": STATE, "optimizer": {"state": {}}, "history": []}, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt: .* give best\.safetensors"):
        read_tensors(tmp_path / "last.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_runs_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pth"
    torch.save(STATE | {"extra": RunsCode()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        UserError, match=r"w\.pth: refused, for this checkpoint runs code \(posix\.mkdir\)"
    ) as error:
        read_tensors(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.pth", b"hello", "not a whole file of weights"),
        ("w.pth", b"", "not a whole file of weights"),
        ("w.pth", b"error code: 1020", "not a whole file of weights"),
        ("w.pth", pickle.dumps({"a": RunsCode()}, protocol=4), "not a whole file of weights"),
        ("w.safetensors", b"hello", "not a whole file of weights"),
        ("w.onnx", b"hello", "not a file of weights; those end in"),
    ],
)
def test_what_is_no_file_of_weights_is_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_tensors(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_truncated_checkpoint_is_one_line(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a whole file of weights"):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], torch.ones(3)])
def test_a_checkpoint_without_names_is_one_line(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match="holds no tensors by name"):
        read_tensors(tmp_path / "w.pth")


def test_only_our_own_files_have_a_recipe(tmp_path: Path) -> None:
    model = build_model("cnn", 5)
    save_model(model, tmp_path / "best.safetensors")
    save_file(STATE, tmp_path / "other.safetensors")
    assert read_recipe(tmp_path / "best.safetensors") == model.recipe
    assert read_recipe(tmp_path / "other.safetensors") is None
    assert read_recipe(tmp_path / "last.pt") is None
