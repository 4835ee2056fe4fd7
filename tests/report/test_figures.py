import numpy as np
import pytest

from fertool.masks.regions import REGIONS
from fertool.report.figures import guidance_figure, lifts_figure
from fertool.score.guidance import (
    ACCURACY,
    ACCURACY_WORTH,
    CAUSAL_PART,
    CAUSAL_WEIGHT,
    CORRUPTION_ERROR,
    EMPTY,
    LIFT,
    LOGIT_WORTH,
    ROAD,
    SHARE,
    SHARE_OF_ALL,
    SWAP_CHANGED,
    SWAP_LOSS,
    Estimate,
    Guidance,
    Measure,
    Outcome,
)
from fertool.score.sweeps import Condition, Sweep

EXPLAINERS = ("gradcam-abs", "occlusion")
ASKED_FOR = [
    Measure(ACCURACY, "", "classification", ()),
    *(Measure(SHARE, of, "attention", ()) for of in EXPLAINERS),
    Measure(SHARE_OF_ALL, EXPLAINERS[0], "attention", ()),
    Measure(ROAD, EXPLAINERS[0], "faithfulness", ()),
    Measure(CAUSAL_WEIGHT, "mean", "causal", ()),
    Measure(CAUSAL_PART, "mean", "causal", ()),
    Measure(SWAP_CHANGED, "", "causal", ()),
    Measure(CORRUPTION_ERROR, "", "robustness", ()),
]
FOR_THE_RECORD = [
    Measure(EMPTY, EXPLAINERS[0], "attention", ()),
    Measure(ACCURACY_WORTH, "mean", "causal", ()),
    Measure(SWAP_LOSS, "", "causal", ()),
    Measure(LOGIT_WORTH, "mean", "causal", ()),
]
LIFTS = [Measure(LIFT, of, "attention", (), region=region) for of in EXPLAINERS for region in REGIONS]
CONDITIONS = [Condition(None, 0, ()), *(Condition(masks, 0.3, ()) for masks in ("own", "shuffled"))]


def value_of(measure: Measure, condition: Condition) -> float:
    """Another one for every measure and condition."""
    number = [*ASKED_FOR, *FOR_THE_RECORD, *LIFTS].index(measure)
    return (1 + number + 0.1 * CONDITIONS.index(condition)) / measure.kind.scale


def guidance_with(measures: list[Measure]) -> Guidance:
    """A sweep with lambda 0, and 0.3 with either kind of masks; intervals of plus and minus a tenth."""
    outcomes = []
    for condition in CONDITIONS:
        values = {measure.name: value_of(measure, condition) for measure in measures}
        figures = {name: Estimate(of, 0.9 * of, 1.1 * of) for name, of in values.items()}
        outcomes.append(Outcome(condition, figures, {}, {}))
    return Guidance(Sweep("cnn", EXPLAINERS[0], tuple(CONDITIONS), ()), "test", measures, outcomes)


def drawn(axes) -> list[list[float]]:
    """The values of each curve in a panel."""
    return [curve.lines[0].get_ydata().tolist() for curve in axes.containers]


def expected(measure: Measure) -> list[list[float]]:
    unguided, own, shuffled = (measure.kind.scale * value_of(measure, of) for of in CONDITIONS)
    return [pytest.approx([unguided, own]), pytest.approx([unguided, shuffled])]


def test_what_is_asked_for_has_a_panel_over_lambda_and_nothing_else() -> None:
    figure = guidance_figure(guidance_with([*ASKED_FOR, *FOR_THE_RECORD, *LIFTS]))
    panels = {axes.get_title(): axes for axes in figure.axes if axes.axison}
    assert list(panels) == [measure.name for measure in ASKED_FOR]
    for measure in ASKED_FOR:
        axes = panels[measure.name]
        assert drawn(axes) == expected(measure)
        bars = axes.containers[0].lines[2][0].get_segments()
        middle = measure.kind.scale * value_of(measure, CONDITIONS[0])
        assert bars[0][:, 1] == pytest.approx([0.9 * middle, 1.1 * middle])


def test_lifts_have_a_panel_an_explainer_and_region() -> None:
    figure = lifts_figure(guidance_with([*ASKED_FOR, *LIFTS]))
    panels = np.array(figure.axes).reshape(len(EXPLAINERS), len(REGIONS))
    assert [axes.get_title() for axes in panels[0]] == list(REGIONS)
    assert [row[0].get_ylabel() for row in panels] == list(EXPLAINERS)
    for measure, axes in zip(LIFTS, panels.ravel(), strict=True):
        assert drawn(axes) == expected(measure), measure.name


def test_a_region_that_no_lift_is_known_of_leaves_its_panel_empty() -> None:
    figure = lifts_figure(guidance_with(LIFTS[1:6]))
    assert [bool(axes.containers) for axes in figure.axes] == [False, *5 * [True]]


def test_without_lifts_there_is_no_figure_of_them() -> None:
    assert lifts_figure(guidance_with(ASKED_FOR)) is None
