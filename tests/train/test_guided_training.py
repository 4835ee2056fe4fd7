import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fertool.errors import UserError
from fertool.masks import MaskSettings, make_masks
from fertool.masks.detectors.small_faces import TEMPLATE
from fertool.masks.regions import BACKGROUND
from fertool.models import FaceClassifier
from fertool.prepare import PrepareSettings, prepare
from fertool.runtime.files import read_csv, write_npz
from fertool.train import guide_weights, train
from fertool.train.config import TrainConfig
from fertool.train.guidance import Guide
from fertool.train.guidance.guide import GuideTarget
from fertool.train.guide_weights import (
    MOST_LOST,
    LambdaOutcome,
    background_share,
    choose_weight,
    read_guide_weights,
    train_guide_weights,
)
from fertool.train.recipes import configure
from fertool.workspace import Workspace

Accept = Callable[[Workspace, Path, Path], None]

CONFIG = TrainConfig(epochs=2, lr=1e-3, precision="fp32")
GUIDED = replace(CONFIG, guide="background")


@pytest.fixture(scope="module")
def planted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic faces with a mark in the background that gives most labels of train away."""
    workspace = Workspace(tmp_path_factory.mktemp("planted"))
    prepare(workspace, "synthetic", PrepareSettings(count=420, spurious=0.9))
    make_masks(workspace)
    return workspace.root


@pytest.mark.parametrize("model", ["cnn", "cnn-gap"])
@pytest.mark.parametrize("settings", [{}, {"rotate_deg": 10.0, "erase": 0.5, "mixup": 0.3}])
def test_maps_that_are_only_measured_leave_the_weights_as_they_are(
    synthetic: Workspace, model: str, settings: dict[str, Any]
) -> None:
    plain = replace(CONFIG, model=model, **settings)
    train(synthetic, plain, name="plain", device="cpu")
    train(synthetic, replace(plain, guide="background", guide_weight=0.0), name="measured", device="cpu")
    measured = synthetic.run("measured")
    assert measured.best.read_bytes() == synthetic.run("plain").best.read_bytes()
    for row, unguided in zip(
        *(read_csv(synthetic.run(n).history_csv) for n in ("measured", "plain")), strict=True
    ):
        assert row.items() >= unguided.items()
        for split in ("train", "val"):
            assert 0 < float(row[f"{split}_background_share"]) < 1
            assert 0 <= float(row[f"{split}_empty_maps"]) <= 1


def test_guidance_moves_the_maps_off_the_background(planted_once: Path, tmp_path: Path) -> None:
    workspace = Workspace(shutil.copytree(planted_once, tmp_path / "ws"))
    config = replace(GUIDED, epochs=3)
    shares = {}
    for weight in (0.0, 10.0):
        train(workspace, replace(config, guide_weight=weight), name=f"g{weight}", device="cpu")
        last = read_csv(workspace.run(f"g{weight}").history_csv)[-1]
        shares[weight] = float(last["val_background_share"])
    assert shares[10.0] < 0.7 * shares[0.0]


def test_a_guided_training_that_is_interrupted_ends_in_the_same_bits(
    synthetic: Workspace, killed: Callable[[str], AbstractContextManager[None]]
) -> None:
    config = replace(GUIDED, epochs=3, guide_warmup=1.5, guide="landmarks")
    train(synthetic, config, name="undisturbed", device="cpu")
    with killed("after 1"):
        train(synthetic, config, name="interrupted", device="cpu")
    train(synthetic, config, name="interrupted", device="cpu")
    ours, theirs = (synthetic.run(name) for name in ("interrupted", "undisturbed"))
    assert ours.history_csv.read_bytes() == theirs.history_csv.read_bytes()
    assert ours.best.read_bytes() == theirs.best.read_bytes()


WHIRLED = {"shift": 0.1, "rotate_deg": 20.0, "crop": 0.3}


@pytest.mark.parametrize(
    "settings", [{"shift": 0.1}, WHIRLED, {**WHIRLED, "mixup": 1.0}, {**WHIRLED, "train_fraction": 0.5}]
)
def test_faces_that_show_their_masks_are_seen_where_the_masks_lie(
    synthetic: Workspace, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A face that is white on the background and black elsewhere is its background's own mask."""
    pictures: list[torch.Tensor] = []
    targets: list[GuideTarget] = []
    forward, target_of = FaceClassifier.forward, Guide.target

    def show_masks(workspace: Workspace, split: str) -> np.ndarray:
        return np.where(workspace.load_region_maps(split) == BACKGROUND, 255, 0).astype(np.uint8)

    def keep_picture(model: FaceClassifier, pixels: torch.Tensor) -> torch.Tensor:
        pictures.append(pixels / 255)
        return forward(model, pixels)

    def keep_target(*asked: Any) -> GuideTarget:
        targets.append(target_of(*asked))
        return targets[-1]

    monkeypatch.setattr(Workspace, "load_faces", show_masks)
    monkeypatch.setattr(FaceClassifier, "forward", keep_picture)
    monkeypatch.setattr(Guide, "target", keep_target)
    config = replace(GUIDED, epochs=1, batch_size=16, guide_weight=0.0, **settings)
    train(synthetic, config, name="guided", device="cpu")
    assert len(pictures) == len(targets) > 2
    seen, masks = torch.cat(pictures), torch.cat([target.masks for target in targets])
    known = masks[:, -1] == 0
    assert known.float().mean() > 0.5
    assert 0.1 < seen[known].mean() < 0.9
    assert (seen - masks[:, BACKGROUND])[known].abs().max() < 1e-5


