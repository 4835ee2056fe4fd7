from dataclasses import replace

import numpy as np
import pytest
import torch

from fertool.explain.explainer import Explanation
from fertool.explain.in_memory import unstored_heatmaps
from fertool.explain.registry import Request, parse_request
from fertool.runtime.hardware import Compute
from fertool.score.evaluated_run import Subject
from fertool.workspace import Workspace


@pytest.fixture
def subject(trained: Workspace) -> Subject:
    return Subject(trained, trained.run("cnn"), "test", Compute(torch.device("cpu"), "fp32"))


@pytest.mark.parametrize("explainer", ["gradcam", "swapped@of=gradcam"])
@pytest.mark.parametrize("target", ["predicted", "label"])
def test_of_stored_faces_they_are_those_that_a_run_stores(
    subject: Subject, explainer: str, target: str
) -> None:
    request = parse_request(explainer)
    codes = None if target == "predicted" else subject.labels
    maps = unstored_heatmaps(subject.model, request, np.array(subject.faces), subject.compute, codes)
    assert np.allclose(maps, subject.heatmaps(request, target).raw, atol=1e-6)


def test_networks_of_large_pictures_take_few_at_a_time(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    gradcam = parse_request("gradcam").explainer

    def explain(model, pixels, choose, **options) -> Explanation:
        sizes.append(len(pixels))
        return gradcam.explain(model, pixels, choose)

    faces, request = np.array(subject.faces[:10]), Request(replace(gradcam, explain=explain))
    whole = unstored_heatmaps(subject.model, request, faces, subject.compute)
    # as if the network's pictures were eight times as wide as those of which a batch is whole
    monkeypatch.setattr("fertool.explain.batches.WHOLE_BATCH_SIDE", subject.model.input_spec.size / 8)
    few = unstored_heatmaps(subject.model, request, faces, subject.compute)
    assert sizes == [10, 4, 4, 2] and gradcam.batch_size == 4 * 8**2
    assert np.allclose(few, whole, atol=1e-6)
