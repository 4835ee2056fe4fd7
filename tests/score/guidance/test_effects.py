import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fertool.errors import UserError
from fertool.explain.explainer import rectify
from fertool.explain.registry import parse_request
from fertool.masks.regions import REGIONS
from fertool.models import build_model
from fertool.runtime.files import write_csv, write_json, write_npy
from fertool.runtime.hardware import Compute
from fertool.score.guidance.effects import Guidance, Outcome, gather_guidance
from fertool.score.guidance.sweeps import find_sweeps
from fertool.score.guidance.tables import guidance_record, guidance_summary, guidance_tables
from fertool.score.guidance.verdict import verdicts_of
from fertool.score.results.face_csv import read_columns, write_columns
from fertool.score.statistics.intervals import difference_interval, resample_means
from fertool.score.statistics.scales import PROPORTION
from fertool.score.suites.causal import SWAP_CHANGED_COLUMN, SWAP_LOSS_COLUMN, cause_column
from fertool.score.suites.shares import shares_and_ceilings
from fertool.train.augment import Augmentation
from fertool.train.config import TrainConfig
from fertool.train.guidance import Guide, GuideMasks, guide_figures
from fertool.train.guide_weights import background_share
from fertool.train.mapped_faces import MappedFaces
from fertool.workspace import Run, Workspace

FACES = 120
GUIDED = TrainConfig(guide="background")
CORRUPTIONS = ("fog", "noise")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A split of faces without twins, and no runs."""
    workspace = Workspace(tmp_path)
    record = {"name": "faces", "classes": ["happy", "sad"], "splits": {"test": FACES}, "made_from": {}}
    write_json(workspace.dataset_json, record)
    write_npy(workspace.faces("test"), np.zeros((FACES, 4, 4), np.uint8))
    write_csv(workspace.faces_csv("test"), ["row", "twin_group"], ((row, "") for row in range(FACES)))
    return workspace


def put_run(workspace: Workspace, name: str, config: TrainConfig) -> Run:
    run = workspace.run(name)
    record = {"name": name, "model": config.model, "config": config.as_record(), "attention_blocks": 0}
    write_json(run.run_json, record | {"classes": ["sad"], "state": "done", "made_from": {}})
    return run


def put(run: Run, suite: str, figures: dict, columns: dict[str, np.ndarray], *key: str) -> None:
    place = run.scores(suite, "test", *key)
    write_json(place, figures)
    write_columns(place.with_suffix(".csv"), columns)


def around(mean: float, seed: int, spread: float = 0.02) -> np.ndarray:
    """Values a face with nearly that mean: what the faces do is common to all seeds, some of it is the seed's."""
    face_noise = np.random.default_rng(0).normal(size=FACES)
    seed_noise = np.random.default_rng([seed, round(1e6 * abs(mean))]).normal(size=FACES)
    values = 0.7 * (face_noise - face_noise.mean()) + 0.3 * (seed_noise - seed_noise.mean())
    return mean + spread * (values + 0.1 * (seed - 2))


def put_attention(run: Run, explainer: str, background: np.ndarray, **others: np.ndarray) -> None:
    shares = {"share_background": background}
    shares |= {f"share_{name.replace(' ', '_')}": (1 - background) / 5 for name in REGIONS[1:]}
    areas = {name.replace("share", "area"): np.full(FACES, 1 / 6) for name in shares}
    whole = {"located": np.ones(FACES, int), "empty": np.zeros(FACES, int)}
    put(run, "attention", {}, whole | shares | areas | others, explainer, "predicted")


def put_causal(
    run: Run,
    cause: dict[str, np.ndarray],
    changed: np.ndarray,
    worth: np.ndarray,
    loss: np.ndarray,
    whole: float = 0.6,
) -> None:
    """How far answers rest on the background, by fill and by a swap; what accuracy and the logit gain by it.

    On all regions together they rest as far as `whole`, and on each other one alike.
    """
    columns = {SWAP_CHANGED_COLUMN: changed, SWAP_LOSS_COLUMN: loss}
    for fill, values in cause.items():
        columns |= {cause_column("answer", fill, region): (whole - values) / 5 for region in REGIONS}
        columns[cause_column("answer", fill, "background")] = values
        columns[cause_column("correct", fill, "background")] = worth
        columns[cause_column("label", fill, "background")] = 5 * worth
    put(run, "causal", {"fills": dict.fromkeys(cause)}, columns)


def put_robustness(run: Run, error: dict[str, float]) -> None:
    """Every face is recognised at the same part of the severities."""
    corruptions = {name: {"faces": FACES, "error": [rate] * 5} for name, rate in error.items()}
    columns = {f"right_{name}": np.full(FACES, 5 * (1 - rate)) for name, rate in error.items()}
    put(run, "robustness", {"corruptions": corruptions}, columns)


