import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy.stats import ortho_group
from timm.models import VisionTransformer
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.initial_model import initial_model
from fertool.models.registry import build_model
from fertool.models.structure.stage_features import PRE_LOGITS, find_stages, stage_features
from fertool.models.structure.wrap_network import face_classifier
from fertool.models.weights.load import load_weights
from fertool.models.weights.sources import FOLDER_VARIABLE, find_weights
from fertool.runtime.download import CACHE_VARIABLE
from fertool.runtime.files import write_json
from fertool.runtime.hardware import Compute
from fertool.score import ScoreSettings, score
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.gather import gather_scores
from fertool.score.statistics.cka import linear_cka
from fertool.score.suites.representation import (
    _kept,
    backbone_sha256,
    cka_between,
    cka_table,
    compare_stages,
    fit_probe,
    fitted_rows,
    read_features,
    representation_tables,
    score_representation,
    write_features,
)
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

CPU = Compute(torch.device("cpu"), "fp32")
OF_CNN = ["relu1", "relu2", "relu3", "pool3", PRE_LOGITS]


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """Nothing is kept of networks that other tests probed."""
    _kept.clear()


@pytest.fixture
def evaluated(trained: Workspace) -> EvaluatedRun:
    return EvaluatedRun(trained, trained.run("cnn"), "test", CPU)


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@given(st.integers(0, 1000), st.floats(0.01, 100))
@settings(deadline=None)
def test_cka_does_not_see_rotation_scale_or_offset(seed: int, scale: float) -> None:
    features = gaussian(40, 6, seed=seed)
    other = scale * features @ ortho_group.rvs(6, random_state=seed) + 3
    assert linear_cka(features, other) == pytest.approx(1)


def test_cka_is_songs_in_terms_of_kernels() -> None:
    first = gaussian(30, 5)
    second = first[:, :3] + gaussian(30, 3, seed=1)
    kernels = [features @ features.T * (1 - np.eye(30)) for features in (first, second)]

    def hsic(one: np.ndarray, other: np.ndarray) -> float:
        ones, n = np.ones(30), 30
        return (
            np.trace(one @ other)
            + (ones @ one @ ones) * (ones @ other @ ones) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (ones @ one @ other @ ones)
        )

    expected = hsic(*kernels) / np.sqrt(hsic(kernels[0], kernels[0]) * hsic(kernels[1], kernels[1]))
    assert linear_cka(first, second) == pytest.approx(expected)


def test_of_unrelated_features_cka_is_about_zero_however_few_faces_there_are() -> None:
    pairs = [(gaussian(100, 80, seed=2 * draw), gaussian(100, 60, seed=2 * draw + 1)) for draw in range(20)]
    assert abs(np.mean([linear_cka(*pair) for pair in pairs])) < 0.02


def test_features_that_do_not_differ_have_no_cka() -> None:
    assert np.isnan(linear_cka(np.ones((10, 3)), gaussian(10, 3)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cnn", {"relu1": 32, "relu2": 64, "relu3": 128, "pool3": 128, PRE_LOGITS: 256}),
        ("resnet48", {"relu1": 32, "stage1": 64, "stage2": 128, "stage3": 256, PRE_LOGITS: 256}),
        (
            "resnet18",
            {"act1": 64, "layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512, PRE_LOGITS: 512},
        ),
        ("vit_tiny_patch16_224", {f"blocks.{block}": 192 for block in (2, 5, 8, 11)} | {PRE_LOGITS: 192}),
    ],
)
def test_stages_are_found_and_their_features_have_one_axis(name: str, expected: dict[str, int]) -> None:
    model = build_model(name, 7)
    features = stage_features(model, np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8), CPU)
    assert {stage: values.shape for stage, values in features.items()} == {
        stage: (3, channels) for stage, channels in expected.items()
    }
    assert not any(module._forward_hooks for module in model.modules()) and model.training


