"""The trainings and scores of the study: what it compares, and on which faces."""

import json
import os
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from fertool.completion import EXPLAINERS
from fertool.explain.methods.nulls import NULLS
from fertool.models import build_model
from fertool.score.suites import sanity
from fertool.workspace import Workspace
from tests.studies.stand_in import calls_of, run_script

SCRIPT = Path(__file__).with_name("study.sh")


def study(folder: Path, **variables: str) -> list[list[str]]:
    given = {"CHOSEN": "0.3", "FERTOOL_WORKSPACE": str(folder / "study"), **variables}
    return [call[1:] for call in calls_of(SCRIPT, folder, given)]


@pytest.fixture(scope="module", params=["small", "full"])
def calls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    return study(tmp_path_factory.mktemp(request.param), STUDY=request.param)


def option(call: list[str], name: str) -> str | None:
    return next((value for option, value in pairwise(call) if option == name), None)


def trained(calls: list[list[str]]) -> dict[str, list[str]]:
    return {str(option(call, "--name")): call for call in calls if call[0] == "train"}


def test_every_condition_is_trained_alike_and_scored(calls: list[list[str]]) -> None:
    trainings = trained(calls)
    assert len({option(call, "--seeds") for call in trainings.values()}) == 1
    assert [call[0] for call in calls[:2]] == ["prepare", "masks"] and calls[-1][0] == "report"
    scored = {option(call, "--run") for call in calls if call[0] == "score"}
    assert {f"{name}-s[0-9]*" for name in trainings} - {"guided-s[0-9]*"} <= scored
    assert {"guided-g0-s[0-9]*", "guided-g0.3-s[0-9]*", "placebo-s[0-9]*"} <= scored
    assert option(trainings["placebo"], "--guide-weight") == "0.3"
    assert option(trainings["placebo"], "--guide-masks") == "shuffled"


@pytest.mark.parametrize("network", ["tf_efficientnet_lite0", "dlibface"])
def test_pretraining_is_all_that_differs(calls: list[list[str]], network: str) -> None:
    trainings = trained(calls)

    def settings(name: str) -> dict[str, str]:
        call = trainings[name]
        place = call.index("--name")
        options = call[1:place] + call[place + 2 :]
        return dict(zip(options[::2], options[1::2], strict=True))

    assert settings(f"{network}-scratch") == {**settings(network), "--weights": "none"}
    # a head on features that are computed once has more epochs, and faces as they are
    frozen = {"--unfreeze": "none", "--augment": "none", "--epochs": "30", "--lr": "2e-3"}
    assert settings(f"{network}-frozen") == {**settings(network), **frozen}


@pytest.mark.parametrize(("chosen", "weight"), [("1.0", "1"), ("0.1", "0.1"), ("null", "1")])
def test_the_lambda_that_val_chose_is_scored_with_its_placebo(
    tmp_path: Path, chosen: str, weight: str
) -> None:
    calls = study(tmp_path, CONDITIONS="guided", CHOSEN=chosen)  # as --json writes it
    assert option(trained(calls)["placebo"], "--guide-weight") == weight
    scored = {option(call, "--run") for call in calls if call[0] == "score"}
    assert scored == {"guided-g0-s[0-9]*", f"guided-g{weight}-s[0-9]*", "placebo-s[0-9]*"}


def test_named_conditions_are_trained_scored_and_reported_and_no_others(tmp_path: Path) -> None:
    calls = study(tmp_path, CONDITIONS="vit-small tf_efficientnet_lite0", SEEDS="4,6")
    assert set(trained(calls)) == {"vit-small", "tf_efficientnet_lite0"}
    assert {option(call, "--seeds") for call in trained(calls).values()} == {"4,6"}
    scored = {option(call, "--run") for call in calls if call[0] == "score"}
    assert scored == {"vit-small-s[0-9]*", "tf_efficientnet_lite0-s[0-9]*"}
    assert calls[-1][0] == "report"


