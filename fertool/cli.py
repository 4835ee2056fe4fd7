"""The command line: each command parses, calls one function, prints. No logic."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fertool.exits import one_line_exits


class _Commands(TyperGroup):
    """The commands, within what turns errors into one line: typer has lines of its own for some of them."""

    def invoke(self, ctx: Any) -> Any:
        with one_line_exits():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands,
    help="Which parts of the face does a facial expression model rely on? Measured, step by step:\n\n"
    "prepare -> masks -> train -> explain -> score -> report",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", metavar="DIR", help="Folder of all results (default: $FERTOOL_WORKSPACE or data)"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, and nothing else there")]
ForceOption = Annotated[bool, typer.Option("--force", help="Make it again, even where it is up to date")]
RunOption = Annotated[
    list[str] | None, typer.Option("--run", metavar="NAME", help="A run, repeatable (default: all that fit)")
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
    seed: Annotated[int, typer.Option(help="Of splits, and of synthetic faces")] = 0,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Classes to keep (default: the seven emotions)")
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Person in a file name: one person's faces share a split"),
    ] = None,
    ferplus: Annotated[
        Path | None, typer.Option(metavar="CSV", help="fer2013new.csv, the crowd's votes")
    ] = None,
    labels_from: Annotated[
        str,
        typer.Option(
            metavar="original|ferplus",
            help="Where the labels come from: original (the source), or ferplus (what most taggers of FER+ saw)",
        ),
    ] = "original",
    drop_leaks: Annotated[
        bool,
        typer.Option(
            "--drop-leaks",
            help="Leave out of train what has an identical twin in val or test (default: keep and count it)",
        ),
    ] = False,
    count: Annotated[int, typer.Option(help="How many faces to draw, for 'synthetic'")] = 4000,
    evidence: Annotated[
        str | None,
        typer.Option(
            metavar="REGION",
            help="The one region of synthetic faces that tells the class: "
            "eyes, eyebrows, nose, mouth, face or background (default: all do)",
        ),
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
    from fertool.prepare import PrepareSettings, prepare
    from fertool.workspace import Workspace

    console.show(
        prepare(
            Workspace.locate(workspace),
            source,
            PrepareSettings(
                size=size,
                seed=seed,
                classes=classes.split(",") if classes else None,
                group_by=group_by,
                ferplus=ferplus,
                labels_from=labels_from,
                drop_leaks=drop_leaks,
                count=count,
                evidence=evidence,
                spurious=spurious,
            ),
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
        typer.Option(
            metavar="FILE",
            help="face_landmarker.task (default: $FERTOOL_MEDIAPIPE_MODEL, the cache, else downloaded)",
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes (default: one a core)")] = None,
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
    from fertool.masks import MaskSettings, make_masks
    from fertool.workspace import Workspace

    console.show(
        make_masks(
            Workspace.locate(workspace),
            MaskSettings(
                detector=detector,
                confidence=confidence,
                margin=margin,
                mediapipe_model=mediapipe_model,
                workers=workers,
            ),
            preview=preview,
            force=force,
        ),
        as_json,
    )


NETWORK_PANEL = "The network"
FINE_TUNING_PANEL = "Fine-tuning in stages"
FACES_PANEL = "The faces"
GUIDING_PANEL = "Attention guidance (needs masks)"


@app.command()
def train(
    model: Annotated[
        str,
        typer.Option(
            help="A name of --list-models, any timm model, multiscale:NAME, or package.module:factory"
        ),
    ] = "cnn",
    list_them: Annotated[
        bool, typer.Option("--list-models", help="Print the models there are, and their weights")
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="page: the same plain training for every model; strong: cnn's and resnet48's best (default: the "
            "kind's own)"
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the train split")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Faces a step")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw or sgd (Nesterov)")] = None,
    lr: Annotated[float | None, typer.Option(help="Largest learning rate")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, cosine, one-cycle or plateau")] = None,
    warmup_epochs: Annotated[
        float | None, typer.Option(help="In which the rate rises (not one-cycle)")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="L2 penalty (adam) or decay")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradient; 0: any")] = None,
    ema: Annotated[
        float | None, typer.Option(help="Keep the weights' moving mean, of this decay a step")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a better val accuracy")
    ] = None,
    balance: Annotated[
        bool | None, typer.Option("--balance", help="Count a face by the inverse of its class's frequency")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="own, or ferplus-soft: the crowd's votes as a distribution")
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Share of the target spread over all classes")
    ] = None,
    self_distillation: Annotated[
        float | None,
        typer.Option(help="Share of its own earlier predictions in the targets, rising to this by the end"),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="auto, none, imagenet, a file, an address, or hf_hub:ORG/NAME (default: auto)",
            rich_help_panel=NETWORK_PANEL,
        ),
    ] = None,
    weights_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where weights lie or go (default: $FERTOOL_WEIGHTS or the cache)",
            rich_help_panel=NETWORK_PANEL,
        ),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(rich_help_panel=NETWORK_PANEL, help="Before the head")
    ] = None,
    drop_path: Annotated[
        float | None,
        typer.Option(rich_help_panel=NETWORK_PANEL, help="Of residual branches, where there are any"),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(rich_help_panel=NETWORK_PANEL, help="Pixels that the network sees")
    ] = None,
    views: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=NETWORK_PANEL, help="Of multiscale: whole,face or face,face or whole ..."
        ),
    ] = None,
    cam_layer: Annotated[
        str | None,
        typer.Option(rich_help_panel=NETWORK_PANEL, help="Where a CAM reads it (default: found by trying)"),
    ] = None,
    channels: Annotated[
        int | None, typer.Option(rich_help_panel=NETWORK_PANEL, help="Of your own network's input: 1 or 3")
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=NETWORK_PANEL, metavar="A,B,C", help="Of its input's channels, pixels being 0..1"
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(rich_help_panel=NETWORK_PANEL, metavar="A,B,C", help="Standard deviations of these"),
    ] = None,
    freeze_epochs: Annotated[
        int | None, typer.Option(rich_help_panel=FINE_TUNING_PANEL, help="In which the new head trains alone")
    ] = None,
    unfreeze: Annotated[
        str | None,
        typer.Option(rich_help_panel=FINE_TUNING_PANEL, help="Afterwards: all, last:N stages, or none"),
    ] = None,
    backbone_lr: Annotated[
        float | None, typer.Option(rich_help_panel=FINE_TUNING_PANEL, help="Largest rate of the backbone")
    ] = None,
    layer_decay: Annotated[
        float | None,
        typer.Option(rich_help_panel=FINE_TUNING_PANEL, help="Of the rate, stage by stage from the head"),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(rich_help_panel=FACES_PANEL, help="A preset of what follows: none, light or strong"),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option("--flip/--no-flip", rich_help_panel=FACES_PANEL, help="Mirror one face in two"),
    ] = None,
    shift: Annotated[
        float | None, typer.Option(rich_help_panel=FACES_PANEL, help="By up to this share of the side")
    ] = None,
    rotate_deg: Annotated[
        float | None, typer.Option(rich_help_panel=FACES_PANEL, help="By up to so many degrees")
    ] = None,
    crop: Annotated[
        float | None,
        typer.Option(rich_help_panel=FACES_PANEL, help="A random square, up to this share smaller"),
    ] = None,
    zoom: Annotated[
        float | None,
        typer.Option(rich_help_panel=FACES_PANEL, help="Larger or smaller, by up to this share"),
    ] = None,
    jitter: Annotated[
        float | None,
        typer.Option(rich_help_panel=FACES_PANEL, help="Brightness and contrast, by up to this share"),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(rich_help_panel=FACES_PANEL, help="Deviation of normal noise, a share of white"),
    ] = None,
    erase: Annotated[
        float | None,
        typer.Option(rich_help_panel=FACES_PANEL, help="How often a random rectangle is painted over"),
    ] = None,
    mixup: Annotated[float | None, typer.Option(rich_help_panel=FACES_PANEL, help="Alpha of MixUp")] = None,
    preview_augment: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=FACES_PANEL,
            metavar="FILE.png",
            help="Draw a sheet of what faces become, and stop",
        ),
    ] = None,
    drop_leaks: Annotated[
        bool | None,
        typer.Option(
            "--drop-leaks",
            rich_help_panel=FACES_PANEL,
            help="Leave out faces with an identical twin in val or test",
        ),
    ] = None,
    train_fraction: Annotated[
        float | None,
        typer.Option(rich_help_panel=FACES_PANEL, help="Use this part of each class, drawn by seed"),
    ] = None,
    guide: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=GUIDING_PANEL,
            help="What is asked of the label's map: background, background-sum, regions, action-units or landmarks "
            "(background, where only another of these options is given)",
        ),
    ] = None,
    guide_weight: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=GUIDING_PANEL,
            metavar="LAMBDA",
            help="Of that loss (default: 1); several, 0 among them, as 0,0.1,1: each is trained, one chosen on val",
        ),
    ] = None,
    guide_explainer: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=GUIDING_PANEL,
            help="gradcam; of a vision transformer also rollout, there the default, attention or all-blocks",
        ),
    ] = None,
    guide_map: Annotated[
        str | None,
        typer.Option(rich_help_panel=GUIDING_PANEL, help="Of gradcam: abs, relu or signed (default: abs)"),
    ] = None,
    guide_warmup: Annotated[
        float | None,
        typer.Option(rich_help_panel=GUIDING_PANEL, help="Epochs in which lambda rises from nothing"),
    ] = None,
    guide_masks: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=GUIDING_PANEL, help="own, or shuffled: another face's, the placebo (default: own)"
        ),
    ] = None,
    guide_regions: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=GUIDING_PANEL,
            metavar="eyes=2,mouth=1",
            help="Wanted shares for --guide regions; others 0 (default: the face's regions alike)",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation")] = 0,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="0-4", help="Several, as 0-4 or 0,2,7: one run after another, NAME-s0 ..."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the run (default: model, settings, seed)")] = None,
    device: DeviceOption = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            help="auto (on a CPU by trial, on a GPU bf16 where it has it), fp32 or bf16 (default: auto)"
        ),
    ] = None,
    compile_it: Annotated[
        bool | None,
        typer.Option(
            "--compile", help="Compile the network first, by torch.compile; its dropout draws other numbers"
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Begin no new run; one that was begun goes on without this, too"),
    ] = False,
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model; the best epoch is chosen on val. An interrupted run goes on where it stopped.

    Options that are not given follow --recipe, else the kind of model; run.json records them all.

    Example: fertool train --model cnn --seeds 0-4
    """
    from fertool import console
    from fertool.models.listing import model_table
    from fertool.train import preview, train_series
    from fertool.train.recipes import configure
    from fertool.workspace import Workspace

    if list_them:
        console.show(model_table(), as_json)
        return
    config = configure(
        model,
        recipe,
        augment,
        {
            "weights": weights,
            "epochs": epochs,
            "batch_size": batch_size,
            "optimizer": optimizer,
            "lr": lr,
            "schedule": schedule,
            "warmup_epochs": warmup_epochs,
            "weight_decay": weight_decay,
            "clip": clip,
            "label_smoothing": label_smoothing,
            "self_distillation": self_distillation,
            "patience": patience,
            "balance": balance,
            "labels": labels,
            "ema": ema,
            "compile": compile_it,
            "freeze_epochs": freeze_epochs,
            "unfreeze": unfreeze,
            "backbone_lr": backbone_lr,
            "layer_decay": layer_decay,
            "dropout": dropout,
            "drop_path": drop_path,
            "image_size": image_size,
            "views": views,
            "cam_layer": cam_layer,
            "channels": channels,
            "mean": mean,
            "std": std,
            "flip": flip,
            "shift": shift,
            "rotate_deg": rotate_deg,
            "crop": crop,
            "zoom": zoom,
            "jitter": jitter,
            "noise": noise,
            "erase": erase,
            "mixup": mixup,
            "guide": guide,
            "guide_weight": guide_weight,
            "guide_explainer": guide_explainer,
            "guide_map": guide_map,
            "guide_warmup": guide_warmup,
            "guide_masks": guide_masks,
            "guide_regions": guide_regions,
            "drop_leaks": drop_leaks,
            "train_fraction": train_fraction,
            "precision": precision,
            "seed": seed,
        },
    )
    if preview_augment:
        console.show(preview(Workspace.locate(workspace), config, preview_augment, seeds=seeds), as_json)
        return
    console.show(
        train_series(
            Workspace.locate(workspace),
            config,
            seeds=seeds,
            guide_weights=guide_weight,
            name=name,
            weights_dir=weights_dir,
            device=device,
            force=force,
            resume=resume,
            on_epoch=console.EpochTable(),
        ),
        as_json,
    )


