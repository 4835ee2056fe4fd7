"""The command line: each command parses, calls one function, prints. No logic."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fertool.errors import UserError

app = typer.Typer(
    help="Which parts of the face does a facial expression model rely on? Measured, step by step:\n\n"
    "prepare -> masks -> train -> explain -> score -> report",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", metavar="DIR", help="Folder of all results [default: $FERTOOL_WORKSPACE or data]"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, and nothing else there")]
ForceOption = Annotated[bool, typer.Option("--force", help="Make it again, even where it is up to date")]
RunOption = Annotated[
    list[str] | None, typer.Option("--run", metavar="NAME", help="A run, repeatable [default: all that fit]")
]
SplitOption = Annotated[str, typer.Option(help="train, val or test")]
TargetOption = Annotated[
    str, typer.Option(help="Class to explain: predicted, label, a class by name, or all")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]


def _print_version(wanted: bool) -> None:
    if wanted:
        import fertool

        print(f"fertool {fertool.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version")
    ] = False,
) -> None:
    pass


@app.command()
def prepare(
    source: Annotated[
        str, typer.Argument(help="fer2013.csv, .gz, .zip, .tar.gz, a folder of pictures, or 'synthetic'")
    ],
    size: Annotated[int, typer.Option(help="Height and width of the faces, pixels")] = 48,
    seed: Annotated[int, typer.Option(help="Of splits, and of drawn faces")] = 0,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Classes to keep [default: the seven emotions]")
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Person in a file name: one person's faces share a split"),
    ] = None,
    ferplus: Annotated[
        Path | None, typer.Option(metavar="CSV", help="fer2013new.csv, the crowd's votes")
    ] = None,
    labels: Annotated[str, typer.Option(help="original, or ferplus: the crowd's majority")] = "original",
    drop_leaks: Annotated[
        bool, typer.Option("--drop-leaks", help="Leave out of train what stands in val or test too")
    ] = False,
    count: Annotated[int, typer.Option(help="How many faces to draw, for 'synthetic'")] = 4000,
    evidence: Annotated[
        str | None,
        typer.Option(metavar="REGION", help="The one region of drawn faces that tells the class"),
    ] = None,
    spurious: Annotated[
        float, typer.Option(help="How often a background mark agrees with the label, in train only")
    ] = 0.0,
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read any FER data set into the workspace.

    Example: fertool prepare fer2013.zip --ferplus fer2013new.csv
    """
    from fertool import console
    from fertool.prepare import prepare
    from fertool.workspace import Workspace

    console.show(
        prepare(
            Workspace.locate(workspace),
            source,
            size=size,
            seed=seed,
            classes=classes.split(",") if classes else None,
            group_by=group_by,
            ferplus=ferplus,
            labels=labels,
            drop_leaks=drop_leaks,
            count=count,
            evidence=evidence,
            spurious=spurious,
            force=force,
        ),
        as_json,
    )


@app.command()
def masks(
    detector: Annotated[str, typer.Option(help="auto, mediapipe, dlib or template")] = "auto",
    confidence: Annotated[float, typer.Option(help="Least confidence of a MediaPipe face")] = 0.3,
    margin: Annotated[
        float, typer.Option(help="How far regions are grown, in inter-ocular distances")
    ] = 0.04,
    mediapipe_model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="face_landmarker.task [default: the cache, else downloaded]"),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes [default: one a core]")] = None,
    preview: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Also draw a sheet of faces with their regions")
    ] = None,
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find each face's landmarks and draw its regions.

    Example: fertool masks --preview regions.png
    """
    from fertool import console
    from fertool.masks import make_masks
    from fertool.workspace import Workspace

    console.show(
        make_masks(
            Workspace.locate(workspace),
            detector=detector,
            confidence=confidence,
            margin=margin,
            mediapipe_model=mediapipe_model,
            workers=workers,
            preview=preview,
            force=force,
        ),
        as_json,
    )


@app.command()
def train(
    model: Annotated[str, typer.Option(help="cnn, vit, or any timm model by its name, from scratch")] = "cnn",
    epochs: Annotated[int, typer.Option(help="Passes over the train split")] = 30,
    batch_size: Annotated[int, typer.Option(help="Faces a step")] = 64,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam")] = 1e-4,
    weight_decay: Annotated[float, typer.Option(help="L2 penalty of Adam")] = 1e-4,
    label_smoothing: Annotated[float, typer.Option(help="Share of the target spread over all classes")] = 0.1,
    dropout: Annotated[float | None, typer.Option(help="[default: the model's own]")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Pixels that the network sees [default: the model's own]")
    ] = None,
    flip: Annotated[bool, typer.Option(help="Mirror one face in two")] = True,
    shift: Annotated[float, typer.Option(help="Shift faces by up to this share of their side")] = 0.05,
    drop_leaks: Annotated[
        bool, typer.Option("--drop-leaks", help="Leave out faces with an identical twin in val or test")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation")] = 0,
    name: Annotated[str | None, typer.Option(help="Of the run [default: model, settings, seed]")] = None,
    device: DeviceOption = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16")] = "auto",
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model; the best epoch is chosen on val. An interrupted run goes on where it stopped.

    Example: fertool train --model cnn --epochs 30 --seed 1
    """
    from fertool import console
    from fertool.train import train
    from fertool.train.config import TrainConfig
    from fertool.workspace import Workspace

    config = TrainConfig(
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        dropout=dropout,
        image_size=image_size,
        flip=flip,
        shift=shift,
        drop_leaks=drop_leaks,
        precision=precision,
        seed=seed,
    )
    console.show(
        train(
            Workspace.locate(workspace),
            config,
            name=name,
            device=device,
            force=force,
            on_epoch=console.EpochTable(),
        ),
        as_json,
    )


