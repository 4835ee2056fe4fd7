import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fertool.errors import UserError
from fertool.explain import ExplainSettings, explain, making
from fertool.explain.heatmaps import HeatmapJob, read_stored
from fertool.explain.methods.cams import gradcam
from fertool.explain.registry import EXPLAINERS, parse_request
from fertool.models import load_model, load_run_model
from fertool.runtime.files import read_json, write_json
from fertool.runtime.hardware import choose_compute
from fertool.runtime.partial_rows import PartialRows, partial_folder
from fertool.workspace import Workspace


@pytest.fixture
def workspace(trained: Workspace, tmp_path) -> Workspace:
    """A copy of the trained workspace, to spoil, without what other tests have stored of its run."""
    others = shutil.ignore_patterns("heatmaps", "predictions")
    return Workspace(shutil.copytree(trained.root, tmp_path / "copy", ignore=others))


def test_heatmaps_and_predictions_are_stored_as_they_are(workspace: Workspace) -> None:
    explain(workspace, ExplainSettings(["gradcam"], target="label", device="cpu"))
    run = workspace.run("cnn")
    place = run.heatmaps("gradcam", "label", "test")
    stored, record = np.load(place), read_json(place.with_suffix(".json"))
    faces, labels = workspace.load_faces("test"), workspace.load_labels("test")
    expected = gradcam(
        load_model(run.best),
        torch.from_numpy(np.array(faces)),
        lambda logits: torch.from_numpy(labels)[:, None],
    )
    assert stored.dtype == np.float32 and stored.shape == (len(faces), 12, 12)
    assert (stored < 0).any(), "raw maps are signed"
    assert np.allclose(stored, expected.heatmaps[:, 0], atol=1e-6)
    assert record["grid"] == [12, 12] and record["negatives"] == "drop" and record["target"] == "label"
    with np.load(run.predictions("test")) as predictions:
        assert predictions["logits"].dtype == np.float32
        assert np.allclose(predictions["logits"], expected.logits, atol=1e-5)
        assert np.array_equal(predictions["labels"], labels)


def test_targets_lie_apart_and_agree_where_the_prediction_is_right(workspace: Workspace) -> None:
    for target in ("predicted", "label"):
        explain(workspace, ExplainSettings(target=target, device="cpu"))
    run = workspace.run("cnn")
    predicted, label = (np.load(run.heatmaps("gradcam", target, "test")) for target in ("predicted", "label"))
    with np.load(run.predictions("test")) as stored:
        right = stored["logits"].argmax(axis=1) == stored["labels"]
    assert right.any() and not right.all()
    assert np.allclose(predicted[right], label[right], atol=1e-6)
    assert not np.allclose(predicted[~right], label[~right], atol=1e-6)


def test_what_is_up_to_date_is_left_alone_and_what_is_not_is_made_again(
    workspace: Workspace, trained_on_the_faces_here
) -> None:
    explain(workspace, ExplainSettings(device="cpu"))
    place = workspace.run("cnn").heatmaps("gradcam", "predicted", "test")
    written = place.stat().st_mtime_ns
    assert "up to date" in explain(workspace, ExplainSettings(device="cpu")).notes[0]
    assert place.stat().st_mtime_ns == written
    explain(workspace, ExplainSettings(device="cpu"), force=True)
    assert place.stat().st_mtime_ns != written
    written = place.stat().st_mtime_ns
    dataset = read_json(workspace.dataset_json)
    write_json(workspace.dataset_json, dataset | {"products": {}})  # as if other faces had been prepared
    faces = np.load(workspace.faces("test"))
    np.save(workspace.faces("test"), faces[:, ::-1])
    trained_on_the_faces_here(workspace, "cnn")
    explain(workspace, ExplainSettings(device="cpu"))
    assert place.stat().st_mtime_ns != written