def put_condition(
    workspace: Workspace,
    weight: float,
    masks: str = "own",
    *,
    seeds: Sequence[int] = range(4),
    share: float = 0.4,
    other_share: float = 0.4,
    cause: float = 0.10,
    blur_cause: float | None = None,
    swap: float | None = None,
    whole: float = 0.6,
    worth: float = 0.0,
    right: int = 70,
    error: float = 0.5,
) -> list[Run]:
    """A run a seed with all suites stored, by default what all conditions have in common."""
    runs = []
    for seed in seeds:
        config = replace(GUIDED, guide_weight=weight, guide_masks=masks, seed=seed)
        run = put_run(workspace, f"g{weight:g}-{masks}-s{seed}", config)
        correct = (np.random.default_rng(seed).permutation(FACES) < right).astype(int)
        put(run, "classification", {}, {"correct": correct})
        put_attention(run, "gradcam-abs", around(share, seed))
        put_attention(run, "occlusion", around(other_share, seed))
        put(run, "faithfulness", {}, {"road": around(share / 2, seed)}, "gradcam-abs", "predicted")
        fills = {"mean": cause, "blur": cause if blur_cause is None else blur_cause}
        changed = around(cause if swap is None else swap, seed)
        causes_by_fill = {fill: around(part, seed) for fill, part in fills.items()}
        put_causal(run, causes_by_fill, changed, around(worth, seed), around(2 * worth, seed), whole)
        put_robustness(run, dict.fromkeys(CORRUPTIONS, error + 0.005 * (seed % 2)))
        runs.append(run)
    return runs


def gathered(workspace: Workspace) -> Guidance:
    (guidance,) = gather_guidance(workspace, workspace.runs(), "test")
    return guidance


def outcome(guidance: Guidance, name: str) -> Outcome:
    return next(one for one in guidance.outcomes if one.condition.name == name)


# --- sweeps -------------------------------------------------------------------------------------------------

