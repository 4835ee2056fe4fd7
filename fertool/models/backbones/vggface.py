"""VGG-Face: the 16-layer VGG network trained on 2,622 identities."""

from collections import OrderedDict

from torch import nn

from fertool.errors import UserError
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.head import begin_small

# Parkhi, Vedaldi and Zisserman, Deep Face Recognition, 2015; the numbers of vgg_face_dag.py of Oxford's
# pytorch-mcn page: RGB in 0..255, one mean for each channel and no scale
MEAN = (129.186279296875, 104.76238250732422, 93.59396362304688)
INPUT = InputSpec(size=224, channels=3, mean=tuple(mean / 255 for mean in MEAN), std=(1 / 255,) * 3)
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
HIDDEN_UNITS = 4096


def build_vggface(
    classes: int, dropout: float | None = None, image_size: int | None = None
) -> FaceClassifier:
    """The network with random weights and the names of `vgg_face_dag.pth`; fc8 tells `classes` apart.

    Dropout stands behind fc6 and fc7, 0.5 by default. The CAM layer is the ReLU of conv5_3, at 14x14 cells: the
    deepest activation before the maps are pooled and flattened. Raises UserError for any size but 224.
    """
    if image_size not in (None, INPUT.size):
        raise UserError(f"--image-size {image_size}: fc6 of 'vggface' takes {INPUT.size} pixels only")
    layers: list[tuple[str, nn.Module]] = []
    channels = INPUT.channels
    for stage, (width, convolutions) in enumerate(STAGES, start=1):
        for number in range(1, convolutions + 1):
            layers += [
                (f"conv{stage}_{number}", nn.Conv2d(channels, width, kernel_size=3, padding=1)),
                (f"relu{stage}_{number}", nn.ReLU()),
            ]
            channels = width
        layers.append((f"pool{stage}", nn.MaxPool2d(2)))
    layers.append(("flatten", nn.Flatten()))
    features = channels * (INPUT.size // 2 ** len(STAGES)) ** 2
    share = 0.5 if dropout is None else dropout
    for number in (6, 7):
        layers += [
            (f"fc{number}", nn.Linear(features, HIDDEN_UNITS)),
            (f"relu{number}", nn.ReLU()),
            (f"dropout{number}", nn.Dropout(share)),
        ]
        features = HIDDEN_UNITS
    layers.append(("fc8", nn.Linear(features, classes)))
    network = nn.Sequential(OrderedDict(layers))
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # He et al. 2015: with PyTorch's own numbers signals vanish in sixteen layers without norms
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    begin_small(network.get_submodule("fc8"))
    return FaceClassifier(network, "cnn", INPUT, cam_layer="relu5_3", head="fc8")
