import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fertool.explain.methods.cams import gradcam
from fertool.masks.regions import BACKGROUND
from fertool.models import FaceClassifier
from fertool.models.predict import predict_logits
from fertool.runtime.hardware import Compute
from fertool.score.suites.shares import region_shares, region_weights
from fertool.train.augment import Augmentation, augment, draw_epoch, move_masks
from fertool.train.guidance import FORMS, KINDS, Guide, GuideMasks, guide_figures
from fertool.train.guidance.forms import MapOnFace, background_shares
from fertool.train.guidance.maps import guide_map
from fertool.train.guidance.masks import mask_reader
from fertool.train.mapped_faces import MappedFaces

LABELS = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0])
ROWS = torch.arange(8)
NONE, LIGHT = Augmentation(), Augmentation(flip=True, shift=0.1)
CPU = Compute(torch.device("cpu"), "fp32")


def step(
    guide: Guide,
    model: FaceClassifier,
    faces: Tensor,
    rows: Tensor = ROWS,
    augmentation: Augmentation = NONE,
    batch: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, sums and logits of faces that are shown as they are."""
    _, draws = draw_epoch(8, 48, 0, 1, augmentation)
    target = guide.target(rows, draws, batch)
    with guide.watching(model) as watch:
        logits = model(faces[rows])
    return *guide.loss(watch, logits, target), logits


def with_wanted(masks: GuideMasks) -> GuideMasks:
    maps = np.zeros((8, 48, 48), dtype=np.uint8)
    maps[:, 10:20, 12:36] = 200
    return GuideMasks(masks.regions, masks.guided, MappedFaces(maps))


# --- what is guided is what is measured --------------------------------------------------------------------


@pytest.mark.parametrize("grid", [(12, 12), (7, 9), (48, 48), (60, 60), (1, 1)])
def test_shares_on_faces_as_they_are_are_the_scores(grid, regions, masks) -> None:
    heat = np.random.default_rng(0).random((8, *grid)) ** 4
    read = (torch.from_numpy(regions)[:, None] == torch.arange(7)[:, None, None]).float()
    laid = MapOnFace(torch.from_numpy(heat).float(), read)
    ours = laid.region_sums / laid.region_sums.sum(dim=1, keepdim=True)
    assert np.allclose(ours, region_shares(heat, region_weights(regions, grid)), atol=1e-5)


def test_heat_at_pixels_adds_up_to_that_of_the_cells(regions) -> None:
    masks = torch.ones(8, 7, 48, 48)
    heat = torch.zeros(8, 12, 12)
    heat[:, 3:9, 3:9] = torch.rand(8, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(MapOnFace(heat, masks).heat.sum(dim=(1, 2)), heat.sum(dim=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("which", ["gap", "convolved"])
def test_val_is_measured_as_the_score_measures_the_explainers_map(
    which, request, faces, regions, masks
) -> None:
    model = request.getfixturevalue(which)
    guide = Guide(model, masks, LABELS, LIGHT, kind="relu")
    model.train()
    some = GuideMasks(masks.regions, np.arange(8) != 2)
    logits, sums = guide.measure(model, faces.numpy(), LABELS.numpy(), some, CPU)
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    assert np.array_equal(logits, predict_logits(model, faces.numpy(), CPU))
    heat = gradcam(model, faces, lambda logits: LABELS[:, None]).heatmaps[:, 0].clamp(min=0).numpy()
    shares = region_shares(heat, region_weights(regions, heat.shape[1:]))[:, 0]
    shares[2] = np.nan
    figures = guide_figures(sums)
    assert figures["background_share"] == pytest.approx(np.nanmean(shares), abs=1e-5)
    assert figures["empty_maps"] == pytest.approx((np.isnan(shares).sum() - 1) / 7)


def test_val_is_measured_alike_in_batches(gap, faces, masks, monkeypatch) -> None:
    guide = Guide(gap, masks, LABELS, NONE)
    some = GuideMasks(masks.regions, np.arange(8) != 5)
    val_faces = (gap, faces.numpy(), LABELS.numpy(), some, CPU)
    logits, sums = guide.measure(*val_faces)
    monkeypatch.setattr("fertool.train.guidance.guide.GPU_BATCH_SIZE", 3)
    others_logits, others = guide.measure(*val_faces)
    assert np.allclose(others_logits, logits, atol=1e-6)
    assert torch.allclose(others, sums, atol=1e-5)


def test_a_face_left_over_is_measured_as_among_others(convolved, faces, masks, monkeypatch) -> None:
    """It never meets a gradient alone, which PyTorch computes wrongly for some networks in evaluation."""
    guide, sizes = Guide(convolved, masks, LABELS, NONE), []
    logits, sums = guide.measure(convolved, faces.numpy(), LABELS.numpy(), masks, CPU)
    monkeypatch.setattr("fertool.train.guidance.guide.GPU_BATCH_SIZE", 7)
    with convolved.network.register_forward_hook(lambda *call: sizes.append(len(call[2]))):
        others_logits, others = guide.measure(convolved, faces.numpy(), LABELS.numpy(), masks, CPU)
    assert sizes == [7, 2]
    assert np.allclose(others_logits, logits, atol=1e-6)
    assert torch.allclose(others, sums, atol=1e-5)


def test_figures_of_no_faces_are_no_numbers() -> None:
    assert all(value is None for value in guide_figures(torch.zeros(4)).values())
    empty_figures = guide_figures(torch.tensor([6.0, 3.0, 0.0, 3.0]))
    assert empty_figures == {"guide_loss": 2.0, "empty_maps": 1.0, "background_share": None}
    assert guide_figures(torch.tensor([6.0, 1.0, 0.5, 3.0])) == {
        "guide_loss": 2.0,
        "empty_maps": pytest.approx(1 / 3),
        "background_share": 0.25,
    }


# --- a step ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["gap", "convolved"])
def test_a_step_of_descent_lowers_the_loss(which, kind, form, request, faces, masks) -> None:
    model = request.getfixturevalue(which).eval()
    assert_descends(Guide(model, with_wanted(masks), LABELS, NONE, form=form, kind=kind), model, faces)


@pytest.mark.parametrize("explainer", ["rollout", "attention", "all-blocks"])
def test_so_does_a_transformers(explainer, small_vit, faces, masks) -> None:
    assert_descends(Guide(small_vit, masks, LABELS, NONE, explainer=explainer), small_vit.eval(), faces)


def assert_descends(guide: Guide, model: FaceClassifier, faces: Tensor) -> None:
    before, _, _ = step(guide, model, faces)
    before.backward()
    moved = [parameter for parameter in model.parameters() if parameter.grad is not None]
    slope = sum(parameter.grad.square().sum() for parameter in moved).sqrt()
    assert slope > 1e-4
    with torch.no_grad():
        for parameter in moved:
            parameter -= 1e-3 * parameter.grad / slope
    after, _, _ = step(guide, model, faces)
    # by about as much as the slope says
    assert 0.5 * 1e-3 * slope < before - after < 2 * 1e-3 * slope


def test_guidance_moves_the_evidence_off_the_background(gap, masks) -> None:
    """A mark in the background tells the class as well as one on the face does; guided, the face's is believed."""
    torch.manual_seed(0)
    faces = torch.full((8, 48, 48), 128, dtype=torch.uint8)
    labels = torch.arange(8) % 2
    faces[labels == 1, 1:5, 1:5] = faces[labels == 1, 35:39, 20:24] = 255
    faces[labels == 0, 1:5, 42:46] = faces[labels == 0, 23:27, 21:25] = 0
    shares = {}
    for weight in (0.0, 3.0):
        model = copy.deepcopy(gap)
        guide = Guide(model, masks, labels, NONE, weight=weight)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(60):
            loss, _, logits = step(guide, model, faces)
            optimizer.zero_grad()
            (F.cross_entropy(logits, labels) + weight * loss).backward()
            optimizer.step()
        logits, sums = guide.measure(model, faces.numpy(), labels.numpy(), masks, CPU)
        assert (logits.argmax(axis=1) == labels.numpy()).all()
        shares[weight] = guide_figures(sums)["background_share"]
    assert shares[3.0] < shares[0.0] / 2


def test_faces_without_guidance_have_no_part(gap, faces, regions) -> None:
    gap.eval()
    some = np.array([True, False, True, True, False, True, True, True])
    guide = Guide(gap, GuideMasks(MappedFaces(regions), some), LABELS, NONE)
    loss, sums, _ = step(guide, gap, faces)
    only, only_sums, _ = step(guide, gap, faces, torch.from_numpy(np.flatnonzero(some)))
    assert sums[3] == 6 and torch.allclose(loss, only) and torch.allclose(sums, only_sums)
    none, no_sums, _ = step(guide, gap, faces, torch.tensor([1, 4]))
    assert none == 0 and not none.requires_grad and (no_sums == 0).all()


def test_parts_of_a_batch_add_up_to_it(gap, faces, regions) -> None:
    gap.eval()
    some = np.array([True, False, True, True, False, False, True, True])
    guide = Guide(gap, GuideMasks(MappedFaces(regions), some), LABELS, NONE)
    whole, sums, _ = step(guide, gap, faces)
    parts = [ROWS[:3], ROWS[3:]]
    losses = [step(guide, gap, faces, part, batch=ROWS) for part in parts]
    by_share = sum(len(part) / 8 * loss for part, (loss, _, _) in zip(parts, losses, strict=True))
    assert torch.allclose(by_share, whole)
    assert torch.allclose(losses[0][1] + losses[1][1], sums)


def test_a_mix_is_guided_where_both_its_faces_are_and_by_the_mixed_logit(gap, faces, regions) -> None:
    augmentation = Augmentation(mixup=1.0)
    _, draws = draw_epoch(8, 48, 0, 1, augmentation)
    some = np.arange(8) != 3
    guide = Guide(gap, GuideMasks(MappedFaces(regions), some), LABELS, augmentation)
    target = guide.target(ROWS, draws)
    assert target.guided.tolist() == [bool(some[row] and some[draws.partners[row]]) for row in range(8)]
    for row in range(8):
        share, expected = draws.own_shares[row], torch.zeros(7)
        expected[LABELS[row]] += share
        expected[LABELS[draws.partners[row]]] += 1 - share
        assert torch.allclose(target.class_weights[row], expected)


def test_a_mix_has_the_masks_of_both_its_faces_each_moved_by_its_own_draws(gap, masks) -> None:
    augmentation, guidance, void = replace(LIGHT, mixup=1.0), with_wanted(masks), 2
    _, draws = draw_epoch(8, 48, 0, 1, augmentation)
    rows = (draws.partners != ROWS).nonzero()[:, 0].flip(0)
    assert len(rows) > 3
    target = Guide(gap, guidance, LABELS, augmentation, form="landmarks").target(rows, draws)
    read = mask_reader(guidance, CPU.device, void)(ROWS)
    moved = move_masks(read, draws, augmentation, void)
    share = draws.own_shares[rows, None, None, None]
    expected = share * moved[rows] + (1 - share) * moved[draws.partners[rows]]
    assert torch.allclose(target.masks, expected[:, : void + 1], atol=1e-6)
    assert torch.allclose(target.wanted, expected[:, void + 1], atol=1e-6)


@pytest.mark.parametrize("form", ["background", "regions"])
def test_masks_move_with_the_faces(form, gap, regions, masks) -> None:
    _, draws = draw_epoch(8, 48, 0, 1, LIGHT)
    rows = torch.tensor([6, 1, 3, 4, 0])
    masks = Guide(gap, masks, LABELS, LIGHT, form=form).target(rows, draws).masks
    *numbers, void = range(masks.shape[1])
    shown = augment(torch.from_numpy(regions)[rows], draws[rows], LIGHT).clamp(max=numbers[-1])
    known = masks[:, void] == 0
    assert known.float().mean() > 0.7 and (shown[known] != BACKGROUND).any()
    for region in numbers:
        assert torch.equal(masks[:, region][known], (shown == region)[known].float())


@pytest.mark.parametrize("form", FORMS)
def test_a_signed_map_is_judged_as_it_is_but_its_shares_by_size(form, gap, faces, masks) -> None:
    gap.eval()
    guide = Guide(gap, with_wanted(masks), LABELS, NONE, form=form, kind="signed")
    _, draws = draw_epoch(8, 48, 0, 1, NONE)
    target = guide.target(ROWS, draws)
    with guide.watching(gap) as watch:
        logits = gap(faces)
    heat = guide_map(watch, logits, target.class_weights, "signed")
    as_it_is, by_size = (MapOnFace(cells, target.masks, target.wanted) for cells in (heat, heat.abs()))
    signed, absolute = (FORMS[form](laid).mean().item() for laid in (as_it_is, by_size))
    assert signed != pytest.approx(absolute, rel=1e-2)
    loss, sums = guide.loss(watch, logits, target)
    assert loss.item() == pytest.approx(absolute if form in ("background", "regions") else signed, rel=1e-5)
    assert sums[2] == pytest.approx(background_shares(by_size)[0].sum().item(), rel=1e-5)


def test_a_measured_step_builds_no_graph(convolved, gap, faces, masks) -> None:
    for model in (convolved, gap):
        guide = Guide(model, masks, LABELS, NONE, weight=0.0)
        _, draws = draw_epoch(8, 48, 0, 1, NONE)
        with guide.watching(model) as watch:
            logits = model(faces)
        loss, sums = guide.loss(watch, logits, guide.target(ROWS, draws), differentiable=False)
        assert not loss.requires_grad and loss > 0 and sums[3] == 8
        F.cross_entropy(logits, LABELS).backward()


def test_the_weight_rises_linearly() -> None:
    model = _tiny()
    guide = Guide(model, _no_masks(), torch.zeros(1, dtype=torch.long), NONE, weight=3.0, warmup_epochs=2)
    assert [guide.weight_at(epochs) for epochs in (0, 0.5, 1, 2, 9)] == [0, 0.75, 1.5, 3, 3]
    at_once = Guide(model, _no_masks(), torch.zeros(1, dtype=torch.long), NONE, weight=3.0)
    assert at_once.weight_at(0) == 3


def test_a_wrapped_model_is_guided_alike(gap, faces, masks) -> None:
    gap.eval()
    guide = Guide(gap, masks, LABELS, NONE)
    _, draws = draw_epoch(8, 48, 0, 1, NONE)
    wrapped = nn.Sequential(gap)
    with guide.watching(gap) as watch:
        logits = wrapped(faces)
    loss, _ = guide.loss(watch, logits, guide.target(ROWS, draws))
    assert torch.equal(loss, step(guide, gap, faces)[0])


def test_a_copy_of_the_model_is_measured_by_its_own_weights(gap, faces, masks) -> None:
    guide = Guide(gap, masks, LABELS, NONE, kind="relu")
    against = copy.deepcopy(gap)
    with torch.no_grad():
        against.network.behind3.weight.abs_().neg_()  # whatever the layer sees speaks against every class
    ours, others = (
        guide.measure(model, faces.numpy(), LABELS.numpy(), masks, CPU)[1] for model in (gap, against)
    )
    assert others.tolist() == [0, 8, 0, 8]
    assert ours[1] < 8 and ours[2] > 0


def _tiny() -> FaceClassifier:
    from fertool.models import build_model

    return build_model("cnn", 7)


def _no_masks() -> GuideMasks:
    return GuideMasks(MappedFaces(np.zeros((1, 48, 48), dtype=np.uint8)), np.ones(1, dtype=bool))
