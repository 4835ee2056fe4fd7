import os
import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fertool.errors import UserError
from fertool.models import build_model, load_model, save_model
from fertool.models.weights.files import read_checkpoint
from fertool.models.weights.prefixes import without_prefixes
from fertool.models.weights.recipe import read_recipe

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}


class RunsCode:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("made",)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt", "w.bin"])
def test_names_and_tensors_come_back(tmp_path: Path, name: str) -> None:
    (save_file if name.endswith("safetensors") else torch.save)(STATE, tmp_path / name)
    tensors = read_checkpoint(tmp_path / name).tensors
    assert set(tensors) == set(STATE)
    assert all(torch.equal(tensors[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE},
        {"model_state_dict": STATE, "epoch": 3},
        {"net": STATE, "acc": 71.2},
        {"params": STATE},
        {"model": {"conv.weight": STATE["conv.weight"] * 2}, "ema": STATE},
        {f"module.{name}": value for name, value in STATE.items()},
        {f"_orig_mod.module.{name}": value for name, value in STATE.items()},
    ],
)
def test_weights_among_other_things(tmp_path: Path, wrapped: dict) -> None:
    torch.save(wrapped, tmp_path / "w.pt")
    assert set(read_checkpoint(tmp_path / "w.pt").tensors) == set(STATE)


def test_where_a_training_stands_is_no_file_of_weights(tmp_path: Path) -> None:
    torch.save({"network": STATE, "optimizer": {"state": {}}, "history": []}, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt: .* give best\.safetensors"):
        read_checkpoint(tmp_path / "last.pt")


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
        read_checkpoint(path)
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
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_torchscript_program_is_called_so(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"a TorchScript program, not weights by name; save its state_dict"):
        read_checkpoint(tmp_path / "w.pt")


def test_a_whole_pickled_network_is_refused_with_what_to_save(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 3), tmp_path / "w.pt")
    with pytest.raises(
        UserError, match=r"runs code \(torch\.nn\.modules\.linear\.Linear\).*save its state_dict"
    ):
        read_checkpoint(tmp_path / "w.pt")


def test_records_that_are_compressed_are_refused_unread(tmp_path: Path) -> None:
    """A few kilobytes that would unpack to a gigabyte."""
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "stored.pth")
    with (
        zipfile.ZipFile(tmp_path / "stored.pth") as stored,
        zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for record in stored.infolist():
            packed.writestr(record.filename, stored.read(record))
    assert (tmp_path / "w.pth").stat().st_size < 10_000
    with pytest.raises(UserError, match="its records are compressed"):
        read_checkpoint(tmp_path / "w.pth")


def test_a_tensor_that_would_not_fit_into_memory_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"its tensors would take 4096 GB, more than is in the file"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "metadata",
    [
        "{",
        "[1, 2]",
        '{"name": 3, "classes": 7}',
        '{"name": "cnn"}',
        '{"name": "cnn", "classes": -1}',
        '{"name": "cnn", "classes": 7, "mean": ["a"]}',
        '{"name": "cnn", "classes": 7, "colour": 3}',
        "[" * 100_000,
    ],
)
def test_metadata_that_are_no_recipe_are_one_line(tmp_path: Path, metadata: str) -> None:
    save_file(STATE, tmp_path / "w.safetensors", {"fertool": metadata})
    for read in (read_recipe, load_model):
        with pytest.raises(UserError, match=r"w\.safetensors: its metadata") as error:
            read(tmp_path / "w.safetensors")
        assert str(error.value).isprintable()


def test_prefixes_come_off_where_they_bring_the_names_nearer() -> None:
    names = ["stem.weight", "model.weight", "head.weight"]
    plain = {name: torch.zeros(1) for name in names}
    lightning = {"net.backbone.stem.weight": 1, "net.backbone.model.weight": 2, "net.head.weight": 3}
    found, prefix = without_prefixes(lightning, names)
    assert (found, prefix) == ({"stem.weight": 1, "model.weight": 2, "head.weight": 3}, "net.backbone.")
    assert without_prefixes(plain, names) == (plain, "")
    foreign = {"model.a": 1}
    assert without_prefixes(foreign, names) == (foreign, "")


def test_a_truncated_checkpoint_is_one_line(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a whole file of weights"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], torch.ones(3)])
def test_a_checkpoint_without_names_is_one_line(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match="holds no tensors by name"):
        read_checkpoint(tmp_path / "w.pth")


def test_only_our_own_files_have_a_recipe(tmp_path: Path) -> None:
    model = build_model("cnn", 5)
    save_model(model, tmp_path / "best.safetensors")
    save_file(STATE, tmp_path / "other.safetensors")
    assert read_recipe(tmp_path / "best.safetensors") == model.recipe
    assert read_recipe(tmp_path / "other.safetensors") is None
    assert read_recipe(tmp_path / "last.pt") is None