def test_interrupted_it_goes_on_where_it_stopped(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradcam8 = replace(EXPLAINERS["gradcam"], batch_size=8)
    monkeypatch.setitem(EXPLAINERS, "gradcam", gradcam8)
    explain(workspace, ExplainSettings(device="cpu"), force=True)
    run = workspace.run("cnn")
    place = run.heatmaps("gradcam", "predicted", "test")
    undisturbed = place.read_bytes(), run.predictions("test").read_bytes()
    place.unlink()
    run.predictions("test").unlink()

    batches, interruptions = [], []
    append = PartialRows.append

    def interrupted(partial: PartialRows, **rows: np.ndarray) -> None:
        if len(batches) == 1 and not interruptions:
            interruptions.append(1)
            raise KeyboardInterrupt
        batches.append(len(rows["logits"]))
        append(partial, **rows)

    monkeypatch.setattr(PartialRows, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        explain(workspace, ExplainSettings(device="cpu"))
    assert not place.exists()
    batches.clear()
    explain(workspace, ExplainSettings(device="cpu"))
    assert sum(batches) == len(workspace.load_faces("test")) - 8, "the finished batch is not made again"
    assert (place.read_bytes(), run.predictions("test").read_bytes()) == undisturbed
    assert not list(place.parent.glob("*.partial"))


@pytest.mark.parametrize(("target", "map_in_hand"), [("predicted", 1), ("all", 2)])
@pytest.mark.parametrize("explainer", ["gradcam", "random"])
def test_killed_between_a_map_and_its_record_it_makes_it_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, explainer: str, target: str, map_in_hand: int
) -> None:
    explain(workspace, ExplainSettings([explainer], target=target, device="cpu"), force=True)
    folder = workspace.run("cnn").results / "heatmaps"
    undisturbed = {path: path.read_bytes() for path in folder.rglob("test.*")}
    described, describe = [], making.write_record

    def killed(*arguments) -> None:
        described.append(arguments)
        if len(described) == map_in_hand:
            raise KeyboardInterrupt
        describe(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(making, "write_record", killed)
        explain(workspace, ExplainSettings([explainer], target=target, device="cpu"), force=True)
    summary = explain(workspace, ExplainSettings([explainer], target=target, device="cpu"))
    assert not any("made elsewhere" in note for note in summary.notes)
    assert {path: path.read_bytes() for path in folder.rglob("test.*")} == undisturbed
    assert not list(folder.rglob("*.partial"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"explainers": ["gradcamm"]}, "no explainer 'gradcamm'; nearest are gradcam, .*; there are gradcam"),
        ({"runs": ["absent"]}, "no such run 'absent'; there are cnn"),
        ({"split": "testing"}, "no split 'testing'"),
        ({"target": "truth"}, "no target 'truth'; there are predicted, label, all, and the classes angry, "),
        ({"target": "happyness"}, "no target 'happyness'; nearest is happy; there are predicted, "),
    ],
)
def test_names_that_are_none(trained: Workspace, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        explain(trained, ExplainSettings(**{"device": "cpu", **arguments}))


def test_a_run_that_is_not_finished_is_not_explained(workspace: Workspace, replace_in_record) -> None:
    run = workspace.run("cnn")
    replace_in_record(run.run_json, '"done"', '"running"')
    with pytest.raises(UserError, match="this run is running"):
        explain(workspace, ExplainSettings(runs=["cnn"]))
    with pytest.raises(UserError, match="no finished run"):
        explain(workspace)


def test_all_classes_are_stored_apart_as_if_each_were_asked_for(workspace: Workspace) -> None:
    explain(workspace, ExplainSettings(target="all", device="cpu"))
    run, classes = workspace.run("cnn"), workspace.dataset()["classes"]
    together = {name: np.load(run.heatmaps("gradcam", name, "test")) for name in classes}
    assert "up to date" in explain(workspace, ExplainSettings(target=classes[2], device="cpu")).notes[0]
    explain(workspace, ExplainSettings(target=classes[2], device="cpu"), force=True)
    assert np.allclose(np.load(run.heatmaps("gradcam", classes[2], "test")), together[classes[2]], atol=1e-6)
    assert not np.allclose(together[classes[1]], together[classes[2]], atol=1e-6)


def test_nulls_stand_beside_their_explainer_and_ignore_the_target(workspace: Workspace) -> None:
    summary = explain(
        workspace, ExplainSettings(["random", "swapped", "edges@of=input-gradient"], device="cpu")
    )
    run = workspace.run("cnn")
    gradcams = np.load(run.heatmaps("gradcam", "predicted", "test"))
    swapped = np.load(run.heatmaps("swapped@of=gradcam", "predicted", "test"))
    assert np.array_equal(np.sort(swapped.sum(axis=(1, 2))), np.sort(gradcams.sum(axis=(1, 2))))
    assert not np.any(np.all(swapped == gradcams, axis=(1, 2)) & gradcams.any(axis=(1, 2)))
    place = run.heatmaps("random@of=gradcam", "predicted", "test")
    assert np.load(place).shape == gradcams.shape
    record = read_json(place.with_suffix(".json"))
    assert record["target"] == "ignored" and record["source"] == "random on the explainer's grid"
    assert [row[2:4] for row in summary.tables[0].rows] == [["-", "target ignored"]] * 3
    assert np.load(run.heatmaps("edges@of=input-gradient", "predicted", "test")).shape[1:] == (48, 48)


def test_larger_pictures_go_through_in_smaller_batches(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, append = [], PartialRows.append

    def noted(partial: PartialRows, **rows: np.ndarray) -> None:
        sizes.append(len(rows["logits"]))
        append(partial, **rows)

    def loaded_as_if_large(*arguments):
        model = load_run_model(*arguments)
        model.input_spec = replace(model.input_spec, size=448)
        model.preprocess = type(model)(
            model.network, "cnn", replace(model.input_spec, size=48), model.cam_layer
        ).preprocess
        return model

    monkeypatch.setattr(PartialRows, "append", noted)
    monkeypatch.setattr(making, "load_run_model", loaded_as_if_large)
    explain(workspace, ExplainSettings(device="cpu"))
    assert max(sizes) == EXPLAINERS["gradcam"].batch_size / 16


@pytest.fixture
def foreign(workspace: Workspace) -> np.ndarray:
    """Maps for the faces of test that no explainer made."""
    maps = np.random.default_rng(0).normal(size=(len(workspace.load_faces("test")), 5, 5))
    return maps.astype(np.float32)


def put(workspace: Workspace, target: str, maps: np.ndarray | bytes) -> Path:
    """Put maps that were made elsewhere where the run's own would lie."""
    place = workspace.run("cnn").heatmaps("gradcam", target, "test")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.with_suffix(".json").unlink(missing_ok=True)
    if isinstance(maps, bytes):
        place.write_bytes(maps)
    else:
        np.save(place, maps)
    return place


def test_maps_made_elsewhere_are_taken_as_they_are(workspace: Workspace, foreign: np.ndarray) -> None:
    place = put(workspace, "predicted", foreign)
    assert "made elsewhere, taken as it is" in explain(workspace, ExplainSettings(device="cpu")).notes[0]
    assert np.array_equal(np.load(place), foreign)


def test_those_of_one_class_stay_where_all_are_asked_for(workspace: Workspace, foreign: np.ndarray) -> None:
    classes = workspace.dataset()["classes"]
    place = put(workspace, classes[2], foreign)
    notes = explain(workspace, ExplainSettings(target="all", device="cpu")).notes
    assert [note for note in notes if "made elsewhere" in note] == [
        f"{place}: made elsewhere, taken as it is"
    ]
    assert np.array_equal(np.load(place), foreign)
    of_another = workspace.run("cnn").heatmaps("gradcam", classes[3], "test")
    assert np.load(of_another).shape[1:] == (12, 12) and of_another.with_suffix(".json").exists()


def test_force_says_that_it_puts_its_own_in_their_place(
    workspace: Workspace, foreign: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, said = put(workspace, "predicted", foreign), []
    monkeypatch.setattr(making.log, "info", lambda message, *values: said.append(message % values))
    explain(workspace, ExplainSettings(device="cpu"), force=True)
    assert np.load(place).shape[1:] == (12, 12)
    explain(workspace, ExplainSettings(device="cpu"), force=True)
    (line,) = said
    assert line.startswith(f"{place}: made elsewhere; --force")


def in_row_4(maps: np.ndarray, value: float) -> np.ndarray:
    return np.where(np.arange(len(maps))[:, None, None] == 4, np.float32(value), maps)


def zipped(maps: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, maps)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda maps: maps[:3], r"shape \(3, 5, 5\) where \(\d+, any, any\) belongs; remove it, or put"),
        (lambda maps: maps[0], r"shape \(5, 5\) where"),
        (lambda maps: maps[:, :0], "maps of 0x5 cells"),
        (lambda maps: b"no array", "not a whole .npy file"),
        (lambda maps: b"", "the file is empty"),
        (lambda maps: b"PK\x03\x04 and no more", "not a whole .npy file"),
        (zipped, "not an .npy file"),
        (lambda maps: maps.astype(str), "holds <U.*, which is no kind of number that belongs here"),
        (lambda maps: maps.astype(complex), "holds complex128, which is no kind of number"),
        (lambda maps: maps > 0, "holds bool, which is no kind of number"),
        (lambda maps: in_row_4(maps, np.nan), "row 4 has cells that are no finite number"),
        (lambda maps: in_row_4(maps, np.inf), "row 4 has cells that are no finite number"),
    ],
)
def test_what_was_made_elsewhere_and_is_no_map_is_named(
    workspace: Workspace,
    foreign: np.ndarray,
    content: Callable[[np.ndarray], np.ndarray | bytes],
    message: str,
) -> None:
    put(workspace, "predicted", content(foreign))
    with pytest.raises(UserError, match=message):
        explain(workspace, ExplainSettings(device="cpu"))


