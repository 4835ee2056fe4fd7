import numpy as np
import pytest
import torch
from scipy.special import softmax

from fertool.errors import UserError
from fertool.runtime.hardware import Compute
from fertool.score import ScoreSettings, score
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.suites.tta import VIEWS, tta_logits
from fertool.workspace import Workspace

CPU = Compute(torch.device("cpu"), "fp32")


def test_flip_is_the_face_and_its_mirror_image() -> None:
    pixels, boxes = torch.arange(24).view(1, 4, 6), torch.tensor([[1.0, 0.0, 3.0, 4.0]])
    (same, same_boxes), (mirrored, mirrored_boxes) = VIEWS["flip"](pixels, boxes)
    assert torch.equal(same, pixels) and torch.equal(same_boxes, boxes)
    assert torch.equal(mirrored[0, :, 0], pixels[0, :, 5])
    assert mirrored_boxes.tolist() == [[3.0, 0.0, 5.0, 4.0]]


def test_ten_crops_are_corners_and_middle_and_their_mirror_images() -> None:
    pixels = torch.arange(64).view(1, 8, 8)
    views = list(VIEWS["tencrop"](pixels, torch.tensor([[2.0, 2.0, 6.0, 6.0]])))
    assert len(views) == 10 and all(view.shape == (1, 7, 7) for view, _ in views)
    assert [int(view[0, 0, 0]) for view, _ in views[::2]] == [0, 1, 8, 9, 0]
    assert [int(view[0, 0, -1]) for view, _ in views[1::2]] == [0, 1, 8, 9, 0]
    assert views[6][1].tolist() == [[1.0, 1.0, 5.0, 5.0]]


def test_chances_are_the_mean_over_views(trained: Workspace) -> None:
    evaluated = EvaluatedRun(trained, trained.run("cnn"), "test", CPU)
    averaged = softmax(tta_logits(evaluated, "flip"), axis=1)
    with torch.inference_mode():
        faces = torch.from_numpy(np.array(evaluated.faces))
        views = [evaluated.model(view).softmax(dim=1).numpy() for view in (faces, faces.flip(2))]
    assert np.allclose(averaged, np.mean(views, axis=0), atol=1e-5)
    assert trained.run("cnn").predictions("test", "flip").exists()


def test_it_stands_beside_the_single_view(trained: Workspace) -> None:
    plain = score(trained, ScoreSettings(suites=["classification"], split="val"), device="cpu")
    both = score(trained, ScoreSettings(suites=["classification"], split="val", tta="tencrop"), device="cpu")
    (before,), (after,) = plain.data["classification"], both.data["classification"]
    assert after["accuracy"] == before["accuracy"] and "tta" not in before
    evaluated = EvaluatedRun(trained, trained.run("cnn"), "val", CPU)
    right = tta_logits(evaluated, "tencrop").argmax(axis=1) == evaluated.labels
    assert after["tta"]["name"] == "tencrop" and after["tta"]["accuracy"] == pytest.approx(right.mean())
    assert right.mean() != (evaluated.predicted == evaluated.labels).mean(), "or the figure could be either's"
    assert "with tencrop" in both.tables[0].columns and "with tencrop" not in plain.tables[0].columns


def test_a_name_that_is_none(trained: Workspace) -> None:
    with pytest.raises(UserError, match="--tta five: there are flip, tencrop"):
        score(trained, ScoreSettings(suites=["classification"], tta="five"), device="cpu")
