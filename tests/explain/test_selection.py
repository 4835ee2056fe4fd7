import json
import shutil

import pytest

from fertool.errors import UserError
from fertool.explain.registry import parse_request
from fertool.explain.selection import explainable_runs, select_runs
from fertool.runtime.files import read_json
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
        record.write_text(json.dumps(read_json(record) | changes))
    return workspace


def chosen(workspace: Workspace, text: str, *names: str) -> list[str]:
    return [run.name for run in explainable_runs(workspace, parse_request(text), names)]


def test_without_names_all_finished_runs_that_it_can_explain(mixed: Workspace) -> None:
    assert sorted(chosen(mixed, "gradcam")) == ["cnn", "vit"]
    assert chosen(mixed, "guided-gradcam") == ["cnn"]
    assert chosen(mixed, "rollout@discard=0.9") == ["vit"]
    assert chosen(mixed, "random@of=rollout") == ["vit"], "a null stands beside its explainer"


def test_a_run_of_other_faces_is_left_out_and_refused_by_name(
    mixed: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    record = mixed.run("vit").run_json
    content = read_json(record)
    faces = {**content["faces"], "faces/test.npy": "of other faces"}
    record.write_text(json.dumps({**content, "faces": faces}))
    assert chosen(mixed, "gradcam") == ["cnn"]
    assert "vit: left out: trained on other faces than lie here (faces/test.npy has changed)" in caplog.text
    with pytest.raises(UserError, match=r"runs/vit: trained on other faces than lie here"):
        chosen(mixed, "gradcam", "vit")
    with pytest.raises(UserError, match=r"runs/vit: left out: trained on other faces"):
        chosen(mixed, "rollout")


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
        ("gradcam", "absent", "no such run 'absent'; there are .*cnn"),
    ],
)
def test_a_named_run_that_it_cannot_explain_is_one_line(mixed, text, name, message) -> None:
    with pytest.raises(UserError, match=message) as error:
        chosen(mixed, text, name)
    assert "\n" not in str(error.value)


def test_nothing_to_explain_is_one_line(trained: Workspace) -> None:
    with pytest.raises(
        UserError,
        match=r"no transformer among the finished runs \(cnn\), and 'rollout' needs attention blocks",
    ):
        chosen(trained, "rollout")


def test_without_faces_it_asks_for_prepare_and_without_runs_for_train(trained: Workspace, tmp_path) -> None:
    with pytest.raises(UserError, match="run 'fertool prepare SOURCE' first"):
        chosen(Workspace(tmp_path), "gradcam")
    shutil.copy(trained.dataset_json, tmp_path)
    with pytest.raises(UserError, match="no finished run; run 'fertool train' first"):
        chosen(Workspace(tmp_path), "gradcam")
    with pytest.raises(UserError, match="no such run 'x'; there is none; run 'fertool train' first"):
        chosen(Workspace(tmp_path), "gradcam", "x")


@pytest.fixture
def seeds(trained: Workspace, tmp_path) -> Workspace:
    """A workspace whose runs are, by their records, two seeds of one condition and one of another."""
    workspace = Workspace(shutil.copytree(trained.root, tmp_path / "seeds"))
    first = workspace.run("cnn")
    record = read_json(first.run_json)
    for name, condition, seed in (
        ("cnn-aa-s0", "cnn-aa", 0),
        ("cnn-aa-s1", "cnn-aa", 1),
        ("mine-s0", "cnn-bb", 0),
    ):
        shutil.copytree(first.folder, first.folder.with_name(name))
        changed = record | {"name": name, "condition": condition, "config": record["config"] | {"seed": seed}}
        workspace.run(name).run_json.write_text(json.dumps(changed))
    shutil.rmtree(first.folder)
    return workspace


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cnn-aa-s1"], ["cnn-aa-s1"]),
        (["cnn-aa"], ["cnn-aa-s0", "cnn-aa-s1"]),
        (["mine"], ["mine-s0"]),
        (["cnn-bb"], ["mine-s0"]),
        (["*-s0"], ["cnn-aa-s0", "mine-s0"]),
        (["cnn-aa-s1", "*"], ["cnn-aa-s1", "cnn-aa-s0", "mine-s0"]),
        ([], ["cnn-aa-s0", "cnn-aa-s1", "mine-s0"]),
    ],
)
def test_a_run_is_named_by_its_name_its_conditions_or_a_glob(seeds, names, expected) -> None:
    assert [run.name for run in select_runs(seeds, names)] == expected


@pytest.mark.parametrize("name", ["mine-s1", "*-s9", "", "../cnn-aa-s0", "."])
def test_a_name_that_no_run_has_names_those_that_there_are(seeds, name) -> None:
    with pytest.raises(UserError, match=r"no such run '.*'; there are .*mine-s0") as error:
        select_runs(seeds, [name])
    assert "\n" not in str(error.value)
