"""The explainers there are, as a table."""

from collections.abc import Mapping
from typing import Any

from fertool.explain.registry import DEFAULT_EXPLAINER, EXPLAINERS, NULLS
from fertool.summary import Summary, Table

NULLS_SOURCE = "Adebayo et al. 2018"
COLUMNS = ["explainer", "needs", "source", "negatives", "class token", "target", "options"]


def list_explainers() -> Summary:
    """A row an explainer and a row a null: what it needs, its rules and its options with their defaults."""
    explainers = [
        {
            "name": explainer.name,
            "needs": explainer.needs,
            "source": explainer.source,
            "negatives": explainer.negatives,
            "class_token": explainer.class_token,
            "looks_at_target": explainer.looks_at_target,
            "options": dict(explainer.options),
        }
        for explainer in EXPLAINERS.values()
    ]
    nulls = [
        {
            "name": null.name,
            "what": null.what,
            "source": NULLS_SOURCE,
            "looks_at_target": False,
            "options": {"of": DEFAULT_EXPLAINER},
        }
        for null in NULLS.values()
    ]
    return Summary(
        data={"explainers": explainers, "nulls": nulls},
        tables=[
            Table(
                "explainers",
                COLUMNS,
                [
                    [
                        of["name"],
                        of["needs"],
                        of["source"],
                        of["negatives"],
                        of["class_token"],
                        "looked at" if of["looks_at_target"] else "ignored",
                        _written(of["options"]),
                    ]
                    for of in explainers
                ],
                [
                    "negatives: what scoring makes of negative cells; options are written "
                    "NAME@option=value,option=value"
                ],
            ),
            Table(
                "null explanations",
                ["null", "what it is", "source", "target", "options"],
                [[of["name"], of["what"], of["source"], "ignored", _written(of["options"])] for of in nulls],
                ["they stand beside the maps of the explainer 'of', on its grid or the faces', by its rules"],
            ),
        ],
    )


def _written(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={'none' if value is None else value}" for name, value in options.items())
