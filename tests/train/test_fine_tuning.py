from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fertool.models import FaceClassifier, build_model, load_model
from fertool.models.backbones.cnn import INPUT
from fertool.models.predict import GPU_BATCH_SIZE
from fertool.models.structure.stages import parameter_stages
from fertool.runtime.hardware import Compute
from fertool.train import loop, train
from fertool.train.augment import Augmentation
from fertool.train.config import TrainConfig
from fertool.train.fine_tuning import (
    freeze_all_but,
    frozen_backbone,
    head_inputs,
    trained_parameters,
    training_mode,
)
from fertool.workspace import Workspace

CONFIG = TrainConfig(
    model="test_resnet", weights="none", image_size=64, epochs=2, lr=1e-2, precision="fp32", dropout=0.0
)
CPU = Compute(torch.device("cpu"), "fp32")
UNCHANGED = {"flip": False, "shift": 0.0}  # augmentation that does nothing


@pytest.fixture
def model() -> FaceClassifier:
    torch.manual_seed(0)
    return build_model("test_resnet", 7, image_size=64)


def some_faces(number: int, side: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, side, side), dtype=np.uint8)


def state_at_start(config: TrainConfig) -> dict[str, Tensor]:
    torch.manual_seed(config.seed)
    model = build_model(
        config.model, 7, dropout=config.dropout, image_size=config.image_size, views=config.views
    )
    return {name: value.clone() for name, value in model.network.state_dict().items()}


def state_at_end(workspace: Workspace, config: TrainConfig) -> dict[str, Tensor]:
    """The weights after the last epoch, which need not be the best."""
    return torch.load(workspace.run(config.run_name).last, weights_only=True)["network"]


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


# --- what trains when ---------------------------------------------------------------------------------------


def test_first_the_head_alone_then_what_is_unfrozen(model: FaceClassifier) -> None:
    *stages, head = parameter_stages(model)
    everything = {name for name, _ in model.network.named_parameters()}
    for unfreeze, afterwards in (
        ("all", everything),
        ("none", set(head)),
        ("last:0", set(head)),
        ("last:2", {*head, *stages[-1], *stages[-2]}),
        ("last:99", everything),
    ):
        config = replace(CONFIG, epochs=9, freeze_epochs=2, unfreeze=unfreeze)
        assert trained_parameters(model, config, 1) == set(head)
        assert trained_parameters(model, config, 2) == set(head)
        assert trained_parameters(model, config, 3) == afterwards, unfreeze
        assert trained_parameters(model, config, 9) == afterwards, unfreeze
    assert trained_parameters(model, CONFIG, 1) == everything


def test_frozen_backbone_is_the_head_alone(model: FaceClassifier) -> None:
    assert frozen_backbone(model, {"fc.weight", "fc.bias"})
    assert not frozen_backbone(model, {"fc.weight", "fc.bias", "layer4.0.conv1.weight"})


def test_frozen_modules_are_in_evaluation_mode(model: FaceClassifier) -> None:
    freeze_all_but(model, trained_parameters(model, replace(CONFIG, unfreeze="last:1"), 1))
    training_mode(model)
    norms = {name: m for name, m in model.network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    trained = {name for name, norm in norms.items() if norm.training}
    assert trained == {name for name, norm in norms.items() if norm.weight.requires_grad}
    assert 0 < len(trained) < len(norms)
    freeze_all_but(model, {name for name, _ in model.network.named_parameters()})
    training_mode(model)
    assert all(module.training for module in model.network.modules())


def test_a_bare_batch_norm_goes_with_what_comes_before_it() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, affine=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(8, 7),
    )  # fmt: skip
    model = FaceClassifier(network, "cnn", INPUT, cam_layer="1")
    freeze_all_but(model, {"5.weight", "5.bias"})
    training_mode(model)
    assert not network[1].training and network[4].training
    model.requires_grad_(True)
    training_mode(model)
    assert network[1].training


def test_stochastic_depth_rests_in_frozen_blocks() -> None:
    model = build_model("test_vit", 7, drop_path=0.5)
    freeze_all_but(model, trained_parameters(model, TrainConfig(unfreeze="none"), 1))
    training_mode(model)
    faces = torch.randint(0, 256, (4, 48, 48), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(faces), model(faces))


@pytest.mark.parametrize("unfreeze", ["none", "last:1", "all"])
@pytest.mark.parametrize("flip", [False, True])  # without it a frozen backbone computes each face once
def test_training_changes_what_is_unfrozen_and_no_bit_of_the_rest(
    synthetic: Workspace, unfreeze: str, flip: bool
) -> None:
    config = replace(CONFIG, unfreeze=unfreeze, shift=0.0, flip=flip)
    train(synthetic, config, device="cpu")
    after = state_at_end(synthetic, config)
    model = build_model("test_resnet", 7, image_size=64)
    trained = trained_parameters(model, config, 2)
    layers = {name.rpartition(".")[0] for name in trained}
    # of the layers that train, parameters and batch statistics
    assert changed(state_at_start(config), after) == {
        name for name in after if name.rpartition(".")[0] in layers
    }
    record = synthetic.run(config.run_name).config()
    assert record["trained_parameters"] == sum(after[name].numel() for name in trained)
    assert record["config"]["unfreeze"] == unfreeze


@pytest.mark.parametrize("ema", [None, 0.9])
def test_after_freeze_epochs_the_backbone_trains_as_well(synthetic: Workspace, ema: float | None) -> None:
    frozen = replace(CONFIG, epochs=1, freeze_epochs=1, ema=ema)
    train(synthetic, frozen, device="cpu")
    assert changed(state_at_start(frozen), state_at_end(synthetic, frozen)) == {"fc.weight", "fc.bias"}
    thawed = replace(frozen, epochs=2)
    train(synthetic, thawed, device="cpu")
    after = state_at_end(synthetic, thawed)
    assert changed(state_at_start(thawed), after) == set(after)


