"""The data sets that `prepare` knows by their form, as a table."""

from fertool.prepare.sets.registry import SETS
from fertool.summary import Summary, Table

_COLUMNS = ("name", "form", "codes", "splits", "licence", "citation")


def list_formats() -> Summary:
    """A row a set: its form, its codes and splits, what its licence asks, the paper to cite."""
    rows = [[getattr(each, column) for column in _COLUMNS] for each in SETS]
    return Summary(
        data={"formats": [dict(zip(_COLUMNS, row, strict=True)) for row in rows]},
        tables=[
            Table(
                "data sets and their splits",
                ["set", "recognised by", "splits"],
                [[each.name, each.form, each.splits] for each in SETS],
                [
                    "any other set: folders [<split>/]<emotion>/<picture>, a table with --list, labels in paths with "
                    "--label-from; codes with --label-map"
                ],
            ),
            Table(
                "codes, and what licences ask",
                ["set", "codes", "licence", "citation"],
                [[each.name, each.codes, each.licence, each.citation] for each in SETS],
            ),
        ],
    )
