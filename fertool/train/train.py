"""`fertool train`: one run, from its name to its weights."""

import contextlib
import os
import platform
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fertool
from fertool.errors import UserError
from fertool.files import read_csv, write_json
from fertool.hardware import Compute, choose_compute, describe_hardware, seed_everything
from fertool.models import FaceClassifier, build_model
from fertool.models.dlibface import calibrate_norms
from fertool.models.load_weights import load_weights
from fertool.models.registry import parameter_count
from fertool.models.weights import Weights, find_weights
from fertool.prepare.ferplus import crowd_shares
from fertool.progress import log
from fertool.ranks import join_ranks
from fertool.summary import Summary, Table
from fertool.train.config import TrainConfig
from fertool.train.fine_tuning import trained_parameters
from fertool.train.guidance import check_guidance, load_guide_planes
from fertool.train.loop import EpochReport, TrainingFaces, train_run
from fertool.train.mapped_faces import MappedFaces
from fertool.train.precision import faster_precision
from fertool.workspace import SPLITS, Run, Workspace

REVISION = 3  # of the algorithm: raise it when the same settings would train to other weights
CALIBRATION_FACES = 512


def train(
    workspace: Workspace,
    config: TrainConfig | None = None,
    *,
    name: str | None = None,
    weights_dir: Path | None = None,
    device: str = "auto",
    force: bool = False,
    resume: bool = False,
    on_epoch: EpochReport = lambda history_row, timing_row: None,
) -> Summary:
    """Train the model that `config` describes on the workspace's train split, choosing the epoch on val.

    Pretrained weights are looked for in `weights_dir`, then in the cache, then downloaded. A run that is done
    is left alone; one that was interrupted goes on from its last whole epoch. `force` starts again from
    nothing; `resume` goes on, and begins no run. `on_epoch` is called with a row of history.csv and one of
    timing.csv after each epoch. Raises UserError where faces or weights are missing, where `name` is taken by
    other settings or, to `resume`, by nothing, where another process trains the run, and where the loss stops
    being finite.
    """
    config = config or TrainConfig()
    if force and resume:
        raise UserError("--force begins again and --resume goes on: leave one out")
    ranks = join_ranks()
    compute = choose_compute(device, config.precision)
    if config.compile:
        _require_compiler(compute)
    dataset = workspace.dataset()
    run = workspace.run(name or config.run_name)
    if resume and not run.run_json.exists():
        raise UserError(
            f"{run.folder}: --resume: no training was begun here; check the settings, or leave --resume out"
        )
    weights = ranks.of_first(lambda: find_weights(config.model, config.weights, weights_dir))
    model = _starting_model(config, weights, len(dataset["classes"]))
    if config.guide is not None:
        check_guidance(model, config.guide_explainer, config.guide_map)
    made_from = ranks.of_first(
        lambda: workspace.made_from(
            REVISION,
            {**config.changed, "seed": config.seed, "weights": weights.sha256 or weights.name},
            _inputs(workspace, config, model),
        )
    )

    with contextlib.ExitStack() as held:
        ranks.of_first(lambda: held.enter_context(run.locked()))
        earlier = ranks.of_first(lambda: _earlier(run, config, made_from, force))
        if earlier and earlier["state"] == "done":
            return _summary(run, "was done already; --force trains it again")
        train_split, val_split = _train_split(workspace, config, model), _split(workspace, "val", model)
        if config.guide is not None:
            val_split = replace(val_split, planes=load_guide_planes(workspace, "val", "background"))
        if weights.folded_norms:
            few, of_few = (
                None if values is None else torch.from_numpy(np.array(values[:CALIBRATION_FACES]))
                for values in (train_split.faces, train_split.boxes)
            )
            calibrate_norms(model, few, of_few)
        if config.precision == "auto" and compute.precision == "bf16":
            # found by trial, so a run that is gone on with keeps what it began with, on another machine too
            found = ranks.of_first(
                lambda: (
                    earlier["hardware"]["precision"]
                    if earlier
                    else _precision_of_others(workspace, config, model, compute)
                    or faster_precision(model, train_split, config, compute)
                )
            )
            compute = replace(compute, precision=found)
        record = _record(run, config, compute, dataset, model, weights, made_from)

        def note(state: str, **more: Any) -> None:
            if ranks.is_first:
                write_json(run.run_json, {**record, "state": state, **more})

        note("running")
        try:
            best = train_run(model, config, train_split, val_split, run, compute, on_epoch)
        except UserError as error:
            note("failed", reason=str(error))
            raise
        note("done", best=best)
        ranks.wait()
    return _summary(run)


def _require_compiler(compute: Compute) -> None:
    if compute.device.type != "cpu":
        return
    # torch looks for these
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise UserError(f"--compile: no C++ compiler '{compiler}' here; install one, or leave --compile out")


def _earlier(run: Run, config: TrainConfig, made_from: dict[str, Any], force: bool) -> dict[str, Any] | None:
    """The record of an earlier call for this run; None, its folder cleared, where it is to start from nothing.

    Raises UserError where the name is taken by other settings.
    """
    if not run.run_json.exists():
        run.last.unlink(missing_ok=True)  # nobody knows by what settings it was trained
        return None
    earlier = run.config()
    if force:
        _clear(run)
        return None
    if earlier["made_from"] != made_from:
        raise UserError(
            f"{run.folder}: this name is taken by a run with other settings or faces "
            f"({_first_difference(earlier, config)}); give --name, or --force to replace it"
        )
    return earlier


