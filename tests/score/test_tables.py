from fertool.score.attention_tables import _comparison_table
from fertool.score.contrasts import Comparison, Contrast
from fertool.score.tables import said_of_runs


def test_what_is_the_same_of_several_runs_is_said_once() -> None:
    assert said_of_runs({"a": "all scored", "b": "none scored", "c": "all scored"}) == [
        "a, c: all scored",
        "b: none scored",
    ]
    assert said_of_runs({"a": "all scored", "b": "all scored"}) == ["each run: all scored"]
    assert said_of_runs({"a": "all scored"}) == ["a: all scored"]


def test_of_several_seeds_it_is_said_what_a_p_is_not_of() -> None:
    contrasts = (Contrast(5, -0.036, -0.111, 0.04, 5e-5, 4.5e-4),)
    tables = {
        seeds: _comparison_table("gradcam", [Comparison(("a", "b"), (1, seeds), 252, 1e-4, 1e-4, contrasts)])
        for seeds in (1, 3)
    }
    assert not any("of other seeds" in note for note in tables[1].notes)
    assert any("of other seeds" in note for note in tables[3].notes)
    assert tables[3].rows[0][3] == "-3.60 [-11.10, +4.00]"
