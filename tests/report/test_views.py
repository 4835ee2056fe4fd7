"""The view that a condition's figures are shown in first."""

from pathlib import Path
from types import SimpleNamespace

from fertool.report.conditions import Condition
from fertool.report.views import View, main_view
from fertool.workspace import Run


def condition(name: str) -> Condition:
    return Condition(name, "a", (Run(Path(f"{name}-s0")), Run(Path(f"{name}-s1"))), {})


def view(explainer: str, grid: int | None = None, target: str = "label", **faces: int) -> View:
    """Maps of so many faces of each condition."""
    scores = [
        {"run": run.name, "faces": count, "grid": [grid or 6] * 2, "ceiling": None}
        for name, count in faces.items()
        for run in condition(name).runs
    ]
    joint = dict.fromkeys(faces)
    return View(explainer, target, grid, SimpleNamespace(scores=scores, compared={"joint": joint}))


def test_maps_of_all_faces_come_before_those_of_a_sample() -> None:
    views = [view("gradcam", cnn=3589, vit=3589), view("smoothgrad", cnn=30, vit=30)]
    for order in (views, views[::-1]):
        assert main_view(order, condition("cnn")) is views[0]


def test_the_explainer_that_most_conditions_have_comes_before_more_faces() -> None:
    views = [view("rollout", vit=3589), view("gradcam", cnn=30, vit=30)]
    assert main_view(views, condition("vit")) is views[1]


def test_a_common_grid_with_more_faces_comes_before_the_maps_own() -> None:
    own, common = view("gradcam", cnn=3589, vit=30), view("gradcam", grid=7, cnn=3589, vit=3589)
    assert main_view([own, common], condition("vit")) is common
    assert main_view([own, common], condition("cnn")) is own


def test_null_maps_and_those_of_others_are_not_shown() -> None:
    assert main_view([view("centre", cnn=3589), view("gradcam", vit=3589)], condition("cnn")) is None
