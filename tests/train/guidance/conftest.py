from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fertool.models import FaceClassifier, build_model
from fertool.models.backbones.cnn import INPUT
from fertool.train.guidance.masks import GuideMasks
from fertool.train.mapped_faces import MappedFaces

CLASSES = 7


def pooled_network(behind: list[nn.Module], family: str = "cnn") -> FaceClassifier:
    """A small convolutional network with 12x12 cells at its CAM layer and these layers behind it."""
    torch.manual_seed(0)
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(1, 8, 3, padding=1)),
        ("relu1", nn.ReLU(inplace=True)),
        ("pool1", nn.MaxPool2d(4)),
        ("conv2", nn.Conv2d(8, 16, 3, padding=1)),
        ("relu2", nn.ReLU(inplace=True)),
    ]
    layers += [(f"behind{number}", layer) for number, layer in enumerate(behind)]
    model = FaceClassifier(nn.Sequential(OrderedDict(layers)), family, INPUT, cam_layer="relu2")
    model.recipe = {"name": "pooled", "classes": CLASSES}
    return model.to(memory_format=torch.channels_last)


@pytest.fixture
def pooled() -> Callable[[list[nn.Module]], FaceClassifier]:
    return pooled_network


@pytest.fixture
def gap() -> FaceClassifier:
    """Global average pooling, dropout, one linear layer."""
    return pooled_network([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, CLASSES)])


@pytest.fixture
def convolved() -> FaceClassifier:
    """A head that Grad-CAM has to be differentiated twice through: its first layer overwrites the CAM layer's."""
    model = pooled_network(
        [
            nn.SiLU(inplace=True),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.Softplus(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, CLASSES),
        ]
    )
    model.network.behind5.weight.data.mul_(50)  # maps of some logits
    return model


@pytest.fixture
def small_vit() -> FaceClassifier:
    torch.manual_seed(0)
    model = build_model("test_vit", CLASSES, image_size=96)
    for layer in model.network.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data.normal_(std=0.2)  # attention that is more than a mean
    return model


@pytest.fixture
def faces() -> Tensor:
    """Eight faces of noise, uint8 (8, 48, 48)."""
    return torch.randint(0, 256, (8, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def regions() -> np.ndarray:
    """Eight region maps of all six regions, uint8 (8, 48, 48)."""
    codes = np.zeros((8, 48, 48), dtype=np.uint8)
    for face in range(8):
        codes[face, 6:44, 8 + face // 2 : 40] = 1
        codes[face, 16:21, 12:36] = 2
        codes[face, 10:14, 12:36] = 3
        codes[face, 22:31, 20:28] = 4
        codes[face, 34:40, 16:32] = 5
    return codes


@pytest.fixture
def masks(regions: np.ndarray) -> GuideMasks:
    return GuideMasks(MappedFaces(regions), np.ones(len(regions), dtype=bool))


@pytest.fixture
def one_hot() -> Callable[[Tensor], Tensor]:
    return lambda labels: torch.nn.functional.one_hot(labels, CLASSES).float()