@app.command()
def explain(
    explainer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="NAME or NAME@option=value,...; repeatable (default: gradcam)"),
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
        typer.Option(metavar="DIR", help="Where overlays go (default: beside each photograph)"),
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
    from fertool.explain import ExplainSettings, explain, list_explainers
    from fertool.workspace import Workspace

    if list_them:
        console.show(list_explainers(), as_json)
        return
    console.show(
        explain(
            Workspace.locate(workspace),
            ExplainSettings(
                explainer or ["gradcam"],
                runs=run or (),
                split=split,
                target=target,
                device=device,
                precision=precision,
                images=image or (),
                overlay_dir=overlay_dir,
                gallery=gallery,
            ),
            force=force,
        ),
        as_json,
    )


@app.command()
def score(
    explainer: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Whose heatmaps to score, one a call: NAME or NAME@option=value,..."
        ),
    ] = "gradcam",
    suite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUITE",
            help="A family of figures, repeatable, or all (default: classification, attention)",
        ),
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
        typer.Option(
            metavar="FILL",
            help="How regions are covered in the suite causal, repeatable: mean, blur, noise, paste (default: all)",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="For robustness: the run whose error is 100% (default: the first)"),
    ] = None,
    tta: Annotated[
        str | None, typer.Option(help="Test-time augmentation in the suite classification: flip or tencrop")
    ] = None,
    nulls: Annotated[
        bool,
        typer.Option(
            help="Score null maps beside the explainer's in faithfulness and causal-agreement; without them "
            "its own figures are the same, and faithfulness takes a sixth of the time"
        ),
    ] = True,
    seed: Annotated[int, typer.Option(help="Of samples, and of what is drawn for a face")] = 0,
    device: DeviceOption = "auto",
    precision: Annotated[
        str, typer.Option(help="Of all that is still to be computed: auto, fp32 or bf16")
    ] = "fp32",
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score runs, suite by suite; missing heatmaps are made first.

    Suites: classification, attention, faithfulness, causal, causal-agreement, robustness, robustness-attention,
    sanity, representation, truth, all.

    Example: fertool score --suite attention --suite causal --target label --by model
    """
    from fertool import console
    from fertool.score import ScoreSettings, score
    from fertool.score.perturbations.fills import FILLS
    from fertool.score.settings import DEFAULT_SUITES
    from fertool.workspace import Workspace

    console.show(
        score(
            Workspace.locate(workspace),
            ScoreSettings(
                explainer,
                suites=suite or DEFAULT_SUITES,
                split=split,
                target=target,
                by=by.split(","),
                grid=grid,
                jitter=jitter,
                contrasts=contrasts.split(","),
                fills=fill or FILLS,
                reference=reference,
                seed=seed,
                tta=tta,
                nulls=nulls,
            ),
            runs=run or (),
            on=Workspace(on) if on else None,
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

    Example: fertool report --run cnn-s0 --run cnn-s1
    """
    from fertool import console
    from fertool.report import ReportSettings, write_report
    from fertool.workspace import Workspace

    console.show(
        write_report(Workspace.locate(workspace), ReportSettings(runs=run or (), split=split)), as_json
    )


def main() -> None:
    """Run the program: exit 0 when done, 1 with one line on what to put right, 2 for wrong usage, 130 on Ctrl-C."""
    from fertool.console import finish_stdout, prepare_streams

    prepare_streams()
    with one_line_exits():
        try:
            app()
        finally:
            finish_stdout()
