"""Each sentence of the headline: an example in which it must appear, and one in which it must not."""

from fertool.report.headline import fair_view, headline, leaning

FACES = {"weights": "dlibface"}


def said(evidence) -> str:
    return headline(evidence, evidence)


def test_where_no_network_is_better_than_guessing_nothing_else_is_said(made_up) -> None:
    evidence = made_up()
    evidence.add("net", accuracy=0.25, lifts={"mouth": 2})
    assert said(evidence) == (
        "No network here is shown to classify better than guessing, so where their maps lie says nothing about reading "
        "expressions."
    )
    evidence.add("other")
    assert "No network here" not in said(evidence) and "net leans" not in said(evidence)
    unscored = made_up()
    unscored.add("net", accuracy=None)
    assert said(unscored).startswith("No network here")


def test_the_best_network_is_named_with_the_two_regions_that_its_lifts_are_highest_of(made_up) -> None:
    evidence = made_up()
    evidence.add("worse", accuracy=0.5, lifts={"eyes": 3})
    evidence.add("better", accuracy=0.7, lifts={"mouth": 2, "nose": 1.5, "eyes": 1.2, "background": 4})
    text = said(evidence)
    assert (
        text.startswith("better leans most on the mouth (lift 2.00 [")
        and " and the nose (lift 1.50 [" in text
    )
    assert "eyes" not in text and "background" not in text and "worse" not in text
    assert "It reaches 70.0% [" in text and "accuracy, one seed." in text


def test_a_region_counts_only_above_one_and_above_a_blob(made_up) -> None:
    evidence = made_up()
    high = {"mouth": 2, "nose": 1.5}
    condition = evidence.add("net", lifts=high, above_blob=("nose",))
    assert [region for region, _ in leaning(evidence, evidence, condition)] == ["nose"]
    assert said(evidence).startswith("net leans most on the nose (lift")
    for none in ({"lifts": high, "above_blob": ()}, {"lifts": {"mouth": 0.9}}):
        evidence = made_up()
        evidence.add("net", **none)
        assert said(evidence).startswith(
            "No region of the face draws more of the maps of net (gradcam of the labelled class) than a blob in the "
            "middle would give it."
        )
        assert "leans" not in said(evidence)


def test_a_network_without_maps_is_not_said_to_look_anywhere(made_up) -> None:
    evidence = made_up()
    evidence.add("net", grid=None)
    assert said(evidence).startswith("No map of net was scored, so nothing is known of where it looks.")
    assert "leans" not in said(evidence)


def test_the_region_that_answers_rest_on_is_named_where_causes_were_scored(made_up) -> None:
    evidence = made_up()
    evidence.add("net", causal=(0.1, 0.1, 0.1, 0.1, 0.1, 0.4))
    assert "its answers rest most on the mouth (causal weight 40.0% [" in said(evidence)
    evidence = made_up()
    evidence.add("net")
    assert "rest most" not in said(evidence)


def test_pretraining_that_moved_the_background_share_is_told_before_the_best_network(made_up) -> None:
    evidence = made_up()
    evidence.add("best", accuracy=0.9, model="another")
    evidence.add("scratch", background=0.35)
    evidence.add("faces", background=0.24, lifts={"nose": 2}, **FACES)
    text = said(evidence)
    assert text.startswith("faces leans most on the nose")
    assert "Its background share is lower than the same network's from scratch by 11.0 points [" in text
    assert "one seed each, so two networks are compared and not two methods." in text and "best" not in text
    evidence = made_up()
    evidence.add("scratch", background=0.24, seeds=2)
    evidence.add("faces", background=0.35, seeds=3, **FACES)
    assert "is higher than" in said(evidence) and ", three seeds against two seeds." in said(evidence)


def test_a_move_that_is_not_shown_or_not_fair_is_not_told(made_up) -> None:
    alike, unlike_grids, adopted, guessing = made_up(), made_up(), made_up(), made_up()
    for evidence in (alike, unlike_grids, adopted, guessing):
        evidence.add("scratch", background=0.35, accuracy=0.25 if evidence is guessing else 0.6)
    alike.add("faces", background=0.35, **FACES)
    unlike_grids.add("faces", background=0.24, grid=(7, 7), **FACES)
    adopted.add("faces", background=0.24, epochs=0, **FACES)
    guessing.add("faces", background=0.24, **FACES)
    for evidence in (alike, unlike_grids, adopted, guessing):
        assert "than the same network's from scratch" not in said(evidence)
    for settings in ({"unfreeze": "none"}, {"epochs": 30}):
        trained_otherwise = made_up()
        trained_otherwise.add("scratch", background=0.35)
        trained_otherwise.add("faces", background=0.24, **settings, **FACES)
        assert "than the same network's from scratch" not in said(trained_otherwise)
    assert fair_view(unlike_grids, *unlike_grids.conditions) is None
    assert fair_view(alike, *alike.conditions) is not None