def test_features_are_means_of_maps_and_logits_follow_from_the_last() -> None:
    model = build_model("cnn", 7).eval()
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48), np.uint8)
    features = stage_features(model, faces, CPU)
    with torch.no_grad():
        inputs = model.preprocess(torch.from_numpy(faces))
        network = model.network
        first = network.conv1(inputs).clamp(min=0)
        logits = network.classifier(torch.from_numpy(features[PRE_LOGITS]))
        assert torch.allclose(logits, model.logits(inputs), atol=1e-5)
    assert np.allclose(features["relu1"], first.mean(dim=(2, 3)), atol=1e-5)


def test_features_of_some_rows_are_those_of_these_faces() -> None:
    model = build_model("cnn", 7)
    faces = np.random.default_rng(0).integers(0, 256, (9, 48, 48), np.uint8)
    everyone = stage_features(model, faces, CPU)
    some = stage_features(model, faces, CPU, rows=np.array([7, 2, 3]))
    for stage, features in some.items():
        assert np.allclose(features, everyone[stage][[7, 2, 3]], atol=1e-5)


def test_of_a_transformers_tokens_the_one_that_the_head_reads_is_taken() -> None:
    model = build_model("vit_tiny_patch16_224", 7).eval()
    faces = np.random.default_rng(0).integers(0, 256, (2, 48, 48), np.uint8)
    last = stage_features(model, faces, CPU)["blocks.11"]
    with torch.no_grad():
        logits = model.network.head(model.network.norm(torch.from_numpy(last)))
        assert torch.allclose(logits, model(torch.from_numpy(faces)), atol=1e-4)


class Halving(nn.Module):
    """A residual block that halves the resolution; its one ReLU runs twice."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.past = nn.Conv2d(channels_in, channels, 1, stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        return self.relu(self.conv2(self.relu(self.conv1(maps))) + self.past(maps))


class OfAUser(nn.Module):
    """Its stem's ReLU stands behind the last block once more."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.relu = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.block1, self.block2 = Halving(4, 8), Halving(8, 16)
        self.mean, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 7)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.block2(self.block1(self.relu(self.norm(self.stem(inputs)))))
        return self.classifier(self.relu(self.mean(maps)).flatten(1))


def test_stages_of_a_users_residual_network_are_the_ends_of_its_blocks() -> None:
    spec = InputSpec(size=32, channels=1, mean=(0.5,), std=(0.25,))
    model = face_classifier(OfAUser(), spec, head="classifier").eval()
    ran: list[nn.Module] = []
    handle = model.network.register_forward_hook(lambda module, inputs, output: ran.append(module))
    # not the stem's ReLU: what it gives last is no map any more
    assert [stage.layer for stage in find_stages(model)] == ["norm", "block1", "block2", "classifier"]
    handle.remove()
    assert len(ran) == 2, "once for the maps and once for the logits, however many layers there are"
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48), np.uint8)
    with torch.no_grad():
        network, inputs = model.network, model.preprocess(torch.from_numpy(faces))
        first = network.block1(network.relu(network.norm(network.stem(inputs))))
    features = stage_features(model, faces, CPU)
    assert np.allclose(features["block1"], first.mean(dim=(2, 3)), atol=1e-6)


def test_of_a_layer_that_runs_several_times_the_last_output_counts() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
            self.relu, self.pool, self.classifier = nn.ReLU(), nn.MaxPool2d(2), nn.Linear(8, 7)

        def forward(self, inputs: Tensor) -> Tensor:
            maps = self.pool(self.relu(self.conv1(inputs)))
            return self.classifier(self.pool(self.relu(self.conv2(maps))).mean(dim=(2, 3)))

    spec = InputSpec(size=32, channels=1, mean=(0.5,), std=(0.25,))
    model = face_classifier(Shared(), spec, head="classifier").eval()
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48), np.uint8)
    features = stage_features(model, faces, CPU)
    assert {name: values.shape for name, values in features.items()} == {
        "conv1": (5, 4),
        "relu": (5, 8),
        "pool": (5, 8),
        PRE_LOGITS: (5, 8),
    }
    assert np.array_equal(features["pool"], features[PRE_LOGITS])


