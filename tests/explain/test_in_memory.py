from dataclasses import replace

import numpy as np
import pytest
import torch

from fertool.explain.explainer import Explanation
from fertool.explain.in_memory import unstored_heatmaps
from fertool.explain.registry import Request, parse_request
from fertool.runtime.hardware import Compute
from fertool.score.evaluated_run import EvaluatedRun
from fertool.workspace import Workspace


@pytest.fixture
def evaluated(trained: Workspace) -> EvaluatedRun:
    return EvaluatedRun(trained, trained.run("cnn"), "test", Compute(torch.device("cpu"), "fp32"))


@pytest.mark.parametrize("explainer", ["gradcam", "swapped@of=gradcam"])
@pytest.mark.parametrize("target", ["predicted", "label"])
def test_of_stored_faces_they_are_those_that_a_run_stores(
    evaluated: EvaluatedRun, explainer: str, target: str
) -> None:
    request = parse_request(explainer)
    codes = None if target == "predicted" else evaluated.labels
    maps = unstored_heatmaps(evaluated.model, request, np.array(evaluated.faces), evaluated.compute, codes)
    assert np.allclose(maps, evaluated.heatmaps(request, target).raw, atol=1e-6)


def test_networks_of_large_pictures_take_few_at_a_time(
    evaluated: EvaluatedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    gradcam = parse_request("gradcam").explainer

    def explain(model, pixels, choose, **options) -> Explanation:
        sizes.append(len(pixels))
        return gradcam.explain(model, pixels, choose)

    faces, request = np.array(evaluated.faces[:10]), Request(replace(gradcam, explain=explain))
    whole = unstored_heatmaps(evaluated.model, request, faces, evaluated.compute)
    # as if the network's pictures were eight times as wide as those of which a batch is whole
    monkeypatch.setattr("fertool.explain.batches.WHOLE_BATCH_SIDE", evaluated.model.input_spec.size / 8)
    few = unstored_heatmaps(evaluated.model, request, faces, evaluated.compute)
    assert sizes == [10, 4, 4, 2] and gradcam.batch_size == 4 * 8**2
    assert np.allclose(few, whole, atol=1e-6)
