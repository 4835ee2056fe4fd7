"""A sample of tests/torture/adopt_round_trips.py."""

from pathlib import Path

import pytest

from tests.train.round_trips import FORMS, round_trips

SAMPLE = ("safetensors", "ema", "backbone.", "lightning")


@pytest.mark.parametrize(("name", "size"), [("cnn-gap", None), ("test_resnet", 64), ("test_vit", 64)])
def test_an_adopted_model_has_the_same_logits(name: str, size: int | None, tmp_path: Path) -> None:
    assert not round_trips(name, size, {form: FORMS[form] for form in SAMPLE}, tmp_path)