def test_layers_that_train_slower_move_less(synthetic: Workspace) -> None:
    fast = replace(CONFIG, epochs=1, optimizer="sgd", lr=0.1)
    slow = replace(fast, backbone_lr=1e-3)
    start = state_at_start(fast)
    moved = []
    for config in (fast, slow):
        train(synthetic, config, device="cpu")
        end = state_at_end(synthetic, config)
        moved.append({name: (end[name] - start[name]).double().norm().item() for name in start})
    fast_moves, slow_moves = moved
    for name in ("conv1.0.weight", "layer4.0.conv1.weight"):
        assert 0 < slow_moves[name] < 0.1 * fast_moves[name]
    assert slow_moves["fc.weight"] > 0.1 * fast_moves["fc.weight"]


# --- features of frozen backbones ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cnn", "test_resnet", "test_vit", "dlibface", "multiscale:test_resnet"])
def test_the_head_of_its_inputs_is_the_logits(name: str) -> None:
    model = build_model(name, 7, dropout=0.0)
    freeze_all_but(model, set(parameter_stages(model)[-1]))
    faces, boxes = some_faces(5), np.tile(np.float32([8, 8, 40, 40]), (5, 1))
    features = head_inputs(model, faces, boxes, CPU)
    model.eval()
    with torch.no_grad(), model.looking_at(torch.from_numpy(boxes)):
        assert torch.allclose(model.layer(model.head)(features), model(torch.from_numpy(faces)), atol=1e-5)
    assert not features.requires_grad


def test_features_come_in_the_order_of_the_faces_and_the_model_stays_as_it_was(model: FaceClassifier) -> None:
    freeze_all_but(model, {"fc.weight", "fc.bias"})
    faces = some_faces(GPU_BATCH_SIZE + 3, side=16)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    random = torch.get_rng_state()
    features = head_inputs(model, faces, None, CPU)
    assert len(features) == len(faces)
    assert torch.allclose(features[-3:], head_inputs(model, faces[-3:], None, CPU), atol=1e-5)
    assert not changed(before, model.network.state_dict())
    assert torch.equal(torch.get_rng_state(), random)
    assert not model.network.fc._forward_pre_hooks


def test_there_are_none_where_logits_are_not_the_heads_alone() -> None:
    model = build_model("deit_tiny_distilled_patch16_224", 7)  # the mean of two heads
    freeze_all_but(model, set(parameter_stages(model)[-1]))
    assert head_inputs(model, some_faces(2), None, CPU) is None


@pytest.mark.parametrize("name", ["cnn", "test_resnet", "dlibface"])
def test_there_are_none_where_dropout_draws_them_anew(name: str) -> None:
    model = build_model(name, 7, dropout=0.5)
    freeze_all_but(model, set(parameter_stages(model)[-1]))
    random = torch.get_rng_state()
    assert head_inputs(model, some_faces(4), None, CPU) is None
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("name", ["test_resnet", "multiscale:cnn"])
def test_features_once_a_face_train_to_the_same_weights(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    image_size = 64 if name == "test_resnet" else None
    config = replace(CONFIG, model=name, image_size=image_size, unfreeze="none", **UNCHANGED)
    backbone_batches = []
    preprocess = FaceClassifier.preprocess

    def counting(model: FaceClassifier, pixels: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            backbone_batches.append(len(pixels))
        return preprocess(model, pixels)

    monkeypatch.setattr(FaceClassifier, "preprocess", counting)
    train(synthetic, config, device="cpu")
    once = state_at_end(synthetic, config)
    assert not backbone_batches
    monkeypatch.setattr(loop, "head_inputs", lambda *arguments: None)
    train(synthetic, config, device="cpu", force=True)
    each_step = state_at_end(synthetic, config)
    assert backbone_batches
    start = state_at_start(config)
    assert changed(start, once) == changed(start, each_step) == {f"{head(name)}.weight", f"{head(name)}.bias"}
    for parameter in changed(start, once):
        # Adam divides by the gradient's size, so float error in the features grows, but little
        error = (once[parameter] - each_step[parameter]).norm()
        assert error < 1e-3 * (once[parameter] - start[parameter]).norm()


def head(name: str) -> str:
    return build_model(name, 7).head


def test_faces_that_change_go_through_the_backbone_each_step(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise AssertionError("features of faces that change cannot be kept")

    monkeypatch.setattr(loop, "head_inputs", refused)
    assert not CONFIG.augmentation.is_none and replace(CONFIG, **UNCHANGED).augmentation == Augmentation()
    train(synthetic, replace(CONFIG, epochs=1, unfreeze="none"), device="cpu")
    train(synthetic, replace(CONFIG, epochs=1, unfreeze="last:1", **UNCHANGED), device="cpu")


def test_a_frozen_run_reloads_to_what_it_was(synthetic: Workspace) -> None:
    config = replace(CONFIG, unfreeze="none", **UNCHANGED)
    train(synthetic, config, device="cpu")
    run = synthetic.run(config.run_name)
    model = load_model(run.best)
    start = state_at_start(config)
    assert changed(start, model.network.state_dict()) == {"fc.weight", "fc.bias"}
    faces = torch.from_numpy(np.array(synthetic.load_faces("val")))
    labels = torch.from_numpy(synthetic.load_labels("val"))
    with torch.no_grad():
        accuracy = (model(faces).argmax(dim=1) == labels).float().mean().item()
    assert accuracy == pytest.approx(run.config()["best"]["val_accuracy"])
