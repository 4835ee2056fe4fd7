"""The expression network of face-api.js (npm's @vladmandic/face-api 1.7.15), on 112-pixel RGB faces.

Four dense blocks of separable convolutions, their last maps' mean, and a linear layer; outputs are logits.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (3, 32, 64, 128, 256)


def same(maps: Tensor, stride: int) -> Tensor:
    """The maps with TensorFlow's 'same' padding for a 3x3 convolution: with stride 2, at the end alone where even."""
    at_start = 0 if stride == 2 and maps.shape[-1] % 2 == 0 else 1
    return F.pad(maps, (at_start, 1, at_start, 1))


class Separable(nn.Module):
    """A 3x3 convolution of each channel, then a 1x1 convolution with a bias."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.depth = nn.Conv2d(channels_in, channels_in, 3, stride=stride, groups=channels_in, bias=False)
        self.point = nn.Conv2d(channels_in, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.point(self.depth(same(maps, self.depth.stride[0])))


class DenseBlock(nn.Module):
    """Four convolutions, each of which reads the sum of those before it; the first halves the resolution."""

    def __init__(self, channels_in: int, channels: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.conv0 = (
            nn.Conv2d(channels_in, channels, 3, stride=2)
            if first
            else Separable(channels_in, channels, stride=2)
        )
        self.conv1, self.conv2, self.conv3 = (Separable(channels, channels) for _ in range(3))

    def forward(self, maps: Tensor) -> Tensor:
        a = F.relu(self.conv0(same(maps, 2) if self.first else maps))
        b = self.conv1(a)
        c = self.conv2(F.relu(a + b))
        d = self.conv3(F.relu(a + b + c))
        return F.relu(a + b + c + d)


class ExpressionNet(nn.Module):
    """The blocks, the mean over 7x7 cells, and the classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(WIDTHS))
        self.blocks = nn.Sequential(
            *(DenseBlock(*pair, first=not number) for number, pair in enumerate(pairs))
        )
        self.fc = nn.Linear(WIDTHS[-1], classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(torch.flatten(F.avg_pool2d(self.blocks(inputs), 7, stride=2), 1))


def expression_net(num_classes: int = 7) -> nn.Module:
    return ExpressionNet(num_classes)
