"""Maps of models with several views: each branch's own, at its place in the picture, added as they are."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fertool.explain import ExplainSettings, explain
from fertool.explain.branches import join_views, onto_picture
from fertool.explain.methods.attention import all_blocks, attention_gradcam, rollout, self_attention
from fertool.explain.methods.cams import gradcam, hirescam
from fertool.explain.methods.guided_backprop import guided_backprop, guided_gradcam
from fertool.masks import make_masks
from fertool.models import FaceClassifier, build_model
from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.files import read_json
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.workspace import Workspace

# with its margin the square (16, 16) to (64, 64), as many pixels as `cnn` sees
BOX = torch.tensor([[20.0, 20.0, 60.0, 60.0]])
FACES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 96, 96), dtype=np.uint8))


@pytest.fixture
def twofold() -> FaceClassifier:
    torch.manual_seed(0)
    return build_model("multiscale:cnn", 7).eval()


def gradcam_by_hand(model: FaceClassifier, faces: torch.Tensor, number: int, code: int) -> torch.Tensor:
    """Grad-CAM of a branch from its definition: its maps weighted by the mean gradient of the logit."""
    inputs = model.preprocess(faces)
    other = model.network.branches[1 - number](inputs[:, 1 - number]).detach()
    branch = model.network.branches[number]
    names = [name for name, _ in branch.named_children()]
    end = names.index("relu3") + 1
    maps = branch[:end](inputs[:, number]).detach().requires_grad_()
    features = [branch[end:](maps), other]
    model.network.classifier(torch.cat(features if number == 0 else features[::-1], dim=1))[
        :, code
    ].sum().backward()
    return (maps.grad.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).detach()


def test_hirescam_in_bfloat16_looks_at_the_faces_own_boxes(twofold, fixed) -> None:
    with twofold.looking_at(BOX.expand(3, -1)):
        exact = hirescam(twofold, FACES, fixed(2)).heatmaps
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = hirescam(twofold, FACES, fixed(2)).heatmaps
    assert torch.corrcoef(torch.stack([rounded.float().flatten(), exact.flatten()]))[0, 1] > 0.99


def test_gradcam_is_the_sum_of_both_branches_at_their_places(twofold, fixed) -> None:
    boxes = BOX.expand(3, -1)
    with twofold.looking_at(boxes):
        explanation = gradcam(twofold, FACES, fixed(2, 5))
        for number, code in enumerate((2, 5)):
            whole, face = (gradcam_by_hand(twofold, FACES, branch, code) for branch in (0, 1))
            expected = F.interpolate(whole[:, None], size=96, mode="bilinear")[:, 0]
            near = F.interpolate(face[:, None], size=48, mode="bilinear")[:, 0]
            masses = [expected.clamp(min=0).sum(dim=(1, 2)), near.clamp(min=0).sum(dim=(1, 2))]
            expected[:, 16:64, 16:64] += near
            got = explanation.heatmaps[:, number]
            assert got.shape == (3, 96, 96)
            assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()
            shares = torch.stack(masses, dim=1) / sum(masses)[:, None]
            assert torch.allclose(explanation.branch_shares[:, number], shares, atol=1e-4)


def test_a_map_of_ones_is_ones_in_the_crop_and_nothing_outside(twofold) -> None:
    with twofold.looking_at(BOX):
        whole, face = (
            onto_picture(twofold, view, torch.ones(1, 1, 6, 6), FACES[:1])[0, 0] for view in twofold.views
        )
    inside = torch.zeros(96, 96)
    inside[16:64, 16:64] = 1
    assert torch.allclose(face, inside) and torch.allclose(whole, torch.ones(96, 96))


def test_one_view_of_the_whole_picture_keeps_its_own_grid(fixed) -> None:
    single = build_model("multiscale:cnn", 7, views="whole").eval()
    explanation = gradcam(single, FACES, fixed(0))
    assert explanation.heatmaps.shape == (3, 1, 12, 12) and explanation.branch_shares is None


def test_one_view_of_the_face_lies_where_the_face_is(fixed) -> None:
    single = build_model("multiscale:cnn", 7, views="face").eval()
    with single.looking_at(BOX.expand(3, -1)):
        heatmaps = gradcam(single, FACES, fixed(0)).heatmaps
    outside = torch.ones(96, 96, dtype=torch.bool)
    outside[16:64, 16:64] = False
    assert heatmaps.shape == (3, 1, 96, 96)
    assert not heatmaps[..., outside].any() and heatmaps[..., ~outside].any()


def test_guided_gradcam_multiplies_by_the_rectified_sum(twofold, fixed) -> None:
    with twofold.looking_at(BOX.expand(3, -1)):
        cams = [gradcam_by_hand(twofold, FACES, branch, 4).clamp(min=0)[:, None] for branch in (0, 1)]
        fine = sum(
            onto_picture(twofold, view, cam, FACES) for view, cam in zip(twofold.views, cams, strict=True)
        )
        expected = fine * guided_backprop(twofold, FACES, fixed(4)).heatmaps
        got = guided_gradcam(twofold, FACES, fixed(4)).heatmaps
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("explainer", [rollout, self_attention, all_blocks, attention_gradcam])
def test_attention_of_both_branches(explainer, fixed) -> None:
    torch.manual_seed(0)
    model = build_model("multiscale:vit_tiny_patch16_224", 7, image_size=64).eval()
    alone = build_model("vit_tiny_patch16_224", 7, image_size=64).eval()
    for name, parameter in alone.network.named_parameters():
        if not name.startswith("head."):
            parameter.data = model.network.get_parameter(f"branches.0.{name}").data
    with model.looking_at(BOX.expand(3, -1)):
        explanation = explainer(model, FACES, fixed(1))
    assert explanation.heatmaps.shape == (3, 1, 96, 96)
    assert torch.allclose(explanation.branch_shares.sum(dim=2), torch.ones(3, 1), atol=1e-5)
    assert (explanation.branch_shares > 0).all()
    if explainer is not attention_gradcam:  # whose gradients come through the other head
        first = explainer(alone, FACES, fixed(1)).heatmaps
        corner = F.interpolate(first, size=96, mode="bilinear")[..., :16, :16]
        assert torch.allclose(explanation.heatmaps[..., :16, :16], corner, rtol=1e-3, atol=1e-6)


def test_shares_of_the_branches_are_kept_beside_the_heatmaps(tmp_path, with_other_weights) -> None:
    workspace = Workspace(tmp_path / "ws")
    prepare(workspace, "synthetic", PrepareSettings(count=140))
    make_masks(workspace)
    train(
        workspace, TrainConfig(model="multiscale:cnn", epochs=1, precision="fp32"), name="two", device="cpu"
    )
    explain(workspace, ExplainSettings(device="cpu"))
    run = workspace.run("two")
    place = run.heatmaps("gradcam", "predicted", "test")
    shares = np.load(run.branch_shares("gradcam", "predicted", "test"))
    faces = len(workspace.load_faces("test"))
    assert np.load(place).shape == (faces, 48, 48) and shares.shape == (faces, 2)
    known = shares[np.isfinite(shares).all(axis=1)]
    assert np.allclose(known.sum(axis=1), 1, atol=1e-5)
    recorded = read_json(place.with_suffix(".json"))["branch_shares"]
    assert recorded == pytest.approx({"1 (whole)": known[:, 0].mean(), "2 (face)": known[:, 1].mean()})
    # no class is looked for anywhere: no map has mass
    with_other_weights(workspace, "two", lambda state: state["classifier.weight"].zero_())
    explain(workspace, ExplainSettings(device="cpu"))
    assert not np.load(place).any() and "branch_shares" not in read_json(place.with_suffix(".json"))


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_a_map_lies_where_the_network_looks(scale: float) -> None:
    model = build_model("cnn", 7, crop_scale=scale).eval()
    explanation = join_views(model, [torch.ones(2, 1, 12, 12)], torch.zeros(2, 7), torch.zeros(2, 48, 48))
    expected = torch.zeros(48, 48)
    low, high = (12, 36) if scale == 0.5 else (0, 48)
    expected[low:high, low:high] = 1
    assert torch.allclose(explanation.heatmaps, expected.expand(2, 1, 48, 48))
    assert explanation.branch_shares is None


def test_a_wider_map_loses_what_lies_beyond_the_picture() -> None:
    model = build_model("cnn", 7, crop_scale=2.0).eval()
    maps = torch.zeros(1, 1, 4, 4)
    maps[:, :, 1:3, 1:3] = 1  # the picture itself
    heatmaps = join_views(model, [maps], torch.zeros(1, 7), torch.zeros(1, 48, 48)).heatmaps
    assert torch.allclose(heatmaps[0, 0, 12:36, 12:36], torch.ones(24, 24))
    assert heatmaps.shape == (1, 1, 48, 48) and heatmaps[0, 0, 0, 0] < 1