POOL = [
    replace(GUIDED, guide=guide, lr=lr, guide_weight=weight, guide_masks=masks, seed=seed)
    for guide, lr in (("background", 1e-3), ("background", 1e-4), ("regions", 1e-3))
    for weight, masks in ((0.0, "own"), (0.3, "own"), (0.3, "shuffled"), (3.0, "own"))
    for seed in (0, 1)
] + [TrainConfig(lr=lr, seed=seed) for lr in (1e-3, 1e-4) for seed in (0, 1)]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Runs of three sweeps, and unguided ones."""
    workspace = Workspace(tmp_path_factory.mktemp("pool"))
    return [put_run(workspace, f"run{number:02}", config) for number, config in enumerate(POOL)]


def names(runs: Sequence[Run]) -> list[tuple]:
    return [
        (sweep.name, condition.masks, condition.weight, [run.name for run in condition.runs])
        for sweep in find_sweeps(runs)
        for condition in sweep.conditions
    ]


@given(data=st.data())
def test_the_order_of_runs_does_not_matter(pool: list[Run], data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(pool), unique=True))
    assert names(some) == names(data.draw(st.permutations(some)))


@given(data=st.data())
def test_a_run_of_another_sweep_never_mixes_in(pool: list[Run], data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(pool), unique=True))
    for sweep in find_sweeps(some):
        configs = [run.config()["config"] for condition in sweep.conditions for run in condition.runs]
        assert len({config["lr"] for config in configs}) == 1
        assert len({config["guide"] for config in configs if config["guide"]}) == 1
        assert any(condition.masks for condition in sweep.conditions) and len(sweep.conditions) > 1
        for condition in sweep.conditions:
            condition_configs = [run.config()["config"] for run in condition.runs]
            assert {config["guide_weight"] if config["guide"] else 0 for config in condition_configs} == {
                condition.weight
            }
            assert len({config["seed"] for config in condition_configs}) == len(condition.runs)
            if condition.masks:
                assert {config["guide_masks"] for config in condition_configs} == {condition.masks}


def test_a_sweep_is_ordered_and_named_by_its_settings(pool: list[Run]) -> None:
    sweeps = find_sweeps(pool)
    assert [sweep.name for sweep in sweeps] == [
        "cnn, guide background",
        "cnn, lr 0.001, guide background",
        "cnn, lr 0.001, guide regions",
    ]
    assert [condition.name for condition in sweeps[0].conditions] == ["0", "0.3 own", "0.3 shuffled", "3 own"]


def test_runs_without_guidance_stand_for_lambda_0_where_there_is_none(workspace: Workspace) -> None:
    put_run(workspace, "plain", TrainConfig())
    put_run(workspace, "plain-other", TrainConfig(lr=1e-3))
    put_run(workspace, "guided", GUIDED)
    (sweep,) = find_sweeps(workspace.runs())
    assert [run.name for run in sweep.unguided.runs] == ["plain"]
    put_run(workspace, "measured", replace(GUIDED, guide_weight=0.0))
    (sweep,) = find_sweeps(workspace.runs())
    assert [run.name for run in sweep.unguided.runs] == ["measured"]


def test_lambda_0_of_both_masks_counts_a_seed_once(workspace: Workspace) -> None:
    for masks, seeds in (("shuffled", (0, 1)), ("own", (1, 2))):
        for seed in seeds:
            config = replace(GUIDED, guide_weight=0.0, guide_masks=masks, seed=seed)
            put_run(workspace, f"{masks}-s{seed}", config)
    put_run(workspace, "guided", GUIDED)
    (sweep,) = find_sweeps(workspace.runs())
    assert [run.name for run in sweep.unguided.runs] == ["shuffled-s0", "own-s1", "own-s2"]
    assert sweep.repeated == ("shuffled-s1",)


@pytest.mark.parametrize(
    ("settings", "attention_blocks", "explainer"),
    [
        ({}, 0, "gradcam-abs"),
        ({"guide_map": "abs"}, 0, "gradcam-abs"),
        ({"guide_map": "relu"}, 0, "gradcam"),
        ({"guide_map": "signed"}, 0, "gradcam-size"),
        *(
            ({"guide_map": "signed", "guide": form}, 0, "gradcam-size")
            for form in ("background-sum", "regions", "landmarks", "action-units")
        ),
        ({}, 12, "rollout"),
        ({"guide_explainer": "all-blocks"}, 12, "all-blocks"),
        ({"guide_explainer": "attention", "guide_map": "relu"}, 12, "attention"),
        ({"guide_explainer": "gradcam", "cam_layer": "norm_pre"}, 12, "gradcam-abs"),
    ],
)
def test_the_explainer_that_guided_is_one_that_makes_its_map(
    workspace: Workspace, settings: dict, attention_blocks: int, explainer: str
) -> None:
    for weight in (0.0, 1.0):
        run = put_run(workspace, f"g{weight:g}", replace(GUIDED, guide_weight=weight, **settings))
        write_json(run.run_json, run.config() | {"attention_blocks": attention_blocks})
    (sweep,) = find_sweeps(workspace.runs())
    assert sweep.explainer == parse_request(explainer).key == explainer


@pytest.mark.parametrize("model", ["cnn", "cnn-gap"])
@pytest.mark.parametrize("kind", ["relu", "abs", "signed"])
@pytest.mark.parametrize("form", ["background", "background-sum", "regions"])
def test_the_explainer_that_guided_has_the_share_that_training_measures(
    workspace: Workspace, form: str, kind: str, model: str
) -> None:
    for weight in (0.0, 1.0):
        put_run(workspace, f"g{weight:g}", replace(GUIDED, guide=form, guide_map=kind, guide_weight=weight))
    (sweep,) = find_sweeps(workspace.runs())
    explainer = parse_request(sweep.explainer).explainer
    torch.manual_seed(0)
    network, draw = build_model(model, 7).eval(), np.random.default_rng(0)
    faces, labels = draw.integers(0, 256, (4, 48, 48), dtype=np.uint8), np.array([0, 2, 4, 6])
    regions = np.repeat(draw.integers(0, len(REGIONS), (4, 6, 48), dtype=np.uint8), 8, axis=1)
    planes, codes = GuideMasks(MappedFaces(regions), np.ones(4, bool)), torch.from_numpy(labels)
    guide = Guide(network, planes, codes, Augmentation(), form=form, kind=kind)
    _, sums = guide.measure(network, faces, labels, planes, Compute(torch.device("cpu"), "fp32"))
    raw = explainer.explain(network, torch.from_numpy(faces), lambda logits: codes[:, None]).heatmaps[:, 0]
    (shares,), _ = shares_and_ceilings([rectify(raw.numpy(), explainer.negatives)], regions)
    measured = guide_figures(sums)
    assert measured["empty_maps"] == np.isnan(shares[:, 0]).mean() < 1
    assert measured["background_share"] == pytest.approx(np.nanmean(shares[:, 0]), rel=1e-4)


def test_runs_of_one_condition_are_no_sweep(workspace: Workspace) -> None:
    runs = [put_run(workspace, f"s{seed}", replace(GUIDED, seed=seed)) for seed in (0, 1)]
    runs.append(put_run(workspace, "unguided of another", TrainConfig(epochs=3)))
    assert find_sweeps(runs) == []
    assert guidance_summary(workspace, runs, "test").data == {}


# --- figures ------------------------------------------------------------------------------------------------


def test_figures_and_changes_are_those_of_the_stored_values(workspace: Workspace) -> None:
    runs = {weight: put_condition(workspace, weight, share=0.4 - 0.1 * weight) for weight in (0, 1)}
    guided = outcome(gathered(workspace), "1 own")
    stored = {
        weight: np.array([around(0.4 - 0.1 * weight, seed) for seed in range(len(weight_runs))])
        for weight, weight_runs in runs.items()
    }
    sides = [resample_means(stored[weight][..., None], np.arange(FACES)) for weight in (1, 0)]
    (low,), (high,) = difference_interval(*sides)
    change = guided.change["background share, gradcam-abs"]
    assert change.value == pytest.approx(-0.1, abs=1e-6)
    assert (change.low, change.high) == pytest.approx((low, high), abs=1e-6)
    (low,), (high,) = sides[0].interval(PROPORTION)
    figure = guided.figures["background share, gradcam-abs"]
    assert figure.value == pytest.approx(stored[1].mean(), abs=1e-6)
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=1e-6)
    assert guided.figures["accuracy"].value == pytest.approx(70 / FACES)


def test_empty_maps_and_template_faces_do_not_count(workspace: Workspace) -> None:
    put_condition(workspace, 0.0)
    for run in put_condition(workspace, 1.0):
        empty, located = np.zeros(FACES, int), np.ones(FACES, int)
        empty[:30], located[90:] = 1, 0
        background = np.full(FACES, 0.6)
        background[30:60], background[:30], background[90:] = 0.2, np.nan, 0.99
        areas = np.linspace(0.2, 0.4, FACES)
        put_attention(run, "gradcam-abs", background, empty=empty, located=located, area_background=areas)
    figures = outcome(gathered(workspace), "1 own").figures
    assert figures["background share, gradcam-abs"].value == pytest.approx(0.4)
    assert figures["empty maps, gradcam-abs"].value == pytest.approx(1 / 3)
    lift = 0.4 / np.round(areas[30:90], 6).mean()
    assert figures["lift, gradcam-abs, background"].value == pytest.approx(lift, rel=1e-5)


def put_maps(runs: Sequence[Run], empty: int, share: float) -> None:
    """Maps of the explainer that guided: so many are empty, the others have that share nearly."""
    for seed, run in enumerate(runs):
        is_empty = (np.arange(FACES) < empty).astype(int)
        background = np.where(is_empty, np.nan, around(share, seed))
        put_attention(run, "gradcam-abs", background, empty=is_empty)


def test_the_share_of_all_maps_is_the_one_by_which_lambda_is_chosen(workspace: Workspace) -> None:
    put_condition(workspace, 0.0)
    put_maps(put_condition(workspace, 1.0), empty=80, share=0.05)
    guided = outcome(gathered(workspace), "1 own")
    names = {"val_empty_maps": "empty maps", "val_background_share": "background share"}
    history = {column: guided.figures[f"{name}, gradcam-abs"].value for column, name in names.items()}
    figure = guided.figures["background share of all maps, gradcam-abs"]
    assert figure.value == pytest.approx(background_share(history))
    assert figure.value == pytest.approx((80 + 40 * history["val_background_share"]) / 120)
    assert figure.low < figure.value < figure.high
    assert guided.change["background share, gradcam-abs"].direction == -1
    assert guided.change["background share of all maps, gradcam-abs"].direction == 1


def test_where_all_maps_are_empty_all_of_them_lie_on_the_background(workspace: Workspace) -> None:
    put_condition(workspace, 0.0)
    put_maps(put_condition(workspace, 1.0), empty=FACES, share=0.05)
    guided = outcome(gathered(workspace), "1 own")
    assert np.isnan(guided.figures["background share, gradcam-abs"].value)
    assert guided.figures["background share of all maps, gradcam-abs"].value == 1
    assert guided.change["background share of all maps, gradcam-abs"].direction == 1


def test_the_causal_part_is_the_backgrounds_of_all_regions(workspace: Workspace) -> None:
    put_condition(workspace, 0.0, cause=0.12, whole=0.6)
    put_condition(workspace, 1.0, cause=0.02, whole=0.1)
    put_condition(workspace, 3.0, cause=0.0, whole=0.0)
    for run in put_condition(workspace, 10.0):
        nothing = np.zeros(FACES)
        put_causal(run, {"mean": nothing, "blur": nothing}, nothing, nothing, nothing, whole=0)
    guidance = gathered(workspace)
    unguided, guided = (outcome(guidance, name) for name in ("0", "1 own"))
    for effect, cause, whole in ((unguided, 0.12, 0.6), (guided, 0.02, 0.1)):
        parts = [around(cause, seed).mean() / whole for seed in range(4)]
        assert effect.figures["causal part, mean"].value == pytest.approx(np.mean(parts), rel=1e-5)
    assert guided.change["causal weight, mean"].direction == -1
    assert guided.change["causal part, mean"].direction == 0
    for name in ("3 own", "10 own"):  # of nothing, and of what rounding leaves of it, there is no part
        assert np.isnan(outcome(guidance, name).figures["causal part, mean"].value)
    json.dumps(guidance_record(guidance), allow_nan=False)


def test_mean_corruption_error_is_against_lambda_0(workspace: Workspace) -> None:
    errors = {0.0: (0.2, 0.5), 1.0: (0.3, 0.4)}
    for weight, weight_errors in errors.items():
        for run in put_condition(workspace, weight):
            put_robustness(run, dict(zip(CORRUPTIONS, weight_errors, strict=True)))
    guidance = gathered(workspace)
    assert outcome(guidance, "0").figures["mCE"].value == pytest.approx(1)
    assert outcome(guidance, "1 own").figures["mCE"].value == pytest.approx((0.3 / 0.2 + 0.4 / 0.5) / 2)


def test_one_seed_has_intervals_over_images_only(workspace: Workspace) -> None:
    put_condition(workspace, 0.0, seeds=[0], share=0.4, swap=0.2)
    put_condition(workspace, 1.0, seeds=[0], share=0.3, swap=0.1)
    guidance = gathered(workspace)
    guided = outcome(guidance, "1 own")
    (low,), (high,) = resample_means(around(0.3, 0), np.arange(FACES)).interval()
    figure = guided.figures["background share, gradcam-abs"]
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=1e-6)
    assert guided.change["background share, gradcam-abs"].direction == -1
    assert guided.change["changed by swap"].value == pytest.approx(-0.1, abs=0.01)
    assert guided.change["changed by swap"].direction == -1
    notes = [note for table in guidance_tables(guidance) for note in table.notes]
    assert "One seed each: this table compares networks, not methods." in notes


@pytest.mark.parametrize(
    ("suite", "figure"),
    [
        ("classification", "accuracy"),
        ("attention/gradcam-abs", "background share, gradcam-abs"),
        ("attention/occlusion", "background share, occlusion"),
        ("faithfulness", "ROAD, gradcam-abs"),
        ("causal", "causal weight, mean"),
        ("causal", "changed by swap"),
        ("causal", "swap loss"),
        ("robustness", "mCE"),
    ],
)
def test_a_suite_that_one_seed_has_not_is_a_dash_and_no_crash(
    workspace: Workspace, suite: str, figure: str
) -> None:
    put_condition(workspace, 0.0)
    *_, last = put_condition(workspace, 1.0, share=0.3)
    for place in (last.folder / "scores" / suite).rglob("test.*"):
        place.unlink()
    guidance = gathered(workspace)
    assert np.isnan(outcome(guidance, "1 own").figures[figure].value)
    assert np.isnan(outcome(guidance, "1 own").change[figure].value)
    assert np.isfinite(outcome(guidance, "0").figures[figure].value)
    head = figure.removeprefix("background ")
    (table,) = (table for table in guidance_tables(guidance) if head in table.columns)
    column = table.columns.index(head)
    assert [row[column] == "-" for row in table.rows] == [False, True, True]
    json.dumps(guidance_record(guidance), allow_nan=False)


def test_nothing_stored_but_accuracy_is_a_table_of_accuracy(workspace: Workspace) -> None:
    for weight in (0.0, 1.0):
        run = put_run(workspace, f"g{weight:g}", replace(GUIDED, guide_weight=weight))
        put(run, "classification", {}, {"correct": np.arange(FACES) % 2})
    guidance = gathered(workspace)
    (table,) = guidance_tables(guidance)
    assert table.columns == ["lambda, masks", "seeds", "accuracy"]
    (verdict,) = verdicts_of(guidance)
    assert verdict.moved is None
    assert verdict.sentences == [
        "Whether the map moved is not known: no attention of gradcam-abs, which guided, is stored for all seeds.",
        "Accuracy: no difference shown, +0.0 [+0.0, +0.0] points.",
    ]


def test_without_lambda_0_there_are_figures_and_no_verdict(workspace: Workspace) -> None:
    put_condition(workspace, 1.0)
    put_condition(workspace, 3.0)
    guidance = gathered(workspace)
    assert verdicts_of(guidance) == []
    assert "mCE" not in [measure.name for measure in guidance.measures]
    assert [row[0] for row in guidance_tables(guidance)[0].rows] == ["1 own", "3 own"]


def test_null_maps_are_no_explainers(workspace: Workspace) -> None:
    for weight in (0.0, 1.0):
        for run in put_condition(workspace, weight):
            put_attention(run, "random@of=gradcam-abs", np.full(FACES, 0.5))
    assert not any("random" in measure.name for measure in gathered(workspace).measures)


def test_values_of_other_faces_are_one_line(workspace: Workspace) -> None:
    put_condition(workspace, 0.0)
    put_condition(workspace, 1.0)
    write_csv(workspace.faces_csv("test"), ["row", "twin_group"], ((row, "") for row in range(FACES + 1)))
    write_npy(workspace.faces("test"), np.zeros((FACES + 1, 4, 4), np.uint8))
    with pytest.raises(UserError, match=r"120 rows, but 'test' has 121 faces; run 'fertool score' again"):
        gathered(workspace)


# --- in words -----------------------------------------------------------------------------------------------

HEATMAP = "as far as is shown, guidance taught the heatmap, not the model"
MODEL = "also as a part of what all regions weigh: guidance moved the model"
ANY_MASK = "shuffled masks lower it too, no difference shown: "


def verdict_of(workspace: Workspace, guided: dict, placebo: dict | None = None, unguided: dict | None = None):
    put_condition(workspace, 0.0, **(unguided or {}))
    put_condition(workspace, 1.0, **guided)
    if placebo is not None:
        put_condition(workspace, 1.0, "shuffled", **placebo)
    (verdict,) = verdicts_of(gathered(workspace))
    return verdict.moved, " ".join(verdict.sentences)


def test_the_map_moved_and_the_cause_did_not(workspace: Workspace) -> None:
    moved, text = verdict_of(workspace, {"share": 0.2}, {"share": 0.4})
    assert moved == "heatmap" and HEATMAP in text and MODEL not in text and ANY_MASK not in text
    assert "Background share, points, fell: gradcam-abs, which guided, -20.0 [-" in text
    assert "; no change shown: occlusion +0.0 [" in text
    assert "Causal weight of the background, points, no change shown: mean" in text
    assert (
        "Own less shuffled masks, points, own masks lower it further: share by gradcam-abs -20.0 [-" in text
    )
    assert "not shown to have any causal weight" not in text


def test_there_was_no_causal_weight_to_lose(workspace: Workspace) -> None:
    _, text = verdict_of(workspace, {"share": 0.2, "cause": 0.0}, unguided={"cause": 0.0})
    assert HEATMAP in text and "not shown to have any causal weight that could fall" in text


def test_both_moved(workspace: Workspace) -> None:
    moved, text = verdict_of(workspace, {"share": 0.2, "other_share": 0.3, "cause": 0.02})
    assert moved == "model" and MODEL in text and HEATMAP not in text
    assert "fell: gradcam-abs, which guided, -20.0 [-" in text and ", occlusion -10.0 [-" in text
    assert "Causal weight of the background, points, fell: mean -8.0 [-" in text and ", swap -8.0 [-" in text
    assert "Without shuffled masks at this lambda it is open" in text


def test_a_mark_that_misleads_is_worth_less_than_nothing_to_accuracy_and_yet_weighs(
    workspace: Workspace,
) -> None:
    """It agreed with the labels of train and says nothing here: without it answers change, for the better."""
    moved, text = verdict_of(
        workspace, {"share": 0.2, "cause": 0.05, "worth": 0.0}, unguided={"cause": 0.3, "worth": -0.2}
    )
    assert moved == "model" and MODEL in text and HEATMAP not in text
    assert "Causal weight of the background, points, fell: mean -25.0 [-" in text and "rose" not in text
    guidance = gathered(workspace)
    change = outcome(guidance, "1 own").change
    assert change["background worth, mean"].direction == change["swap loss"].direction == 1
    (table,) = (
        table
        for table in guidance_tables(guidance)
        if table.title.endswith("worth of the background to accuracy")
    )
    assert table.detail and table.columns[2:] == ["mean", "blur", "swap loss"]
    assert table.rows[0][2].startswith("-20.") and table.rows[2][2].startswith("+20.")


def test_scores_that_know_nothing_of_answers_give_no_verdict_on_the_model(workspace: Workspace) -> None:
    for run in [*put_condition(workspace, 0.0), *put_condition(workspace, 1.0, share=0.2)]:
        loss = {SWAP_LOSS_COLUMN: np.zeros(FACES)}
        put(run, "causal", {"fills": {"mean": None}}, loss)
    (verdict,) = verdicts_of(gathered(workspace))
    assert verdict.moved is None


def test_the_placebo_does_the_same(workspace: Workspace) -> None:
    alike = {"share": 0.2, "cause": 0.02}
    moved, text = verdict_of(workspace, alike, alike)
    assert moved == "model" and "further" not in text
    assert f"Own less shuffled masks, points, {ANY_MASK}share by gradcam-abs" in text
    assert ", causal weight by mean" in text and ", causal weight by swap" in text


def test_the_placebo_moves_the_map_alone(workspace: Workspace) -> None:
    _, text = verdict_of(workspace, {"share": 0.2, "cause": 0.02}, {"share": 0.2})
    assert f"{ANY_MASK}share by gradcam-abs" in text
    assert "; own masks lower it further: causal weight by mean -8.0 [-" in text


def test_a_placebo_that_shows_nothing_itself_does_not_say_that_any_mask_does_it(workspace: Workspace) -> None:
    """Seeds so different that neither the placebo's fall nor its difference from own masks shows."""
    put_condition(workspace, 0.0)
    put_condition(workspace, 1.0, share=0.3)
    for run, share in zip(put_condition(workspace, 1.0, "shuffled"), (0.1, 0.3, 0.4, 0.6), strict=True):
        put_attention(run, "gradcam-abs", around(share, 0))
    (verdict,) = verdicts_of(gathered(workspace))
    text = " ".join(verdict.sentences)
    assert ANY_MASK not in text and "not told apart: share by gradcam-abs" in text


