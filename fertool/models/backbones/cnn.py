"""The baseline, from scratch: a small convolutional network on 48-pixel grey faces, with either of two heads."""

from collections import OrderedDict
from dataclasses import replace

from torch import nn

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.structure.cam_layer import LEAST_CELLS

INPUT = InputSpec(size=48, channels=1, mean=(0.508,), std=(0.255,))  # statistics of FER2013's pixels
WIDTHS = (32, 64, 128)
HIDDEN_UNITS = 256
DROPOUT = 0.25
LEAST_SIZE = LEAST_CELLS * 2 ** (len(WIDTHS) - 1)  # pixels


def build_cnn(classes: int, dropout: float | None = None, image_size: int | None = None) -> FaceClassifier:
    """Three times convolution, ReLU, max-pooling; a fully connected layer; the classifier.

    The CAM layer is the third ReLU, at 12x12 cells: the pooling behind it leaves 6x6, too few to tell eyes from
    mouth. Raises UserError for any size but 48 pixels.
    """
    if image_size not in (None, INPUT.size):
        raise UserError(
            f"--image-size {image_size}: the fully connected layer of 'cnn' takes {INPUT.size} pixels only"
        )
    stages, channels = _stages()
    cells = (INPUT.size // 2 ** len(WIDTHS)) ** 2
    head = [
        ("flatten", nn.Flatten()),
        ("hidden", nn.Linear(channels * cells, HIDDEN_UNITS)),
        ("hidden_relu", nn.ReLU()),
        ("dropout", nn.Dropout(DROPOUT if dropout is None else dropout)),
        ("classifier", nn.Linear(HIDDEN_UNITS, classes)),
    ]
    return _classifier(stages + head, INPUT.size)


def build_cnn_gap(
    classes: int, dropout: float | None = None, image_size: int | None = None
) -> FaceClassifier:
    """The same convolutions; the mean over the cells of the third; the classifier.

    Grad-CAM is then the classifier itself, cell by cell (Zhou et al. 2016, 'Learning Deep Features for Discriminative
    Localization'): logits are the means of the maps plus the bias. Raises UserError for a size at which the third
    convolution has fewer than 7x7 cells.
    """
    size = INPUT.size if image_size is None else image_size
    if size < LEAST_SIZE:
        raise UserError(f"--image-size {size}: 'cnn-gap' takes no fewer than {LEAST_SIZE} pixels")
    stages, channels = _stages()
    head = [
        ("mean", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("dropout", nn.Dropout(DROPOUT if dropout is None else dropout)),
        ("classifier", nn.Linear(channels, classes)),
    ]
    return _classifier(stages[:-1] + head, size)  # nothing is pooled before the mean


def _stages() -> tuple[list[tuple[str, nn.Module]], int]:
    stages: list[tuple[str, nn.Module]] = []
    channels = INPUT.channels
    for stage, width in enumerate(WIDTHS, start=1):
        stages += [
            (f"conv{stage}", nn.Conv2d(channels, width, kernel_size=3, padding=1)),
            (f"relu{stage}", nn.ReLU()),
            (f"pool{stage}", nn.MaxPool2d(2)),
        ]
        channels = width
    return stages, channels


def _classifier(layers: list[tuple[str, nn.Module]], size: int) -> FaceClassifier:
    network = nn.Sequential(OrderedDict(layers))
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # He et al. 2015: signals keep their size through ReLUs, where PyTorch's default shrinks them
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return FaceClassifier(network, "cnn", replace(INPUT, size=size), cam_layer="relu3", head="classifier")