def _precision_of_others(
    workspace: Workspace, config: TrainConfig, model: FaceClassifier, compute: Compute
) -> str | None:
    """The number format of runs that this one is, or will be, compared with: the same network, on such a machine.

    It is found by trial, and a trial may come out otherwise the next time; a condition's seeds, a control and its
    counterpart are to have the same. None where there is no such run.
    """
    own = describe_hardware(compute)
    wanted = (config.model, config.batch_size, "auto", model.input_spec.size, own["device"], own["name"])
    for other in workspace.runs():
        record = other.config()
        its, hardware = record["config"], record["hardware"]
        asked = its.get("model"), its.get("batch_size"), its.get("precision")
        # records of earlier versions may lack some of it
        if (*asked, record.get("image_size"), hardware.get("device"), hardware.get("name")) == wanted:
            return hardware["precision"]
    return None


def _starting_model(config: TrainConfig, weights: Weights, classes: int) -> FaceClassifier:
    seed_everything(config.seed)
    model = build_model(
        config.model,
        classes,
        dropout=config.dropout,
        drop_path=config.drop_path,
        image_size=config.image_size,
        variant=weights.variant,
        views=config.views,
        cam_layer=config.cam_layer,
        channels=config.channels,
        mean=config.mean or weights.mean,
        std=config.std or weights.std,
    )
    load_weights(model, weights)
    return model


def _inputs(workspace: Workspace, config: TrainConfig, model: FaceClassifier) -> list[Path]:
    splits = SPLITS if config.drop_leaks else ("train", "val")
    inputs = [path for split in splits for path in (workspace.faces(split), workspace.faces_csv(split))]
    if model.needs_boxes:
        for split in ("train", "val"):
            workspace.load_boxes(split)  # says so where there are none
            inputs.append(workspace.landmarks(split))
    if config.guide is not None:
        for split in ("train", "val"):
            workspace.load_region_maps(split)  # likewise
            inputs += [workspace.region_maps(split), workspace.landmarks(split)]
    return sorted(set(inputs))


def _split(workspace: Workspace, split: str, model: FaceClassifier) -> TrainingFaces:
    boxes = workspace.load_boxes(split) if model.needs_boxes else None
    return TrainingFaces(MappedFaces(workspace.load_faces(split)), workspace.load_labels(split), boxes)


def _train_split(workspace: Workspace, config: TrainConfig, model: FaceClassifier) -> TrainingFaces:
    whole = _split(workspace, "train", model)
    if config.labels == "ferplus-soft":
        whole = replace(whole, targets=_crowd_targets(workspace, whole.labels))
    kept = np.ones(len(whole.labels), dtype=bool)
    if config.drop_leaks:
        elsewhere = np.concatenate([workspace.load_twin_groups(split) for split in ("val", "test")])
        kept = ~np.isin(workspace.load_twin_groups("train"), elsewhere[elsewhere >= 0])
        log.info("%d of %d faces have a twin in val or test and are left out", (~kept).sum(), len(kept))
    rows = np.flatnonzero(kept)
    if config.train_fraction < 1:
        rows = stratified_part(whole.labels, rows, config.train_fraction, config.seed)
        log.info("%d of %d faces of train are used", len(rows), len(whole.labels))
    planes = None
    if config.guide is not None:
        placebo_seed = config.seed if config.guide_masks == "shuffled" else None
        planes = load_guide_planes(workspace, "train", config.guide, rows=rows, placebo_seed=placebo_seed)
    return TrainingFaces(
        whole.faces.part(rows),
        whole.labels[rows],
        None if whole.boxes is None else whole.boxes[rows],
        None if whole.targets is None else whole.targets[rows],
        planes,
    )


def _crowd_targets(workspace: Workspace, labels: np.ndarray) -> np.ndarray:
    """The crowd's distribution for each face of train; its own label where nobody voted for any of the classes."""
    votes = workspace.load_votes("train")
    if votes is None:
        raise UserError(
            f"{workspace.root}: --labels ferplus-soft: these faces carry no votes; run 'fertool prepare' again "
            "with --ferplus fer2013new.csv"
        )
    classes = workspace.dataset()["classes"]
    shares = crowd_shares(votes, classes)
    own = np.eye(len(classes), dtype=np.float32)[labels]
    return np.where(np.isnan(shares), own, shares)


def stratified_part(labels: np.ndarray, rows: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Of `rows` that part of each class, at least one face, drawn by seed; ascending."""
    shuffled = np.random.default_rng([seed, len(labels)]).permutation(rows)
    parts = []
    for code in np.unique(labels[rows]):
        of_class = shuffled[labels[shuffled] == code]
        parts.append(of_class[: max(1, round(fraction * len(of_class)))])
    return np.sort(np.concatenate(parts))


def _record(
    run: Run,
    config: TrainConfig,
    compute: Compute,
    dataset: dict[str, Any],
    model: FaceClassifier,
    weights: Weights,
    made_from: dict[str, Any],
) -> dict[str, Any]:
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
        "made_from": made_from,
    }


def _first_difference(earlier: dict[str, Any], config: TrainConfig) -> str:
    for option, value in config.as_record().items():
        if earlier["config"].get(option) != value:
            return f"its {option} is {earlier['config'].get(option)}, not {value}"
    return "its faces or its weights were others"


def _clear(run: Run) -> None:
    """Empty the run's folder but for the lock that is held on it.

    What a training goes on from is the first to go: interrupted, nobody takes it for another's.
    """
    run.last.unlink(missing_ok=True)
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
