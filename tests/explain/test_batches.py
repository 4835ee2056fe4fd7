from types import SimpleNamespace

import numpy as np
import pytest

from fertool.explain.batches import batches, explain_rows
from fertool.explain.explainer import Explanation
from fertool.explain.registry import parse_request
from fertool.runtime.hardware import choose_compute


@pytest.mark.parametrize(("side", "size"), [(48, 256), (112, 256), (224, 64), (448, 16), (9999, 1)])
def test_the_larger_a_networks_pictures_the_fewer_at_a_time(side: int, size: int) -> None:
    model = SimpleNamespace(input_spec=SimpleNamespace(size=side))
    rows = batches(model, parse_request("gradcam"), 1000, done=3)
    assert [index for each in rows for index in range(1000)[each]] == list(range(3, 1000))
    assert {len(range(1000)[each]) for each in rows[:-1]} == {size}
    assert batches(model, parse_request("gradcam"), 1000, done=1000) == []


def test_a_batch_is_explained_as_those_faces_are_alone(built, predicted, faces) -> None:
    model, request = built("cnn"), parse_request("rise@masks=20")
    explanation = explain_rows(
        model, request, faces.numpy(), None, slice(1, 3), predicted, choose_compute("cpu", "fp32")
    )
    assert isinstance(explanation, Explanation)
    alone = request.explainer.explain(model, faces[1:3], predicted, masks=20)
    assert np.array_equal(explanation.heatmaps, alone.heatmaps)
