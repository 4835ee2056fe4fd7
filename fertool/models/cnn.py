"""The baseline: a small convolutional network on 48-pixel grey faces, trained from scratch."""

from collections import OrderedDict

from torch import nn

from fertool.models.classifier import FaceClassifier, InputSpec

INPUT = InputSpec(size=48, channels=1, mean=(0.508,), std=(0.255,))  # mean and deviation of FER2013's pixels
WIDTHS = (32, 64, 128)
HIDDEN_UNITS = 256


def build_cnn(classes: int, dropout: float = 0.25) -> FaceClassifier:
    """Three times convolution, ReLU, max-pooling; a fully connected layer; the classifier.

    The CAM layer is the third ReLU, at 12x12 cells: after the pooling behind it there are 6x6, too few to
    tell eyes from mouth.
    """
    stages: list[tuple[str, nn.Module]] = []
    channels = INPUT.channels
    for stage, width in enumerate(WIDTHS, start=1):
        stages += [
            (f"conv{stage}", nn.Conv2d(channels, width, kernel_size=3, padding=1)),
            (f"relu{stage}", nn.ReLU()),
            (f"pool{stage}", nn.MaxPool2d(2)),
        ]
        channels = width
    cells = (INPUT.size // 2 ** len(WIDTHS)) ** 2
    head = [
        ("flatten", nn.Flatten()),
        ("hidden", nn.Linear(channels * cells, HIDDEN_UNITS)),
        ("hidden_relu", nn.ReLU()),
        ("dropout", nn.Dropout(dropout)),
        ("classifier", nn.Linear(HIDDEN_UNITS, classes)),
    ]
    network = nn.Sequential(OrderedDict(stages + head))
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # He et al. 2015: signals keep their size through ReLUs, where PyTorch's default shrinks them
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return FaceClassifier(network, "cnn", INPUT, cam_layer="relu3", head="classifier")
