"""Figures as a report's rules read them, made up: what a rule says must follow from them alone."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from string import ascii_lowercase
from types import SimpleNamespace

import numpy as np
import pytest

from fertool.masks.regions import REGIONS
from fertool.report.chance import Chance
from fertool.report.conditions import Condition
from fertool.report.views import View
from fertool.score.guidance.effects import Estimate
from fertool.score.statistics.intervals import Resampled, resample_means
from fertool.workspace import Run, Workspace

ARCHIVE = Path(__file__).parents[1] / "workspace_before.tar.xz"
IMAGES = 60
ABOVE, BELOW = Estimate(0.05, 0.03, 0.07), Estimate(-0.05, -0.07, -0.03)


def about(*figures: float, spread: float = 0.02) -> Resampled:
    """Figures whose intervals are narrow: means over images that differ by `spread`."""
    noise = np.random.default_rng(round(1000 * sum(figures))).normal(0, spread, (IMAGES, len(figures)))
    return resample_means(np.array(figures) + noise - noise.mean(axis=0), np.arange(IMAGES))


class MadeUp:
    """Stands for `Evidence` and `ChanceLevels`: conditions with the figures that a test gives them."""

    def __init__(self) -> None:
        self.conditions: list[Condition] = []
        self.faces, self.split = 200, "test"
        self.labels = np.arange(200) % 4  # guessing reaches 25%
        self.workspace = SimpleNamespace(load_region_maps=lambda split: np.zeros((4, 48, 48), np.uint8))
        self.compared = {"faces": 200, "faces that all get right": 100}
        self.known: dict[str, SimpleNamespace] = {}

    def add(
        self,
        name: str,
        *,
        accuracy: float | None = 0.6,
        lifts: dict[str, float] | None = None,
        background: float = 0.3,
        above_blob: tuple[str, ...] = REGIONS,
        grid: tuple[int, int] | None = (12, 12),
        seeds: int = 1,
        weights: str = "none",
        epochs: int = 5,
        model: str = "net",
        keep_head: bool = False,
        unfreeze: str = "all",
        **more: object,
    ) -> Condition:
        """A condition; `grid` is None where it has no maps, `more` are further figures by name."""
        config = {
            "model": model,
            "guide": None,
            "train_fraction": 1.0,
            "epochs": epochs,
            "keep_head": keep_head,
            "unfreeze": unfreeze,
        }
        record = {"model": model, "family": "cnn", "weights": weights, "config": config}
        runs = tuple(Run(Path(f"{name}-s{seed}")) for seed in range(seeds))
        condition = Condition(name, ascii_lowercase[len(self.conditions)], runs, record)
        self.conditions.append(condition)
        share = np.array([background, *5 * [(1 - background) / 5]])
        beyond = {region: ABOVE if region in above_blob else BELOW for region in REGIONS}
        self.known[name] = SimpleNamespace(
            accuracy=accuracy,
            lifts=about(*(({region: 1.0 for region in REGIONS} | (lifts or {})).values())),
            shares=about(*share, spread=0.005),
            chance=Chance(beyond, more.pop("not_faithful", None), more.pop("no_agreement", None)),
            grid=grid,
            weights=more.pop("causal", None),
            sanity=more.pop("sanity", []),
        )
        assert not more
        return condition

    # --- as Evidence has it

    def accuracy(self, condition: Condition) -> Resampled | None:
        figure = self.known[condition.name].accuracy
        return None if figure is None else about(figure, figure, spread=0.1)

    def most_accurate(self, conditions: list[Condition]) -> list[Condition]:
        return sorted(conditions, key=lambda condition: -(self.known[condition.name].accuracy or 0))

    def main_view(self, condition: Condition) -> View | None:
        shown = [other for other in self.conditions if self.known[other.name].grid is not None]
        scores = [
            {"run": run, "grid": self.known[other.name].grid} for other in shown for run in other.run_names
        ]
        gathered = SimpleNamespace(
            scores=scores,
            compared={"joint": {other.name: None for other in shown}, "comparisons": {}},
            settings=SimpleNamespace(request=SimpleNamespace(explainer=SimpleNamespace(makes_maps=True))),
        )
        return View("gradcam", "label", None, gathered) if condition in shown else None

    @property
    def views(self) -> list[View]:
        return [view for condition in self.conditions[:1] for view in self.views_with(condition)]

    def views_with(self, condition: Condition) -> list[View]:
        view = self.main_view(condition)
        return [] if view is None else [view]

    def agreement(self, view: View, condition: Condition) -> None:
        return None

    def lifts(self, view: View, conditions: list[Condition]) -> list[Resampled]:
        return [self.known[condition.name].lifts for condition in conditions]

    def shares(self, view: View, conditions: list[Condition]) -> list[Resampled]:
        return [self.known[condition.name].shares for condition in conditions]

    def compared_faces(self, view: View) -> dict[str, int]:
        return self.compared

    def causal_weights(self, condition: Condition) -> Resampled | None:
        weights = self.known[condition.name].weights
        return None if weights is None else about(*weights)

    def suite(self, name: str, view: View | None = None) -> str:
        return name

    def stored(self, suite: str, condition: Condition) -> list[dict]:
        return self.known[condition.name].sanity if suite == "sanity" else []

    # --- as ChanceLevels has it

    def is_trusted(self, condition: Condition) -> bool:
        return (self.known[condition.name].accuracy or 1) > 0.4

    def compare(self, condition: Condition, view: View) -> Chance:
        return self.known[condition.name].chance


@pytest.fixture
def made_up() -> Callable[[], MadeUp]:
    """`made_up()` has no conditions yet; `add` gives it some."""
    return MadeUp


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace of an earlier version: seven test faces, two seeds of a network, all suites."""
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return Workspace(folder / "data")
