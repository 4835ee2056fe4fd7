"""Weights in several files are those of one; an index that names anything else is refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fertool.errors import UserError
from fertool.models.weights import hub_files
from fertool.models.weights.files import read_checkpoint
from fertool.models.weights.shards import INDEX, weights_sha256

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2), "b.weight": torch.zeros(4)}
PLACES = {"a.weight": "one.safetensors", "a.bias": "two.safetensors", "b.weight": "two.safetensors"}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    for file in set(PLACES.values()):
        save_file({name: STATE[name] for name, place in PLACES.items() if place == file}, tmp_path / file)
    return write(tmp_path / INDEX, PLACES)


def write(index: Path, places: object) -> Path:
    index.write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": places}))
    return index


def test_several_files_are_read_as_one(index: Path) -> None:
    tensors = read_checkpoint(index).tensors
    assert tensors.keys() == STATE.keys() and all(torch.equal(tensors[name], STATE[name]) for name in STATE)
    assert hub_files.weights_in(index.parent) == index


def test_the_hash_is_that_of_all_files(index: Path) -> None:
    before = weights_sha256(index)
    assert weights_sha256(index) == before
    save_file({"a.bias": torch.zeros(2), "b.weight": torch.zeros(4)}, index.parent / "two.safetensors")
    assert weights_sha256(index) != before
    (index.parent / "two.safetensors").unlink()
    with pytest.raises(UserError, match=r"there is no two\.safetensors beside it"):
        weights_sha256(index)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda index: write(index, {**PLACES, "c": "../three.safetensors"}), "'../three.safetensors' is no .safe"),
        (lambda index: write(index, {**PLACES, "c": "/etc/passwd"}), "'/etc/passwd' is no .safetensors beside it"),
        (lambda index: write(index, {**PLACES, "c": 3}), "'3' is no .safetensors beside it"),
        (lambda index: write(index, {**PLACES, "c": "two.safetensors"}), "two.safetensors: holds other tensors than"),
        (lambda index: write(index, {"a.bias": "two.safetensors"}), "two.safetensors: holds other tensors than"),
        (lambda index: write(index, {}), "names no tensors"),
        (lambda index: write(index, [1]), "no index of weights"),
        (lambda index: index.write_text("{"), "no index of weights"),
        (lambda index: (index.parent / "one.safetensors").unlink(), "there is no one.safetensors beside it"),
        (lambda index: (index.parent / "one.safetensors").write_bytes(b"no"), "one.safetensors: not a whole file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(index: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(index)
    with pytest.raises(UserError, match=message) as error:
        read_checkpoint(index)
    assert "\n" not in str(error.value)


def test_the_files_of_an_index_are_downloaded_and_those_that_are_there_are_kept(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def download(address: str, target: Path, *_: str) -> None:
        name = address.rpartition("/")[2]
        fetched.append(name)
        if name == "model.safetensors":
            raise hub_files.MissingError("404")
        target.parent.mkdir(exist_ok=True)
        source = index.parent / name
        target.write_bytes(source.read_bytes() if source.exists() else b"{}")

    monkeypatch.setattr(hub_files, "download", download)
    folder, _ = hub_files.hub_folder("hf:nobody/split", tmp_path)
    assert fetched[2:] == ["model.safetensors", INDEX, "one.safetensors", "two.safetensors"]
    assert read_checkpoint(folder / INDEX).tensors.keys() == STATE.keys()
    (folder / "two.safetensors").unlink()
    fetched.clear()
    hub_files.hub_folder("hf:nobody/split", tmp_path)
    assert fetched == ["model.safetensors", "two.safetensors"], "what was interrupted goes on"
    fetched.clear()
    hub_files.hub_folder("hf:nobody/split", tmp_path)
    assert not fetched
