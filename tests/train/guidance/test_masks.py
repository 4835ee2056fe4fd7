import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fertool.errors import UserError
from fertool.masks.action_units import action_unit_maps
from fertool.masks.detectors.small_faces import SYNTHETIC, TEMPLATE
from fertool.masks.landmark_heatmaps import landmark_heatmaps
from fertool.masks.regions import REGIONS
from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.files import write_npz
from fertool.train import mapped_faces
from fertool.train.guidance import masks as masks_module
from fertool.train.guidance.masks import load_guide_masks, mask_reader
from fertool.workspace import Workspace

Accept = Callable[[Workspace, Path, Path], None]

CPU = torch.device("cpu")


@pytest.fixture
def some_unlocated(synthetic: Workspace, accept: Accept) -> tuple[Workspace, np.ndarray]:
    """A workspace in which every fourth face of train has the template's landmarks; which have their own."""
    with np.load(synthetic.landmarks("train")) as stored:
        arrays = dict(stored)
    arrays["detector"][::4] = TEMPLATE
    arrays["detector"][1::4] = SYNTHETIC
    write_npz(synthetic.landmarks("train"), **arrays)
    accept(synthetic, synthetic.masks_json, synthetic.landmarks("train"))
    return synthetic, arrays["detector"] != TEMPLATE


def emotions_of(workspace: Workspace) -> list[str]:
    classes = workspace.dataset()["classes"]
    return [classes[label] for label in workspace.load_labels("train")]


def landmarks_of(workspace: Workspace) -> np.ndarray:
    with np.load(workspace.landmarks("train")) as stored:
        return stored["landmarks"]


def test_masks_are_the_regions_in_order_then_an_empty_void(some_unlocated) -> None:
    workspace, located = some_unlocated
    masks = load_guide_masks(workspace, "train", "background")
    assert np.array_equal(masks.guided, located)
    rows = torch.tensor([5, 0, 17])
    read = mask_reader(masks, CPU)(rows)
    assert read.dtype == torch.float32 and read.shape[1] == len(REGIONS) + 1
    assert np.array_equal(read.argmax(dim=1).numpy(), workspace.load_region_maps("train")[rows])
    assert (read.sum(dim=1) == 1).all() and (read[:, -1] == 0).all()
    background_and_rest = mask_reader(masks, CPU, 2)(rows)
    assert torch.equal(background_and_rest[:, 0], read[:, 0])
    assert torch.equal(background_and_rest[:, 1], 1 - read[:, 0]) and (background_and_rest[:, 2] == 0).all()


def test_wanted_maps_are_the_labels_action_units_and_the_landmarks(some_unlocated) -> None:
    workspace, located = some_unlocated
    emotions, landmarks = emotions_of(workspace), landmarks_of(workspace)
    shape = workspace.load_region_maps("train").shape[1:]
    rows = torch.arange(len(emotions))
    for form, maps in [
        ("action-units", action_unit_maps(emotions, landmarks, shape)),
        ("landmarks", landmark_heatmaps(landmarks, shape)),
    ]:
        masks = load_guide_masks(workspace, "train", form)
        wanted = mask_reader(masks, CPU)(rows)[:, -1].numpy()
        assert np.abs(wanted - maps).max() <= 0.51 / 255
        with_units = np.array([name != "neutral" for name in emotions])
        assert np.array_equal(masks.guided, located & with_units if form == "action-units" else located)
    assert "neutral" in emotions


@pytest.mark.parametrize("form", ["action-units", "landmarks"])
def test_many_wanted_maps_stay_in_a_file_that_leaves_nothing(
    synthetic: Workspace, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(synthetic.root.iterdir())
    few = load_guide_masks(synthetic, "train", form).wanted
    monkeypatch.setattr(masks_module, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(mapped_faces, "FORGET_BYTES", 0)
    many = load_guide_masks(synthetic, "train", form).wanted
    assert np.array_equal(many[10:], few[10:]) and np.array_equal(many[:10], few[:10])
    assert isinstance(many._faces, np.memmap) and sorted(synthetic.root.iterdir()) == before


def test_some_of_the_faces_in_their_order(some_unlocated) -> None:
    workspace, _ = some_unlocated
    rows = np.array([9, 2, 8, 30, 7])
    for form in ("landmarks", "action-units"):
        whole, some = (load_guide_masks(workspace, "train", form, rows=which) for which in (None, rows))
        expected = mask_reader(whole, CPU)(torch.from_numpy(rows))
        for part in (some, whole.part(rows)):
            assert np.array_equal(part.guided, whole.guided[rows])
            assert torch.equal(mask_reader(part, CPU)(torch.arange(5)), expected)


@pytest.mark.parametrize("rows", [None, np.arange(60, 10, -3)])
def test_the_placebo_gives_each_guided_face_anothers_place(some_unlocated, rows) -> None:
    workspace, located = some_unlocated
    regions = np.asarray(workspace.load_region_maps("train"))
    if rows is not None:
        regions, located = regions[rows], located[rows]
    placebo, again, other = (
        load_guide_masks(workspace, "train", "background", rows=rows, placebo_seed=seed).regions[:]
        for seed in (0, 0, 1)
    )
    assert np.array_equal(placebo, again) and not np.array_equal(placebo, other)
    assert np.array_equal(placebo[~located], regions[~located])
    # nobody its own, everybody's once: synthetic faces differ in their outlines
    assert all((mine != given).any() for mine, given in zip(regions[located], placebo[located], strict=True))
    given, true = (sorted(face.tobytes() for face in maps[located]) for maps in (placebo, regions))
    assert given == true


def test_the_placebos_action_units_are_the_own_labels_on_the_others_landmarks(some_unlocated) -> None:
    workspace, _ = some_unlocated
    masks = load_guide_masks(workspace, "train", "action-units", placebo_seed=3)
    regions = np.asarray(workspace.load_region_maps("train"))
    emotions, landmarks = emotions_of(workspace), landmarks_of(workspace)
    donors = {face.tobytes(): row for row, face in enumerate(regions)}
    for row in np.flatnonzero(masks.guided)[:20]:
        donor = donors[masks.regions[np.array([row])][0].tobytes()]
        assert donor != row and masks.guided[donor]
        expected = action_unit_maps([emotions[row]], landmarks[[donor]], regions.shape[1:])[0]
        assert np.abs(masks.wanted[np.array([row])][0] / 255 - expected).max() <= 0.51 / 255


def test_what_is_missing_is_said_in_one_line(synthetic: Workspace, tmp_path: Path) -> None:
    bare = Workspace(tmp_path / "bare")
    prepare(bare, "synthetic", PrepareSettings(count=70))
    with pytest.raises(UserError, match="fertool masks"):
        load_guide_masks(bare, "train", "background")
    neutral = np.flatnonzero(np.array(emotions_of(synthetic)) == "neutral")
    with pytest.raises(UserError, match="no face of 'train' can be guided") as caught:
        load_guide_masks(synthetic, "train", "action-units", rows=neutral)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="only one face"):
        load_guide_masks(synthetic, "train", "background", rows=neutral[:1], placebo_seed=0)
    shutil.rmtree(bare.root)