@app.command()
def explain(
    explainer: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME@option=value,...; repeatable")
    ] = None,
    list_them: Annotated[
        bool, typer.Option("--list-explainers", help="Print the explainers there are, with their rules")
    ] = False,
    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A photograph, repeatable: explain its faces, not a split's"),
    ] = None,
    overlay_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where overlays go [default: beside each photograph]"),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Also draw faces of the split, two a class, with their maps"),
    ] = None,
    run: RunOption = None,
    split: SplitOption = "test",
    target: TargetOption = "predicted",
    device: DeviceOption = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16")] = "fp32",
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make heatmaps, and predictions with them: of a split, or of the faces in photographs.

    Example: fertool explain --explainer gradcam --explainer occlusion --image photo.jpg
    """
    from fertool import console
    from fertool.explain import explain, list_explainers
    from fertool.workspace import Workspace

    if list_them:
        console.show(list_explainers(), as_json)
        return
    console.show(
        explain(
            Workspace.locate(workspace),
            explainer or ["gradcam"],
            runs=run or (),
            split=split,
            target=target,
            device=device,
            precision=precision,
            force=force,
            images=image or (),
            overlay_dir=overlay_dir,
            gallery=gallery,
        ),
        as_json,
    )


@app.command()
def score(
    explainer: Annotated[
        str, typer.Option(help="Whose heatmaps to score: NAME or NAME@option=value,...")
    ] = "gradcam",
    suite: Annotated[
        list[str] | None,
        typer.Option(help="A family of figures, repeatable, or all [default: classification, attention]"),
    ] = None,
    run: RunOption = None,
    on: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Score on the faces of another workspace")
    ] = None,
    split: SplitOption = "test",
    target: Annotated[
        str, typer.Option(help="Class to explain: predicted, label, or a class by name")
    ] = "predicted",
    by: Annotated[
        str, typer.Option(metavar="FIELD,...", help="Fields of run.json whose values make a row")
    ] = "condition",
    grid: Annotated[int | None, typer.Option(help="Compare on a common grid of so many cells a side")] = None,
    jitter: Annotated[
        float, typer.Option(help="Move landmarks by so many inter-ocular distances, and say what changes")
    ] = 0.0,
    contrasts: Annotated[
        str, typer.Option(metavar="REGION,...", help="Regions whose differences between models are tested")
    ] = "mouth,eyes,background",
    fill: Annotated[
        list[str] | None,
        typer.Option(help="Way of covering a region in the suite causal, repeatable [default: all]"),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="RUN", help="Whose corruption error is 100% [default: the first]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of samples, and of what is drawn for a face")] = 0,
    device: DeviceOption = "auto",
    precision: Annotated[str, typer.Option(help="Of heatmaps still to be made: auto, fp32, bf16")] = "fp32",
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score runs, suite by suite; missing heatmaps are made first.

    Suites: classification, attention, faithfulness, causal, robustness, sanity, representation, truth, all.

    Example: fertool score --suite attention --suite causal --target label --by model
    """
    from fertool import console
    from fertool.score import score
    from fertool.score.fills import FILLS
    from fertool.score.score import DEFAULT_SUITES
    from fertool.workspace import Workspace

    console.show(
        score(
            Workspace.locate(workspace),
            explainer,
            suites=suite or DEFAULT_SUITES,
            runs=run or (),
            on=Workspace(on) if on else None,
            split=split,
            target=target,
            by=by.split(","),
            grid=grid,
            jitter=jitter,
            contrasts=contrasts.split(","),
            fills=fill or tuple(FILLS),
            reference=reference,
            seed=seed,
            device=device,
            precision=precision,
            force=force,
        ),
        as_json,
    )


@app.command()
def report(
    run: RunOption = None,
    split: SplitOption = "test",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all scores as one self-contained page.

    Example: fertool report && open data/report/index.html
    """
    from fertool import console
    from fertool.report import write_report
    from fertool.workspace import Workspace

    console.show(write_report(Workspace.locate(workspace), runs=run or (), split=split), as_json)


def main() -> None:
    """Run the program: exit 0 when done, 1 with one line on what to put right, 130 when interrupted."""
    from fertool.console import log_to_stderr

    log_to_stderr()
    try:
        app()
    except UserError as error:
        sys.exit(f"fertool: {error}")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        sys.exit(f"fertool: {error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit(130)
