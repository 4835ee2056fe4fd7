from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fertool.errors import UserError
from fertool.models import FaceClassifier
from fertool.train import train
from fertool.train.batches import batch_slices
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

CONFIG = TrainConfig(model="test_resnet", weights="none", epochs=1, lr=1e-3, precision="fp32")


def test_a_face_left_over_does_not_train_alone(synthetic: Workspace) -> None:
    faces = len(synthetic.load_labels("train"))
    # at 32 pixels the last maps have one cell, and a batch norm refuses a batch of one
    config = replace(CONFIG, image_size=32, batch_size=faces - 1)
    train(synthetic, config, name="left-over", device="cpu")
    whole = replace(config, batch_size=faces)
    train(synthetic, whole, name="whole", device="cpu")
    ours, theirs = (
        torch.load(synthetic.run(name).last, weights_only=True)["network"] for name in ("left-over", "whole")
    )
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@given(faces=st.integers(1, 60), batch_size=st.integers(1, 20))
def test_batches_hold_every_face_once_and_no_single_one(faces: int, batch_size: int) -> None:
    order = list(range(faces))
    batches = [order[batch] for batch in batch_slices(faces, batch_size)]
    assert [row for batch in batches for row in batch] == order
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches[-1]) <= batch_size + 1
    if batch_size > 1 and faces > 1:
        assert len(batches[-1]) > 1


@pytest.mark.parametrize(("unfreeze", "sizes"), [("last:1", {2}), ("all", {1})])
def test_a_batch_of_one_meets_no_gradient_of_a_frozen_batch_norm(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch, unfreeze: str, sizes: set[int]
) -> None:
    """PyTorch computes some of them wrongly. Batch norms that train take their own batch's statistics."""
    seen: set[int] = set()
    preprocess = FaceClassifier.preprocess

    def looking(model: FaceClassifier, pixels: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and model.training:
            seen.add(len(pixels))
        return preprocess(model, pixels)

    monkeypatch.setattr(FaceClassifier, "preprocess", looking)
    config = replace(CONFIG, image_size=64, batch_size=1, unfreeze=unfreeze, train_fraction=0.2)
    train(synthetic, config, name="lone", device="cpu")
    assert seen == sizes


def test_maps_are_guided_in_batches_of_two_or_more(synthetic: Workspace) -> None:
    with pytest.raises(
        UserError, match="--guide: needs batches of two faces or more; take a larger --batch-size"
    ):
        train(synthetic, TrainConfig(epochs=1, guide="background", batch_size=1), name="lone", device="cpu")