def test_two_calls_at_once_make_the_maps_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, second_waits: Callable
) -> None:
    """The second waits for the first, and takes what that one made."""
    explain_split, made = making._explain_split, []

    def hold_up(at_it: Callable[[], None]) -> list[object]:
        def watched(*arguments) -> None:
            made.append(arguments)
            at_it()
            explain_split(*arguments)

        monkeypatch.setattr(making, "_explain_split", watched)
        return made

    second_waits(lambda: explain(workspace, ExplainSettings(device="cpu")), hold_up)
    assert len(made) == 1
    place = workspace.run("cnn").heatmaps("gradcam", "predicted", "test")
    assert np.load(place).any(axis=(1, 2)).mean() > 0.5 and not list(place.parent.glob("*.partial"))


def test_the_layer_that_was_read_stands_in_table_and_record(workspace: Workspace) -> None:
    summary = explain(
        workspace, ExplainSettings(["gradcam@layer=relu2", "gradcam", "occlusion@stride=24"], device="cpu")
    )
    assert [row[1:3] for row in summary.tables[0].rows] == [
        ["gradcam@layer=relu2", "relu2"],
        ["gradcam", "relu3"],
        ["occlusion@stride=24", "-"],
    ]
    place = workspace.run("cnn").heatmaps("gradcam@layer=relu2", "predicted", "test")
    assert read_json(place.with_suffix(".json"))["layer"] == "relu2"
    assert np.load(place).shape[1:] == (24, 24)


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_damaged_maps_are_made_again_and_never_read(workspace: Workspace, damage: str) -> None:
    explain(workspace, ExplainSettings(device="cpu"))
    place = workspace.run("cnn").heatmaps("gradcam", "predicted", "test")
    content = place.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    place.write_bytes({"flipped": flipped, "cut": content[:middle], "empty": b""}[damage])
    job = HeatmapJob(
        workspace,
        workspace.run("cnn"),
        parse_request("gradcam"),
        "test",
        "predicted",
        choose_compute("cpu", "fp32"),
    )
    with pytest.raises(UserError, match=r"test\.npy: .*; run 'fertool explain --run cnn --force'"):
        read_stored(job, made_now=False)
    explain(workspace, ExplainSettings(device="cpu"))
    assert place.read_bytes() == content


