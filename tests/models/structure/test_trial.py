from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.models.classifier import InputSpec
from fertool.models.structure.trial import check_behaviour, check_output

SPEC = InputSpec(16, 3, (0.5,) * 3, (0.5,) * 3)


class Net(nn.Module):
    """Convolution, mean, classifier, and what a test does to its logits."""

    def __init__(
        self, last: Callable[[Tensor], Tensor] = lambda logits: logits, norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), norm or nn.BatchNorm2d(8), nn.ReLU())
        self.out = nn.Linear(8, 5)
        self.last = last

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.out(self.stem(inputs).mean((2, 3))))


class Remembers(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        self.features = self.stem(inputs)
        return self.out(self.features.mean((2, 3)))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: Net(F.dropout), "other logits for the same faces each time"),
        (
            lambda: Net(norm=nn.BatchNorm2d(8, track_running_stats=False)),
            "other logits alone than in a batch",
        ),
        (lambda: Net(lambda logits: logits.softmax(dim=1)), "those of a softmax, not logits"),
        (lambda: Net(lambda logits: logits.log_softmax(dim=1)), "those of a log_softmax, not logits"),
        (lambda: Net(torch.sigmoid), "those of a sigmoid, not logits"),
        (lambda: Net(lambda logits: logits * torch.inf), "nan or infinite"),
        (lambda: Remembers(), r"cannot be copied, .*keep no results of forward in it"),
    ],
)
def test_a_fault_that_would_spoil_maps_or_probabilities_is_one_line(
    network: Callable[[], nn.Module], message: str
) -> None:
    torch.manual_seed(0)
    with pytest.raises(UserError, match=rf"--model mine:net: .*{message}") as error:
        check_behaviour("mine:net", network(), SPEC)
    assert "\n" not in str(error.value)


def test_a_sound_network_passes_and_is_left_as_it_was() -> None:
    network = Net().train()
    network.stem[1].eval()
    before = torch.random.get_rng_state()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    check_behaviour("mine:net", network, SPEC)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert network.training and not network.stem[1].training
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.zeros(5), r"gives shape \(5,\) for one face, .*squeeze\(\) takes a batch of one away"),
        (torch.zeros(1, 7), r"gives shape \(1, 7\) .*let the function take num_classes"),
        (torch.zeros(1, 5, 2, 2), r"gives shape \(1, 5, 2, 2\) .*end in a classifier"),
        ((torch.zeros(1, 5), None), "gives tuple .*one of its 2 values"),
        ({"logits": torch.zeros(1, 5)}, "gives dict .*one of the values logits"),
        (None, "gives NoneType"),
    ],
)
def test_an_output_that_is_no_logits_is_named_with_its_cause(output: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        check_output("mine:net", output, 5)
    assert "\n" not in str(error.value)