def test_the_ways_of_taking_the_background_away_disagree(workspace: Workspace) -> None:
    moved, text = verdict_of(workspace, {"share": 0.2, "cause": 0.02, "blur_cause": 0.1, "swap": 0.1})
    assert moved == "in part" and MODEL not in text and HEATMAP not in text
    assert "the causal weight fell by mean, and no fall is shown by blur and swap: whether" in text


def test_answers_that_rest_less_on_everything_are_no_turning_away(workspace: Workspace) -> None:
    """A network that gives nearly every face the same answer: all weights are a tenth of what they were."""
    moved, text = verdict_of(
        workspace, {"share": 0.2, "cause": 0.012, "whole": 0.06}, unguided={"cause": 0.12}
    )
    assert moved == "all regions" and MODEL not in text and HEATMAP not in text
    assert (
        "the causal weight fell by mean, blur and swap, but the background's part of what all regions" in text
    )
    assert "answers rest less on everything" in text
    assert "Its part of what all regions weigh, points, no change shown: mean " in text


def test_a_swap_does_not_stand_in_for_the_part(workspace: Workspace) -> None:
    """Weights fell by fewer ways of covering than there are, and not more than the others' by any."""
    alike = {"share": 0.2, "cause": 0.02, "blur_cause": 0.1, "swap": 0.01, "whole": 0.1}
    moved, text = verdict_of(workspace, alike)
    assert moved == "all regions" and "fell by mean and swap, but" in text
    assert "No fall is shown by blur." in text
    assert "Its part of what all regions weigh, points, no change shown: mean " in text
    assert "rose: blur +" in text


