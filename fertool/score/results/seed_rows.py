"""Rows that several seeds share: means of their values a face, with 95% intervals over images and seeds."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fertool.score.evaluated_run import Columns
from fertool.score.results.tables import Group, Scores, groups, with_interval
from fertool.score.statistics.intervals import resample_means
from fertool.score.statistics.json_numbers import number_or_none, numbers_or_none
from fertool.score.statistics.scales import CORRELATION, Scales

Values = Callable[[Columns], np.ndarray]
"""From a run's columns its values a face, (N,); nan where a face does not count."""

NOTE = "Means over faces and seeds [95% interval over both]; the seeds by themselves follow."


def rows_of_seeds(scores: Scores) -> list[Group]:
    """The rows of a table over seeds; none where each has one run, whose own figures say the same."""
    rows = groups(scores)
    return rows if any(len(row.runs) > 1 for row in rows) else []


def seed_cells(
    group: Group,
    columns: Mapping[str, Columns],
    measures: Sequence[Values],
    clusters: np.ndarray,
    scales: Scales,
) -> list[str]:
    """The cells of a row, one a measure.

    Args:
        group: the row.
        columns: values a face, by the run's name.
        measures: what is averaged.
        clusters: the faces' clusters, (N,), as for `resample_means`.
        scales: where the figures can lie: correlations have two digits, all else is in percent.
    """
    means = resample_means(
        np.stack(
            [
                np.column_stack([values(columns[run["run"]]) for values in measures]).astype(float)
                for run in group.runs
            ]
        ),
        clusters,
    )
    form = {"scale": 1, "digits": 2} if scales is CORRELATION else {}
    return [
        with_interval(number_or_none(figure), numbers_or_none(limits), **form)
        for figure, *limits in zip(means.figures, *means.interval(scales), strict=True)
    ]
