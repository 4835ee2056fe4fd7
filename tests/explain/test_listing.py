from fertool.explain import list_explainers
from fertool.explain.methods.nulls import NULLS
from fertool.explain.registry import EXPLAINERS, parse_request


def test_every_explainer_and_null_is_listed_with_its_rules() -> None:
    summary = list_explainers()
    explainers, nulls = summary.tables
    assert [row[0] for row in explainers.rows] == list(EXPLAINERS)
    assert [row[0] for row in nulls.rows] == list(NULLS)
    assert all(len(row) == len(table.columns) for table in summary.tables for row in table.rows)
    of = {row[0]: dict(zip(explainers.columns, row, strict=True)) for row in explainers.rows}
    assert of["rollout"]["target"] == "ignored" and of["gradcam"]["target"] == "looked at"
    assert "residual=0.5" in of["rollout"]["options"]
    assert of["integrated-gradients"]["negatives"] == of["gradcam-size"]["negatives"] == "absolute"
    assert of["gradcam"]["negatives"] == "drop"


def test_the_options_listed_are_taken_as_they_are_listed() -> None:
    (table, _) = list_explainers().tables
    for row in table.rows:
        assert parse_request(f"{row[0]}@{row[-1].replace(', ', ',')}").options == {}
