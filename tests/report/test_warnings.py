"""Each warning of the first screen: an example in which it must appear, and one in which it must not."""

import numpy as np
import pytest

from fertool.masks.regions import REGIONS
from fertool.report.pairs import pretraining_pairs
from fertool.report.warnings import find_warnings

LOOKS = {"mouth": 2.0, "background": 0.8}


def warned(evidence) -> dict[str, str]:
    return {warning.rule: warning.sentence for warning in find_warnings(evidence, evidence)}


def one(made_up, **figures: object):
    evidence = made_up()
    evidence.add("net", **{"lifts": LOOKS, **figures})
    return evidence


def test_a_network_that_learned_and_a_map_that_passes_carry_no_warning(made_up) -> None:
    passes = {"not_faithful": [], "no_agreement": [], "sanity": [{"changes": True}]}
    assert warned(one(made_up, **passes)) == {}


def test_few_faces(made_up) -> None:
    evidence = one(made_up)
    evidence.faces = 29
    assert warned(evidence) == {
        "few faces": "Only 29 faces in 'test': intervals are rough, and no p-values are given."
    }
    evidence.faces = 30
    assert warned(evidence) == {}


def test_few_faces_behind_a_table(made_up) -> None:
    evidence = one(made_up)
    evidence.compared = {"faces": 30, "faces that all get right": 12}
    assert warned(evidence) == {
        "few maps": "Only 12 faces that all get right are compared by gradcam of the labelled class: intervals are "
        "rough there, and no p-values are given."
    }
    evidence.faces = 29  # all that there are: said once
    assert list(warned(evidence)) == ["few faces"]


def test_an_accuracy_like_guessing(made_up) -> None:
    evidence = one(made_up, accuracy=0.25)
    assert "The accuracy of net is not shown to be above 25.0%" in warned(evidence)["accuracy"]
    evidence.add("other", accuracy=0.2, lifts=LOOKS)
    assert "The accuracy of net and other is not" in warned(evidence)["accuracy"]
    (warning,) = find_warnings(evidence, evidence)
    assert warning.condition is None  # of several
    assert "accuracy" not in warned(one(made_up, accuracy=0.6))


def test_a_map_whose_lifts_may_all_be_one(made_up) -> None:
    assert warned(one(made_up, lifts={})) == {
        "flat map": "Each lift of net (gradcam of the labelled class) may be 1: this map does not know the face."
    }
    assert warned(one(made_up, lifts={"nose": 1.3})) == {}
    assert warned(one(made_up, lifts={}, grid=None)) == {}  # no map, so nothing to warn of


def test_a_map_that_fails_sanity(made_up) -> None:
    found = warned(one(made_up, sanity=[{"changes": True}, {"changes": False}]))
    assert found["sanity"].startswith(
        "The map of gradcam for net hardly changes when the weights are randomised"
    )
    assert warned(one(made_up, sanity=[{"changes": True}])) == {}


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"not_faithful": ["centre"]}, "it is not shown to be more faithful (ROAD) than the null centre."),
        (
            {"no_agreement": ["edges", "centre"], "not_faithful": []},
            "its causal agreement is not shown to be higher than the nulls edges, centre.",
        ),
    ],
)
def test_a_map_that_tells_no_more_than_a_null(made_up, figures: dict, says: str) -> None:
    assert warned(one(made_up, **figures)) == {
        "untrue map": f"The map of gradcam for net may not tell the truth about it: {says}"
    }
    assert warned(one(made_up, **{name: [] for name in figures})) == {}


def test_maps_on_unlike_grids_and_the_grid_that_is_recommended(made_up) -> None:
    evidence = one(made_up)
    evidence.add("other", lifts=LOOKS, grid=(7, 7))
    blocks = np.repeat(np.repeat(np.arange(48) // 8 % len(REGIONS), 1)[None, :, None], 48, axis=2)
    evidence.workspace.load_region_maps = lambda split: blocks.astype(np.uint8)
    text = warned(evidence)["unlike grids"]
    assert "lie on unlike grids (7x7, 12x12 cells)" in text and "--explainer gradcam --grid 7'" in text
    specks = np.zeros((1, 48, 48), np.uint8)
    specks[0, 24, 20:25] = range(1, 6)  # of one pixel each: no map on 7x7 cells can lie on one of them
    evidence.workspace.load_region_maps = lambda split: specks
    text = warned(evidence)["unlike grids"]
    assert "No common grid is recommended" in text and "--grid" not in text
    evidence = one(made_up)
    evidence.add("other", lifts=LOOKS)
    assert warned(evidence) == {}


def test_an_adopted_network(made_up) -> None:
    assert warned(one(made_up, epochs=0))["adopted"].startswith("net was trained elsewhere and adopted")
    tuned = warned(one(made_up, epochs=3, keep_head=True))["adopted"]
    assert tuned.startswith("net was trained on from a network that was trained elsewhere, with its head")
    assert warned(one(made_up, epochs=1)) == {}


def test_a_network_that_brings_its_weights_is_not_from_scratch(made_up) -> None:
    evidence = made_up()
    adopted = evidence.add("theirs", epochs=0)
    pretrained = evidence.add("pretrained", weights="imagenet")
    assert adopted.pretraining == "unknown data" and not pretraining_pairs(evidence.conditions)
    scratch = evidence.add("ours")
    (pair,) = pretraining_pairs(evidence.conditions)
    assert (pair.one, pair.other) == (pretrained, scratch) and scratch.pretraining == "none"
