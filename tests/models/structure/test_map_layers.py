import pytest
import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.structure.map_layers import MapLayer, map_layers


def names(network: nn.Module, size: int = 8) -> list[str]:
    return [layer.name for layer in map_layers(network, torch.zeros(1, 4, size, size))]


def test_layers_come_as_they_finish_with_their_cells() -> None:
    network = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()), nn.MaxPool2d(2), nn.Flatten())
    assert map_layers(network, torch.zeros(1, 4, 8, 8)) == [
        MapLayer("0.0", 8),
        MapLayer("0.1", 8),
        MapLayer("0", 8),
        MapLayer("1", 4),
    ]


class Branched(nn.Module):
    """`stem`, then `left` beside `right`, which the subclass joins; then `final` and the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(4, 4, 1), nn.Identity(), nn.Conv2d(4, 4, 1)
        self.final = nn.ReLU(inplace=True)

    def joined(self, maps: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> Tensor:
        return self.final(self.joined(self.stem(inputs))).mean(dim=(2, 3))


def test_what_goes_past_a_layer_rules_it_out() -> None:
    class Added(Branched):
        def joined(self, maps: Tensor) -> Tensor:
            branch = self.right(maps)
            branch += self.left(maps)  # in place, as residual networks do
            return branch

    assert names(Added()) == ["stem", "final"]


def test_of_halves_of_the_channels_neither_is_everything() -> None:
    class Halves(Branched):
        def joined(self, maps: Tensor) -> Tensor:
            first, second = maps.chunk(2, dim=1)
            return torch.cat([self.left(first), self.left(second)], dim=1)

    assert names(Halves()) == ["stem", "final"]


def test_what_the_logits_do_not_depend_on_does_not_count() -> None:
    class Beside(Branched):
        def joined(self, maps: Tensor) -> Tensor:
            self.right(maps)
            return self.left(maps * 2)

    assert names(Beside()) == ["stem", "left", "final"]


def test_of_a_layer_that_runs_twice_the_last_output_counts() -> None:
    class Twice(Branched):
        def joined(self, maps: Tensor) -> Tensor:
            return self.stem(nn.functional.max_pool2d(self.left(maps), 2))

    assert map_layers(Twice(), torch.zeros(1, 4, 8, 8)) == [
        MapLayer("left", 8),
        MapLayer("stem", 4),
        MapLayer("final", 4),
    ]


def test_many_ways_in_a_deep_network_are_counted_at_once() -> None:
    class Doubled(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return maps + maps.sin()

    network = nn.Sequential(*(Doubled() for _ in range(1_500)))  # 2 ** 1500 paths
    assert names(network) == [str(layer) for layer in range(1_500)]


def test_an_input_that_the_network_overwrites() -> None:
    class Overwriting(Branched):
        def forward(self, inputs: Tensor) -> Tensor:
            inputs.sub_(0.5)
            return self.final(self.stem(inputs)).mean(dim=(2, 3))

    given = torch.zeros(1, 4, 8, 8)
    assert [layer.name for layer in map_layers(Overwriting(), given)] == ["stem", "final"]
    assert (given == 0).all()


def test_a_network_that_records_no_gradient_is_one_line() -> None:
    class Frozen(Branched):
        def forward(self, inputs: Tensor) -> Tensor:
            with torch.no_grad():
                maps = self.left(self.stem(inputs))
            return self.final(maps).mean(dim=(2, 3))

    with pytest.raises(UserError, match="no gradient by the image"):
        names(Frozen())
