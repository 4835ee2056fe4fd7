from fertool.explain.methods.nulls import NULLS
from fertool.masks.regions import REGIONS
from fertool.report.chance import ChanceLevels
from fertool.report.evidence import Evidence
from fertool.workspace import Workspace


def test_a_map_is_above_the_nulls_only_where_nulls_were_scored(before: Workspace) -> None:
    evidence = Evidence(before, "test", before.runs())
    (condition,) = evidence.conditions
    view = next(view for view in evidence.views if view.target == "label" and view.grid is None)
    found = ChanceLevels(evidence).compare(condition, view)
    assert found is not None
    assert set(found.not_faithful_beyond or ()) | set(found.no_agreement_beyond or ()) <= set(NULLS)
    assert found.not_faithful_beyond is not None and found.no_agreement_beyond is not None

    faithfulness, agreement = (evidence.suite(name, view) for name in ("faithfulness", "causal-agreement"))
    assert faithfulness is not None and agreement is not None
    for columns in faithfulness.columns.values():
        for name in [name for name in columns if name.rpartition("_")[2] in NULLS]:
            del columns[name]
    for run in agreement.scores:
        for by_null in run["fills"].values():
            for null in NULLS:
                by_null.pop(null, None)
    without = ChanceLevels(evidence).compare(condition, view)
    assert without is not None
    assert without.not_faithful_beyond is None and without.no_agreement_beyond is None


def test_differences_to_the_blob_by_emotion_are_those_of_its_faces(before: Workspace) -> None:
    evidence = Evidence(before, "test", before.runs())
    (condition,) = evidence.conditions
    view = next(view for view in evidence.views if view.target == "label" and view.grid is None)
    chance = ChanceLevels(evidence)
    found = chance.compare(condition, view)
    by_emotion = chance.beyond_blob_by_class(condition, view)
    assert list(by_emotion) == evidence.classes and found is not None
    for region in REGIONS:  # one face an emotion: the mean over those with a map is the mean over emotions
        known = [
            beyond[region].value
            for beyond in by_emotion.values()
            if beyond[region].value == beyond[region].value
        ]
        assert abs(sum(known) / len(known) - found.beyond_blob[region].value) < 1e-9


def test_runs_of_a_condition_that_were_scored_with_unlike_fills_share_those_that_both_have(
    before: Workspace,
) -> None:
    evidence = Evidence(before, "test", before.runs())
    (condition,) = evidence.conditions
    view = next(view for view in evidence.views if view.target == "label" and view.grid is None)
    agreement = evidence.suite("causal-agreement", view)
    assert agreement is not None and "blur" in evidence.agreement_fills(view, condition)
    del agreement.scores[1]["fills"]["blur"]
    del agreement.columns[agreement.scores[1]["run"]]["told_blur"]
    assert "blur" not in evidence.agreement_fills(view, condition)
    assert evidence.agreement(view, condition) is not None
    found = ChanceLevels(evidence).compare(condition, view)
    assert found is not None and found.no_agreement_beyond is not None
