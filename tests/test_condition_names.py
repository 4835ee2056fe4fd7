"""Conditions are called by what a person would call them, and found again by that."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fertool.condition_names import condition_labels, runs_called, setting_words
from fertool.runtime.files import write_json
from fertool.train.config import TrainConfig
from fertool.workspace import Run, Workspace


def recorded(
    root: Path,
    configs: list[TrainConfig],
    names: list[str] | None = None,
    weights: dict[str, str] | None = None,
) -> list[Run]:
    workspace = Workspace(root)
    runs = []
    for name, config in zip(names or [config.run_name for config in configs], configs, strict=True):
        record = {
            "name": name,
            "model": config.model,
            "weights": (weights or {}).get(config.weights, config.weights),
            "config": config.as_record(),
            "condition": config.condition_name,
            "classes": ["happy", "sad"],
            "state": "done",
            "made_from": {},
        }
        write_json(workspace.run(name).run_json, record)
        runs.append(workspace.run(name))
    return runs


def labels(root: Path, configs: list[TrainConfig], names: list[str] | None = None) -> list[str]:
    return list(condition_labels(recorded(root, configs, names)).values())


def test_only_the_settings_that_differ_are_said(tmp_path: Path) -> None:
    short, long = TrainConfig(lr=1e-3, epochs=12, ema=0.99), TrainConfig(lr=1e-3, epochs=30, ema=0.99)
    assert labels(tmp_path / "a", [short, long]) == ["cnn, 12 epochs", "cnn, 30 epochs"]
    rates = [TrainConfig(lr=1e-3, epochs=12), TrainConfig(lr=2.5e-4)]
    assert labels(tmp_path / "b", rates) == ["cnn, 12 epochs, lr 1e-3", "cnn, 30 epochs, lr 2.5e-4"]
    assert labels(tmp_path / "c", [TrainConfig(flip=False), TrainConfig()]) == ["cnn, no flip", "cnn, flip"]


def test_the_model_alone_where_it_has_one_condition(tmp_path: Path) -> None:
    seeds = [TrainConfig(lr=1e-3, seed=seed) for seed in (0, 1)]
    assert labels(tmp_path / "a", seeds) == ["cnn"]
    two_models = [TrainConfig(lr=1e-3, epochs=12), TrainConfig("resnet48", epochs=3)]
    assert labels(tmp_path / "b", two_models) == ["cnn", "resnet48"]


def test_weights_are_called_by_what_they_were_trained_on(tmp_path: Path) -> None:
    configs = [TrainConfig("dlibface"), TrainConfig("dlibface", weights="none")]
    runs = recorded(tmp_path, configs, weights={"auto": "dlibface"})
    by_condition = condition_labels(runs)
    assert list(by_condition.values()) == ["dlibface, face-recognition weights", "dlibface, from scratch"]
    assert [runs_called(label, runs) for label in by_condition.values()] == [[run] for run in runs]


def test_settings_of_a_guidance_that_there_is_not_are_not_said(tmp_path: Path) -> None:
    configs = [TrainConfig(guide="background", guide_weight=0.3), TrainConfig()]
    names = ["cnn-abc123-g0.3-s0", "cnn-s0"]  # as `train --guide-weight` calls them
    assert labels(tmp_path, configs, names) == ["cnn, guide background, guide-weight 0.3", "cnn"]


def test_a_name_that_was_given_stands(tmp_path: Path) -> None:
    seeds = [TrainConfig(lr=1e-3, seed=seed) for seed in (0, 1)]
    assert labels(tmp_path / "a", [*seeds, TrainConfig()], ["fast-s0", "fast-s1", "cnn-s0"]) == [
        "fast",
        "cnn, lr 1e-4",
    ]
    assert labels(tmp_path / "b", [*seeds, TrainConfig()], ["early-s0", "late-s1", "cnn-s0"]) == [
        "cnn, lr 1e-3",
        "cnn, lr 1e-4",
    ]


def test_the_default_training_among_named_ones_is_called_by_its_model(tmp_path: Path) -> None:
    other = TrainConfig(
        lr=1e-3, epochs=12, optimizer="adamw", schedule="cosine", weight_decay=0.05, label_smoothing=0.05
    )
    assert labels(tmp_path / "a", [TrainConfig(), other], ["cnn-s0", "fast-s0"]) == ["cnn", "fast"]
    # the first four settings are alike, so all would be said
    guided = TrainConfig(guide="background", guide_weight=0.0)
    found = labels(tmp_path / "c", [TrainConfig(), other, guided], ["cnn-s0", "fast-s0", "plain-s0"])
    assert found == ["cnn", "fast", "plain"]
    # a training with settings of its own and without a name has them in its label
    own = TrainConfig(lr=1e-2, batch_size=32)
    label, _ = labels(tmp_path / "b", [own, other], [f"{own.condition_name}-s0", "fast-s0"])
    assert label.startswith("cnn, ") and label.endswith(" more")


def test_a_long_list_is_cut_where_the_rest_is_not_needed(tmp_path: Path) -> None:
    many = TrainConfig(epochs=2, batch_size=8, lr=1e-3, weight_decay=0.5, noise=0.1, crop=0.1)
    first, second = labels(tmp_path / "a", [many, TrainConfig()])
    assert first == "cnn, 2 epochs, batch-size 8, lr 1e-3, weight-decay 0.5, 2 more"
    assert second == "cnn, 30 epochs, batch-size 64, lr 1e-4, weight-decay 1e-4, 2 more"
    noisier = TrainConfig(epochs=2, batch_size=8, lr=1e-3, weight_decay=0.5, noise=0.2, crop=0.1)
    assert labels(tmp_path / "b", [many, TrainConfig(), noisier])[0] == (
        "cnn, 2 epochs, batch-size 8, lr 1e-3, weight-decay 0.5, crop 0.1, noise 0.1"
    )


config_strategy = st.builds(
    TrainConfig,
    model=st.sampled_from(["cnn", "resnet48"]),
    epochs=st.integers(1, 3),
    lr=st.sampled_from([1e-4, 1.5e-4, 1e-3, 1.0]),
    flip=st.booleans(),
    ema=st.sampled_from([None, 0.9]),
    guide=st.sampled_from([None, "background"]),
    guide_weight=st.sampled_from([0.0, 0.3]),
    mean=st.sampled_from([None, (0.5, 0.5, 0.5)]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labels")


@settings(max_examples=40, deadline=None)
@given(configs=st.lists(config_strategy, min_size=1, max_size=5), case=st.uuids())
def test_labels_are_unique_and_found_again(configs: list[TrainConfig], case: object, folder: Path) -> None:
    runs = recorded(folder / str(case), configs)
    by_condition = condition_labels(runs)
    assert len(set(by_condition.values())) == len(by_condition)
    for condition, label in by_condition.items():
        found = runs_called(label, runs)
        assert found and all(run.config()["condition"] == condition for run in found)
        assert runs_called(condition, runs) == found
        assert "-" not in label.split(",")[0], "no hash"


def test_the_shorter_label_of_a_table_of_fewer_runs_is_found(tmp_path: Path) -> None:
    runs = recorded(tmp_path, [TrainConfig(lr=1e-3, epochs=2), TrainConfig(epochs=2), TrainConfig()])
    shown = condition_labels(runs[:2])
    assert list(shown.values()) == ["cnn, lr 1e-3", "cnn, lr 1e-4"]
    assert runs_called("cnn, lr 1e-3", runs) == [runs[0]]
    assert runs_called("cnn, lr 7", runs) == [] == runs_called("", runs)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("lr", 1e-5, "lr 1e-5"),
        ("weight_decay", 0.0, "weight-decay 0"),
        ("dropout", 0.05, "dropout 0.05"),
        ("epochs", 1, "1 epoch"),
        ("balance", True, "balance"),
        ("weights", "none", "from scratch"),
        ("weights", "imagenet", "ImageNet weights"),
        ("weights", "folder/of/best.safetensors", "weights best.safetensors"),
        ("clip", None, ""),
        ("mean", [0.5, 0.4], "mean 0.5/0.4"),
        ("guide_regions", [["mouth", 0.5], ["eyes", 0.5]], "guide-regions mouth=0.5/eyes=0.5"),
    ],
)
def test_settings_in_the_words_of_their_options(name: str, value: object, words: str) -> None:
    assert setting_words(name, value) == words