def test_the_warm_up_is_counted_in_epochs(synthetic: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    weight_at = Guide.weight_at

    def keep_epochs(guide: Guide, epochs_done: float) -> float:
        asked.append(epochs_done)
        return weight_at(guide, epochs_done)

    monkeypatch.setattr(Guide, "weight_at", keep_epochs)
    train(synthetic, replace(GUIDED, batch_size=50, guide_warmup=1.5), name="guided", device="cpu")
    steps = -(-len(synthetic.load_labels("train")) // 50)
    assert asked == pytest.approx([step / steps for step in range(2 * steps)])


def test_the_placebo_asks_by_others_masks_and_is_measured_by_the_true_ones(synthetic: Workspace) -> None:
    histories = {}
    for masks in ("own", "shuffled"):  # only measured, so that the networks are the same
        config = replace(GUIDED, guide_masks=masks, guide_weight=0.0)
        train(synthetic, config, name=masks, device="cpu")
        histories[masks] = read_csv(synthetic.run(masks).history_csv)
    for own, placebo in zip(*histories.values(), strict=True):
        differing = {figure for figure in own if own[figure] != placebo[figure]}
        assert differing == {"train_guide_loss", "train_background_share"}
    assert synthetic.run("shuffled").config()["config"]["guide_masks"] == "shuffled"


def test_guidance_needs_masks_and_leaves_nothing_behind(synthetic: Workspace) -> None:
    shutil.rmtree(synthetic.root / "masks")
    with pytest.raises(UserError, match="run 'fertool masks' first") as raised:
        train(synthetic, GUIDED, name="guided", device="cpu")
    assert "\n" not in str(raised.value)
    assert not synthetic.run("guided").folder.exists()


def test_where_no_face_of_val_has_landmarks_nothing_is_measured_there(
    synthetic: Workspace, accept: Accept
) -> None:
    with np.load(synthetic.landmarks("val")) as stored:
        arrays = dict(stored)
    arrays["detector"] = np.full_like(arrays["detector"], TEMPLATE)
    write_npz(synthetic.landmarks("val"), **arrays)
    accept(synthetic, synthetic.masks_json, synthetic.landmarks("val"))
    train(synthetic, replace(GUIDED, epochs=1), name="guided", device="cpu")
    (row,) = read_csv(synthetic.run("guided").history_csv)
    assert row["val_background_share"] == row["val_empty_maps"] == ""
    assert 0 < float(row["train_background_share"]) < 1 and float(row["val_accuracy"]) > 0


def test_other_masks_are_another_training(synthetic: Workspace) -> None:
    train(synthetic, GUIDED, name="guided", device="cpu")
    make_masks(synthetic, MaskSettings(margin=0.1), force=True)
    with pytest.raises(UserError, match="this name is taken"):
        train(synthetic, GUIDED, name="guided", device="cpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guide": "shape"}, "--guide shape: must be background, background-sum"),
        ({"guide": "background", "guide_weight": "-1"}, "--guide-weight -1: a lambda is 0 or more"),
        ({"guide": "background", "guide_weight": "much"}, "--guide-weight much: give numbers"),
        ({"guide": "background", "guide_masks": "none"}, "--guide-masks none: must be own, shuffled"),
        ({"guide": "background", "guide_regions": "eyes=1"}, "--guide-regions: belongs to --guide regions"),
        ({"guide": "regions", "guide_regions": "ears=1"}, "no region 'ears'; there are background"),
        ({"guide": "regions", "guide_regions": "eyes"}, "give shares as eyes=2,mouth=1"),
        ({"guide": "regions", "guide_regions": "eyes=0"}, "not all 0"),
    ],
)
def test_settings_that_make_no_guidance_are_said_in_one_line(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        configure("cnn", settings=settings)
    assert "\n" not in str(raised.value)


def test_a_setting_of_guidance_asks_for_the_background_where_no_form_is_named() -> None:
    for settings in ({"guide_weight": "1"}, {"guide_weight": "0,0.3"}, {"guide_masks": "shuffled"}):
        assert configure("cnn", settings=settings) == configure(
            "cnn", settings={"guide": "background", **settings}
        )
    assert configure("cnn", settings={"guide": "landmarks", "guide_weight": "1"}).guide == "landmarks"
    assert configure("cnn").guide is None


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("cnn", {"guide_explainer": "rollout"}, "cnn can be guided by gradcam"),
        ("cnn", {"guide_map": "half"}, "--guide-map half: must be relu, abs, signed"),
        ("multiscale:cnn", {}, "several views"),
    ],
)
def test_a_model_that_cannot_be_guided_so_leaves_nothing_behind(
    synthetic: Workspace, model: str, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(synthetic, replace(GUIDED, model=model, **settings), name="guided", device="cpu")
    assert not synthetic.run("guided").folder.exists()


# --- which lambda -------------------------------------------------------------------------------------------


def test_every_lambda_is_trained_and_one_chosen_by_the_rule(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[LambdaOutcome] = []

    def take_the_last(outcomes: list[LambdaOutcome]) -> LambdaOutcome:
        judged.extend(outcomes)
        return outcomes[-1]

    monkeypatch.setattr(guide_weights, "choose_weight", take_the_last)
    summary = train_guide_weights(synthetic, GUIDED, [0.0, 3.0], [0, 1], name="g", device="cpu")
    assert {run.name for run in synthetic.runs()} == {"g-g0-s0", "g-g0-s1", "g-g3-s0", "g-g3-s1"}
    for outcome in summary.data["lambdas"]:
        records = [synthetic.run(f"g-g{outcome['weight']:g}-s{seed}").config() for seed in (0, 1)]
        assert [record["config"]["seed"] for record in records] == [0, 1]
        assert all(record["config"]["guide_weight"] == outcome["weight"] for record in records)
        for figure, read in (
            ("val_accuracy", itemgetter("val_accuracy")),
            ("val_share_of_all_maps", background_share),
        ):
            assert outcome[figure] == pytest.approx(sum(read(record["best"]) for record in records) / 2)
    assert [outcome.weight for outcome in judged] == [0, 3] and summary.data["chosen"] == 3


@pytest.mark.parametrize(
    ("outcomes", "chosen"),
    [
        ([(0, 0.60, 0.5), (1, 0.597, 0.3), (3, 0.596, 0.2), (9, 0.58, 0.1)], 3),
        ([(0, 0.60, 0.5), (1, 0.61, 0.51)], None),
        ([(0, 0.60, 0.5), (1, 0.50, 0.1)], None),
        ([(1, 0.60, 0.5), (3, 0.60, 0.1)], None),  # nothing to compare with
        ([(0, 0.60, None), (3, 0.60, 0.1)], None),  # likewise
        ([(0, 0.60, 0.5), (1, 0.60, None), (3, 0.60, 0.1)], 3),
    ],
)
def test_the_rule(outcomes: list[tuple[float, float, float | None]], chosen: float | None) -> None:
    picked = choose_weight([LambdaOutcome(*outcome) for outcome in outcomes])
    assert (picked and picked.weight) == chosen


def test_lambdas_without_0_are_not_judged_which_is_said_before_they_train(
    synthetic: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    said_before = []
    summary = train_guide_weights(
        synthetic,
        replace(GUIDED, epochs=1),
        [1.0, 3.0],
        [0],
        name="h",
        device="cpu",
        on_epoch=lambda *_: said_before.append("no lambda will be chosen" in caplog.text),
    )
    assert said_before == [True, True]
    assert summary.data["chosen"] is None
    assert "none was trained with lambda 0" in summary.notes[-1]


SHARES = st.floats(0, 1)


@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=6))
def test_no_fitting_lambda_lies_less_on_the_background(figures: list[tuple[float, float]]) -> None:
    outcomes = [
        LambdaOutcome(float(number), *figures_at_weight) for number, figures_at_weight in enumerate(figures)
    ]
    unguided, *others = outcomes
    picked = choose_weight(outcomes)
    least = min(
        (
            outcome.val_share_of_all_maps
            for outcome in others
            if unguided.val_accuracy - outcome.val_accuracy <= MOST_LOST - 1e-12
        ),
        default=1.0,
    )
    if picked is None:
        assert least >= unguided.val_share_of_all_maps
    else:
        assert picked.val_share_of_all_maps <= least
        assert picked.val_share_of_all_maps < unguided.val_share_of_all_maps
        assert unguided.val_accuracy - picked.val_accuracy <= MOST_LOST + 1e-12


def test_lambdas_as_text() -> None:
    assert read_guide_weights("0,0.1,3") == [0, 0.1, 3]
    for text in ("", "1,", "0,-1", "0,nan", "inf"):
        with pytest.raises(UserError, match=f"^--guide-weight {text}: "):
            read_guide_weights(text)
    with pytest.raises(UserError, match="twice"):  # by the same name
        read_guide_weights("0.1,0.10000001")
    with pytest.raises(UserError, match="twice"):
        read_guide_weights("1,1.0")


@pytest.mark.parametrize("settings", [{"unfreeze": "none"}, {"freeze_epochs": 2}])
@pytest.mark.parametrize("explainer", ["attention", "rollout"])
def test_attention_of_a_frozen_backbone_cannot_be_guided(
    synthetic: Workspace, settings: dict[str, Any], explainer: str
) -> None:
    config = replace(
        GUIDED,
        model="vit_tiny_patch16_224",
        weights="none",
        image_size=48,
        guide_explainer=explainer,
        **settings,
    )
    with pytest.raises(UserError, match="of a frozen backbone stays as it is"):
        train(synthetic, config, name="frozen", device="cpu")
    assert not synthetic.runs()
