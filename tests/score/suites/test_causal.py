import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.masks.regions import REGIONS
from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.runtime.hardware import choose_compute
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.perturbations.fills import FILLS
from fertool.score.statistics.shapley import ALL_SEEN, NOTHING_SEEN, SEEN, shapley_matrix
from fertool.score.suites import causal
from fertool.score.suites.causal import (
    SWAP_CHANGED_COLUMN,
    SWAP_LOSS_COLUMN,
    causal_tables,
    cause_column,
    causes_of,
    coalition_logits,
    score_causal,
)
from fertool.workspace import Workspace

BACKGROUND, MOUTH = REGIONS.index("background"), REGIONS.index("mouth")
FEW = 9


@pytest.fixture
def evaluated(trained: Workspace) -> EvaluatedRun:
    evaluated = EvaluatedRun(trained, trained.run("cnn"), "test", choose_compute("cpu", "fp32"))
    evaluated.__dict__["located"] = np.arange(len(evaluated.faces)) < FEW  # the rest as if without landmarks
    return evaluated


def striped(count: int) -> np.ndarray:
    """Region maps (N, 48, 48): six stripes of eight rows, the same in every face."""
    return np.broadcast_to(np.repeat(np.arange(6, dtype=np.uint8), 8)[None, :, None], (count, 48, 48))


class OnlyTheMouth(FaceClassifier):
    """Logits that hang on the mouth's stripe alone; its rows 40 to 47."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), "cnn", InputSpec(48, 1, (0.0,), (1.0,)), "")

    def forward(self, pixels: Tensor) -> Tensor:
        brightness = pixels[:, 40:].float().mean(dim=(1, 2)) / 255
        return torch.stack([brightness * (code - 3) for code in range(7)], dim=1)


class TwoAnswers(FaceClassifier):
    """Answers 0 or 1, by whether the background's stripe, rows 0 to 7, is brighter than this."""

    def __init__(self, threshold: float) -> None:
        super().__init__(nn.Identity(), "cnn", InputSpec(48, 1, (0.0,), (1.0,)), "")
        self.threshold = threshold

    def forward(self, pixels: Tensor) -> Tensor:
        above = pixels[:, :8].float().mean(dim=(1, 2)) - self.threshold
        return torch.stack([-above, above, *5 * [torch.full_like(above, -1e3)]], dim=1)


def test_coalitions_show_the_face_where_it_is_seen_and_the_cover_elsewhere() -> None:
    regions = torch.from_numpy(striped(2).copy())
    faces, covers = torch.full((2, 48, 48), 7.0), torch.full((2, 48, 48), -1.0)

    def brightness_of_regions(pictures: Tensor) -> Tensor:
        return torch.stack(
            [pictures[:, 8 * code : 8 * code + 8].mean(dim=(1, 2)) for code in range(6)], dim=1
        )

    shown = coalition_logits(brightness_of_regions, faces, covers, regions)
    assert np.array_equal(shown[:, 0].numpy(), np.where(SEEN, 7, -1))
    in_colour = coalition_logits(
        lambda pictures: brightness_of_regions(pictures[..., 2]),
        *(picture[..., None].expand(-1, -1, -1, 3) for picture in (faces, covers)),
        regions,
    )
    assert torch.equal(in_colour, shown)


def test_an_additive_network_has_its_own_weights() -> None:
    regions = torch.from_numpy(striped(3).copy())
    weights = torch.tensor([1.0, -2, 0, 3, 0.5, 4])
    faces = torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(0))

    def network(pictures: Tensor) -> Tensor:
        return (pictures * weights[regions[0].long()]).sum(dim=(1, 2))[:, None]

    game = coalition_logits(network, faces, torch.zeros_like(faces), regions)[..., 0].numpy()
    by_region = torch.stack([(faces * (regions == code)).sum(dim=(1, 2)) for code in range(6)])
    assert np.allclose(shapley_matrix() @ game, weights[:, None] * by_region, rtol=1e-3, atol=1e-2)


