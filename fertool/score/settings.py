"""The settings of `score`, checked when they are made."""

from collections.abc import Sequence
from dataclasses import dataclass

from fertool.errors import UserError
from fertool.explain.registry import DEFAULT_EXPLAINER, Request, Wanted, as_request
from fertool.explain.targets import EVERY_CLASS
from fertool.masks.regions import REGIONS
from fertool.score.column_request import parse_column
from fertool.score.perturbations.fills import FILLS, check_fills
from fertool.score.perturbations.views import check_tta

DEFAULT_SUITES = ("classification", "attention")
MOST_CELLS = 256  # a side of a common grid: finer ones than any face would only fill the memory
CONTRASTS = ("mouth", "eyes", "background")


@dataclass(frozen=True)
class ScoreSettings:
    """The settings of `score`. Raises UserError, which names the option, for a value that cannot be.

    Args:
        explainer: whose heatmaps to score, `name` or `name@option=value,...`, or a function of your own with its
            `rules`, one a call.
        suites: names of suites, or `all`; a comma may stand between names.
        split: the split to score.
        target: the class that is explained: `predicted`, `label`, or a class by name.
        by: fields of run.json; runs that agree in all of them share a row of the tables.
        grid: cells a side of a common grid to which the heatmaps of all models are pooled; None for their own grids.
        jitter: how far landmarks are moved, in inter-ocular distances; 0 for not at all.
        contrasts: regions whose differences between models are tested.
        fills: the ways in which the suite `causal` covers a region.
        reference: the run whose corruption error is 100%; None for the first.
        seed: seed of all samples of faces and of everything drawn for a face.
        tta: test-time augmentation, `flip` or `tencrop`, whose accuracy the suite `classification` adds.
        by_column: a column of faces/<split>.csv, head-pose or brightness, by whose groups the figures are shown too, as
            `COLUMN` or `COLUMN=EDGE,...`. Default: none.
        faces: size of the sample of faces that is scored, in which every class has its part, alike for all runs; None
            for all faces. The suite `representation` always takes all.
        nulls: whether `faithfulness` and `causal-agreement` score the null maps as well.
    """

    explainer: Wanted = DEFAULT_EXPLAINER
    suites: Sequence[str] = DEFAULT_SUITES
    split: str = "test"
    target: str = "predicted"
    by: Sequence[str] = ("condition",)
    grid: int | None = None
    jitter: float = 0.0
    contrasts: Sequence[str] = CONTRASTS
    fills: Sequence[str] = FILLS
    reference: str | None = None
    seed: int = 0
    tta: str | None = None
    nulls: bool = True
    by_column: str | None = None
    faces: int | None = None

    @property
    def request(self) -> Request:
        """The explainer with its options."""
        return as_request(self.explainer)

    def __post_init__(self) -> None:
        self.request  # noqa: B018 (raises UserError for an explainer that there is not)
        check_fills(self.fills)
        check_tta(self.tta)
        if self.target == EVERY_CLASS:
            raise UserError("--target all: scores are of one target; name a class, or predicted or label")
        if self.by_column is not None:
            parse_column(self.by_column)
        for region in self.contrasts:
            if region not in REGIONS:
                raise UserError(f"--contrasts {region}: no such region; there are {', '.join(REGIONS)}")
        if self.grid is not None and not 1 <= self.grid <= MOST_CELLS:
            raise UserError(f"--grid {self.grid}: must be from 1 to {MOST_CELLS} cells a side")
        if self.faces is not None and self.faces < 1:
            raise UserError(f"--faces {self.faces}: must be 1 or more faces to sample")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: must be 0 or more")
        if not 0 <= self.jitter <= 1:
            raise UserError(f"--landmark-jitter {self.jitter:g}: must be from 0 to 1 inter-ocular distances")
