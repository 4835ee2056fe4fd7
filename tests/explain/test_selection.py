import json
import shutil

import pytest

from fertool.errors import UserError
from fertool.explain.registry import parse_request
from fertool.explain.selection import explainable_runs
from fertool.workspace import Workspace


@pytest.fixture
def mixed(trained: Workspace, tmp_path) -> Workspace:
    """A workspace whose runs are, by their records, a CNN, a transformer and a CNN in training."""
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "mixed"))
    for name, changes in {
        "vit": {"model": "vit", "family": "transformer", "attention_blocks": 12},
        "unfinished": {"state": "running"},
    }.items():
        shutil.copytree(workspace.run("cnn").folder, workspace.run("cnn").folder.with_name(name))
        record = workspace.root / "runs" / name / "run.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | changes))
    return workspace


def chosen(workspace: Workspace, text: str, *names: str) -> list[str]:
    return [run.name for run in explainable_runs(workspace, parse_request(text), names)]


def test_without_names_all_finished_runs_that_it_can_explain(mixed: Workspace) -> None:
    assert sorted(chosen(mixed, "gradcam")) == ["cnn", "vit"]
    assert chosen(mixed, "guided-gradcam") == ["cnn"]
    assert chosen(mixed, "rollout@discard=0.9") == ["vit"]
    assert chosen(mixed, "random@of=rollout") == ["vit"], "a null stands beside its explainer"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (
            "rollout",
            "cnn",
            r"cnn: 'rollout' cannot explain cnn, it needs attention blocks; these can: gradcam, ",
        ),
        ("guided-gradcam", "vit", "'guided-gradcam' cannot explain vit, it needs a convolutional network"),
        ("gradcam", "unfinished", "unfinished: this run is running; train it to its end first"),
        ("gradcam", "absent", "absent: no such run"),
    ],
)
def test_a_named_run_that_it_cannot_explain_is_one_line(mixed, text, name, message) -> None:
    with pytest.raises(UserError, match=message) as error:
        chosen(mixed, text, name)
    assert "\n" not in str(error.value)


def test_nothing_to_explain_is_one_line(trained: Workspace) -> None:
    with pytest.raises(
        UserError, match="no finished run that 'rollout' can explain; run 'fertool train' first"
    ):
        chosen(trained, "rollout")