def test_a_swap_alone_is_part_of_the_answer(workspace: Workspace) -> None:
    moved, text = verdict_of(workspace, {"share": 0.2, "swap": 0.01})
    assert moved == "in part" and "fell by swap, and no fall is shown by mean and blur: whether" in text


def test_the_part_fell_by_one_way_of_covering_only(workspace: Workspace) -> None:
    put_condition(workspace, 0.0)
    for seed, run in enumerate(put_condition(workspace, 1.0, share=0.2)):
        weights, nothing = {"mean": around(0.02, seed), "blur": around(0.02, seed)}, np.zeros(FACES)
        put_causal(run, weights, nothing, nothing, nothing)
        place = run.scores("causal", "test").with_suffix(".csv")
        columns = read_columns(place)
        for region in REGIONS[1:]:  # by blur they weigh as much less
            columns[cause_column("answer", "blur", region)] = (0.12 - around(0.02, seed)) / 5
        write_columns(place, columns)
    (verdict,) = verdicts_of(gathered(workspace))
    text = " ".join(verdict.sentences)
    assert verdict.moved == "in part" and MODEL not in text
    assert (
        "the causal weight fell by mean, blur and swap, and no fall of its part of what all regions weigh is"
        in text
    )
    assert "is shown by blur: whether" in text


