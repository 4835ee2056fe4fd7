"""ResNet-50 trained on VGGFace2, and the two files in which its weights are published.

Both come from one Caffe network, resnet50_ft of Cao, Shen, Xie, Parkhi and Zisserman, VGGFace2, 2018 (trained
on MS-Celeb-1M, then on VGGFace2's 8,631 identities). It differs from the ResNet-50 that libraries build, by
nothing that names or shapes tell: the stride is in each stage's first 1x1 convolution, and the first pooling
has no padding and rounds up. The files differ in their names and in the order of the colours.

`resnet50_ft_dag.pth`   of Oxford's pytorch-mcn page: RGB, names as conv2_1_1x1_reduce (resnet50_ft_dag.py)
`resnet50_ft_weight.pkl`  arrays in a pickle: BGR, names as layer1.0.conv1 (github.com/cydonia999/VGGFace2-pytorch)
"""

from typing import Any

import timm
from torch import Tensor, nn

from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.head import begin_small
from fertool.models.structure.wrap_network import face_classifier

MEAN = (131.0912, 103.8827, 91.4953)  # RGB, of pixels 0..255, which are not scaled
SIZE = 224  # pixels
BLOCKS = (3, 4, 6, 3)
# the parts of a block of the dag file, and where they are in ours
PARTS = {
    "1x1_reduce": "conv1", "1x1_reduce_bn": "bn1", "3x3": "conv2", "3x3_bn": "bn2",
    "1x1_increase": "conv3", "1x1_increase_bn": "bn3", "1x1_proj": "downsample.0", "1x1_proj_bn": "downsample.1",
}  # fmt: skip


def build_vggface2(
    classes: int,
    dropout: float | None = None,
    drop_path: float | None = None,
    image_size: int | None = None,
) -> FaceClassifier:
    """The network with random weights, at 224 pixels or `image_size`; `fc` tells `classes` apart.

    Raises UserError for a size at which no layer has enough cells.
    """
    network: Any = timm.create_model(
        "resnet50", num_classes=classes, drop_rate=dropout or 0.0, drop_path_rate=drop_path or 0.0
    )
    begin_small(network.fc)
    network.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
    for stage in (network.layer2, network.layer3, network.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    size = SIZE if image_size is None else image_size
    spec = InputSpec(size=size, channels=3, mean=tuple(mean / 255 for mean in MEAN), std=(1 / 255,) * 3)
    return face_classifier(network, spec, head="fc")


def translate_vggface2(tensors: dict[str, Tensor], *, bgr: bool) -> dict[str, Tensor]:
    """The tensors of a published file under the names of our network, which sees RGB.

    With `bgr` the file's first convolution is for BGR: its channels are reversed, which gives the same sums. Names of
    neither file stay as they are.
    """
    names = _dag_names()
    translated = {}
    for name, tensor in tensors.items():
        module, _, value = name.rpartition(".")
        ours = f"{names.get(module, module)}.{value}"
        # the dag file has the classifier as a 1x1 convolution
        translated[ours] = (
            tensor[:, :, 0, 0] if ours == "fc.weight" and tensor.shape[2:] == (1, 1) else tensor
        )
    if bgr and "conv1.weight" in translated:
        translated["conv1.weight"] = translated["conv1.weight"].flip(1)
    return translated


def _dag_names() -> dict[str, str]:
    names = {"conv1_7x7_s2": "conv1", "conv1_7x7_s2_bn": "bn1", "classifier": "fc"}
    for stage, blocks in enumerate(BLOCKS, start=1):
        for block in range(blocks):
            for part, ours in PARTS.items():
                names[f"conv{stage + 1}_{block + 1}_{part}"] = f"layer{stage}.{block}.{ours}"
    return names
