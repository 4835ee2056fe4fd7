"""The record that run.json keeps of a training, and how a training compares itself with it."""

import os
import platform
import shutil
from pathlib import Path
from typing import Any

import torch

import fertool
from fertool.errors import UserError
from fertool.models import FaceClassifier
from fertool.models.backbones.multiscale import layer_in_words
from fertool.models.backbones.user_network import source_files
from fertool.models.registry import parameter_count
from fertool.models.weights.sources import Weights
from fertool.prepare.twins import NEAR
from fertool.runtime.files import write_record
from fertool.runtime.hardware import Compute, describe_hardware
from fertool.summary import Summary, Table
from fertool.train.config import TrainConfig
from fertool.train.fine_tuning import trained_parameters
from fertool.workspace import SPLITS, Run, Workspace, are_made_alike

REVISION = 3  # of the algorithm: raise it when the same settings would train to other weights
LATER_REVISION = 4  # of those trainings that came out otherwise before, see `_revision`


def training_made_from(
    workspace: Workspace, config: TrainConfig, model: FaceClassifier, weights: Weights
) -> dict[str, Any]:
    """The record of a training's inputs. Raises UserError where faces or masks are missing."""
    settings = {**config.changed, "seed": config.seed, "weights": weights.sha256 or weights.name}
    return workspace.made_from(_revision(config), settings, _inputs(workspace, config, model))


def _revision(config: TrainConfig) -> int:
    # at first patience and plateaus counted the frozen epochs
    thawed = config.freeze_epochs and (config.patience is not None or config.schedule == "plateau")
    # at first the best epoch could lie in the warm-up; maps through batch norms, and wanted maps of a mix, were others
    guided = config.guide and (config.guide_warmup or config.mixup or config.model not in ("cnn", "cnn-gap"))
    return LATER_REVISION if thawed or guided else REVISION


def _inputs(workspace: Workspace, config: TrainConfig, model: FaceClassifier) -> list[Path]:
    splits = SPLITS if config.drop_leaks else ("train", "val")
    inputs = [path for split in splits for path in (workspace.faces(split), workspace.faces_csv(split))]
    if config.drop_leaks == NEAR and workspace.holds(workspace.near_twins):
        inputs.append(workspace.near_twins)
    for split in ("train", "val"):
        if model.needs_boxes:
            workspace.load_boxes(split)  # raises where there are none
            inputs.append(workspace.landmarks(split))
        if config.guide is not None:
            workspace.load_region_maps(split)  # likewise
            inputs += [workspace.region_maps(split), workspace.landmarks(split)]
    return sorted({*inputs, *source_files(config.model)})


def earlier_record(
    run: Run, config: TrainConfig, made_from: dict[str, Any], force: bool
) -> dict[str, Any] | None:
    """The record of an earlier call for this run; None where the run starts from nothing.

    Raises UserError where the run's name is taken by other settings.
    """
    if force or not run.run_json.exists():
        return None
    earlier = run.config()
    if not are_made_alike(earlier["made_from"], made_from):
        raise UserError(
            f"{run.folder}: this name is taken by a run with other settings or faces "
            f"({_first_difference(earlier, config, made_from)}); give --name, or --force to replace it"
        )
    return earlier


def _first_difference(earlier: dict[str, Any], config: TrainConfig, made_from: dict[str, Any]) -> str:
    before = TrainConfig().as_record() | earlier["config"]  # a record may be older than some of the settings
    for option, value in config.as_record().items():
        if before[option] != value:
            return f"its {option} is {before[option]}, not {value}"
    if earlier["made_from"]["revision"] != made_from["revision"]:
        return "trained by another version of fertool"
    return "its faces, its weights or the source of its network were others"


def run_record(
    workspace: Workspace,
    run: Run,
    config: TrainConfig,
    compute: Compute,
    dataset: dict[str, Any],
    model: FaceClassifier,
    weights: Weights,
    made_from: dict[str, Any],
) -> dict[str, Any]:
    """The content of run.json, but for the state and what the training comes to.

    Args:
        workspace: where the faces lie, whose hashes are recorded.
        run: its name is recorded.
        config: every setting is recorded.
        compute: device and number format.
        dataset: the content of dataset.json.
        model: the network, for what is to be known of it without loading it.
        weights: what it started from.
        made_from: what `training_made_from` returned.
    """
    trained = trained_parameters(model, config, config.epochs)
    return {
        "name": run.name,
        "model": config.model,
        "weights": weights.name,
        "pretraining": {"source": weights.source, "sha256": weights.sha256},
        "config": config.as_record(),
        "condition": config.condition_name,
        "family": model.family,
        "cam_layer": model.cam_layer,
        "attention_blocks": len(model.attention_blocks),
        "needs_boxes": model.needs_boxes,
        "image_size": model.input_spec.size,
        "parameters": parameter_count(model),
        "trained_parameters": sum(
            parameter.numel() for name, parameter in model.network.named_parameters() if name in trained
        ),
        "dataset": dataset["name"],
        "classes": dataset["classes"],
        "versions": {
            "fertool": fertool.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "hardware": describe_hardware(compute),
        "faces": face_hashes(workspace),
        "made_from": made_from,
    }


def face_hashes(workspace: Workspace) -> dict[str, str]:
    """The SHA-256 of the faces and tables of all splits, by their path in the workspace (`Workspace.changed_faces`)."""
    files = [path for split in SPLITS for path in (workspace.faces(split), workspace.faces_csv(split))]
    return {os.path.relpath(path, workspace.root): workspace.fingerprint(path) for path in files}


def begin_anew(run: Run) -> None:
    """Empty the run's folder but for the lock that is held on it.

    Wherever this is interrupted, nobody takes what is left for a whole run, and the next training clears it away.
    Raises UserError, before anything is removed, where a folder in it is a link: what lies elsewhere is not ours.
    """
    linked = [path for path in sorted(run.folder.iterdir()) if path.is_symlink() and path.is_dir()]
    if linked:
        raise UserError(
            f"{linked[0]}: a link to {linked[0].resolve()}, which --force would leave with what the old run made; "
            "remove the link and what it points to, or give another --name"
        )
    run.last.unlink(missing_ok=True)
    if not run.run_json.exists():
        return
    write_record(run.run_json, {**run.config(), "state": "running"})
    for path in run.folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (".lock", run.run_json.name):
            path.unlink()
    run.run_json.unlink()


def training_summary(run: Run, note: str | None = None) -> Summary:
    """The table of a finished run, with a note where there is something to say of it."""
    record = run.config()
    best, epochs = record["best"], record["config"]["epochs"]
    cells = {
        "run": run.name,
        "model": record["model"],
        "parameters": f"{record['parameters']:,}",
        "CAM layer": layer_in_words(record["cam_layer"] or ""),
        "best epoch": f"{best['epoch']} of {epochs}" if epochs else "adopted",
        "val accuracy": f"{best['val_accuracy']:.1%}",
        "minutes": run.minutes(),
        "precision": record["hardware"]["precision"],
    }
    table = Table("training", list(cells), [list(cells.values())])
    return Summary(data=record, tables=[table], notes=[f"{run.name}: {note}"] if note else [])