def test_weight_and_part_fell_by_different_ways_of_covering(workspace: Workspace) -> None:
    """By mean all regions weigh a tenth of what they did, by blur the others weigh more than before."""
    put_condition(workspace, 0.0)
    for seed, run in enumerate(put_condition(workspace, 1.0, share=0.2)):
        nothing = np.zeros(FACES)
        put_causal(run, {"mean": around(0.01, seed), "blur": around(0.1, seed)}, nothing, nothing, nothing)
        place = run.scores("causal", "test").with_suffix(".csv")
        columns = read_columns(place)
        for region in REGIONS[1:]:
            columns[cause_column("answer", "mean", region)] = around(0.01, seed) / 5
            columns[cause_column("answer", "blur", region)] = around(0.9, seed) / 5
        write_columns(place, columns)
    (verdict,) = verdicts_of(gathered(workspace))
    text = " ".join(verdict.sentences)
    assert verdict.moved == "in part" and "rest less on everything" not in text
    assert "its part of what all regions weigh fell by blur, and no fall is shown by blur" in text


def test_the_part_fell_and_the_weight_did_not(workspace: Workspace) -> None:
    moved, text = verdict_of(workspace, {"share": 0.2, "cause": 0.1, "whole": 0.9})
    assert moved == "in part" and HEATMAP not in text
    assert "yet the background's part of what all regions weigh fell by mean and blur." in text