def test_a_network_that_only_looks_at_the_mouth(evaluated: EvaluatedRun) -> None:
    evaluated.__dict__["model"] = OnlyTheMouth()
    evaluated.__dict__["logits"] = OnlyTheMouth()(torch.from_numpy(np.array(evaluated.faces))).numpy()
    evaluated.__dict__["region_maps"] = striped(len(evaluated.faces))
    figures, columns = score_causal(evaluated)
    for fill in FILLS:
        game_figures = figures["fills"][fill]["logit"]
        worth = game_figures["shapley"]
        assert worth["mouth"] == pytest.approx(
            game_figures["all_seen"] - game_figures["nothing_seen"], abs=1e-5
        )
        assert max(abs(worth[region]) for region in REGIONS if region != "mouth") < 1e-6
        assert game_figures["holism"] == pytest.approx(0, abs=1e-6)
        values = causes_of(columns, "label", fill)
        assert np.nanmax(np.abs(values[:, MOUTH])) > 0.01
    assert figures["background"]["logit"]["loss"] == 0
    assert figures["background"]["accuracy"]["loss"] == 0


def test_shapley_values_add_up_and_do_not_hang_on_batches(
    evaluated: EvaluatedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, columns = score_causal(evaluated, fills=["noise", "paste"])
    json.dumps(figures)
    for fill in ("noise", "paste"):
        for target, game in (("label", "logit"), ("correct", "accuracy"), ("answer", "answer")):
            game_figures = figures["fills"][fill][game]
            gained = game_figures["all_seen"] - game_figures["nothing_seen"]
            assert np.nansum(causes_of(columns, target, fill)) / FEW == pytest.approx(gained, abs=1e-4)
            assert sum(game_figures["shapley"].values()) == pytest.approx(gained, abs=1e-4)
    right = evaluated.predicted[:FEW] == evaluated.labels[:FEW]
    assert figures["fills"]["paste"]["accuracy"]["all_seen"] == pytest.approx(right.mean())
    assert figures["fills"]["paste"]["answer"]["all_seen"] == 1
    label_causes, predicted_causes = (
        causes_of(columns, target, "paste")[:FEW] for target in ("label", "predicted")
    )
    assert np.array_equal((label_causes == predicted_causes).all(axis=1), right)

    monkeypatch.setattr(causal, "BLOCK_FACES", 5)
    monkeypatch.setattr(causal, "FACES_AT_ONCE", 2)
    _, again = score_causal(evaluated, fills=["noise", "paste"])
    for name, values in columns.items():
        if not name.startswith(("shapley_correct", "shapley_answer")):
            assert np.allclose(values, again[name], atol=2e-3, equal_nan=True), name


def test_what_faces_lose_before_another_background_is_what_the_figure_says(evaluated: EvaluatedRun) -> None:
    figures, columns = score_causal(evaluated, fills=["paste"])
    lost, swap = columns[SWAP_LOSS_COLUMN], figures["background"]["accuracy"]
    assert np.array_equal(np.isfinite(lost), evaluated.located)
    assert np.nanmean(lost) == pytest.approx(swap["loss"]) == pytest.approx(swap["own"] - swap["swapped"])
    assert set(lost[evaluated.located]) <= {-1, 0, 1}
    changed = columns[SWAP_CHANGED_COLUMN]
    assert np.array_equal(np.isfinite(changed), evaluated.located)
    assert np.nanmean(changed) == pytest.approx(figures["background"]["answer"]["changed"])
    assert (changed >= np.abs(lost))[evaluated.located].all() and set(changed[evaluated.located]) <= {0, 1}


def test_answers_rest_on_a_background_that_misleads_although_accuracy_gains_without_it(
    evaluated: EvaluatedRun,
) -> None:
    brightness = np.array(evaluated.faces[:FEW, :8], dtype=np.float32).mean(axis=(1, 2))
    model = TwoAnswers(float(np.median(brightness)) + 1e-3)
    evaluated.__dict__["model"] = model
    evaluated.__dict__["logits"] = model(torch.from_numpy(np.array(evaluated.faces))).numpy()
    evaluated.__dict__["region_maps"] = striped(len(evaluated.faces))
    evaluated.__dict__["labels"] = 1 - evaluated.predicted  # it answers, and always wrongly
    figures, columns = score_causal(evaluated)
    for fill in FILLS:
        answer, correct = (causes_of(columns, target, fill)[:FEW] for target in ("answer", "correct"))
        assert np.allclose(answer, -correct) and np.allclose(answer, answer.round())
        assert np.allclose(np.delete(answer, BACKGROUND, axis=1), 0)
        fill_figures = figures["fills"][fill]
        rests, worth = (fill_figures[game]["shapley"]["background"] for game in ("answer", "accuracy"))
        assert rests == pytest.approx(-worth) == pytest.approx(answer[:, BACKGROUND].mean())
    assert (
        max(fill_figures["answer"]["shapley"]["background"] for fill_figures in figures["fills"].values())
        > 0.1
    )
    swapped = figures["background"]
    assert swapped["answer"]["changed"] == pytest.approx(-swapped["accuracy"]["loss"])
    assert swapped["answer"]["changed"] > 0


def test_faces_with_the_templates_landmarks_are_left_out(evaluated: EvaluatedRun) -> None:
    located = evaluated.located
    figures, columns = score_causal(evaluated, fills=["paste"])
    assert figures["counted"] == FEW and list(figures["left_out"].values()) == [len(located) - FEW]
    assert np.array_equal(np.isfinite(columns[cause_column("label", "paste", "mouth")]), located)
    evaluated.__dict__["located"] = np.zeros(len(located), dtype=bool)
    with pytest.raises(UserError, match="no face"):
        score_causal(evaluated)


@pytest.mark.parametrize("alone", ["one face", "identical faces"])
def test_without_another_face_nothing_is_pasted(evaluated: EvaluatedRun, alone: str) -> None:
    everyone = len(evaluated.faces)
    if alone == "one face":
        evaluated.__dict__["located"] = np.arange(everyone) < 1
    else:
        evaluated.__dict__["clusters"] = np.zeros(everyone, dtype=int)
    figures, columns = score_causal(evaluated, fills=["mean", "noise"])
    json.dumps(figures, allow_nan=False)
    assert figures["background"] is None
    assert SWAP_LOSS_COLUMN not in columns and SWAP_CHANGED_COLUMN not in columns
    assert np.array_equal(np.isfinite(columns[cause_column("label", "mean", "mouth")]), evaluated.located)
    tables = causal_tables([figures | {"run": "cnn", "group": "cnn", "split": "test"}])
    assert tables[-1].rows == [["cnn", *5 * ["-"]]]
    worth = figures["fills"]["mean"]["logit"]["shapley"]["mouth"]
    assert tables[0].rows[0][7] == f"{worth:.2f}"  # there is no interval
    with pytest.raises(UserError, match="two different faces with landmarks; use other fills"):
        score_causal(evaluated)


def test_an_unknown_fill_is_named(evaluated: EvaluatedRun) -> None:
    with pytest.raises(UserError, match="no fill 'grey'"):
        score_causal(evaluated, fills=["mean", "grey"])


def test_tables_show_runs_and_fills(evaluated: EvaluatedRun) -> None:
    figures, _ = score_causal(evaluated, fills=["mean", "blur"])
    scores = [figures | {"run": run, "group": "cnn", "split": "test"} for run in ("cnn-s0", "cnn-s1")]
    tables = causal_tables(scores)
    assert [row[:2] for row in tables[0].rows] == [
        ["cnn-s0", "mean"], ["cnn-s0", "blur"], ["cnn-s1", "mean"], ["cnn-s1", "blur"]
    ]  # fmt: skip
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    assert f"{figures['fills']['mean']['logit']['shapley']['mouth']:.2f} [" in tables[0].rows[0][7]
    assert "how far the answers rest on each region" in tables[2].title
    background = figures["fills"]["mean"]["answer"]["shapley"]["background"]
    assert tables[2].rows[0][2].startswith(f"{100 * background:.1f} [")
    assert tables[-1].rows[0][-1].startswith(f"{100 * figures['background']['answer']['changed']:.1f} [")


def test_everything_covered_is_the_fill_and_everything_seen_the_face(evaluated: EvaluatedRun) -> None:
    faces = torch.from_numpy(np.array(evaluated.faces[:2])).float()
    regions = torch.from_numpy(np.array(evaluated.region_maps[:2]))
    covers = torch.full_like(faces, 12.0)
    network = evaluated.model.eval()
    with torch.inference_mode():
        logits = coalition_logits(network, faces, covers, regions)
        assert torch.allclose(logits[ALL_SEEN], network(faces), atol=1e-4)
        assert torch.allclose(logits[NOTHING_SEEN], network(covers), atol=1e-4)
