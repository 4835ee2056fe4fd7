import pickle
import warnings

import numpy as np
import pytest

from fertool.masks.regions import REGIONS
from fertool.report.figures.confusion import confusion_figure
from fertool.report.figures.curves import curves_figure
from fertool.report.figures.emotions import emotions_figure
from fertool.report.figures.guidance import guidance_figure, lifts_figure, lifts_over_lambda
from fertool.report.figures.mean_heat import mean_heat_figure
from fertool.report.figures.representation import depth_figure
from fertool.report.figures.style import MARKERS, SERIES, as_svg, fitted, lay_out, style_of, styled
from fertool.runtime.drawn_text import drawable
from fertool.score.guidance.effects import (
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
from fertool.score.guidance.sweeps import Condition, Sweep

EXPLAINERS = ("gradcam-abs", "occlusion")
ASKED_FOR = [
    Measure(ACCURACY, "", "classification", ()),
    *(Measure(SHARE, explainer, "attention", ()) for explainer in EXPLAINERS),
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
LIFTS = [
    Measure(LIFT, explainer, "attention", (), region=region) for explainer in EXPLAINERS for region in REGIONS
]
CONDITIONS = [Condition(None, 0, ()), *(Condition(masks, 0.3, ()) for masks in ("own", "shuffled"))]


def test_stages_stand_in_equal_steps_between_the_input_at_0_and_the_head_at_1() -> None:
    def stages(count: int) -> list[dict]:
        return [{"before": {"accuracy": 0.2}, "after": {"accuracy": 0.5}, "cka": None}] * count

    probes, _cka = depth_figure({"cnn": stages(4), "vit": stages(2)}).axes
    after = {line.get_label(): line.get_xdata().tolist() for line in probes.lines[::2]}
    assert after == {"cnn": [0.25, 0.5, 0.75, 1.0], "vit": [0.5, 1.0]}


def test_a_confusion_matrix_has_true_classes_down_and_predicted_ones_across() -> None:
    (axes,) = confusion_figure([[3, 1], [0, 6]], ["sad", "happy"]).axes
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true", "predicted")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sad", "happy"]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "75%\n3", (1, 0): "25%\n1", (0, 1): "0%\n0", (1, 1): "100%\n6"}
    assert np.allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 1]])


def test_colours_of_a_figure_follow_the_page_and_nothing_in_it_is_markup() -> None:
    with styled():
        figure = confusion_figure([[3, 1], [0, 6]], ["<b>", "$happy$"])
    svg = as_svg(figure, 'of "a" & <b>')
    assert svg.startswith('<svg role="img" aria-label="of &quot;a&quot; &amp; &lt;b&gt;"')
    assert "var(--ink)" in svg and "#1b1c20" not in svg
    assert "&lt;b&gt;" in svg and "$happy$" in svg and "<b>" not in svg


def test_names_in_any_script_are_drawn_without_a_missing_glyph() -> None:
    names = ["\u60b2\u3057\u3044", "\U0001f600 $x$", "sad"]
    row = {"epoch": "1", "best": "1"} | {
        f"{split}_{measure}": "0.5" for split in ("train", "val") for measure in ("loss", "accuracy")
    }
    with warnings.catch_warnings(), styled():
        warnings.simplefilter("error")
        confusion = as_svg(confusion_figure(np.eye(3, dtype=int).tolist(), names), "confusion")
        as_svg(curves_figure({name: [row] for name in names}), "curves")
        flat = {region: Estimate(1, 0.9, 1.1) for region in REGIONS}
        emotions_figure(dict.fromkeys(names, flat)).draw_without_rendering()
        heat = dict.fromkeys(names, np.ones((4, 4)))
        mean_heat_figure(np.zeros((4, 4), np.uint8), heat).draw_without_rendering()
    assert all(drawable(name) in confusion for name in names)


def test_series_differ_in_their_markers_too_for_grey_print() -> None:
    styles = [style_of(number) for number in range(len(SERIES) * len(MARKERS))]
    assert len({(style["color"], style["marker"]) for style in styles}) == len(styles)
    assert len({style["marker"] for style in styles[: len(MARKERS)]}) == len(MARKERS)