def test_a_map_that_is_emptied_has_not_left_the_background(workspace: Workspace) -> None:
    put_condition(workspace, 0.0)
    put_maps(put_condition(workspace, 1.0, cause=0.02), empty=80, share=0.05)
    guidance = gathered(workspace)
    (verdict,) = verdicts_of(guidance)
    text = " ".join(verdict.sentences)
    assert "No fall of the background share that guidance asked for is shown" in verdict.sentences[0]
    assert "Background share, points, rose: gradcam-abs, which guided, +28." in text
    assert "More maps are empty, points: gradcam-abs +66.7 [" in text
    assert "counts as wholly on the background; of its other maps the share changed by -35." in text
    maps = guidance_tables(guidance)[1]
    assert (
        "share of all maps, gradcam-abs" in maps.columns
        and "Share of all maps: an empty map" in maps.notes[0]
    )


def test_where_no_map_is_empty_the_share_of_all_has_no_column(workspace: Workspace) -> None:
    put_condition(workspace, 0.0)
    put_condition(workspace, 1.0, share=0.2)
    guidance = gathered(workspace)
    maps = guidance_tables(guidance)[1]
    assert maps.columns[2:] == ["share, gradcam-abs", "share, occlusion", "empty maps, gradcam-abs",
                                "empty maps, occlusion", "ROAD, gradcam-abs"]  # fmt: skip
    assert "Share of all maps" not in maps.notes[0]
    change = guidance_record(guidance)["conditions"][1]["change"]
    assert change["background share of all maps, gradcam-abs"]["value"] == pytest.approx(-0.2)


