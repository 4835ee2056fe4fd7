import pytest

from fertool.errors import UserError
from fertool.train.config import TrainConfig
from fertool.train.seeds import read_seeds, train_seeds
from fertool.workspace import Workspace


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-4", [0, 1, 2, 3, 4]), ("3", [3]), ("0,2,7-8", [0, 2, 7, 8]), ("5-5", [5])]
)
def test_seeds_as_they_are_written(text: str, seeds: list[int]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "4-0", "0,,1", "-1", "0-", "0,1,0"])
def test_what_is_no_seeds(text: str) -> None:
    with pytest.raises(UserError, match="--seeds"):
        read_seeds(text)


def test_runs_of_a_condition_one_after_another_and_done_ones_left_alone(synthetic: Workspace) -> None:
    config = TrainConfig(epochs=1, lr=1e-3, precision="fp32")
    train_seeds(synthetic, config, [1], device="cpu")
    run = synthetic.run(f"{config.condition_name}-s1")
    first = run.best.read_bytes()
    summary = train_seeds(synthetic, config, [0, 1], device="cpu")
    assert [record["config"]["seed"] for record in summary.data["runs"]] == [0, 1]
    assert {record["condition"] for record in summary.data["runs"]} == {config.condition_name}
    assert [row[0] for row in summary.tables[0].rows] == [
        f"{config.condition_name}-s{seed}" for seed in (0, 1)
    ]
    assert "standard deviation" in summary.notes[-1]
    assert any("was done already" in note for note in summary.notes)
    assert run.best.read_bytes() == first
    named = train_seeds(synthetic, config, [0], name="mine", device="cpu")
    assert named.data["runs"][0]["name"] == "mine-s0" and synthetic.run("mine-s0").best.exists()
