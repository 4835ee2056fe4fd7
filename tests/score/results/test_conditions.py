from pathlib import Path

import pytest

from fertool.errors import UserError
from fertool.runtime.files import write_json
from fertool.score.results.conditions import identities, mixed_rows
from fertool.train.config import TrainConfig
from fertool.workspace import Run, Workspace

PLAIN, LARGE = TrainConfig(), TrainConfig(lr=1e-2)


def recorded(workspace: Workspace, runs: dict[str, TrainConfig]) -> list[Run]:
    for name, config in runs.items():
        record = {
            "name": name,
            "model": config.model,
            "weights": "none",
            "config": config.as_record(),
            "condition": config.condition_name,
            "classes": ["happy", "sad"],
            "state": "done",
            "made_from": {},
        }
        write_json(workspace.run(name).run_json, record)
    return [workspace.run(name) for name in runs]


def rows(root: Path, runs: dict[str, TrainConfig], by: tuple[str, ...] = ("condition",)) -> dict[str, str]:
    known = identities(recorded(Workspace(root), runs), by)
    assert all(identity["run"] == name for name, identity in known.items())
    return {name: identity["group"] for name, identity in known.items()}


def seed(config: TrainConfig, number: int) -> TrainConfig:
    return TrainConfig(lr=config.lr, seed=number)


def test_a_condition_is_called_as_its_runs_are(tmp_path: Path) -> None:
    runs = {
        "frozen-s0": LARGE,
        "frozen-s1": seed(LARGE, 1),
        PLAIN.run_name: PLAIN,
        seed(PLAIN, 1).run_name: seed(PLAIN, 1),
    }
    assert list(rows(tmp_path, runs).values()) == ["frozen", "frozen", "cnn", "cnn"]


def test_a_name_that_is_no_seeds_stands_as_it_is(tmp_path: Path) -> None:
    assert rows(tmp_path, {"first-s1": LARGE, "plain": PLAIN}) == {"first-s1": "first-s1", "plain": "plain"}


def test_names_never_part_a_condition_nor_bring_two_together(tmp_path: Path) -> None:
    differently_called = {"early-s0": LARGE, "late-s1": seed(LARGE, 1)}
    assert set(rows(tmp_path / "a", differently_called).values()) == {LARGE.condition_name}
    alike = {"run-s0": LARGE, "run-s1": seed(PLAIN, 1)}
    assert rows(tmp_path / "b", alike) == {"run-s0": LARGE.condition_name, "run-s1": "cnn"}
    # `cnn` is the default name of the other condition
    as_another = {"cnn-s0": LARGE, "plain-s1": seed(PLAIN, 1)}
    assert rows(tmp_path / "c", as_another) == {"cnn-s0": LARGE.condition_name, "plain-s1": "plain"}


def test_rows_by_other_fields(tmp_path: Path) -> None:
    runs = {"a": LARGE, "b": PLAIN}
    assert rows(tmp_path, runs, ("model", "lr")) == {"a": "cnn, 0.01", "b": "cnn, 0.0001"}
    with pytest.raises(
        UserError, match=r"--by colour: no such field in run\.json; there are .*, balance,"
    ) as raised:
        rows(tmp_path, runs, ("colour",))
    assert "\n" not in str(raised.value)


def test_a_row_of_several_conditions_is_named(tmp_path: Path) -> None:
    runs = recorded(
        Workspace(tmp_path), {"a": LARGE, "b": PLAIN, "c": seed(PLAIN, 1), "d": TrainConfig("vit")}
    )
    assert mixed_rows(runs, identities(runs)) == []
    (note,) = mixed_rows(runs, identities(runs, ("model",)))
    assert note.startswith("row 'cnn' holds 2 conditions (a, cnn, lr 1e-4)")