def test_the_map_that_guided_is_the_labels(workspace: Workspace) -> None:
    """Not that of the predicted class, which is stored as well."""
    for weight in (0.0, 1.0):
        for seed, run in enumerate(put_condition(workspace, weight, share=0.4)):
            share = around(0.4 - 0.2 * weight, seed)
            columns = read_columns(
                run.scores("attention", "test", "gradcam-abs", "predicted").with_suffix(".csv")
            )
            columns["share_background"] = share
            put(run, "attention", {}, columns, "gradcam-abs", "label")
    (verdict,) = verdicts_of(gathered(workspace))
    assert verdict.moved == "heatmap"
    assert "fell: gradcam-abs of label, which guided, -20.0 [" in " ".join(verdict.sentences)


def test_nothing_moved(workspace: Workspace) -> None:
    moved, text = verdict_of(workspace, {}, {})
    assert moved == "nothing" and HEATMAP not in text and MODEL not in text and ANY_MASK not in text
    assert "No fall of the background share that guidance asked for is shown." in text
    assert "Accuracy: no difference shown" in text and "Robustness (mCE): no difference shown" in text
    assert "Own less shuffled" not in text


@pytest.mark.parametrize(
    ("guided", "accuracy", "robustness"),
    [({"right": 100, "error": 0.6}, "better", "worse"), ({"right": 40, "error": 0.4}, "worse", "better")],
)
def test_accuracy_and_robustness_are_told_with_their_intervals(
    workspace: Workspace, guided: dict, accuracy: str, robustness: str
) -> None:
    _, text = verdict_of(workspace, guided)
    change = 100 * (guided["right"] - 70) / FACES
    assert f"Accuracy: {accuracy}, {change:+.1f} [" in text
    assert f"Robustness (mCE): {robustness}, " in text


def test_what_shuffled_masks_do_as_well_is_told_of_accuracy_and_robustness(workspace: Workspace) -> None:
    _, text = verdict_of(workspace, {"right": 100, "error": 0.4}, {"right": 100, "error": 0.5})
    assert "Accuracy: better, +25.0 [" in text
    assert " points; beyond shuffled masks no difference shown, +0.0 [" in text
    assert "Robustness (mCE): better, -19." in text and " points; beyond shuffled masks better, -19." in text


def test_more_empty_maps_are_told(workspace: Workspace) -> None:
    put_condition(workspace, 0.0)
    for seed, run in enumerate(put_condition(workspace, 1.0)):
        empty = (np.arange(FACES) < 40).astype(int)
        put_attention(run, "gradcam-abs", np.where(empty, np.nan, around(0.2, seed)), empty=empty)
    (verdict,) = verdicts_of(gathered(workspace))
    assert "More maps are empty, points: gradcam-abs +33.3 [" in " ".join(verdict.sentences)


def test_without_causes_a_fall_only_where_it_was_asked_for_is_a_hint(workspace: Workspace) -> None:
    for run in [*put_condition(workspace, 0.0), *put_condition(workspace, 1.0, share=0.2)]:
        record = run.scores("causal", "test")
        record.unlink()
        record.with_suffix(".csv").unlink()
    (verdict,) = verdicts_of(gathered(workspace))
    text = " ".join(verdict.sentences)
    assert verdict.moved is None and "speaks for a taught heatmap" in text


def test_tables_have_a_row_a_condition_and_its_change(workspace: Workspace) -> None:
    put_condition(workspace, 0.0)
    put_condition(workspace, 1.0, share=0.2)
    put_condition(workspace, 1.0, "shuffled")
    tables = guidance_tables(gathered(workspace))
    for table in tables:
        assert [row[0] for row in table.rows] == [
            "0", "1 own", "  change", "  less shuffled", "1 shuffled", "  change"
        ]  # fmt: skip
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert [table.detail for table in tables] == [False, False, True, True, True, True]
    maps = tables[1]
    assert maps.rows[2][maps.columns.index("share, gradcam-abs")].startswith("-20.0 [-")
    assert maps.rows[3][maps.columns.index("share, gradcam-abs")].startswith("-20.0 [-")
    assert "Less shuffled: " in " ".join(tables[0].notes)
    lifts = next(table for table in tables if table.title.endswith("lift by gradcam-abs"))
    assert lifts.columns[2:] == list(REGIONS)
    assert tables[0].columns[2:] == [
        "accuracy", "mCE", "causal weight, mean", "causal weight, blur", "causal part, mean", "causal part, blur",
        "changed by swap"
    ]  # fmt: skip
    assert "Changed by swap: % of the faces whose answer changes before another face" in " ".join(
        tables[0].notes
    )


def test_the_record_has_what_the_tables_have(workspace: Workspace) -> None:
    put_condition(workspace, 0.0)
    put_condition(workspace, 1.0, share=0.2)
    summary = guidance_summary(workspace, workspace.runs(), "test")
    (record,) = json.loads(json.dumps(summary.data["guidance"], allow_nan=False))
    unguided, guided = record["conditions"]
    assert (unguided["lambda"], unguided["masks"], unguided["change"]) == (0, None, {})
    low, high = guided["change"]["background share, gradcam-abs"]["interval"]
    assert low < -0.2 < high < 0
    assert record["verdicts"][0]["moved"] == "heatmap"
    assert summary.notes[0].startswith("cnn, guide background, lambda 1: The map moved and no fall")
