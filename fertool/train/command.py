"""`fertool train`: one run, from its name to its weights."""

import contextlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch

import fertool
from fertool.errors import UserError
from fertool.models import FaceClassifier, build_model
from fertool.models.backbones.dlibface import calibrate_norms
from fertool.models.backbones.user_network import source_files
from fertool.models.registry import parameter_count
from fertool.models.weights.load import load_weights
from fertool.models.weights.sources import Weights, find_weights
from fertool.prepare.ferplus import crowd_shares
from fertool.runtime.files import read_csv, write_json
from fertool.runtime.hardware import Compute, choose_compute, describe_hardware, seed_everything
from fertool.runtime.ranks import join_ranks
from fertool.summary import Summary, Table
from fertool.train.config import TrainConfig
from fertool.train.fine_tuning import frozen_backbone, trained_parameters
from fertool.train.guidance import check_guidance, load_guide_planes
from fertool.train.guidance.maps import OF_ATTENTION
from fertool.train.loop import EpochReport, train_run
from fertool.train.mapped_faces import MappedFaces
from fertool.train.precision import faster_precision
from fertool.train.splits import TrainingFaces
from fertool.train.subset import rows_used
from fertool.workspace import SPLITS, Run, Workspace

REVISION = 3  # of the algorithm: raise it when the same settings would train to other weights
LATER_REVISION = 4  # of those trainings that came out otherwise before, see _revision
CALIBRATION_FACES = 512


class RunOptions(TypedDict, total=False):
    """What `train` takes beside faces and settings."""

    name: str | None
    weights_dir: Path | None
    device: str
    force: bool
    resume: bool
    on_epoch: EpochReport


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
    weights = ranks.broadcast_from_rank0(lambda: find_weights(config.model, config.weights, weights_dir))
    model = _starting_model(config, weights, len(dataset["classes"]))
    if config.guide is not None:
        explainer, _ = check_guidance(model, config.guide_explainer, config.guide_map)
        if explainer in OF_ATTENTION and frozen_backbone(
            model, trained_parameters(model, config, config.epochs)
        ):
            raise UserError(
                f"--guide: the {explainer} of a frozen backbone stays as it is; let some of it train (--unfreeze, "
                "--freeze-epochs)"
            )
    made_from = ranks.broadcast_from_rank0(
        lambda: workspace.made_from(
            _revision(config),
            {**config.changed, "seed": config.seed, "weights": weights.sha256 or weights.name},
            _inputs(workspace, config, model),
        )
    )

    def begun() -> dict[str, Any] | None:
        return ranks.broadcast_from_rank0(lambda: _earlier(run, config, made_from, force))

    earlier = begun()
    if earlier and earlier["state"] == "done":
        return _summary(run, "was done already; --force trains it again")
    # before the run's folder is touched: what is wrong with the faces is said here
    train_split, val_split = _train_split(workspace, config, model), _split(workspace, "val", model)
    if len(val_split.labels) < ranks.count:
        raise UserError(
            f"{workspace.faces('val')}: {len(val_split.labels)} faces for {ranks.count} processes; take fewer"
        )
    if config.guide is not None:
        val_split = replace(val_split, planes=load_guide_planes(workspace, "val", "background"))

    with contextlib.ExitStack() as held:
        ranks.broadcast_from_rank0(lambda: held.enter_context(run.locked()))
        earlier = begun()  # once more: another process may have been at it until now
        if weights.folded_norms:
            few, of_few = (
                None if values is None else torch.from_numpy(np.array(values[:CALIBRATION_FACES]))
                for values in (train_split.faces, train_split.boxes)
            )
            calibrate_norms(model, few, of_few)
        if config.precision == "auto" and earlier:
            # what a trial found is kept, on a machine that would choose otherwise too
            compute = replace(compute, precision=earlier["hardware"]["precision"])
        elif config.precision == "auto" and compute.precision == "bf16":
            with _batch_norms_named(run):
                found = ranks.broadcast_from_rank0(
                    lambda: (
                        _precision_of_others(
                            workspace, config, model, compute, but=run.name if force else None
                        )
                        or faster_precision(model, train_split, config, compute)
                    )
                )
            compute = replace(compute, precision=found)
        ranks.broadcast_from_rank0(lambda: _begin_anew(run) if not (earlier and run.last.exists()) else None)
        record = _record(run, config, compute, dataset, model, weights, made_from)

        def note(state: str, **more: Any) -> None:
            if ranks.is_first:
                write_json(run.run_json, {**record, "state": state, **more})

        note("running")
        try:
            with _batch_norms_named(run):
                best = train_run(model, config, train_split, val_split, run, compute, on_epoch)
        except UserError as error:
            note("failed", reason=str(error))
            raise
        note("done", best=best)
        ranks.wait()
    return _summary(run)


