import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.models import build_model, load_model
from fertool.train import loop, train
from fertool.train.augment import augment, draw_epoch, epoch_seed
from fertool.train.config import TrainConfig
from fertool.workspace import Run, Workspace, read_csv

CONFIG = TrainConfig(epochs=3, lr=1e-3, precision="fp32")


def contents(run: Run) -> dict[str, bytes]:
    """Everything but seconds and rates (`last.pt` carries those along)."""
    names = ("run.json", "history.csv", "best.safetensors")
    return {name: (run.folder / name).read_bytes() for name in names}


def test_one_epoch_equals_a_loop_written_from_the_definition(drawn: Workspace) -> None:
    config = replace(CONFIG, epochs=1, dropout=0.0)
    train(drawn, config, device="cpu")

    torch.manual_seed(config.seed)
    model = build_model("cnn", 7, dropout=0.0)
    start = {name: value.clone() for name, value in model.network.state_dict().items()}
    adam = torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    faces = torch.from_numpy(np.array(drawn.load_faces("train")))
    labels = torch.from_numpy(drawn.load_labels("train"))
    draws = draw_epoch(len(faces), 48, config.seed, 1, flip=True, shift=config.shift)
    torch.manual_seed(epoch_seed(config.seed, 1))
    for rows in draws.order.split(config.batch_size):
        adam.zero_grad()
        logits = model(augment(faces[rows], draws.flips[rows], draws.shifts[rows]))
        smooth = F.one_hot(labels[rows], 7) * 0.9 + 0.1 / 7
        (-(smooth * logits.log_softmax(dim=1)).sum(dim=1).mean()).backward()
        adam.step()

    trained = load_model(drawn.run(config.run_name).best).network.state_dict()
    for name, value in model.network.state_dict().items():
        # Adam divides by the gradient's size: where that is rounding error, so is the step
        assert (trained[name] - value).norm() <= 2e-2 * (value - start[name]).norm(), name


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


def test_the_same_command_gives_the_same_bits(drawn: Workspace) -> None:
    train(drawn, CONFIG, device="cpu")
    run = drawn.run(CONFIG.run_name)
    first = contents(run)
    train(drawn, CONFIG, device="cpu", force=True)
    assert contents(run) == first
    train(drawn, replace(CONFIG, seed=1), device="cpu")
    assert drawn.run(replace(CONFIG, seed=1).run_name).best.read_bytes() != first["best.safetensors"]


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("moment", ["before the checkpoint", "after it"])
def test_interrupted_and_gone_on_it_ends_in_the_same_bits(
    drawn: Workspace, monkeypatch: pytest.MonkeyPatch, epoch: int, moment: str
) -> None:
    train(drawn, CONFIG, name="undisturbed", device="cpu")

    class Killed(BaseException):
        pass

    save = loop._save_last

    def killing(run, model, optimizer, history, timing) -> None:
        if moment == "after it":
            save(run, model, optimizer, history, timing)
        if len(history) == epoch:
            raise Killed
        save(run, model, optimizer, history, timing)

    monkeypatch.setattr(loop, "_save_last", killing)
    with pytest.raises(Killed):
        train(drawn, CONFIG, name="disturbed", device="cpu")
    monkeypatch.undo()
    assert drawn.run("disturbed").config()["state"] == "running"
    train(drawn, CONFIG, name="disturbed", device="cpu")

    undisturbed, disturbed = contents(drawn.run("undisturbed")), contents(drawn.run("disturbed"))
    undisturbed["run.json"] = undisturbed["run.json"].replace(b'"undisturbed"', b'"disturbed"')
    assert disturbed == undisturbed


def test_a_finished_run_is_left_alone(trained: Workspace) -> None:
    before = contents(trained.run("cnn"))
    summary = train(trained, TrainConfig(epochs=2, lr=1e-3), name="cnn", device="cpu")
    assert "was done already" in summary.notes[0]
    assert contents(trained.run("cnn")) == before


def test_a_name_taken_by_other_settings_is_refused(trained: Workspace) -> None:
    before = contents(trained.run("cnn"))
    with pytest.raises(UserError, match=r"its lr is 0\.001, not 0\.5"):
        train(trained, TrainConfig(epochs=2, lr=0.5), name="cnn", device="cpu")
    assert contents(trained.run("cnn")) == before


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(drawn: Workspace) -> None:
    config = replace(CONFIG, lr=1e25)
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at epoch 1, step \d+, learning rate 1e\+25"):
        train(drawn, config, name="wild", device="cpu")
    assert drawn.run("wild").config()["state"] == "failed"


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
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0},
        {"weight_decay": -1},
        {"label_smoothing": 1},
        {"dropout": 1},
        {"shift": 1},
        {"seed": -1},
    ],
)
def test_settings_out_of_range_name_the_option(setting: dict[str, float]) -> None:
    option = next(iter(setting)).replace("_", "-")
    with pytest.raises(UserError, match=f"--{option} "):
        TrainConfig(**setting)


def test_run_json_holds_the_whole_configuration(trained: Workspace) -> None:
    record = json.loads(trained.run("cnn").run_json.read_text())
    assert record["config"] == asdict(TrainConfig(epochs=2, lr=1e-3))
    assert {"versions", "hardware", "made_from", "condition"} <= set(record)
