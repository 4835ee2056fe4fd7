import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.explain.heatmaps import RectifiedMaps
from fertool.explain.registry import parse_request
from fertool.models.backbones.cnn import build_cnn
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.runtime.hardware import choose_compute
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.suites.faithfulness import (
    MEASURES,
    ROAD_SHARES,
    faithfulness_tables,
    flip_logits,
    relevance_ranks,
    road_logits,
    score_faithfulness,
    to_faces,
)
from fertool.workspace import Workspace

SIDE = 48
ROWS = torch.arange(3)


class Channelled(nn.Module):
    """A network on faces as other libraries call it: pictures (B, 1, H, W)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, planes: Tensor) -> Tensor:
        return self.network(planes[:, 0])


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    network = build_cnn(7).eval()
    with torch.no_grad():
        network.network.classifier.weight.mul_(4)  # so that probabilities move
    return network


@pytest.fixture(scope="module")
def faces() -> Tensor:
    coarse = torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(1)) * 255
    return F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")[:, 0].clamp(0, 255)


@pytest.fixture(scope="module")
def heat() -> Tensor:
    """Smooth, and no two pixels equal."""
    coarse = torch.rand(3, 1, 11, 11, generator=torch.Generator().manual_seed(2))
    fine = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    return F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")[:, 0] + 0.01 * fine


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31))
def test_ranks_put_the_hottest_first_and_equal_pixels_anywhere(seed: int) -> None:
    heat = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, (2, 5, 7)))
    ranks = relevance_ranks(heat, torch.tensor([4, 9]), seed=0)
    for face_ranks, face_heat in zip(ranks.flatten(1), heat.flatten(1), strict=True):
        assert sorted(face_ranks.tolist()) == list(range(35))
        assert (face_heat[face_ranks.argsort()].diff() <= 0).all()


def test_equal_pixels_stand_by_seed_and_row_and_not_in_memorys_order() -> None:
    flat = torch.ones(2, 20, 20)
    ranks = relevance_ranks(flat, torch.tensor([3, 8]), seed=0)
    assert torch.equal(relevance_ranks(flat[:1], torch.tensor([8]), seed=0)[0], ranks[1])
    assert not torch.equal(ranks[0], ranks[1])
    assert not torch.equal(relevance_ranks(flat, torch.tensor([3, 8]), seed=1), ranks)
    first_rows = ranks[:, :10].float().mean()
    assert abs(first_rows - 199.5) < 20  # the upper half goes neither first nor last


def test_pixels_flip_in_order_and_all_of_them_in_the_end() -> None:
    start, end = torch.zeros(1, 4, 5), torch.ones(1, 4, 5)
    ranks = relevance_ranks(torch.arange(20.0).view(1, 4, 5), torch.tensor([0]), seed=0)
    shown = flip_logits(lambda pictures: pictures.flatten(1), start, end, ranks, steps=4)
    assert shown.shape == (5, 1, 20)
    for step in range(5):
        assert shown[step, 0].tolist() == [0.0] * (20 - 5 * step) + [1.0] * (5 * step)
    in_colour = flip_logits(
        lambda pictures: pictures[..., 1].flatten(1),
        *(picture[..., None].expand(-1, -1, -1, 3) for picture in (start, end)),
        ranks,
        steps=4,
    )
    assert torch.equal(in_colour, shown)


def test_road_equals_pytorch_grad_cams(network: nn.Module, faces: Tensor, heat: Tensor) -> None:
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    perturbation = pytest.importorskip("pytorch_grad_cam.metrics.perturbation_confidence")
    ranks = relevance_ranks(heat, ROWS, seed=0)
    with torch.inference_mode():
        most, least = (
            logits.softmax(dim=2) for logits in road_logits(network, faces, ranks, ROWS, seed=0, noise=0)
        )
    for number in (1, 4, 7):  # where its percentile and our share are the same number of pixels
        for ours, theirs in (
            (most, perturbation.RemoveMostRelevantFirst),
            (least, perturbation.RemoveLeastRelevantFirst),
        ):
            metric = perturbation.PerturbationConfidenceMetric(
                theirs(100 - 100 * ROAD_SHARES[number], road.NoisyLinearImputer(noise=0))
            )
            probability = metric(
                faces[:, None],
                heat.numpy(),
                [lambda output: output.softmax(dim=0)[2]] * 3,
                Channelled(network).eval(),
                return_diff=False,
            )
            assert np.allclose(ours[number, :, 2], probability, atol=5e-3)


def test_roads_noise_is_added_where_pixels_were_removed(faces: Tensor, heat: Tensor) -> None:
    ranks = relevance_ranks(heat, ROWS, seed=0)
    plain, noisy = (
        torch.stack(road_logits(lambda pictures: pictures.flatten(1), faces, ranks, ROWS, 0, noise))
        for noise in (0.0, 2.0)
    )
    change = noisy - plain
    changed = (change != 0).float().mean(dim=(0, 2, 3))
    assert torch.allclose(changed, torch.tensor(ROAD_SHARES), atol=1e-3)
    assert change[change != 0].std() == pytest.approx(2, rel=0.05)


def test_deletion_and_insertion_equal_quantus(network: nn.Module, faces: Tensor, heat: Tensor) -> None:
    quantus = pytest.importorskip("quantus", reason="needs quantus, which 'make test' installs")
    steps, blank = 16, torch.zeros_like(faces)
    ranks = relevance_ranks(heat, ROWS, seed=0)
    classes = np.array([1, 4, 6])

    def theirs(start: Tensor, end: Tensor) -> np.ndarray:
        def towards_end(arr: np.ndarray, indices: np.ndarray, **_: object) -> np.ndarray:
            arr = arr.copy()
            np.put_along_axis(arr, indices, np.take_along_axis(end.flatten(1).numpy(), indices, 1), 1)
            return arr

        flipping = quantus.PixelFlipping(
            features_in_step=SIDE * SIDE // steps,
            normalise=False,
            perturb_func=towards_end,
            disable_warnings=True,
        )
        planes = [picture[:, None].numpy() for picture in (start, heat)]
        return np.array(
            flipping(Channelled(network).eval(), planes[0], classes, planes[1], softmax=True, device="cpu")
        )

    for start, end in ((faces, blank), (blank, faces)):
        with torch.inference_mode():
            ours = flip_logits(network, start, end, ranks, steps).softmax(dim=2)
        ours = ours[1:, torch.arange(3), torch.from_numpy(classes)].T.numpy()
        assert np.allclose(ours, theirs(start, end), atol=1e-4)
        assert ours.max() - ours.min() > 0.1  # there was something to agree about


class OnePixel(FaceClassifier):
    """Sure of class 1 while pixel (10, 20) is bright, of class 0 else."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), "cnn", InputSpec(48, 1, (0.0,), (1.0,)), "")

    def forward(self, pixels: Tensor) -> Tensor:
        bright = (pixels[:, 10, 20] > 200).float()
        return torch.stack([-50 * (bright - 0.5), 50 * (bright - 0.5)] + [bright * 0 - 99] * 5, dim=1)


