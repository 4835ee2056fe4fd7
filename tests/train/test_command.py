import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fertool.errors import UserError
from fertool.models import FaceClassifier, build_model, load_model
from fertool.models.predictions import model_inputs
from fertool.runtime.files import read_csv, read_json, write_csv, write_json, write_npy
from fertool.runtime.hardware import Compute
from fertool.train import command, train
from fertool.train.config import TrainConfig
from fertool.train.loop import train_run
from fertool.train.subset import stratified_part
from fertool.workspace import Run, Workspace

Accept = Callable[[Workspace, Path, Path], None]

CONFIG = TrainConfig(epochs=3, lr=1e-3, precision="fp32")
CPU = Compute(torch.device("cpu"), "fp32")


def contents(run: Run) -> dict[str, bytes]:
    """Everything but seconds and rates."""
    names = ("run.json", "history.csv", "best.safetensors", "last.pt")
    return {name: (run.folder / name).read_bytes() for name in names}


def last_weights(run: Run) -> dict[str, torch.Tensor]:
    """The weights after the last epoch, which need not be the best."""
    return torch.load(run.last, weights_only=True)["network"]


def test_training_learns_and_records_it(trained: Workspace) -> None:
    run = trained.run("cnn")
    history = read_csv(run.history_csv)
    assert [int(row["epoch"]) for row in history] == [1, 2]
    assert float(history[1]["train_loss"]) < float(history[0]["train_loss"])
    best = max(history, key=lambda row: float(row["val_accuracy"]))
    record = run.config()
    assert record["state"] == "done"
    assert record["best"]["epoch"] == int(best["epoch"])
    assert record["config"]["lr"] == 1e-3
    assert record["parameters"] == sum(p.numel() for p in load_model(run.best).parameters())


