import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fertool.errors import UserError
from fertool.explain.explainer import Explanation
from fertool.explain.registry import Request, parse_request
from fertool.masks.regions import REGIONS
from fertool.runtime.hardware import Compute
from fertool.score.evaluated_run import Columns, EvaluatedRun, Figures
from fertool.score.perturbations.corruptions import CORRUPTIONS, SEVERITIES
from fertool.score.suites.robustness_attention import robustness_attention_tables, score_robustness_attention
from fertool.workspace import Workspace

FEW = 12


def evaluated_run(workspace: Workspace) -> EvaluatedRun:
    return EvaluatedRun(workspace, workspace.run("cnn"), "test", Compute(torch.device("cpu"), "fp32"))


@pytest.fixture
def evaluated(trained: Workspace) -> EvaluatedRun:
    return evaluated_run(trained)


@pytest.fixture(scope="module")
def scored(trained: Workspace) -> tuple[Figures, Columns]:
    return score_robustness_attention(
        evaluated_run(trained), parse_request("gradcam"), "predicted", faces=FEW
    )


@pytest.fixture
def one_corruption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "fertool.score.suites.robustness_attention.CORRUPTIONS", {"contrast": CORRUPTIONS["contrast"]}
    )


def test_shares_add_up_and_what_moved_is_the_faces_mean(
    evaluated: EvaluatedRun, scored: tuple[Figures, Columns]
) -> None:
    figures, columns = scored
    json.dumps(figures, allow_nan=False)
    assert figures["faces"] == FEW
    for shares in [figures["clean"], *figures["corruptions"].values()]:
        total = np.sum([shares["share"][region] for region in REGIONS], axis=0)
        assert total == pytest.approx(np.ones(len(total)))
    for name, corruption_figures in figures["corruptions"].items():
        moved = columns[f"moved_{name}"]
        assert moved.shape == (len(evaluated.labels),)
        if not sum(corruption_figures["empty"]):
            assert np.isfinite(moved).sum() == FEW
            assert np.nanmean(moved) == pytest.approx(np.mean(corruption_figures["moved"]))
    assert any(not sum(corruption_figures["empty"]) for corruption_figures in figures["corruptions"].values())


def test_a_uniform_map_stays_on_the_areas_unless_the_face_moves(evaluated: EvaluatedRun) -> None:
    figures, _ = score_robustness_attention(evaluated, parse_request("uniform"), "predicted", faces=15)
    for name, corruption in CORRUPTIONS.items():
        moved = figures["corruptions"][name]["moved"]
        if corruption.origin is None:
            assert moved == pytest.approx([0] * SEVERITIES, abs=1e-12)
        else:
            assert moved[-1] > 1e-3


@pytest.mark.parametrize("target", ["predicted", "label", "sad"])
def test_the_class_explained_is_the_one_asked_for(
    evaluated: EvaluatedRun, one_corruption: None, target: str
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    gradcam = parse_request("gradcam").explainer

    def explain(model, pixels, choose, **options) -> Explanation:
        explanation = gradcam.explain(model, pixels, choose)
        seen.append((choose(explanation.logits)[:, 0], explanation.logits.argmax(dim=1)))
        return explanation

    everyone = len(evaluated.labels)
    score_robustness_attention(evaluated, Request(replace(gradcam, explain=explain)), target, faces=everyone)
    explained, predicted = (
        torch.cat(parts).reshape(1 + SEVERITIES, -1).numpy() for parts in zip(*seen, strict=True)
    )
    expected = {
        "predicted": predicted,  # for each spoilt face anew
        "label": np.tile(evaluated.labels[evaluated.located], (1 + SEVERITIES, 1)),
        "sad": np.full_like(explained, evaluated.classes.index("sad")),
    }
    assert np.array_equal(explained, expected[target])


def test_only_faces_with_landmarks_count(evaluated: EvaluatedRun, one_corruption: None) -> None:
    located = np.arange(len(evaluated.labels)) % 2 == 0
    evaluated.__dict__["located"] = located
    figures, columns = score_robustness_attention(evaluated, parse_request("uniform"), "predicted")
    assert figures["faces"] == located.sum()
    assert np.array_equal(np.isfinite(columns["moved_contrast"]), located)
    evaluated.__dict__["located"] = np.zeros_like(located)
    with pytest.raises(UserError, match="no face of 'test' that is scored has landmarks"):
        score_robustness_attention(evaluated, parse_request("uniform"), "predicted")


def test_a_table_has_a_row_a_corruption_below_the_clean_faces(scored: tuple[Figures, Columns]) -> None:
    figures, _ = scored
    (table,) = robustness_attention_tables(
        [figures | {"run": "cnn", "split": "test", "explainer": "gradcam", "target": "predicted"}]
    )
    assert [row[0] for row in table.rows] == ["clean", *CORRUPTIONS]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert table.rows[0][1] == f"{figures['clean']['share'][REGIONS[0]][0]:.1%}"


def test_target_all_is_no_one_class(evaluated: EvaluatedRun) -> None:
    with pytest.raises(UserError, match="one class"):
        score_robustness_attention(evaluated, parse_request("gradcam"), "all", faces=5)