def test_maps_of_a_layer_that_was_chosen_otherwise_are_made_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an earlier version, whose records do not say how it chose."""
    settings = ExplainSettings(device="cpu")
    explain(workspace, settings)
    record = workspace.run("cnn").heatmaps("gradcam", "predicted", "test").with_suffix(".json")
    content = read_json(record)
    assert content["layer"] == "relu3" and content.pop(making.LAYER_CHOICE)
    monkeypatch.setattr(making, "OWN", {})  # whose layer never moved
    for layer, current in (("relu3", True), ("relu2", False)):
        write_json(record, {**content, "layer": layer})
        notes = explain(workspace, settings).notes
        assert any("up to date" in note for note in notes) == current
    assert read_json(record)["layer"] == "relu3"


def test_rows_that_a_kill_left_beside_finished_maps_are_removed(workspace: Workspace) -> None:
    explain(workspace, ExplainSettings(device="cpu"))
    left = partial_folder(workspace.run("cnn").heatmaps("gradcam", "predicted", "test"))
    left.mkdir()
    explain(workspace, ExplainSettings(device="cpu"))
    assert not left.exists()


def test_a_class_may_be_called_as_a_target_is(workspace: Workspace, replace_in_record) -> None:
    """The maps of the class 'label' lie apart from those of each face's label."""
    run = workspace.run("cnn")
    for path in (workspace.dataset_json, run.run_json):
        replace_in_record(path, '"happy"', '"label"')
    code = workspace.dataset()["classes"].index("label")
    explain(workspace, ExplainSettings(target="label", device="cpu"))
    explain(workspace, ExplainSettings(target="class=label", device="cpu"))
    labels = workspace.load_labels("test")
    by_label, by_class = (
        np.load(run.heatmaps("gradcam", target, "test")) for target in ("label", "class=label")
    )
    assert np.allclose(by_label[labels == code], by_class[labels == code], atol=1e-6)
    assert not np.allclose(by_label[labels != code], by_class[labels != code], atol=1e-6)
    explain(workspace, ExplainSettings(target="all", device="cpu"))
    assert np.allclose(np.load(run.heatmaps("gradcam", "class=label", "test")), by_class, atol=1e-6)
    assert np.array_equal(np.load(run.heatmaps("gradcam", "label", "test")), by_label)


def test_many_empty_maps_are_said_with_an_explainer_that_has_none(workspace: Workspace) -> None:
    explain(workspace, ExplainSettings(device="cpu"))
    run = workspace.run("cnn")
    place = run.heatmaps("gradcam", "predicted", "test")
    record = place.with_suffix(".json")
    content = read_json(record)
    faces = content["faces"]
    for empty, said in ((faces // 10, False), (faces // 10 + 1, True)):
        record.write_text(json.dumps(content | {"empty": empty}))
        notes = explain(workspace, ExplainSettings(device="cpu")).notes
        about = [note for note in notes if "are empty" in note]
        assert len(about) == said
    (note,) = about
    assert note.startswith(f"cnn: {faces // 10 + 1} of {faces} maps of gradcam for predicted are empty")
    assert "gradcam-size, which counts cells by their size, has none" in note
