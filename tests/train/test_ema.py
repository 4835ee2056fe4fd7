import pytest
import torch
from torch import nn

from fertool.models import build_model
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.train.ema import ExponentialMovingAverage


def tiny() -> FaceClassifier:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    return FaceClassifier(network, "cnn", InputSpec(4, 1, (0.5,), (0.5,)), cam_layer="1", head="3")


def test_it_follows_the_definition() -> None:
    model = tiny()
    ema = ExponentialMovingAverage(model, 0.25)
    expected = model.network[0].weight.detach().clone()
    for step in range(6):
        with torch.no_grad():
            model.network[0].weight += 1 + step
        ema.update(model.network)
        decay = min(0.25, (1 + step) / (10 + step))  # 0.1, 2/11, 0.25, ...
        expected = decay * expected + (1 - decay) * model.network[0].weight.detach()
        assert torch.allclose(ema.model.network[0].weight, expected)
    assert ema.step == 6


def test_it_takes_in_batch_statistics_and_their_count() -> None:
    model = tiny()
    ema = ExponentialMovingAverage(model, 0.5)
    for _ in range(3):
        model.network(torch.randn(8, 1, 4, 4))
        ema.update(model.network)
    norm = ema.model.network[1]
    assert norm.num_batches_tracked == 3
    assert not torch.equal(norm.running_mean, torch.zeros(2))


def test_a_layer_under_two_names_moves_once_a_step() -> None:
    model = tiny()
    model.network.append(nn.ModuleDict({"again": model.network[0], "norm": model.network[1]}))
    ema = ExponentialMovingAverage(model, 0.5)
    for _ in range(12):  # until the decay is what was asked for
        ema.update(model.network)
    before = ema.model.network[0].weight.clone()
    with torch.no_grad():
        model.network[0].weight += 1
        model.network[1].running_mean += 1
    ema.update(model.network)
    assert torch.allclose(ema.model.network[0].weight, before + 0.5)
    assert torch.allclose(ema.model.network[1].running_mean, torch.full((2,), 0.5))


def test_what_does_not_change_stays_bit_for_bit() -> None:
    model = build_model("cnn", 7)
    ema = ExponentialMovingAverage(model, 0.999)
    for _ in range(20):
        ema.update(model.network)
    for name, value in model.network.state_dict().items():
        assert torch.equal(ema.model.network.state_dict()[name], value), name


def test_it_is_apart_from_the_model_and_needs_no_gradient() -> None:
    model = tiny()
    ema = ExponentialMovingAverage(model, 0.9)
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    before = model.network[0].weight.detach().clone()
    with torch.no_grad():
        ema.model.network[0].weight.zero_()
    assert torch.equal(model.network[0].weight, before)


@pytest.mark.parametrize("decay", [0.9, 0.999])
def test_a_long_mean_smooths(decay: float) -> None:
    torch.manual_seed(0)
    model = tiny()
    ema = ExponentialMovingAverage(model, decay)
    weights, means = [], []
    for _ in range(200):
        with torch.no_grad():
            model.network[3].bias.normal_()
        ema.update(model.network)
        weights.append(model.network[3].bias.detach().clone())
        means.append(ema.model.network[3].bias.clone())
    assert torch.stack(means[100:]).std(dim=0).max() < 0.5 * torch.stack(weights[100:]).std(dim=0).min()