@contextlib.contextmanager
def _batch_norms_named(run: Run) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):  # of torch's batch norms
            raise
        raise UserError(
            f"{run.folder}: a batch norm sees one value: take a larger --batch-size or --image-size"
        ) from None


def _revision(config: TrainConfig) -> int:
    # patience and plateaus counted the frozen epochs
    thawed = config.freeze_epochs and (config.patience is not None or config.schedule == "plateau")
    # the best epoch could lie in the warm-up; maps through batch norms, and wanted maps of a mix, were others
    guided = config.guide and (config.guide_warmup or config.mixup or config.model not in ("cnn", "cnn-gap"))
    return LATER_REVISION if thawed or guided else REVISION


def _require_compiler(compute: Compute) -> None:
    # these torch looks for, and for its launcher of GPU code Triton
    cpu = [os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")]
    cuda = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"]
    compilers = {"cpu": ("C++", cpu), "cuda": ("C", cuda)}
    language, names = compilers.get(compute.device.type, ("", []))
    if names and not any(map(shutil.which, names)):
        raise UserError(
            f"--compile: no {language} compiler '{names[0]}' here; install one, or leave --compile out"
        )


def _earlier(run: Run, config: TrainConfig, made_from: dict[str, Any], force: bool) -> dict[str, Any] | None:
    """The record of an earlier call for this run; None where it is to start from nothing.

    Raises UserError where the name is taken by other settings.
    """
    if force or not run.run_json.exists():
        return None
    earlier = run.config()
    if earlier["made_from"] != made_from:
        raise UserError(
            f"{run.folder}: this name is taken by a run with other settings or faces "
            f"({_first_difference(earlier, config, made_from)}); give --name, or --force to replace it"
        )
    return earlier


def _precision_of_others(
    workspace: Workspace, config: TrainConfig, model: FaceClassifier, compute: Compute, but: str | None
) -> str | None:
    """The number format of runs that this one is, or will be, compared with: the same network, on such a machine.

    It is found by trial, and a trial may come out otherwise the next time; a condition's seeds, then a control
    and its counterpart, are to have the same. None where there is no such run, that of the name `but` left out.
    """
    own = describe_hardware(compute)
    wanted = (config.model, config.batch_size, "auto", model.input_spec.size, own["device"], own["name"])
    of_condition = of_network = None
    for other in (run for run in workspace.runs() if run.name != but):
        record = other.config()
        its, hardware = record["config"], record["hardware"]
        asked = its.get("model"), its.get("batch_size"), its.get("precision")
        # records of earlier versions may lack some of it
        if (*asked, record.get("image_size"), hardware.get("device"), hardware.get("name")) == wanted:
            of_network = of_network or hardware["precision"]
            if record["condition"] == config.condition_name:
                of_condition = of_condition or hardware["precision"]
    return of_condition or of_network


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
    return sorted({*inputs, *source_files(config.model)})


def _split(workspace: Workspace, split: str, model: FaceClassifier) -> TrainingFaces:
    boxes = workspace.load_boxes(split) if model.needs_boxes else None
    return TrainingFaces(MappedFaces(workspace.load_faces(split)), workspace.load_labels(split), boxes)


def _train_split(workspace: Workspace, config: TrainConfig, model: FaceClassifier) -> TrainingFaces:
    whole = _split(workspace, "train", model)
    if config.labels == "ferplus-soft":
        whole = replace(whole, targets=_crowd_targets(workspace, whole.labels))
    rows = rows_used(workspace, whole.labels, config)
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


def _first_difference(earlier: dict[str, Any], config: TrainConfig, made_from: dict[str, Any]) -> str:
    before = TrainConfig().as_record() | earlier["config"]  # a record may be older than some of the settings
    for option, value in config.as_record().items():
        if before[option] != value:
            return f"its {option} is {before[option]}, not {value}"
    if earlier["made_from"]["revision"] != made_from["revision"]:
        return "trained by another version of fertool"
    return "its faces, its weights or the source of its network were others"


def _begin_anew(run: Run) -> None:
    """Empty the run's folder but for the lock that is held on it.

    Whenever it is interrupted nobody takes what is left for a whole run, and the next training clears it away.
    """
    run.last.unlink(missing_ok=True)
    if not run.run_json.exists():
        return
    write_json(run.run_json, {**run.config(), "state": "running"})
    for path in run.folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (".lock", run.run_json.name):
            path.unlink()
    run.run_json.unlink()


def _summary(run: Run, note: str | None = None) -> Summary:
    record = run.config()
    minutes = sum(float(row["epoch_s"]) for row in read_csv(run.timing_csv)) / 60
    best = record["best"]
    table = Table(
        "training",
        ["run", "model", "parameters", "best epoch", "val accuracy", "minutes", "precision"],
        [
            [
                run.name,
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