def test_curves_are_dashed_of_train_and_the_chosen_epoch_is_marked() -> None:
    rows = [
        {"epoch": f"{epoch}", "best": f"{int(epoch < 3)}"}
        | {f"{split}_loss": f"{loss - epoch}" for split, loss in (("train", 10), ("val", 20))}
        | {f"{split}_accuracy": f"{(start + epoch) / 10}" for split, start in (("train", 4), ("val", 2))}
        for epoch in (1, 2, 3)
    ]
    loss, accuracy = curves_figure({"cnn": rows}).axes
    train, val = accuracy.lines
    assert train.get_linestyle() == "--" and train.get_xydata().tolist() == [[1, 50], [2, 60], [3, 70]]
    assert val.get_linestyle() == "-" and val.get_xydata().tolist() == [[1, 30], [2, 40], [3, 50]]
    assert val.get_marker() == "o" and val.get_markevery() == [1]
    assert [line.get_ydata().tolist() for line in loss.lines] == [[9, 8, 7], [19, 18, 17]]
    many = curves_figure({f"run{number}": rows for number in range(9)}).axes[0].lines[1::2]
    assert len({(line.get_color(), line.get_marker()) for line in many}) == 9


def test_names_of_networks_break_behind_an_underscore() -> None:
    assert fitted("tf_efficientnet_lite0-frozen", 4) == "tf_efficientnet_\nlite0-frozen"
    assert fitted("tf_efficientnet_lite0-frozen", 1) == "tf_efficient\nnet_lite0-f…"
    assert fitted("a__b and c", 2) == "a__b and c" and fitted("", 2) == ""


@pytest.mark.filterwarnings("error:constrained_layout")
def test_forty_names_leave_a_narrow_figure_its_room() -> None:
    rows = [{"epoch": "1", "best": "1", **{f"{split}_{what}": "0.5" for split in ("train", "val")
             for what in ("loss", "accuracy")}}]  # fmt: skip
    figure = curves_figure({f"a network of a long name, its settings, {n}": rows for n in range(40)}, 3.5)
    lay_out(figure)
    assert all(axes.get_position().height * figure.get_figheight() > 1 for axes in figure.axes)


def value_of(measure: Measure, condition: Condition) -> float:
    """Another one for every measure and condition."""
    number = [*ASKED_FOR, *FOR_THE_RECORD, *LIFTS].index(measure)
    return (1 + number + 0.1 * CONDITIONS.index(condition)) / measure.kind.scale


def guidance_with(measures: list[Measure]) -> Guidance:
    """A sweep with lambda 0, and 0.3 with either kind of masks; intervals of plus and minus a tenth."""
    outcomes = []
    for condition in CONDITIONS:
        values = {measure.name: value_of(measure, condition) for measure in measures}
        figures = {name: Estimate(value, 0.9 * value, 1.1 * value) for name, value in values.items()}
        outcomes.append(Outcome(condition, figures, {}, {}))
    return Guidance(Sweep("cnn", EXPLAINERS[0], tuple(CONDITIONS), ()), "test", measures, outcomes)


def drawn(axes) -> list[list[float]]:
    """The values of each curve in a panel."""
    return [curve.lines[0].get_ydata().tolist() for curve in axes.containers]


def expected(measure: Measure) -> list[list[float]]:
    unguided, own, shuffled = (measure.kind.scale * value_of(measure, condition) for condition in CONDITIONS)
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


def test_a_sweep_that_went_to_another_process_is_drawn_alike() -> None:
    guidance = guidance_with([*ASKED_FOR, *FOR_THE_RECORD, *LIFTS])
    sent = pickle.loads(pickle.dumps(guidance))
    for draw in (guidance_figure, lifts_figure):
        assert as_svg(draw(sent), "") == as_svg(draw(guidance), "")


def test_what_is_known_of_one_condition_alone_is_no_curve() -> None:
    guidance = guidance_with([*ASKED_FOR, *FOR_THE_RECORD, *LIFTS])
    known_of_one = {ASKED_FOR[1].name, *(measure.name for measure in LIFTS)}
    for outcome in guidance.outcomes[1:]:
        outcome.figures.update({name: Estimate(np.nan, np.nan, np.nan) for name in known_of_one})
    titles = [axes.get_title() for axes in guidance_figure(guidance).axes if axes.axison]
    assert titles == [measure.name for measure in ASKED_FOR if measure.name not in known_of_one]
    assert lifts_over_lambda(guidance) == {}


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
    assert lifts_over_lambda(guidance_with(ASKED_FOR)) == {}