def test_a_convolution_that_gives_the_logits_is_the_last_stage_alone() -> None:
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 7, 1)
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    spec = InputSpec(size=32, channels=1, mean=(0.5,), std=(0.25,))
    model = face_classifier(network, spec, head="").eval()
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48), np.uint8)
    features = stage_features(model, faces, CPU)
    assert {name: values.shape for name, values in features.items()} == {"1": (5, 4), PRE_LOGITS: (5, 4)}


@pytest.mark.parametrize(
    ("blocks", "read"), [(12, [2, 5, 8, 11]), (6, [0, 1, 2, 3, 4, 5]), (8, [1, 3, 5, 7]), (2, [0, 1])]
)
def test_a_short_transformer_has_stages_at_more_of_its_blocks(blocks: int, read: list[int]) -> None:
    settings = {"img_size": 32, "patch_size": 4, "embed_dim": 12, "num_heads": 1, "num_classes": 7}
    network = VisionTransformer(depth=blocks, **settings)
    model = face_classifier(network, InputSpec(32, 3, (0.5,) * 3, (0.25,) * 3), head="head").eval()
    assert [stage.layer for stage in find_stages(model)] == [*(f"blocks.{number}" for number in read), "head"]


def test_stages_of_a_transformer_without_plain_attention_are_those_it_declares() -> None:
    stages = find_stages(build_model("vit_dwee_patch16_reg1_gap_256", 7, image_size=64))
    assert stages[0].layer == "blocks.0" and stages[-1].name == PRE_LOGITS


@pytest.mark.parametrize("name", ["cnn", "test_resnet", "vit_tiny_patch16_224"])
def test_stages_of_several_views_are_the_first_views(name: str) -> None:
    single, several = build_model(name, 7), build_model(f"multiscale:{name}", 7)
    expected = [f"branches.0.{stage.layer}" for stage in find_stages(single)[:-1]]
    assert [stage.layer for stage in find_stages(several)] == [*expected, "classifier"]


def test_a_probe_finds_a_class_in_features_of_any_scale_and_none_in_noise() -> None:
    labels = np.arange(600) % 2
    features = gaussian(600, 5)
    features[:, 0] += 6 * labels
    features *= [1e-4, 1e4, 1, 1, 1]
    found = fit_probe(features[:400], labels[:400]).predict(features[400:])
    assert (found == labels[400:]).mean() > 0.95
    blind = fit_probe(features[:400, 1:], labels[:400]).predict(features[400:, 1:])
    assert (blind == labels[400:]).mean() < 0.65


def test_a_run_scored_beside_a_network_that_passes_nothing_on(evaluated: EvaluatedRun) -> None:
    blind = build_model("cnn", 7)
    with torch.no_grad():
        for parameter in blind.parameters():
            parameter.zero_()
    figures, columns, _ = score_representation(evaluated, initial=blind)
    json.dumps(figures, allow_nan=False)
    stages = {stage_figures["stage"]: stage_figures for stage_figures in figures["stages"]}
    assert list(stages) == OF_CNN
    commonest = np.bincount(evaluated.workspace.load_labels("train")).argmax()
    for stage, stage_figures in stages.items():
        assert stage_figures["before"]["accuracy"] == pytest.approx((evaluated.labels == commonest).mean())
        assert stage_figures["after"]["accuracy"] == pytest.approx(columns[f"right_after_{stage}"].mean())
        assert stage_figures["cka"] is None
    (table,) = representation_tables([figures | {"run": "cnn", "split": "test"}])
    assert [row[1] for row in table.rows] == ["before", "after", "CKA"]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_before_is_what_the_runs_own_seed_gives(evaluated: EvaluatedRun) -> None:
    figures, columns, _ = score_representation(evaluated)
    torch.manual_seed(evaluated.run.config()["config"]["seed"])
    same, same_columns, _ = score_representation(
        evaluated, initial=build_model(**evaluated.model.recipe).eval()
    )
    assert figures == same and all((columns[name] == same_columns[name]).all() for name in columns)


