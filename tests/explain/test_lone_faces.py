import pytest
import torch

from fertool.explain.batches import explain_together
from fertool.explain.registry import EXPLAINERS, Request
from tests.explain.lone_faces import MOST_APART, distances, lively

CHEAP = [
    ("cnn", None),
    ("levit_128s", 224),
    ("xcit_nano_12_p16_224", 112),
    ("mobilenetv2_100", 96),
    ("test_vit", 64),
]


@pytest.mark.parametrize(("name", "size"), CHEAP)
def test_a_face_alone_has_the_map_that_it_has_among_others(name: str, size: int | None) -> None:
    """Some of them had another map: see tests/torture/lone_faces.py for a dozen."""
    found = distances(lively(name, size), classes=2)
    assert len(found) >= 5
    assert max(found.values()) <= MOST_APART, found


def test_no_explainer_meets_a_batch_of_one(built, faces) -> None:
    model, sizes = built("cnn"), []
    handle = model.network.register_forward_hook(lambda _, inputs, logits: sizes.append(len(logits)))
    try:
        for explainer in ("gradcam", "input-gradient", "guided-gradcam"):
            request = Request(EXPLAINERS[explainer])
            explanation = explain_together(
                model, request, faces[:1], lambda logits: logits.argmax(1, keepdim=True)
            )
            assert explanation.heatmaps.shape[0] == explanation.logits.shape[0] == 1
            labels = explain_together(model, request, faces[:1], lambda logits: torch.tensor([[4]]))
            assert labels.heatmaps.shape[:2] == (1, 1)
    finally:
        handle.remove()
    assert sizes and min(sizes) == 2