def test_a_condition_that_fails_leaves_the_others_and_says_where_it_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    train = tmp_path / "train.sh"
    train.write_text(
        'echo "$OMP_NUM_THREADS" >>"$CALLS.threads"\n'
        'case "$*" in *"--name cnn "*) echo "the disk is full" >&2; exit 1 ;; esac\n'
        'exec fertool train "$@"\n'
    )
    workspace, calls = tmp_path / "study", tmp_path / "calls"
    variables = {"CONDITIONS": "cnn vit-small", "TRAIN": f"sh {train}", "FERTOOL_WORKSPACE": str(workspace)}
    done = run_script(SCRIPT, tmp_path, {**variables, "LANES": "2"})
    assert done.returncode != 0
    said = workspace / "study-cnn.log"
    assert f"cnn: train-and-score failed; the end of {said} says why" in done.stderr.splitlines()
    assert said.read_text().splitlines()[-1] == "the disk is full"
    noted = calls.read_text().splitlines()
    assert any("score --run vit-small-s[0-9]* " in call and "--suite all" in call for call in noted)
    assert not any("report" in call for call in noted)
    # each has its part of the cores
    threads = str(max(1, (os.cpu_count() or 1) // 2))
    assert Path(f"{calls}.threads").read_text().split() == [threads, threads]


def test_a_condition_that_there_is_not_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done = run_script(
        SCRIPT,
        tmp_path,
        {"CONDITIONS": "cnn guided-g0", "FERTOOL_WORKSPACE": str(tmp_path / "study")},
    )
    assert done.returncode == 1 and not (tmp_path / "calls").exists()
    assert done.stderr.startswith(
        "CONDITIONS: no condition 'guided-g0' in STUDY=small; there are guided cnn "
    )


@pytest.fixture
def estimated(tmp_path: Path) -> Workspace:
    """An hour to train each run of `cnn`, one to score it by the first explainer, half an hour by each other one."""
    measured = tmp_path / "study/estimate"
    measured.mkdir(parents=True)
    for name, epochs in {"cnn": 30, "cnn-strong": 12}.items():
        (measured / f"train-{name}.json").write_text(json.dumps({"images_per_s": 28_709 * epochs / 3600}))
    scores = {"attention_s": 0, "probes_s": 0, "all_s": 18, "maps_s": 60, "of_any_s": 5 * 60, "call_s": 0}
    (measured / "score-cnn-gradcam.json").write_text(json.dumps(scores))
    return Workspace(measured.parent)


def dry_run(workspace: Workspace, folder: Path, **variables: str) -> list[str]:
    given = {"SEEDS": "0-1", "FERTOOL_WORKSPACE": str(workspace.root), **variables}
    done = run_script(SCRIPT, folder, given, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert not (folder / "calls").exists()
    return done.stdout.splitlines()


def test_a_dry_run_ends_with_the_hours_of_all_conditions(estimated: Workspace, tmp_path: Path) -> None:
    *conditions, last = dry_run(estimated, tmp_path, CONDITIONS="cnn cnn-strong")
    assert [line.split()[0] for line in conditions] == ["cnn", "cnn-strong"]
    assert last == "in all: 28.0 h left, one after another"


def test_a_dry_run_does_not_count_what_is_done(estimated: Workspace, tmp_path: Path) -> None:
    run = estimated.run("cnn-s0")
    scores = run.scores("sanity", "test", "gradcam", sanity.TARGET)
    scores.parent.mkdir(parents=True)
    scores.write_text("{}")
    record = {"name": run.name, "model": "cnn", "config": {}, "classes": [], "made_from": {}}
    run.run_json.write_text(json.dumps({**record, "state": "done"}))
    line, last = dry_run(estimated, tmp_path, CONDITIONS="cnn")
    assert "1 of 2 trained,  60 min left; 0 scored,  60 min left by the first explainer" in line
    assert " 600 min left by the others " in line and last.startswith("in all: 12.0 h left")


def test_a_dry_run_counts_gradcam_of_all_faces_beside_another_first_explainer(tmp_path: Path) -> None:
    measured = tmp_path / "study/estimate"
    measured.mkdir(parents=True)
    free = dict.fromkeys(("probes_s", "all_s", "maps_s", "of_any_s", "call_s"), 0)
    for name, record in {"cnn": "cnn-gradcam", "vit-small": "small_vit-face_vit-48-attention"}.items():
        (measured / f"train-{name}.json").write_text(json.dumps({"images_per_s": 1e9}))
        an_hour = {"attention_s": 3600 / 3_589, **free}
        (measured / f"score-{record}.json").write_text(json.dumps(an_hour))
    cnn, vit, _ = dry_run(Workspace(measured.parent), tmp_path, CONDITIONS="cnn vit-small", SEEDS="0")
    assert "0 scored,  60 min left by the first" in cnn and "0 scored, 120 min left by the first" in vit


def test_every_condition_has_gradcam_of_all_faces(calls: list[list[str]]) -> None:
    scored = {str(option(call, "--run")) for call in calls if call[0] == "score"}
    whole = {
        str(option(call, "--run"))
        for call in calls
        if call[0] == "score" and option(call, "--explainer") == "gradcam"
        if {"--faces", "--grid"}.isdisjoint(call) and "attention" in str(option(call, "--suite"))
    }
    assert whole == scored


def test_explainers_are_those_of_the_network(calls: list[list[str]]) -> None:
    transformers = {
        f"{name}-s[0-9]*"
        for name, call in trained(calls).items()
        if option(call, "--model") in ("vit", "small_vit:face_vit")
    }
    for call in calls:
        if call[0] == "score" and option(call, "--explainer") in ("rollout", "attention"):
            assert option(call, "--run") in transformers
        if call[0] == "score" and option(call, "--explainer") in ("guided-backprop", "hirescam"):
            assert option(call, "--run") not in transformers


def test_every_suite_and_every_explainer_of_the_family(calls: list[list[str]]) -> None:
    explained = {
        run: {option(call, "--explainer") for call in calls if option(call, "--run") == run}
        for run in ("cnn-s[0-9]*", "vit-small-s[0-9]*")
    }
    of_cnn, of_vit = explained.values()
    assert of_cnn | of_vit | {"gradcam-size"} >= set(EXPLAINERS) - set(NULLS)
    assert "rollout" not in of_cnn and "guided-backprop" not in of_vit
    for run in explained:
        suites = [option(call, "--suite") for call in calls if option(call, "--run") == run]
        assert "all" in suites
    grids = [call for call in calls if "--grid" in call]
    assert {option(call, "--grid") for call in grids} == {"7"}
    # nothing is chosen on test, and it alone is scored
    assert all(option(call, "--split") is None for call in calls if call[0] == "score")


def test_no_call_scores_a_condition_whose_name_only_begins_alike(calls: list[list[str]]) -> None:
    runs = [f"{name}-s0" for name in trained(calls)]
    for pattern in {str(option(call, "--run")) for call in calls if call[0] == "score"}:
        assert len([run for run in runs if fnmatchcase(run, pattern)]) <= 1, pattern


def test_the_report_comes_before_the_slow_explainers(calls: list[list[str]]) -> None:
    first_report = [call[0] for call in calls].index("report")
    slow = [place for place, call in enumerate(calls) if option(call, "--explainer") == "rise"]
    every_suite = [place for place, call in enumerate(calls) if option(call, "--suite") == "all"]
    assert max(every_suite) < first_report < min(slow)
    # guided conditions too
    assert {"placebo-s[0-9]*", "guided-g0.3-s[0-9]*"} <= {option(calls[place], "--run") for place in slow}


def test_the_vision_transformer_of_faces_has_36_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    model = build_model("small_vit:face_vit", 7, image_size=48)
    assert len(model.attention_blocks) == 6
    assert model(torch.zeros(2, 48, 48, dtype=torch.uint8)).shape == (2, 7)
    assert model.network.patch_embed.num_patches == 36
    # a patch sees its neighbours through the stem, and nothing of the far corner
    pixels = torch.zeros(1, 3, 48, 48, requires_grad=True)
    model.network.eval().patch_embed(pixels)[0, 0].sum().backward()
    read = pixels.grad[0].abs().sum(0) > 0
    assert read[:8, :8].any() and not read[8:, 8:].any()
