"""The suite `attention`: `region_shares` scores a run, `region_share_tables` compares several."""

from fertool.score.suites.input_files import explainer_and_target, heatmap_files
from fertool.score.suites.region_share_tables import attention_tables
from fertool.score.suites.region_shares import score_attention
from fertool.score.suites.suite import Suite

ATTENTION = Suite(
    name="attention",
    explains=True,
    score=lambda evaluated, settings: score_attention(
        evaluated, settings.request, settings.target, grid=settings.grid, jitter=settings.jitter
    ),
    show=lambda results: attention_tables(
        results.scores, results.columns, results.clusters, results.settings.contrasts
    ),
    inputs=heatmap_files,
    recorded=lambda settings: (
        explainer_and_target(settings) | {"grid": settings.grid, "jitter": settings.jitter}
    ),
    revision=3,
)
