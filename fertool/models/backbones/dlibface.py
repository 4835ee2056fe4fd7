"""dlib's face-recognition network, and its weights from dlib's own file.

It is a ResNet of 29 convolutions on 150-pixel RGB faces, which Davis King trained on some 3 million faces to tell 7,485
people apart. Source of the architecture: dlib's examples/dnn_face_recognition_ex.cpp.
"""

import contextlib
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.frozen_eval import frozen_eval
from fertool.models.head import begin_small
from fertool.models.structure.cam_layer import find_cam_layer
from fertool.models.weights.dlib_reader import FILE_NAME, read_dlib_network
from fertool.runtime.package_files import dlib_file

SIZE = 150  # pixels
LEAST_SIZE = 103  # with fewer the last level has no 3x3 cells for its convolutions
MEAN = (122.782, 117.001, 104.298)  # RGB, of pixels 0..255: dlib's input_rgb_image
SCALE = 256.0  # pixels less the mean are divided by it
# level, channels, blocks, whether the first block halves the resolution
LEVELS = (
    ("level4", 32, 3, False),
    ("level3", 64, 4, True),
    ("level2", 128, 3, True),
    ("level1", 256, 3, True),
    ("level0", 256, 1, True),
)
FEATURES = 256
CALIBRATION_BATCH = 32


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which is pooled where they halve the resolution."""

    def __init__(self, channels_in: int, channels: int, halves: bool) -> None:
        super().__init__()
        # dlib pads a convolution only where its stride is 1
        stride, padding = (2, 0) if halves else (1, 1)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=padding, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.past = nn.AvgPool2d(2) if halves else nn.Identity()
        self.relu2 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """Turn maps (B, channels_in, h, w) into (B, channels, h', w')."""
        branch = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(maps)))))
        return self.relu2(add_zero_filled(branch, self.past(maps)))


class DlibResNet(nn.Module):
    """dlib's network with a classifier in place of its 128-number embedding."""

    def __init__(self, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(3, LEVELS[0][1], 7, stride=2, bias=False),
                norm=nn.BatchNorm2d(LEVELS[0][1]),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(3, stride=2),
            )
        )
        channels_in = LEVELS[0][1]
        for name, channels, blocks, halves in LEVELS:
            level = nn.Sequential()
            for block in range(blocks):
                level.append(ResidualBlock(channels_in, channels, halves and block == 0))
                channels_in = channels
            self.add_module(name, level)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(FEATURES, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def features(self, inputs: Tensor) -> Tensor:
        """Turn network input (B, 3, size, size) into the classifier's input (B, 256): the means of the last maps."""
        maps = self.stem(inputs)
        for name, *_ in LEVELS:
            maps = self.get_submodule(name)(maps)
        return maps.mean(dim=(2, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        """Turn network input (B, 3, size, size) into logits (B, classes)."""
        return self.classifier(self.dropout(self.features(inputs)))


def add_zero_filled(first: Tensor, second: Tensor) -> Tensor:
    """The sum of maps (B, K, h, w) of different K, h and w, the smaller ones filled up with zeros at their end.

    This is dlib's `add_prev`, with which its network adds 32 channels to 64 and, at the end, 4x4 cells to 3x3.
    """
    largest = [max(sizes) for sizes in zip(first.shape[1:], second.shape[1:], strict=True)]
    return _zero_filled(first, largest) + _zero_filled(second, largest)


def _zero_filled(maps: Tensor, sizes: list[int]) -> Tensor:
    missing = [size - have for size, have in zip(sizes, maps.shape[1:], strict=True)]
    if not any(missing):
        return maps
    channels, rows, columns = missing
    return F.pad(maps, (0, columns, 0, rows, 0, channels))


def build_dlibface(
    classes: int, dropout: float | None = None, image_size: int | None = None
) -> FaceClassifier:
    """The network with random weights, and batch norms in the place of the affine layers of dlib's file.

    Dropout stands before the classifier, by default none; `image_size` is in pixels, by default dlib's 150, where the
    CAM layer is `level2` with 8x8 cells. Raises UserError for a size that is too small.
    """
    size = SIZE if image_size is None else image_size
    if size < LEAST_SIZE:
        raise UserError(f"--image-size {size}: dlibface takes no fewer than {LEAST_SIZE} pixels")
    network = DlibResNet(classes, 0.0 if dropout is None else dropout)
    begin_small(network.classifier)
    spec = InputSpec(
        size=size,
        channels=3,
        mean=tuple(mean / 255 for mean in MEAN),
        std=(SCALE / 255,) * 3,
    )
    cam_layer = find_cam_layer(network, spec.zeros())
    return FaceClassifier(network, "cnn", spec, cam_layer, head="classifier")


def dlib_network_file() -> Path | None:
    """dlib's file in the package face_recognition_models (extra `dlib`), or None where it is not installed."""
    return dlib_file(FILE_NAME)


@torch.no_grad()
def load_dlib_weights(network: nn.Module, path: Path) -> int:
    """Set a network of `build_dlibface` up to the classifier to the weights of dlib's file.

    In evaluation mode the features are then dlib's. In training mode they are not before `calibrate_norms`.

    Returns:
        the number of tensors that were taken: a weight and a bias of each convolution and of each affine layer.

    Raises:
        UserError: for a file that is not of this network, which is then as it was.
    """
    layers = read_dlib_network(path)
    convolutions = [layer for layer in layers if layer.kind == "con_4"]
    affines = [layer for layer in layers if layer.kind == "affine_"]
    ours = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not len(ours) == len(convolutions) == len(affines):
        raise _foreign(
            path, f"{len(convolutions)} convolutions and {len(affines)} affine layers, not 29 each"
        )
    for number, (conv, source, affine) in enumerate(zip(ours, convolutions, affines, strict=True), start=1):
        expected = {
            "weight": tuple(conv.weight.shape), "bias": (conv.out_channels,),
            "stride": conv.stride, "padding": conv.padding, "affine": (conv.out_channels,) * 2,
        }  # fmt: skip
        found = {
            "weight": tuple(source.tensors["weight"].shape), "bias": tuple(source.tensors["bias"].shape),
            "stride": (source.settings["stride_y"], source.settings["stride_x"]),
            "padding": (source.settings["padding_y"], source.settings["padding_x"]),
            "affine": (len(affine.tensors["weight"]), len(affine.tensors["bias"])),
        }  # fmt: skip
        for field, value in expected.items():
            if found[field] != value:
                raise _foreign(path, f"convolution {number} with {field} {found[field]} instead of {value}")
    for conv, norm, source, affine in zip(ours, norms, convolutions, affines, strict=True):
        weight, bias = affine.tensors["weight"], affine.tensors["bias"]
        conv.weight.copy_(source.tensors["weight"])
        norm.weight.copy_(weight)
        # dlib's convolutions have biases, tiny ones: a (w x + b) + c = a w x + (c + a b)
        norm.bias.copy_(bias + weight * source.tensors["bias"])
        mean, variance = running_statistics(norm)
        mean.zero_()
        variance.fill_(1 - norm.eps)  # so that the norm divides by 1
    return 4 * len(ours)


@torch.no_grad()
def calibrate_norms(model: FaceClassifier, pixels: Tensor, boxes: Tensor | None = None) -> None:
    """Give every batch norm the statistics of its inputs on these faces.

    `pixels` are uint8 (N, H, W) or (N, H, W, 3); `boxes` (N, 4) are those of the faces, for a model that needs them.

    dlib's file has the norms folded into affine maps y = a x + c, so that nothing is known of the mean m and
    variance v that they took off. In evaluation mode none is needed; in training mode the norm subtracts the
    batch's own, and a network loaded with m = 0 and v = 1 would compute something else altogether. With
    running mean m, running variance v, weight a sqrt(v + eps) and bias c + a m the norm is the same map in
    evaluation mode and, as far as a batch is like these faces, in training mode. One forward pass.
    """
    norms = [layer for layer in model.network.modules() if isinstance(layer, nn.BatchNorm2d)]
    counts = dict.fromkeys(norms, 0)
    sums = {norm: torch.zeros(2, norm.num_features, dtype=torch.float64) for norm in norms}

    def measure(norm: nn.BatchNorm2d, inputs: tuple[Tensor], _output: Tensor) -> None:
        variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
        count = inputs[0].numel() // norm.num_features
        mean, variance = mean.cpu().double(), variance.cpu().double()
        counts[norm] += count
        sums[norm] += count * torch.stack([mean, variance + mean.square()])

    with frozen_eval(model), contextlib.ExitStack() as hooks:
        for norm in norms:
            hooks.enter_context(norm.register_forward_hook(measure))
        for start in range(0, len(pixels), CALIBRATION_BATCH):
            rows = slice(start, start + CALIBRATION_BATCH)
            with model.looking_at(None if boxes is None else boxes[rows]):
                model(pixels[rows])
    for norm in norms:
        mean, square = sums[norm] / counts[norm]
        variance = (square - mean.square()).clamp(min=0)
        running_mean, running_variance = running_statistics(norm)
        old_mean, old_variance, weight, bias = (
            value.cpu().double() for value in (running_mean, running_variance, norm.weight, norm.bias)
        )
        slope = weight / (old_variance + norm.eps).sqrt()
        running_mean.copy_(mean)
        running_variance.copy_(variance)
        norm.weight.copy_(slope * (variance + norm.eps).sqrt())
        norm.bias.copy_(bias + slope * (mean - old_mean))


def running_statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The running mean and variance of a batch norm that tracks them, each (channels,)."""
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean, norm.running_var


def _foreign(path: Path, found: str) -> UserError:
    return UserError(
        f"{path}: {found}; not dlib's face-recognition network: use {FILE_NAME} of the package "
        "face_recognition_models"
    )
