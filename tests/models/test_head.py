import pytest
import torch

from fertool.models import build_model


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mobilenetv2_100", 64),  # of its own it would begin with logits of several units
        ("mobilenetv3_small_100", 64),
        ("deit_tiny_distilled_patch16_224", 48),  # two heads
        ("vggface2", 64),
        ("dlibface", 112),
    ],
)
def test_a_new_head_begins_with_logits_about_0(name: str, size: int) -> None:
    torch.manual_seed(0)
    model = build_model(name, 7, image_size=size).train()
    faces = torch.randint(0, 256, (4, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        logits = model(faces)
    assert 0 < logits.abs().max() < 1
    assert model.layer(model.head).weight.std().item() == pytest.approx(0.01, rel=0.2)
