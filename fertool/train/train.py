"""`fertool train`: one run, from its name to its weights."""

import platform
import shutil
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

import fertool
from fertool.errors import UserError
from fertool.hardware import Compute, choose_compute, describe_hardware, seed_everything
from fertool.models import build_model
from fertool.models.registry import parameter_count
from fertool.progress import log
from fertool.summary import Summary, Table
from fertool.train.config import TrainConfig
from fertool.train.loop import EpochReport, LabelledFaces, train_run
from fertool.workspace import SPLITS, Run, Workspace, read_csv, write_json

REVISION = 1  # of the algorithm: raise it when the same settings would train to other weights


def train(
    workspace: Workspace,
    config: TrainConfig | None = None,
    *,
    name: str | None = None,
    device: str = "auto",
    force: bool = False,
    on_epoch: EpochReport = lambda history_row, timing_row: None,
) -> Summary:
    """Train the model that `config` describes on the workspace's train split, choosing the epoch on val.

    A run that is done is left alone; one that was interrupted goes on from its last whole epoch. `force`
    starts again from nothing. `on_epoch` is called with a row of history.csv and one of timing.csv after
    each epoch. Raises UserError where the faces are missing, where `name` is taken by other settings, where
    another process trains the run, and where the loss stops being finite.
    """
    config = config or TrainConfig()
    compute = choose_compute(device, config.precision)
    dataset = workspace.dataset()
    run = workspace.run(name or config.run_name)
    made_from = workspace.made_from(
        REVISION,
        asdict(config),
        [
            path
            for split in (SPLITS if config.drop_leaks else ("train", "val"))
            for path in (workspace.faces(split), workspace.faces_csv(split))
        ],
    )
    record = _record(run, config, compute, dataset, made_from)
    seed_everything(config.seed)
    model = build_model(config.model, len(dataset["classes"]), config.dropout, config.image_size)
    record |= {
        "family": model.family,
        "cam_layer": model.cam_layer,
        "attention_blocks": len(model.attention_blocks),
        "parameters": parameter_count(model),
    }

    with run.locked():
        earlier = run.config() if run.run_json.exists() else None
        if earlier and not force:
            if earlier["made_from"] != made_from:
                raise UserError(
                    f"{run.folder}: this name is taken by a run with other settings or faces "
                    f"({_first_difference(earlier, record)}); give --name, or --force to replace it"
                )
            if earlier["state"] == "done":
                return _summary(run, "was done already; --force trains it again")
        elif earlier:
            _clear(run)

        write_json(run.run_json, {**record, "state": "running"})
        try:
            best = train_run(
                model,
                config,
                _train_split(workspace, config.drop_leaks),
                LabelledFaces(workspace.load_faces("val"), workspace.load_labels("val")),
                run,
                compute,
                on_epoch,
            )
        except UserError as error:
            write_json(run.run_json, {**record, "state": "failed", "reason": str(error)})
            raise
        write_json(run.run_json, {**record, "state": "done", "best": best})
    return _summary(run)


def _train_split(workspace: Workspace, drop_leaks: bool) -> LabelledFaces:
    faces, labels = workspace.load_faces("train"), workspace.load_labels("train")
    if drop_leaks:
        elsewhere = np.concatenate([workspace.load_twin_groups(split) for split in ("val", "test")])
        kept = ~np.isin(workspace.load_twin_groups("train"), elsewhere[elsewhere >= 0])
        log.info("%d of %d faces have a twin in val or test and are left out", (~kept).sum(), len(kept))
        faces, labels = faces[kept], labels[kept]
    return LabelledFaces(faces, labels)


def _record(
    run: Run, config: TrainConfig, compute: Compute, dataset: dict[str, Any], made_from: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": run.name,
        "model": config.model,
        "config": asdict(config),
        "condition": config.condition_name,
        "dataset": dataset["name"],
        "classes": dataset["classes"],
        "versions": {
            "fertool": fertool.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "hardware": describe_hardware(compute),
        "made_from": made_from,
    }


def _first_difference(earlier: dict[str, Any], record: dict[str, Any]) -> str:
    for option, value in record["config"].items():
        if earlier["config"].get(option) != value:
            return f"its {option} is {earlier['config'].get(option)}, not {value}"
    return "its faces were others"


def _clear(run: Run) -> None:
    """Empty the run's folder but for the lock that is held on it."""
    for path in run.folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _summary(run: Run, note: str | None = None) -> Summary:
    record = run.config()
    minutes = sum(float(row["epoch_s"]) for row in read_csv(run.timing_csv)) / 60
    best = record["best"]
    table = Table(
        f"run {run.name}",
        ["model", "parameters", "best epoch", "val accuracy", "minutes", "precision"],
        [
            [
                record["model"],
                f"{record['parameters']:,}",
                f"{best['epoch']} of {record['config']['epochs']}",
                f"{best['val_accuracy']:.1%}",
                f"{minutes:.1f}",
                record["hardware"]["precision"],
            ]
        ],
    )
    return Summary(data=record, tables=[table], notes=[f"{run.name}: {note}"] if note else [])