def test_attention_of_few_tokens_trains_without_the_fused_kernel(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused: list[bool] = []

    def watched(model: FaceClassifier, *arguments: Any) -> Any:
        fused.extend(model.layer(block).fused_attn for block in model.attention_blocks)
        return train_run(model, *arguments)

    monkeypatch.setattr(command, "train_run", watched)
    config = replace(CONFIG, model="test_vit", image_size=64, epochs=1, weights="none")
    train(synthetic, config, device="cpu")
    assert fused and not any(fused)


def test_the_same_command_gives_the_same_bits(synthetic: Workspace) -> None:
    train(synthetic, CONFIG, device="cpu")
    run = synthetic.run(CONFIG.run_name)
    first = contents(run)
    train(synthetic, CONFIG, device="cpu", force=True)
    assert contents(run) == first
    train(synthetic, replace(CONFIG, seed=1), device="cpu")
    assert synthetic.run(replace(CONFIG, seed=1).run_name).best.read_bytes() != first["best.safetensors"]


def test_a_run_that_another_process_trains_is_refused(synthetic: Workspace) -> None:
    run = synthetic.run("cnn")
    with run.locked(), pytest.raises(UserError, match="another process is training this run"):
        train(synthetic, CONFIG, name="cnn", device="cpu")
    assert not run.run_json.exists()


def test_a_finished_run_is_left_alone(trained: Workspace) -> None:
    before = contents(trained.run("cnn"))
    summary = train(
        trained, TrainConfig(epochs=2, lr=1e-3, batch_size=16, precision="fp32"), name="cnn", device="cpu"
    )
    assert "was done already" in summary.notes[0]
    assert contents(trained.run("cnn")) == before


def test_a_training_that_cannot_begin_leaves_the_run_that_it_was_to_replace(synthetic: Workspace) -> None:
    train(synthetic, replace(CONFIG, epochs=1), name="cnn", device="cpu")
    before = contents(synthetic.run("cnn"))
    with pytest.raises(UserError, match="carry no votes"):
        train(synthetic, replace(CONFIG, labels="ferplus-soft"), name="cnn", device="cpu", force=True)
    assert contents(synthetic.run("cnn")) == before
    assert synthetic.run("cnn").last.exists()


def test_clearing_a_run_away_can_be_interrupted(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it stops, what is left is never taken for a whole run, nor for something made elsewhere."""
    run, afresh = synthetic.run("cnn"), synthetic.run("afresh")
    train(synthetic, replace(CONFIG, epochs=1), name=run.name, device="cpu")
    leftover = run.predictions("test")
    write_npy(leftover, np.zeros(3))

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        train(synthetic, replace(CONFIG, epochs=1), name=run.name, device="cpu", force=True)
    assert leftover.exists() and run.config()["state"] == "running"
    with pytest.raises(UserError, match="taken by a run with other settings"):
        train(synthetic, replace(CONFIG, epochs=1, lr=2e-3), name=run.name, device="cpu")
    for name in (run.name, afresh.name):
        train(synthetic, replace(CONFIG, epochs=1), name=name, device="cpu")
    assert run.best.read_bytes() == afresh.best.read_bytes()
    assert not leftover.exists()


def test_a_run_whose_heatmaps_lie_on_another_disk_is_not_half_removed(
    synthetic: Workspace, tmp_path: Path
) -> None:
    run, elsewhere = synthetic.run("cnn"), tmp_path / "elsewhere"
    train(synthetic, replace(CONFIG, epochs=1), name=run.name, device="cpu")
    write_npy(elsewhere / "mine.npy", np.zeros(3))
    (run.folder / "heatmaps").symlink_to(elsewhere)
    before = contents(run)
    with pytest.raises(UserError, match=rf"heatmaps: a link to {elsewhere}, .*; remove the link"):
        train(synthetic, replace(CONFIG, epochs=1), name=run.name, device="cpu", force=True)
    assert contents(run) == before and run.last.exists() and (elsewhere / "mine.npy").exists()
    (run.folder / "heatmaps").unlink()
    train(synthetic, replace(CONFIG, epochs=1), name=run.name, device="cpu", force=True)


def test_what_a_lost_record_described_is_not_gone_on_with(synthetic: Workspace) -> None:
    once, other = replace(CONFIG, epochs=1), replace(CONFIG, epochs=2, lr=2e-3)
    run, afresh = synthetic.run("cnn"), synthetic.run("afresh")
    train(synthetic, once, name=run.name, device="cpu")
    run.run_json.unlink()
    for name in (run.name, afresh.name):
        train(synthetic, other, name=name, device="cpu")
    assert run.best.read_bytes() == afresh.best.read_bytes()
    assert run.history_csv.read_bytes() == afresh.history_csv.read_bytes()


def test_a_name_taken_by_other_settings_is_refused(trained: Workspace) -> None:
    before = contents(trained.run("cnn"))
    with pytest.raises(UserError, match=r"its lr is 0\.001, not 0\.5"):
        train(trained, TrainConfig(epochs=2, lr=0.5, batch_size=16), name="cnn", device="cpu")
    assert contents(trained.run("cnn")) == before


def test_a_record_that_is_older_than_a_setting_is_told_by_what_differs(
    trained: Workspace, tmp_path: Path
) -> None:
    copied = Workspace(shutil.copytree(trained.root, tmp_path / "ws"))
    run = copied.run("cnn")
    record = run.config()
    del record["config"]["zoom"]
    write_json(run.run_json, record)
    with pytest.raises(UserError, match=r"its seed is 0, not 5"):
        train(copied, replace(CONFIG, epochs=2, batch_size=16, seed=5), name="cnn", device="cpu")


def test_training_needs_faces(tmp_path) -> None:
    with pytest.raises(UserError, match="fertool prepare"):
        train(Workspace(tmp_path), CONFIG)


def test_names_tell_conditions_apart_and_seeds_together() -> None:
    default, other = TrainConfig(), TrainConfig(epochs=31)
    assert default.run_name == "cnn-s0"
    assert other.condition_name != default.condition_name
    assert replace(other, seed=4).condition_name == other.condition_name
    assert replace(other, seed=4).run_name == f"{other.condition_name}-s4"


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": -1},
        {"batch_size": 0},
        {"lr": 0},
        {"weight_decay": -1},
        {"label_smoothing": 1},
        {"dropout": 1},
        {"shift": 1},
        {"seed": -1},
        {"image_size": 0},
    ],
)
def test_settings_out_of_range_name_the_option(setting: dict[str, float]) -> None:
    option = next(iter(setting)).replace("_", "-")
    with pytest.raises(UserError, match=f"--{option} "):
        TrainConfig(**setting)


def test_run_json_holds_the_whole_configuration(trained: Workspace) -> None:
    record = read_json(trained.run("cnn").run_json)
    assert record["config"] == asdict(TrainConfig(epochs=2, lr=1e-3, batch_size=16, precision="fp32"))
    assert {"versions", "hardware", "made_from", "condition"} <= set(record)


# --- of train a part ----------------------------------------------------------------------------------------


def test_a_part_of_train_has_its_share_of_each_class_by_seed() -> None:
    labels = np.repeat([0, 1, 2, 3], [400, 100, 20, 1])
    labels = np.random.default_rng(0).permutation(labels)
    rows = np.flatnonzero(np.arange(len(labels)) % 7 > 0)  # some are left out already
    part = stratified_part(labels, rows, 0.1, seed=0)
    assert np.isin(part, rows).all() and (np.diff(part) > 0).all()
    for code in range(4):
        class_count = (labels[rows] == code).sum()
        assert (labels[part] == code).sum() == max(1, round(0.1 * class_count))
    assert np.array_equal(part, stratified_part(labels, rows, 0.1, seed=0))
    assert not np.array_equal(part, stratified_part(labels, rows, 0.1, seed=1))
    assert set(part) <= set(stratified_part(labels, rows, 0.5, seed=0))  # a larger part adds to a smaller
    assert np.array_equal(stratified_part(labels, rows, 1.0, seed=0), rows)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The faces and labels that the loop is given to train on."""
    seen = {}
    train_run = command.train_run

    def looking(model, config, train_split, *others):
        seen["faces"], seen["labels"] = train_split.faces[:], train_split.labels
        return train_run(model, config, train_split, *others)

    monkeypatch.setattr(command, "train_run", looking)
    return seen


def test_twins_of_val_and_test_are_left_out_of_train(
    synthetic: Workspace, accept: Accept, seen: dict[str, np.ndarray]
) -> None:
    twins = {"train": {3: 0, 8: 1, 9: 1, 20: 2}, "val": {5: 0}, "test": {6: 2}}  # rows: group
    for split, groups in twins.items():
        rows = read_csv(synthetic.faces_csv(split))
        for number, row in enumerate(rows):
            row["twin_group"] = groups.get(number, -1)
        write_csv(synthetic.faces_csv(split), list(rows[0]), [list(row.values()) for row in rows])
        accept(synthetic, synthetic.dataset_json, synthetic.faces_csv(split))
    kept = np.setdiff1d(
        np.arange(len(synthetic.load_labels("train"))), [3, 20]
    )  # 8 and 9 are twins within train
    train(synthetic, replace(CONFIG, epochs=1, drop_leaks=True), device="cpu")
    assert np.array_equal(seen["faces"], synthetic.load_faces("train")[kept])
    assert np.array_equal(seen["labels"], synthetic.load_labels("train")[kept])


def test_near_twins_are_left_out_of_train_where_they_are_known(
    synthetic: Workspace, accept: Accept, seen: dict[str, np.ndarray]
) -> None:
    near = replace(CONFIG, epochs=1, drop_leaks="near")
    with pytest.raises(UserError, match=r"--drop-leaks near: .* knows no near twins"):
        train(synthetic, near, device="cpu")
    rows = [
        ("train", 3, 0),
        ("val", 5, 0),
        ("train", 8, 1),
        ("train", 9, 1),
        ("train", 20, 2),
        ("test", 6, 2),
    ]
    write_csv(synthetic.near_twins, ["split", "row", "near_group"], rows)
    accept(synthetic, synthetic.dataset_json, synthetic.near_twins)
    train(synthetic, near, device="cpu")
    kept = np.setdiff1d(np.arange(len(synthetic.load_labels("train"))), [3, 20])
    assert np.array_equal(seen["faces"], synthetic.load_faces("train")[kept])
    (run,) = synthetic.runs()
    assert run.config()["config"]["drop_leaks"] == "near"
    assert "faces/near_twins.csv" in run.config()["made_from"]["inputs"]


@pytest.mark.parametrize("train_fraction", [1.0, 0.5])
def test_a_train_split_of_leaks_alone_is_one_line(
    synthetic: Workspace, accept: Accept, train_fraction: float
) -> None:
    for split in ("train", "val"):
        rows = read_csv(synthetic.faces_csv(split))
        write_csv(
            synthetic.faces_csv(split),
            list(rows[0]),
            [list((row | {"twin_group": 0}).values()) for row in rows],
        )
        accept(synthetic, synthetic.dataset_json, synthetic.faces_csv(split))
    with pytest.raises(UserError, match=r"faces.*csv: --drop-leaks leaves no face"):
        train(synthetic, replace(CONFIG, drop_leaks=True, train_fraction=train_fraction), device="cpu")
    assert not synthetic.runs()


def test_training_on_a_part_sees_no_other_face(synthetic: Workspace, seen: dict[str, np.ndarray]) -> None:
    config = replace(CONFIG, epochs=1, train_fraction=0.4)
    train(synthetic, config, device="cpu")
    labels = synthetic.load_labels("train")
    part = stratified_part(labels, np.arange(len(labels)), 0.4, config.seed)
    assert np.array_equal(seen["faces"], synthetic.load_faces("train")[part])
    assert np.array_equal(seen["labels"], labels[part])
    record = synthetic.run(config.run_name).config()
    assert record["config"]["train_fraction"] == 0.4
    assert record["made_from"]["settings"]["train_fraction"] == 0.4


# --- pretrained weights -------------------------------------------------------------------------------------

TIMM = replace(CONFIG, model="test_resnet", image_size=64, epochs=1)


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A file of weights for `test_resnet` with a head for other classes, as a hub would give it."""
    torch.manual_seed(99)
    network = build_model("test_resnet", 10, image_size=64).network
    path = tmp_path / "pretrained.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return path


def test_a_run_starts_from_its_weights_and_names_them(synthetic: Workspace, pretrained: Path) -> None:
    config = replace(TIMM, weights=str(pretrained), unfreeze="none")
    train(synthetic, config, name="frozen", device="cpu")
    run = synthetic.run("frozen")
    from_file = load_file(pretrained)
    trained = load_file(run.best)
    for name, value in trained.items():
        if not name.startswith("fc."):
            assert torch.equal(value, from_file[name]), name
    record = run.config()
    digest = hashlib.sha256(pretrained.read_bytes()).hexdigest()
    assert record["weights"] == f"pretrained.safetensors {digest[:6]}"
    assert record["pretraining"] == {"source": str(pretrained), "sha256": digest}
    assert record["made_from"]["settings"]["weights"] == digest
    assert record["config"]["weights"] == str(pretrained)


def test_the_control_from_scratch_differs_in_weights_alone(synthetic: Workspace, pretrained: Path) -> None:
    frozen = replace(TIMM, unfreeze="none")  # so that the other parts show what each began with
    records = []
    for name, weights in (("pretrained", str(pretrained)), ("scratch", "none")):
        train(synthetic, replace(frozen, weights=weights), name=name, device="cpu")
        records.append(synthetic.run(name).config())
    ours, control = records
    assert ours["config"] | {"weights": "none"} == control["config"]
    assert control["weights"] == "none" and control["pretraining"] == {"source": None, "sha256": None}
    differing = {key for key in ours if ours[key] != control[key]}
    outcome = {"best", "products"}
    assert differing == {"name", "weights", "pretraining", "config", "condition", "made_from"} | outcome
    # both new heads began with the same bits, though one backbone was then filled
    torch.manual_seed(frozen.seed)
    start = build_model("test_resnet", 7, image_size=64).network.state_dict()
    scratch = load_file(synthetic.run("scratch").best)
    assert all(torch.equal(scratch[name], start[name]) for name in start if not name.startswith("fc."))


def test_other_weights_of_the_same_name_are_another_run(synthetic: Workspace, pretrained: Path) -> None:
    config = replace(TIMM, weights=str(pretrained), unfreeze="none")
    train(synthetic, config, name="run", device="cpu")
    other = {
        name: value + 1 if value.is_floating_point() else value
        for name, value in load_file(pretrained).items()
    }
    save_file(other, pretrained)
    with pytest.raises(UserError, match="its faces, its weights or the source of its network were others"):
        train(synthetic, config, name="run", device="cpu")


def test_weights_that_do_not_fit_leave_nothing_behind(synthetic: Workspace, pretrained: Path) -> None:
    config = replace(TIMM, model="test_efficientnet", weights=str(pretrained))
    with pytest.raises(UserError, match="not the weights of test_efficientnet"):
        train(synthetic, config, name="run", device="cpu")
    assert not synthetic.run("run").folder.exists()


# --- two views ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"rotate_deg": 20.0, "mixup": 0.2}, {"views": "face"}])
def test_a_model_of_two_views_trains_on_faces_with_masks(
    synthetic: Workspace, settings: dict[str, Any]
) -> None:
    config = replace(CONFIG, model="multiscale:cnn", epochs=2, batch_size=16, **settings)
    train(synthetic, config, device="cpu")
    run = synthetic.run(config.run_name)
    record, history = run.config(), read_csv(run.history_csv)
    assert record["needs_boxes"] and "masks/train.npz" in record["made_from"]["inputs"]
    assert float(history[1]["train_loss"]) < float(history[0]["train_loss"])
    branches = {name.split(".")[1] for name in last_weights(run) if name.startswith("branches.")}
    assert len(branches) == len((config.views or "whole,face").split(","))


def test_a_view_of_the_face_needs_masks_and_leaves_nothing_behind(synthetic: Workspace) -> None:
    shutil.rmtree(synthetic.root / "masks")
    with pytest.raises(UserError, match="run 'fertool masks' first") as raised:
        train(synthetic, replace(CONFIG, model="multiscale:cnn"), name="two", device="cpu")
    assert "\n" not in str(raised.value)
    assert not synthetic.run("two").folder.exists()
    train(synthetic, replace(CONFIG, model="multiscale:cnn", views="whole,whole", epochs=1), device="cpu")


@pytest.mark.parametrize(("device", "language"), [("cpu", r"C\+\+"), ("cuda", "C")])
def test_compiling_without_a_compiler_is_said_in_one_line(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch, device: str, language: str
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(
        command,
        "choose_compute",
        lambda *_: Compute(torch.device(device), precision="fp32"),
    )
    config = replace(CONFIG, compile=True)
    with pytest.raises(UserError, match=rf"--compile: no {language} compiler"):
        train(synthetic, config, device=device)
    assert not synthetic.run(config.run_name).folder.exists()


def test_an_edited_network_of_ones_own_is_another(
    synthetic: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "own_network.py"
    source.write_text(
        "from torch import nn\n"
        "def make(num_classes):\n"
        "    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)\n"
        "    return nn.Sequential(*layers)\n"
    )
    monkeypatch.chdir(tmp_path)
    config = replace(CONFIG, model="own_network:make", epochs=1, image_size=48)
    train(synthetic, config, name="own", device="cpu")
    assert "done already" in train(synthetic, config, name="own", device="cpu").notes[0]
    assert source in model_inputs(synthetic, synthetic.run("own"), "test")
    record = read_json(synthetic.run("own").run_json)
    record["made_from"]["revision"] = 1
    synthetic.run("own").run_json.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"trained by another version of fertool"):
        train(synthetic, config, name="own", device="cpu")
    record["made_from"]["revision"] = 3
    synthetic.run("own").run_json.write_text(json.dumps(record))
    source.write_text(source.read_text().replace("ReLU", "GELU"))
    with pytest.raises(UserError, match=r"this name is taken .*the source of its network.*--force"):
        train(synthetic, config, name="own", device="cpu")


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_batch_norm_that_sees_one_value_is_one_line(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(
        "fertool.runtime.hardware._multiplies_bfloat16", lambda device: True
    )  # so that both formats are tried
    config = replace(
        CONFIG,
        model="test_resnet",
        weights="none",
        image_size=32,
        batch_size=1,
        epochs=1,
        precision=precision,
    )
    with pytest.raises(UserError, match="a batch norm sees one value: take a larger --batch-size"):
        train(synthetic, config, name="one", device="cpu")
    states = {"fp32": ["failed"], "auto": []}  # a trial comes before the run's record
    assert [run.config()["state"] for run in synthetic.runs()] == states[precision]


@pytest.mark.parametrize("name", [".", "..", "exp/a", "/tmp/x", "a/"])
def test_a_run_has_a_folder_of_its_own_in_runs(synthetic: Workspace, name: str) -> None:
    before = sorted(synthetic.root.rglob("*"))
    with pytest.raises(UserError, match=f"'{name}': no name of a run"):
        train(synthetic, CONFIG, name=name, device="cpu", force=True)
    assert sorted(synthetic.root.rglob("*")) == before