@pytest.fixture
def pretrained(synthetic: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluatedRun:
    """A run that began with a file of `--weights-dir`, on a machine that has the weights nowhere else."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    folder = tmp_path / "mine"
    folder.mkdir()
    torch.manual_seed(99)
    state = build_model("test_resnet", 10, image_size=32).network.state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "test_resnet.safetensors")
    config = TrainConfig(model="test_resnet", image_size=32, epochs=1, precision="fp32")
    train(synthetic, config, name="run", weights_dir=folder, device="cpu")
    return EvaluatedRun(synthetic, synthetic.run("run"), "test", CPU)


def test_before_is_the_file_that_the_run_began_with(pretrained: EvaluatedRun, tmp_path: Path) -> None:
    found = find_weights("test_resnet", weights_dir=tmp_path / "mine")
    initial = initial_model(pretrained.model.recipe, pretrained.run.config()["config"]["seed"])
    load_weights(initial, found)
    figures, _, _ = score_representation(pretrained)
    assert figures == score_representation(pretrained, initial=initial)[0]


def test_another_file_in_its_place_is_not_taken(
    pretrained: EvaluatedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine" / "test_resnet.safetensors"
    (tmp_path / "moved").mkdir()
    right = shutil.copy(path, tmp_path / "moved")
    state = build_model("test_resnet", 10, image_size=32).network.state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    monkeypatch.setenv(FOLDER_VARIABLE, str(path.parent))
    with pytest.raises(UserError, match=r"began with the weights .*, and others are found now"):
        score_representation(pretrained)
    monkeypatch.setenv(FOLDER_VARIABLE, str(Path(right).parent))
    score_representation(pretrained)


def test_before_and_after_are_alike_of_a_run_that_learned_nothing(evaluated: EvaluatedRun) -> None:
    figures, _, _ = score_representation(evaluated, initial=evaluated.model)
    assert figures["train_faces"] == len(evaluated.workspace.load_faces("train"))
    for stage in figures["stages"]:
        assert stage["before"]["accuracy"] == stage["after"]["accuracy"]
        # of many columns a matrix product sums in another order than of few
        assert stage["before"]["interval"] == pytest.approx(stage["after"]["interval"], rel=1e-6)
        assert stage["cka"] == pytest.approx(1)


def test_a_split_is_probed_in_parts_with_the_figures_of_the_whole(
    evaluated: EvaluatedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, columns, features = score_representation(evaluated)
    _kept.clear()
    monkeypatch.setattr("fertool.score.suites.representation.AT_ONCE", 9)
    monkeypatch.setattr("fertool.score.suites.representation.CKA_FACES", 20)
    _, in_parts, some = score_representation(evaluated)
    assert len(evaluated.faces) % 9 and all((columns[name] == in_parts[name]).all() for name in columns)
    assert [len(some[stage]) for stage in OF_CNN] == 5 * [20] and figures["faces"] == len(evaluated.faces)
    rows = np.sort(np.random.default_rng(0).permutation(len(evaluated.faces))[:20])
    assert all(np.allclose(some[stage], features[stage][rows], atol=1e-5) for stage in OF_CNN)


def test_of_many_faces_of_train_the_probes_take_some_of_each_class(
    evaluated: EvaluatedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fertool.score.suites.representation.MOST_FITTED", 60)
    figures, columns, _ = score_representation(evaluated)
    labels = evaluated.workspace.load_labels("train")
    rows = fitted_rows(labels)
    assert figures["train_faces"] == len(rows) < 60 + len(set(labels)) < len(labels)
    train = stage_features(evaluated.model, evaluated.workspace.load_faces("train")[rows], CPU)
    tested = stage_features(evaluated.model, evaluated.faces, CPU)
    for stage in OF_CNN:
        expected = fit_probe(train[stage], labels[rows]).predict(tested[stage]) == evaluated.labels
        assert (columns[f"right_after_{stage}"] == expected).all()


def test_of_a_large_train_each_class_has_its_part_and_a_rare_one_a_face(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fertool.score.suites.representation.MOST_FITTED", 100)
    labels = np.repeat([0, 1, 2], [700, 299, 1])
    rows = fitted_rows(labels)
    assert (np.diff(rows) > 0).all()
    counts = np.bincount(labels[rows])
    assert counts[2] == 1 and abs(counts[0] - 70) <= 1 and abs(counts[1] - 30) <= 1
    assert np.array_equal(fitted_rows(labels[:100]), np.arange(100))


def test_probes_fitted_on_other_numbers_of_faces_stand_in_tables_of_their_own(
    evaluated: EvaluatedRun,
) -> None:
    figures, _, _ = score_representation(evaluated)
    runs = [
        figures | {"run": name, "split": "test", "train_faces": count} for name, count in (("a", 9), ("b", 8))
    ]
    notes = [table.notes[0] for table in representation_tables(runs)]
    assert ["fitted on 9 faces" in note for note in notes] == [True, False]
    assert ["fitted on 8 faces" in note for note in notes] == [False, True]


def test_a_frozen_backbone_is_probed_once_with_the_figures_of_twice(
    evaluated: EvaluatedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = "fertool.score.suites.representation"
    seen: list[FaceClassifier] = []
    monkeypatch.setattr(
        f"{suite}.stage_features", lambda model, *rest: seen.append(model) or stage_features(model, *rest)
    )
    other_head = copy.deepcopy(evaluated.model)
    with torch.no_grad():
        other_head.layer(other_head.head).weight += 1
    once, columns, kept = score_representation(evaluated, initial=other_head)
    assert seen == [other_head, other_head]
    with monkeypatch.context() as patched:
        patched.setattr(f"{suite}.backbone_sha256", lambda network: str(id(network)))
        twice, columns_of_twice, kept_of_twice = score_representation(evaluated, initial=other_head)
    assert once == twice and columns.keys() == columns_of_twice.keys()
    assert all(np.array_equal(kept[stage], kept_of_twice[stage]) for stage in OF_CNN)


def test_seeds_that_began_with_the_same_weights_probe_them_once(
    evaluated: EvaluatedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[FaceClassifier] = []
    monkeypatch.setattr(
        "fertool.score.suites.representation.stage_features",
        lambda model, *rest: seen.append(model) or stage_features(model, *rest),
    )
    initial, trained = evaluated.model, copy.deepcopy(evaluated.model)
    with torch.no_grad():
        for weights in trained.network.parameters():
            weights *= 1.1
    seeds = [evaluated, replace(evaluated)]
    seeds[1].__dict__["model"] = trained  # as a cached property keeps it
    first, second = (score_representation(seed, initial=initial)[0] for seed in seeds)
    assert seen == [initial, initial, trained, trained]
    for one, other in zip(first["stages"], second["stages"], strict=True):
        assert one["before"]["accuracy"] == other["before"]["accuracy"]


def test_backbones_differ_in_running_statistics_and_what_has_no_head_is_no_backbone() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.append(nn.Linear(4, 7))
    model = face_classifier(network, InputSpec(16, 1, (0.5,), (0.5,)), "4")
    other = copy.deepcopy(model)
    other.network[-1].bias.data += 1
    assert backbone_sha256(model) == backbone_sha256(other)
    other.network[1].running_mean += 1
    assert backbone_sha256(model) != backbone_sha256(other)
    larger = copy.deepcopy(model)
    larger.recipe = {**model.recipe, "image_size": 32}
    assert backbone_sha256(model) != backbone_sha256(larger)
    headless = [copy.deepcopy(model) for _ in range(2)]
    for network in headless:
        network.head = ""
    headless[1].network[-1].bias.data += 1
    assert backbone_sha256(headless[0]) != backbone_sha256(headless[1])


def test_cka_of_a_run_with_itself(evaluated: EvaluatedRun) -> None:
    _, _, features = score_representation(evaluated, initial=evaluated.model)
    figures = cka_between(features, features)
    matrix = np.array(figures["cka"])
    assert np.diag(matrix) == pytest.approx(np.ones(5)) and np.allclose(matrix, matrix.T)
    table = cka_table(figures | {"runs": ["cnn", "cnn"], "split": "test"}, {})
    assert [row[0] for row in table.rows] == table.columns[1:] == OF_CNN


def test_the_features_that_are_kept_are_those_of_the_trained_network(
    evaluated: EvaluatedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fertool.score.suites.representation.CKA_FACES", 20)
    _, _, features = score_representation(evaluated)
    everyone = stage_features(evaluated.model, evaluated.faces, CPU)
    rows = [
        np.flatnonzero((everyone["relu1"] == face_features).all(axis=1))
        for face_features in features["relu1"]
    ]
    assert [len(matches) for matches in rows] == 20 * [1] and len(np.unique(rows)) == 20
    assert all(np.array_equal(features[stage], everyone[stage][np.ravel(rows)]) for stage in OF_CNN)


@pytest.fixture
def two_seeds(trained: Workspace, tmp_path: Path) -> Workspace:
    """Runs `cnn` and `other`, which has another seed and the same weights."""
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    other = workspace.run("other")
    shutil.copytree(workspace.run("cnn").folder, other.folder)
    record = other.config() | {"name": "other"}
    write_json(other.run_json, record | {"config": record["config"] | {"seed": 1}})
    return workspace


def test_runs_that_are_scored_are_compared_without_their_networks(
    two_seeds: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = score(two_seeds, ScoreSettings(suites=["representation"]), device="cpu")
    (between,) = summary.data["representation_cka"]
    assert between["runs"] == ["cnn", "other"]
    assert np.diag(between["cka"]) == pytest.approx(np.ones(5))

    def no_network(*_: object) -> None:
        raise AssertionError("a network was loaded")

    monkeypatch.setattr("fertool.score.evaluated_run.load_run_model", no_network)
    again = [
        entry
        for entry in gather_scores(two_seeds, two_seeds.runs(), "test")
        if entry.suite.name == "representation"
    ]
    assert [entry.tables for entry in again] == [summary.tables]
    assert score(two_seeds, ScoreSettings(suites=["representation"]), device="cpu").tables == summary.tables


def test_of_many_runs_the_first_of_each_condition_are_compared(
    two_seeds: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(two_seeds, ScoreSettings(suites=["representation"]), device="cpu")
    evaluated_runs = [EvaluatedRun(two_seeds, run, "test", CPU) for run in two_seeds.runs()]
    assert len(compare_stages(evaluated_runs)[0]) == 1
    monkeypatch.setattr("fertool.score.suites.representation.MOST_COMPARED", 1)
    assert compare_stages(evaluated_runs)[0] == [], "both are seeds of one condition"
    record = two_seeds.run("other").config() | {"condition": "another"}
    two_seeds.run("other").run_json.write_text(json.dumps(record))
    assert [compared["runs"] for compared in compare_stages(evaluated_runs)[0]] == [["cnn", "other"]]


def test_features_that_are_gone_are_made_again(two_seeds: Workspace) -> None:
    tables = score(two_seeds, ScoreSettings(suites=["representation"]), device="cpu").tables
    kept = two_seeds.run("cnn").scores("representation", "test").with_suffix(".npz")
    kept.unlink()
    (again,) = [
        entry
        for entry in gather_scores(two_seeds, two_seeds.runs(), "test")
        if entry.suite.name == "representation"
    ]
    assert again.tables == tables[:-1]  # all but the comparison, which needs the features
    assert (
        score(two_seeds, ScoreSettings(suites=["representation"]), device="cpu").tables == tables
        and kept.exists()
    )


def test_features_of_other_faces_are_not_read(trained: Workspace, tmp_path: Path) -> None:
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    evaluated = EvaluatedRun(workspace, workspace.run("cnn"), "test", CPU)
    assert read_features(EvaluatedRun(workspace, workspace.run("unscored"), "test", CPU)) is None
    features = {"target": gaussian(20, 3), "file": gaussian(20, 5)}  # any name that a user's layer may have
    write_features(evaluated, features)
    read = read_features(evaluated)
    assert list(read) == list(features) and all(
        np.array_equal(read[name], features[name]) for name in features
    )
    np.save(workspace.faces("test"), np.load(workspace.faces("test"))[:, ::-1])
    assert read_features(evaluated) is None
