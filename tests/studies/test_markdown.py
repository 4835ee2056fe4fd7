"""Tables of a report as they stand in the studies' pages."""

from fertool.report.export.tables import as_csv
from fertool.summary import Table
from tests.studies.markdown import markdown


def test_intervals_stand_behind_their_figures_and_a_column_may_be_called_low() -> None:
    rows = [["cnn", "1.04 [0.98, 1.10]", "3"], ["vit, small", "-", "2"]]
    table = Table("lifts", ["condition", "mouth", "low"], rows)
    assert markdown(as_csv(table)).splitlines() == [
        "| condition | mouth | low |",
        "| --- | --- | --- |",
        "| cnn | 1.04 [0.98, 1.10] | 3 |",
        "| vit, small | - | 2 |",
    ]