@pytest.fixture
def few_road_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more is missing, the longer it takes to impute."""
    monkeypatch.setattr("fertool.score.suites.faithfulness.ROAD_SHARES", (0.1, 0.5))


def subject_of_one_pixel(workspace: Workspace) -> EvaluatedRun:
    evaluated = EvaluatedRun(workspace, workspace.run("cnn"), "test", choose_compute("cpu", "fp32"))
    faces = np.full((6, SIDE, SIDE), 100, np.uint8)
    faces[:, 10, 20] = 255
    ones = np.ones(6, dtype=np.int64)
    evaluated.__dict__.update(
        model=OnePixel(),
        faces=faces,
        labels=ones,
        clusters=np.arange(6),
        logits=OnePixel()(torch.from_numpy(faces)).numpy(),
    )
    return evaluated


@pytest.mark.usefixtures("few_road_shares")
def test_a_map_of_the_one_pixel_that_counts(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = np.zeros((2, 6, SIDE, SIDE), np.float32)
    right[:, 10, 20] = 1
    wrong[:] = 1
    wrong[:, 10, 20] = 0
    wrong[5] = 0  # an empty map
    maps = {
        name: RectifiedMaps(heat.shape, heat.__getitem__)
        for name, heat in (("gradcam", right), ("wrong", wrong))
    }
    monkeypatch.setattr("fertool.score.suites.faithfulness.maps_beside_nulls", lambda *_: maps)
    steps = 16
    evaluated = subject_of_one_pixel(trained)
    figures, columns = score_faithfulness(evaluated, parse_request("gradcam"), "predicted", steps=steps)
    json.dumps(figures)
    assert figures["counted"] == 5 and figures["left_out"]["an empty map"] == 1
    right_figures, wrong_figures = figures["maps"]["gradcam"], figures["maps"]["wrong"]
    assert right_figures["deletion"] == pytest.approx(0.5 / steps, abs=1e-6)  # gone with the first step
    assert right_figures["insertion"] == pytest.approx(1 - 0.5 / steps, abs=1e-6)
    assert wrong_figures["deletion"] == pytest.approx(1 - 0.5 / steps, abs=1e-6)
    assert wrong_figures["insertion"] == pytest.approx(0.5 / steps, abs=1e-6)
    assert right_figures["road_most"] == pytest.approx(0, abs=1e-6)
    assert right_figures["road_least"] == pytest.approx(1, abs=1e-6)
    assert right_figures["road"] == pytest.approx(0.5) and wrong_figures["road"] == pytest.approx(-0.5)
    assert right_figures["accuracy"]["road_least"] == [1.0, 1.0]
    assert np.isnan(columns["deletion"][5]) and np.isfinite(np.delete(columns["deletion_wrong"], 5)).all()


@pytest.mark.usefixtures("few_road_shares")
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_of_empty_maps_there_are_no_figures(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.zeros((6, 3, 3), np.float32)
    maps = {"gradcam": RectifiedMaps(nothing.shape, nothing.__getitem__)}
    monkeypatch.setattr("fertool.score.suites.faithfulness.maps_beside_nulls", lambda *_: maps)
    figures, columns = score_faithfulness(
        subject_of_one_pixel(trained), parse_request("gradcam"), "predicted"
    )
    assert figures["counted"] == 0 and figures["left_out"]["an empty map"] == 6
    map_figures = figures["maps"]["gradcam"]
    assert all(
        map_figures[measure] is None and map_figures[f"{measure}_interval"] == [None, None]
        for measure in MEASURES
    )
    assert set(map_figures["probability"].values()) == {None}
    assert set(columns) == set(MEASURES) and np.isnan(list(columns.values())).all()
    record = {"run": "cnn", "group": "cnn", "split": "test", "explainer": "gradcam", "target": "predicted"}
    (table,) = faithfulness_tables([figures | record])
    assert table.rows == [["cnn", "gradcam", *["-"] * len(MEASURES)]]
    assert table.notes[-1] == "cnn: 0 of 6 faces scored, 6 left out (an empty map)."


@pytest.mark.usefixtures("few_road_shares")
def test_without_nulls_the_explainers_figures_are_the_same_bits(
    trained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accept
) -> None:
    monkeypatch.setattr("fertool.score.suites.faithfulness.BATCH_FACES", 4)
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "copy"))
    faces = np.array(workspace.load_faces("test"))
    row = np.random.default_rng(0).permutation(len(faces))[0]  # of the sample
    faces[row] = 90  # no edges: a face that a null alone leaves out
    np.save(workspace.faces("test"), faces)
    accept(workspace, workspace.dataset_json, workspace.faces("test"))
    evaluated = EvaluatedRun(workspace, workspace.run("cnn"), "test", choose_compute("cpu", "fp32"))
    request = parse_request("gradcam")
    together, all_columns = score_faithfulness(evaluated, request, "label", steps=3, faces=9)
    alone, columns = score_faithfulness(evaluated, request, "label", steps=3, faces=9, nulls=False)
    assert np.isnan(columns["road"][row]) and 4 < alone["counted"] < 9
    assert alone == together | {"maps": {"gradcam": together["maps"]["gradcam"]}}
    assert list(columns) == list(MEASURES)
    assert all(np.array_equal(columns[name], all_columns[name], equal_nan=True) for name in columns)
    record = {"run": "cnn", "group": "cnn", "split": "test", "explainer": "gradcam", "target": "label"}
    (table,) = faithfulness_tables([alone | record])
    assert [row[1] for row in table.rows] == ["gradcam"] and "nulls" not in table.notes[0]


@pytest.mark.usefixtures("few_road_shares")
def test_the_suite_scores_a_run(trained: Workspace) -> None:
    evaluated = EvaluatedRun(trained, trained.run("cnn"), "test", choose_compute("cpu", "fp32"))
    request = parse_request("gradcam")
    figures, columns = score_faithfulness(evaluated, request, "label", steps=4, faces=6)
    again, _ = score_faithfulness(evaluated, request, "label", steps=4, faces=6)
    assert figures == again
    assert len(figures["maps"]) == 6 and figures["counted"] <= 6
    assert {*MEASURES} < {*columns} and all(
        len(column) == len(evaluated.faces) for column in columns.values()
    )
    record = {"run": "cnn", "group": "cnn", "split": "test", "explainer": "gradcam", "target": "label"}
    (table,) = faithfulness_tables([figures | record])
    assert len(table.rows) == 6 and len(table.rows[0]) == len(table.columns)
    with pytest.raises(UserError, match="one class"):
        score_faithfulness(evaluated, request, "all")


@pytest.mark.usefixtures("few_road_shares")
def test_of_a_single_cluster_there_is_no_interval(
    trained: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        EvaluatedRun, "clusters", property(lambda evaluated: np.zeros(len(evaluated.labels), int))
    )
    evaluated = EvaluatedRun(trained, trained.run("cnn"), "test", choose_compute("cpu", "fp32"))
    figures, _ = score_faithfulness(evaluated, parse_request("gradcam"), "label", steps=4, faces=6)
    json.dumps(figures, allow_nan=False)
    record = {"run": "cnn", "group": "cnn", "split": "test", "explainer": "gradcam", "target": "label"}
    (table,) = faithfulness_tables([figures | record])
    assert table.rows[0][2] == f"{100 * figures['maps']['gradcam']['deletion']:.1f}"


@pytest.mark.parametrize("cells", [3, 7, 8, 14])
def test_the_pixels_of_a_flat_map_stand_in_random_order(cells: int) -> None:
    heat = to_faces(torch.full((2, cells, cells), 0.37), (SIDE, SIDE))
    assert (heat == 1).all()
    one, other = relevance_ranks(heat, torch.arange(2), seed=0).flatten(1).double()
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.06
