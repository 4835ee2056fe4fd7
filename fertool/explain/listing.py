"""The explainers there are, as a table."""

from collections.abc import Mapping

from fertool.explain.explainer import Explainer, Option
from fertool.explain.methods.nulls import NULLS
from fertool.explain.registry import DEFAULT_EXPLAINER, EXPLAINERS
from fertool.summary import Summary, Table

NULLS_SOURCE = "Adebayo et al. 2018"
COLUMNS = ["explainer", "needs", "source", "negatives", "class token", "target", "options"]
NULL_OPTIONS = {"of": DEFAULT_EXPLAINER}


def list_explainers() -> Summary:
    """A row an explainer and a row a null: the property it needs, its rules, its options with their defaults."""
    return Summary(
        data={
            "explainers": [
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
            ],
            "nulls": [
                {
                    "name": null.name,
                    "what": null.what,
                    "source": NULLS_SOURCE,
                    "looks_at_target": False,
                    "options": NULL_OPTIONS,
                }
                for null in NULLS.values()
            ],
        },
        tables=[
            Table(
                "explainers",
                COLUMNS,
                [_row(explainer) for explainer in EXPLAINERS.values()],
                [
                    "negatives: treatment of negative cells when maps are scored; options are written "
                    "NAME@option=value,option=value; layer=none is the model's own CAM layer",
                    "package.module:function is a function of your own, with its rules declared; imported:NAME are "
                    "maps that 'fertool explain --import' brought here",
                ],
            ),
            Table(
                "null explanations",
                ["null", "description", "source", "target", "options"],
                [
                    [null.name, null.what, NULLS_SOURCE, "ignored", _written(NULL_OPTIONS)]
                    for null in NULLS.values()
                ],
                ["they stand beside the maps of the explainer 'of', on its grid or the faces', by its rules"],
            ),
        ],
    )


def _row(explainer: Explainer) -> list[str]:
    return [
        explainer.name,
        explainer.needs,
        explainer.source,
        explainer.negatives,
        explainer.class_token,
        "looked at" if explainer.looks_at_target else "ignored",
        _written(explainer.options),
    ]


def _written(options: Mapping[str, Option]) -> str:
    return ", ".join(f"{name}={'none' if value is None else value}" for name, value in options.items())
