"""The shares of maps beside those of a blob in the middle, as a table."""

from collections.abc import Sequence

from fertool.masks.regions import REGIONS
from fertool.report.chance import ChanceLevels
from fertool.report.first_screen import Row
from fertool.report.words import is_known
from fertool.summary import Table


def blob_table(chance: ChanceLevels, rows: Sequence[Row], split: str) -> Table | None:
    """The difference in points of each row's shares to the blob's, with its interval; None without maps."""
    cells = []
    for row in rows:
        found = chance.compare(row.condition, row.view) if row.view is not None else None
        if found is not None and row.view is not None:
            beyond = [found.beyond_blob[region] for region in REGIONS]
            texts = [
                f"{100 * each.value:+.1f} [{100 * each.low:+.1f}, {100 * each.high:+.1f}]"
                if is_known(each)
                else "-"
                for each in beyond
            ]
            cells.append([row.condition.name, row.view.name, *texts])
    if not cells:
        return None
    return Table(
        f"share less that of a blob in the middle on {split}, points",
        ["condition", "maps", *REGIONS],
        cells,
        [
            "Paired by face, with 95% intervals over images and seeds. A share counts as above the blob's where the "
            "whole interval lies above 0; where it does not, the table of conditions marks it."
        ],
    )
