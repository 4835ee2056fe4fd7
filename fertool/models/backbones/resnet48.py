"""A residual network for 48-pixel grey faces, to show how far training without pretraining gets."""

from collections import OrderedDict
from dataclasses import replace

from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.backbones.cnn import INPUT
from fertool.models.classifier import FaceClassifier
from fertool.models.head import begin_small
from fertool.models.structure.cam_layer import LEAST_CELLS, find_cam_layer

STEM = 32
# stage, channels, blocks: at 24x24, 12x12 and 6x6 cells
STAGES = (("stage1", 64, 1), ("stage2", 128, 2), ("stage3", 256, 2))
DROPOUT = 0.3
LEAST_SIZE = 2 * LEAST_CELLS  # pixels, at which the first stage still has 7x7 cells


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which averages and convolves 1x1 where they halve the resolution.

    He et al. 2016, 'Deep Residual Learning for Image Recognition'; for the average, He et al. 2019, 'Bag of Tricks for
    Image Classification with Convolutional Neural Networks', ResNet-D.
    """

    def __init__(self, channels_in: int, channels: int, halves: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=2 if halves else 1, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        # a block begins as its shortcut (Goyal et al. 2017, section 5.1)
        nn.init.zeros_(self.norm2.weight)
        self.past: nn.Module = nn.Identity()
        if channels_in != channels:
            self.past = nn.Sequential(
                OrderedDict(
                    mean=nn.AvgPool2d(2, ceil_mode=True) if halves else nn.Identity(),
                    conv=nn.Conv2d(channels_in, channels, 1, bias=False),
                    norm=nn.BatchNorm2d(channels),
                )
            )
        self.relu2 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """Turn maps (B, channels_in, h, w) into (B, channels, h', w')."""
        branch = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(maps)))))
        return self.relu2(branch + self.past(maps))


def build_resnet48(
    classes: int, dropout: float | None = None, image_size: int | None = None
) -> FaceClassifier:
    """Two convolutions, five residual blocks in three stages, the mean over the cells, the classifier.

    At 48 pixels a face costs 205 million multiplications, and the CAM layer is the second stage, at 12x12 cells.
    Raises UserError for a size at which no stage has 7x7 cells.
    """
    size = INPUT.size if image_size is None else image_size
    if size < LEAST_SIZE:
        raise UserError(f"--image-size {size}: 'resnet48' takes no fewer than {LEAST_SIZE} pixels")
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(INPUT.channels, STEM, 3, padding=1, bias=False)),
        ("norm1", nn.BatchNorm2d(STEM)),
        ("relu1", nn.ReLU()),
        ("conv2", nn.Conv2d(STEM, STAGES[0][1], 3, stride=2, padding=1, bias=False)),
        ("norm2", nn.BatchNorm2d(STAGES[0][1])),
        ("relu2", nn.ReLU()),
    ]
    channels_in = STAGES[0][1]
    for name, channels, blocks in STAGES:
        stage = nn.Sequential()
        for block in range(blocks):
            stage.append(ResidualBlock(channels_in, channels, block == 0 and channels != channels_in))
            channels_in = channels
        layers.append((name, stage))
    layers += [
        ("mean", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("dropout", nn.Dropout(DROPOUT if dropout is None else dropout)),
        ("classifier", nn.Linear(channels_in, classes)),
    ]
    network = nn.Sequential(OrderedDict(layers))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    begin_small(network.get_submodule("classifier"))
    spec = replace(INPUT, size=size)
    return FaceClassifier(network, "cnn", spec, find_cam_layer(network, spec.zeros()), head="classifier")
