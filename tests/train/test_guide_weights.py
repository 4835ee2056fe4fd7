import pytest

from fertool.train.guide_weights import background_share


@pytest.mark.parametrize(
    ("empty", "share", "over_all"),
    [(0.0, 0.3, 0.3), (0.5, 0.3, 0.65), (1.0, None, 1.0), (None, None, None)],
)
def test_an_empty_map_counts_as_one_on_the_background(
    empty: float | None, share: float | None, over_all: float | None
) -> None:
    """So emptying half of the maps and halving the share of the others is no gain."""
    found = background_share({"val_empty_maps": empty, "val_background_share": share})
    assert found == (None if over_all is None else pytest.approx(over_all))
