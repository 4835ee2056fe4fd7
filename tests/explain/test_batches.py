from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fertool.explain.batches import batches, explain_rows
from fertool.explain.explainer import Explanation
from fertool.explain.registry import parse_request
from fertool.runtime.hardware import Compute, choose_compute


@pytest.mark.parametrize(
    ("device", "side", "size"),
    [
        ("cuda", 48, 256),
        ("cuda", 112, 256),
        ("cuda", 224, 64),
        ("cuda", 448, 16),
        ("cuda", 9999, 1),
        ("cpu", 48, 64),
        ("cpu", 224, 64),
        ("cpu", 448, 16),
    ],
)
def test_the_larger_a_networks_pictures_the_fewer_at_a_time(device: str, side: int, size: int) -> None:
    model = SimpleNamespace(input_spec=SimpleNamespace(size=side))
    compute = Compute(torch.device(device), "fp32")
    rows = batches(model, parse_request("gradcam"), compute, 1000, done=3)
    assert [index for each in rows for index in range(1000)[each]] == list(range(3, 1000))
    assert {len(range(1000)[each]) for each in rows[:-1]} == {size}
    assert batches(model, parse_request("gradcam"), compute, 1000, done=1000) == []


def test_a_batch_is_explained_as_those_faces_are_alone(built, predicted, faces) -> None:
    model, request = built("cnn"), parse_request("rise@masks=20")
    explanation = explain_rows(
        model, request, faces.numpy(), None, slice(1, 3), predicted, choose_compute("cpu", "fp32")
    )
    assert isinstance(explanation, Explanation)
    alone = request.explainer.explain(model, faces[1:3], predicted, masks=20)
    assert np.array_equal(explanation.heatmaps, alone.heatmaps)
