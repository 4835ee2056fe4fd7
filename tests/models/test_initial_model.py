from pathlib import Path

import pytest
import torch

from fertool.errors import UserError
from fertool.models import build_model
from fertool.models.initial_model import initial_model

MODULE = """
import torch
from torch import nn

def network(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )

def loads(num_classes):
    made = network(num_classes)
    generator = torch.Generator().manual_seed(5)
    state = {name: torch.randn(value.shape, generator=generator).abs() if value.is_floating_point() else value
             for name, value in made.state_dict().items()}
    made.load_state_dict(state)
    return made

class Scaled(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.inner = network(num_classes)
        self.scale = nn.Parameter(torch.arange(1.0, num_classes + 1))

    def forward(self, inputs):
        return self.scale * self.inner(inputs)

class Fixed(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
        self.out = nn.Linear(8, num_classes)
        for parameter in self.parameters():
            parameter.data = torch.arange(parameter.numel()).view_as(parameter) % 5 - 2.0
        for layer in self.modules():
            layer.reset_parameters = lambda: None

    def forward(self, inputs):
        return self.out(self.body(inputs).mean((2, 3)))

class Buffers(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.register_buffer("kernel", torch.randn(num_classes, 3, 3, 3, generator=torch.Generator().manual_seed(0)))
        self.maps = nn.ReLU()

    def forward(self, inputs):
        return self.maps(nn.functional.conv2d(inputs, self.kernel)).mean((2, 3))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_loaded_nets.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_loaded_nets", raising=False)


def faces() -> torch.Tensor:
    return torch.randint(0, 256, (4, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_it_is_the_network_that_training_begins_with() -> None:
    state = torch.random.get_rng_state()
    model = initial_model(build_model("cnn", 7).recipe, 3)
    torch.manual_seed(3)
    begun = build_model("cnn", 7)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), begun.parameters(), strict=True))
    assert not model.training
    torch.random.set_rng_state(state)


def test_a_function_that_loads_weights_gives_no_random_network_and_one_is_made() -> None:
    recipe = build_model("my_loaded_nets:loads", 5, image_size=48).recipe
    trained = build_model(**recipe).eval()
    assert torch.equal(trained(faces()), build_model(**recipe).eval()(faces())), "the function loads weights"
    first, again, second = (initial_model(recipe, seed) for seed in (0, 0, 1))
    with torch.no_grad():
        assert torch.equal(first(faces()), again(faces()))
        assert not torch.allclose(first(faces()), trained(faces()), rtol=1e-2)
        assert not torch.allclose(first(faces()), second(faces()), rtol=1e-2)
    norm = first.network[1]
    assert norm.weight.eq(1).all() and norm.running_mean.eq(0).all() and norm.running_var.eq(1).all()


def test_parameters_without_a_rule_are_permuted() -> None:
    recipe = build_model("my_loaded_nets:Scaled", 5, image_size=48).recipe
    model = initial_model(recipe, 0)
    assert sorted(model.network.scale.tolist()) == [1, 2, 3, 4, 5] != model.network.scale.tolist()


@pytest.mark.parametrize("name", ["Fixed", "Buffers"])
def test_a_network_that_cannot_be_randomised_is_one_line(name: str) -> None:
    recipe = build_model(f"my_loaded_nets:{name}", 5, image_size=48).recipe
    with pytest.raises(UserError, match="its weights cannot be randomised") as error:
        initial_model(recipe, 0)
    assert "\n" not in str(error.value)
