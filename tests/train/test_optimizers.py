from dataclasses import replace

import pytest
import torch
from torch import nn

from fertool.models import FaceClassifier, build_model
from fertool.models.structure.stages import parameter_stages
from fertool.train.config import TrainConfig
from fertool.train.fine_tuning import freeze_all_but, trained_parameters
from fertool.train.optimizers import make_optimizer, set_rates, step_factor

CONFIG = TrainConfig(model="test_resnet", lr=0.1, weight_decay=0.01)


@pytest.fixture
def model() -> FaceClassifier:
    return build_model("test_resnet", 7, image_size=64)


def rates(model: FaceClassifier, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    by_parameter = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {
        name: by_parameter[id(parameter)]
        for name, parameter in model.network.named_parameters()
        if id(parameter) in by_parameter
    }


def decays(model: FaceClassifier, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    by_parameter = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    return {name: by_parameter[id(parameter)] for name, parameter in model.network.named_parameters()}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("backbone_lr", [None, 0.02])
def test_every_parameter_is_in_one_group_at_the_rate_of_its_part(
    model: FaceClassifier, name: str, backbone_lr: float | None
) -> None:
    optimizer = make_optimizer(model, replace(CONFIG, optimizer=name, backbone_lr=backbone_lr))
    in_groups = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(in_groups) == sorted(id(p) for p in model.network.parameters())
    for parameter, rate in rates(model, optimizer).items():
        assert rate == (0.1 if parameter.startswith("fc.") else backbone_lr or 0.1), parameter


def test_layer_decay_lowers_the_rate_by_distance_from_the_head(model: FaceClassifier) -> None:
    optimizer = make_optimizer(model, replace(CONFIG, backbone_lr=0.05, layer_decay=0.5))
    rate_by_name = rates(model, optimizer)
    assert rate_by_name["fc.weight"] == rate_by_name["fc.bias"] == 0.1
    for distance, stage in enumerate(reversed(parameter_stages(model)[:-1]), start=1):
        for name in stage:
            assert rate_by_name[name] == pytest.approx(0.05 * 0.5**distance), name
    assert (
        rate_by_name["conv1.0.weight"]
        < rate_by_name["layer1.0.conv1.weight"]
        < rate_by_name["layer4.0.conv1.weight"]
        < rate_by_name["fc.weight"]
    )


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_what_is_frozen_has_neither_group_nor_gradient_nor_state(model: FaceClassifier, name: str) -> None:
    config = replace(CONFIG, optimizer=name, unfreeze="last:1")
    names = trained_parameters(model, config, 1)
    assert 0 < len(names) < len(dict(model.network.named_parameters()))
    freeze_all_but(model, names)
    optimizer = make_optimizer(model, config)
    model(torch.zeros(4, 64, 64)).sum().backward()
    optimizer.step()
    with_state = {id(parameter) for parameter in optimizer.state}
    for parameter_name, parameter in model.network.named_parameters():
        assert (id(parameter) in with_state) == (parameter_name in names), parameter_name
        assert (parameter.grad is not None) == (parameter_name in names), parameter_name


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_norms_and_biases_do_not_decay(model: FaceClassifier, name: str) -> None:
    decay_by_name = decays(model, make_optimizer(model, replace(CONFIG, optimizer=name)))
    modules = dict(model.network.named_modules())
    for parameter, decay in decay_by_name.items():
        layer, _, kind = parameter.rpartition(".")
        plain = kind == "bias" or isinstance(modules[layer], nn.BatchNorm2d)
        assert decay == (0 if plain else 0.01), parameter


def test_adams_l2_penalty_is_on_everything_as_in_pytorch(model: FaceClassifier) -> None:
    assert set(decays(model, make_optimizer(model, CONFIG)).values()) == {0.01}


def test_groups_of_the_same_rate_are_one(model: FaceClassifier) -> None:
    assert len(make_optimizer(model, CONFIG).param_groups) == 1
    assert len(make_optimizer(model, replace(CONFIG, optimizer="adamw")).param_groups) == 2


def test_sgd_is_pytorchs_with_nesterovs_momentum(model: FaceClassifier) -> None:
    reference = torch.optim.SGD(
        [p.detach().clone() for p in model.network.parameters()], lr=0.1, momentum=0.9, nesterov=True
    )
    optimizer = make_optimizer(model, replace(CONFIG, optimizer="sgd", weight_decay=0.0))
    pairs = list(zip(model.network.parameters(), reference.param_groups[0]["params"], strict=True))
    for _ in range(3):
        for ours, theirs in pairs:
            ours.grad = torch.ones_like(ours)
            theirs.grad = torch.ones_like(theirs)
        optimizer.step()
        reference.step()
    for ours, theirs in pairs:
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_factor_lowers_every_group_from_its_own_peak(model: FaceClassifier) -> None:
    optimizer = make_optimizer(model, replace(CONFIG, backbone_lr=0.02))
    for factor in (0.5, 0.1, 1.0):
        set_rates(optimizer, factor)
        assert sorted(group["lr"] for group in optimizer.param_groups) == pytest.approx(
            [0.02 * factor, 0.1 * factor]
        )


@pytest.mark.parametrize(("epochs_done", "falls"), [(6, False), (7, False), (9, False), (10, True)])
def test_a_plateau_of_the_head_alone_lowers_no_rate(epochs_done: int, falls: bool) -> None:
    config = replace(CONFIG, epochs=20, schedule="plateau", freeze_epochs=6)
    flat = [{"val_loss": 1.0}] * epochs_done
    assert (step_factor(config, 10 * epochs_done, 10, flat) < 1) == falls
