"""The command line: each command parses, calls one function, prints. No logic."""

# ruff: noqa: ARG001, RUF100 (`train` hands its options over as context.params; a test holds that each arrives)

from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from fertool import completion
from fertool.errors import UserError
from fertool.exits import ctrl_c_interrupts, one_line_exits

COMPUTE_PANEL = "Computing"
OPTIMIZATION_PANEL = "Optimization"
TARGETS_PANEL = "Targets of the loss"
NETWORK_PANEL = "The network"
FINE_TUNING_PANEL = "Fine-tuning in stages"
ADOPTION_PANEL = "A network that was trained elsewhere (--epochs 0, or --keep-head)"
FACES_PANEL = "The faces (a preset of --augment replaces the recipe's augmentation)"
GUIDANCE_PANEL = "Attention guidance (needs masks)"
SYNTHETIC_PANEL = "Synthetic faces"
SUITES_PANEL = "Single suites"
PHOTOGRAPHS_PANEL = "Photographs"
LISTS_PANEL = "Lists, labels, boxes"
IMPORT_PANEL = "Maps and predictions that were made elsewhere"
AUDIT_PANEL = "Claims about FER2013, checked"


class _Commands(TyperGroup):
    """The commands, within what turns errors into one line: typer has lines of its own for some of them."""

    def invoke(self, ctx: Any) -> Any:
        with one_line_exits():
            return super().invoke(ctx)


class _Command(TyperCommand):
    """A command that refuses an option given twice, of which typer would take the last in silence.

    An option of VALUE_MAY_LACK may stand without its value, which is the first of those that it takes then.
    """

    VALUE_MAY_LACK: ClassVar = {"--drop-leaks": ("identical", "near")}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = [
            f"{arg}={values[0]}"
            if (values := self.VALUE_MAY_LACK.get(arg)) and following not in values
            else arg
            for arg, following in zip_longest(args, args[1:])
        ]
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(list(args))
            for option in {each for each in order if isinstance(each, TyperOption)}:
                if order.count(option) > 1 and not (option.multiple or option.is_flag):
                    raise UserError(f"{option.opts[0]} is given {order.count(option)} times; give it once")
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Commands,
    help="Measure which parts of the face a facial expression model relies on, step by step:\n\n"
    "prepare -> masks -> train -> explain -> score -> report",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _folder(text: str) -> Path:
    if not text:
        raise typer.BadParameter("give the name of a folder; it is empty")
    return Path(text)


def _seed(text: str | int) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no whole number; several seeds are --seeds {text}") from None


def _leaks(text: str) -> bool | str:
    """The setting that `--drop-leaks` means."""
    if text not in ("identical", "near"):
        raise typer.BadParameter(f"'{text}' is no kind of twin; give identical or near")
    return True if text == "identical" else text


def _names(texts: list[str] | None) -> tuple[str, ...]:
    """Names, each given by an option of its own or with commas between."""
    return tuple(name.strip() for text in texts or () for name in text.split(","))


def _renamed(option: str, *earlier: str) -> Any:
    """A hidden option of an earlier version, `earlier` where its parameter has another name; it says the new name."""

    def refuse(value: Any) -> None:
        if value is not None:
            raise typer.BadParameter(f"is called {option} now")

    return typer.Option(
        *earlier, hidden=True, callback=refuse, help=f"Earlier name of {option} (default: refused)"
    )


DropLeaksOption = Annotated[
    Any,
    typer.Option(
        "--drop-leaks",
        metavar="[near]",
        parser=_leaks,
        autocompletion=completion.one_of("identical", "near"),
        rich_help_panel=FACES_PANEL,
        help="Leave faces out of train that have an identical twin in val or test, with near also those with a near "
        "twin (default: off)",
    ),
]
ByColumnOption = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN[=EDGE,...]",
        help="Column of faces/<split>.csv, head-pose or brightness, by whose groups of faces the figures of "
        "classification, attention and causal are shown too; numbers fall between the edges, else into terciles "
        "(default: none)",
    ),
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        metavar="DIR",
        parser=_folder,
        is_eager=True,  # completion of runs and splits needs it first
        help="Folder of all results (default: $FERTOOL_WORKSPACE, else data)",
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on stdout and nothing else there (default: tables)"),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Make the result again, even where it is up to date (default: off)")
]
RunOption = Annotated[
    list[str] | None,
    typer.Option(
        "--run",
        metavar="NAME",
        autocompletion=completion.runs,
        help="Run to use, repeatable: the name of a run or of a condition, or a pattern as 'cnn-*' (default: all "
        "that fit)",
    ),
]
SplitOption = Annotated[
    str,
    typer.Option(metavar="NAME", autocompletion=completion.splits, help="Split to use: train, val or test"),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        autocompletion=completion.one_of(*completion.DEVICES),
        rich_help_panel=COMPUTE_PANEL,
        help="Device that computes: auto, cpu, cuda or mps",
    ),
]


def _precision(help_text: str) -> Any:
    """The option of a number format."""
    return typer.Option(
        metavar="NAME",
        autocompletion=completion.one_of(*completion.PRECISIONS),
        rich_help_panel=COMPUTE_PANEL,
        help=help_text,
    )


PrecisionOption = Annotated[
    str, _precision("Number format of what is still to be computed: auto, fp32 or bf16")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        import fertool

        print(f"fertool {fertool.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop"),
    ] = False,
) -> None:
    pass


@app.command(cls=_Command)
def prepare(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Data set to read, a file, an archive or a folder (--list-formats), or 'synthetic' for faces that "
            "fertool makes itself",
            show_default=False,
        ),
    ] = None,
    size: Annotated[int, typer.Option(help="Height and width of the faces, 16 to 1024 pixels")] = 48,
    seed: Annotated[
        int, typer.Option(help="Seed of splits that the source lacks, and of synthetic faces, 0 or more")
    ] = 0,
    classes: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Classes to keep (default: those of the seven emotions)"),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Regular expression that finds the person in a file's name; a person's faces share a split "
            "(default: every picture for itself)",
        ),
    ] = None,
    ferplus: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="File fer2013new.csv with the votes of FER+ (default: no votes)"),
    ] = None,
    labels_from: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of("original", "ferplus"),
            help="Origin of the labels: original (the source's), or ferplus (the answer of most taggers of FER+)",
        ),
    ] = "original",
    eight: Annotated[
        bool,
        typer.Option("--eight", help="Keep contempt beside the seven emotions (default: the seven)"),
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Number of folds by person, 3 to 100, where the set has no splits (default: 80/10/10)"
        ),
    ] = None,
    fold: Annotated[int, typer.Option(help="Fold that is test, from 0; the next one is val")] = 0,
    list_file: Annotated[
        Path | None,
        typer.Option(
            "--list",
            metavar="FILE",
            rich_help_panel=LISTS_PANEL,
            help="Table of pictures and labels, csv, tsv, text or Parquet; splits, persons and boxes where it has "
            "them (default: the set's form is recognised)",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="ROLE=COLUMN,...",
            rich_help_panel=LISTS_PANEL,
            help="Columns of --list, numbers from 0 or names, as path=0,label=1; also split, person, left, top, right, "
            "bottom, width, height (default: found by their usual names)",
        ),
    ] = None,
    label_map: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL=CLASS,...",
            rich_help_panel=LISTS_PANEL,
            help="Class of each label, as 1=surprise,2=fear, or the set whose codes they are: fer2013, ckextended, "
            "raf-db, affectnet, ck+ or expw (default: the recognised set's codes)",
        ),
    ] = None,
    label_from: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            rich_help_panel=LISTS_PANEL,
            help="Regular expression on each picture's path with a group (?P<label>...), and if wanted person and "
            "split; other groups become columns (default: labels come from the set's form)",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            rich_help_panel=LISTS_PANEL,
            help="Column of the set to keep in faces/<split>.csv, repeatable (default: those of usual names, as age, "
            "sex, pose)",
        ),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(
            rich_help_panel=LISTS_PANEL, help="Margin around a face's box, shares of its longer side, 0 to 1"
        ),
    ] = 0.0,
    crop_faces: Annotated[
        bool,
        typer.Option(
            "--crop-faces",
            rich_help_panel=LISTS_PANEL,
            help="Find the face in each picture and cut it out as FER2013's are (default: take the whole picture)",
        ),
    ] = False,
    angles: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            rich_help_panel=LISTS_PANEL,
            help="Angles of KDEF to keep: S (straight), HL, HR (half), FL, FR (full) (default: S)",
        ),
    ] = None,
    list_them: Annotated[
        bool,
        typer.Option(
            "--list-formats",
            rich_help_panel=LISTS_PANEL,
            help="Print the data sets that are recognised, their codes, splits and licences, and stop (default: off)",
        ),
    ] = False,
    drop_leaks: DropLeaksOption = None,
    preview_twins: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Picture to draw of near twins, and of pairs that are not quite (default: none)",
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(rich_help_panel=SYNTHETIC_PANEL, help="Number of synthetic faces, 1 or more")
    ] = 4000,
    evidence: Annotated[
        str | None,
        typer.Option(
            metavar="REGION",
            autocompletion=completion.one_of("eyes", "eyebrows", "nose", "mouth", "face", "background"),
            rich_help_panel=SYNTHETIC_PANEL,
            help="Only region that tells the class: eyes, eyebrows, nose, mouth, face or background (default: all "
            "regions tell it)",
        ),
    ] = None,
    spurious: Annotated[
        float,
        typer.Option(
            rich_help_panel=SYNTHETIC_PANEL,
            help="Probability, 0 to 1, that a mark in the background agrees with the label, in train only",
        ),
    ] = 0.0,
    labels: Annotated[str | None, _renamed("--labels-from")] = None,
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read any FER data set into the workspace.

    Example: fertool prepare fer2013.zip --ferplus fer2013new.csv
    """
    from fertool import console
    from fertool.prepare import PrepareSettings, list_formats
    from fertool.prepare import prepare as prepare_faces
    from fertool.workspace import Workspace

    if list_them:
        console.show(list_formats(), as_json)
        return
    if source is None:
        raise typer.BadParameter("give the data set to read", param_hint="SOURCE")
    with ctrl_c_interrupts():
        console.show(
            prepare_faces(
                Workspace.locate(workspace),
                source,
                PrepareSettings(
                    size=size,
                    seed=seed,
                    classes=_names([classes]) if classes else None,
                    group_by=group_by,
                    ferplus=ferplus,
                    labels_from=labels_from,
                    drop_leaks=drop_leaks or False,
                    eight=eight,
                    list_file=list_file,
                    columns=columns,
                    label_map=label_map,
                    label_from=label_from,
                    margin=margin,
                    crop_faces=crop_faces,
                    angles=_names([angles]) if angles else (),
                    keep=_names(keep),
                    folds=folds,
                    fold=fold,
                    count=count,
                    evidence=evidence,
                    spurious=spurious,
                ),
                preview_twins=preview_twins,
                force=force,
            ),
            as_json,
        )


@app.command(cls=_Command)
def masks(
    detector: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of("auto", "mediapipe", "dlib", "template"),
            help="Landmark detector: auto, mediapipe, dlib or template (the mean face)",
        ),
    ] = "auto",
    confidence: Annotated[
        float, typer.Option(help="Least confidence of a face that MediaPipe finds, 0 to 1")
    ] = 0.3,
    margin: Annotated[
        float, typer.Option(help="Margin by which regions grow on all sides, inter-ocular distances, 0 to 1")
    ] = 0.04,
    mediapipe_model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File face_landmarker.task (default: $FERTOOL_MEDIAPIPE_MODEL, the cache, else downloaded)",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of detecting processes, 1 or more (default: one per core)")
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Picture to draw of faces with their regions (default: none)"),
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

    with ctrl_c_interrupts():
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


@app.command(cls=_Command)
def train(
    context: typer.Context,
    # the settings of TrainConfig reach it by their names; None leaves them to the recipe
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of(*completion.MODELS),
            help="Network to train: a name of --list-models, any timm model, multiscale:NAME, hf:ORG/NAME, hf:FOLDER, "
            "or package.module:factory",
        ),
    ] = "cnn",
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of("page", "strong"),
            help="Recipe of settings: page (plain Adam, the same for every model), or strong (the best known for cnn, "
            "resnet48 and pretrained convolutional networks) (default: page for cnn, strong for resnet48, fine-tuning "
            "for the others)",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the train split; 0 adopts a finished network as it is (default: the recipe's; page 30)"
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Faces per step, 1 or more (default: 64)")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate, above 0 (default: the recipe's; page 1e-4)")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of("auto", "none", "imagenet", "hf_hub:"),
            help="Pretrained weights: none, imagenet, a file, an address, or hf_hub:ORG/NAME (default: auto, the "
            "model's own)",
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of("none", "light", "strong"),
            help="Preset of augmentation: none, light or strong (default: the recipe's; page light)",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            metavar="INTEGER", parser=_seed, help="Seed of weights, order and augmentation, 0 or more"
        ),
    ] = 0,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="0-4",
            help="Several seeds, as 0-4 or 0,2,7: one run after another, NAME-s0, NAME-s1 (default: --seed alone)",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the run's folder (default: model, hash of the changed settings, seed)"),
    ] = None,
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    # --- optimization
    optimizer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of("adam", "adamw", "sgd"),
            rich_help_panel=OPTIMIZATION_PANEL,
            help="Optimizer: adam, adamw, or sgd with Nesterov momentum (default: the recipe's; page adam)",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of("constant", "cosine", "one-cycle", "plateau"),
            rich_help_panel=OPTIMIZATION_PANEL,
            help="Schedule of the learning rate: constant, cosine, one-cycle or plateau (default: the recipe's; page "
            "constant)",
        ),
    ] = None,
    warmup_epochs: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=OPTIMIZATION_PANEL,
            help="Warm-up epochs of the learning rate, 0 or more; one-cycle has its own (default: the recipe's; page "
            "0)",
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=OPTIMIZATION_PANEL,
            help="L2 penalty of adam, decoupled weight decay of adamw and sgd, 0 or more (default: the recipe's; page "
            "1e-4)",
        ),
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=OPTIMIZATION_PANEL,
            help="Largest norm of the gradient, 0 for no limit (default: the recipe's; page none)",
        ),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=OPTIMIZATION_PANEL,
            help="Decay per step of the weights' moving average, which is then evaluated and kept, 0 to below 1 "
            "(default: the recipe's; page none)",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=OPTIMIZATION_PANEL,
            help="Epochs without a better val accuracy before training stops, 1 or more (default: none, train to the "
            "end)",
        ),
    ] = None,
    # --- targets
    labels: Annotated[
        str | None,
        typer.Option(
            "--train-labels",
            metavar="NAME",
            autocompletion=completion.one_of("own", "ferplus-soft"),
            rich_help_panel=TARGETS_PANEL,
            help="Labels to learn from: own, or ferplus-soft (the votes of FER+ as a distribution) (default: own)",
        ),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=TARGETS_PANEL,
            help="Share of the target spread over all classes, 0 to below 1 (default: the recipe's; page 0.1)",
        ),
    ] = None,
    self_distillation: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=TARGETS_PANEL,
            help="Share of the network's own earlier predictions in the targets, rising to this by the end, 0 to 1 "
            "(default: the recipe's; page 0)",
        ),
    ] = None,
    balance: Annotated[
        bool | None,
        typer.Option(
            "--balance",
            rich_help_panel=TARGETS_PANEL,
            help="Weigh each face by the inverse frequency of its class (default: off)",
        ),
    ] = None,
    # --- network
    list_them: Annotated[
        bool,
        typer.Option(
            "--list-models",
            rich_help_panel=NETWORK_PANEL,
            help="Print the models and their weights, and stop (default: off)",
        ),
    ] = False,
    weights_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=NETWORK_PANEL,
            help="Folder of weights files, downloads included (default: $FERTOOL_WEIGHTS, else the cache)",
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=NETWORK_PANEL,
            help="Height and width of the network's input, pixels (default: the model's own)",
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=NETWORK_PANEL,
            help="Dropout probability before the head, 0 to below 1 (default: the model's own)",
        ),
    ] = None,
    drop_path: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=NETWORK_PANEL,
            help="Probability of skipping a residual branch, 0 to below 1 (default: the recipe's; page none, the "
            "model's own)",
        ),
    ] = None,
    views: Annotated[
        str | None,
        typer.Option(
            metavar="VIEW,...",
            autocompletion=completion.some_of("whole", "face"),
            rich_help_panel=NETWORK_PANEL,
            help="Views of a multiscale model: whole, face, or both with a comma between (default: whole,face)",
        ),
    ] = None,
    cam_layer: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER",
            rich_help_panel=NETWORK_PANEL,
            help="Layer that CAMs read, by its name in the network (default: found by a trial)",
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=NETWORK_PANEL,
            help="Input channels of your own network: 1 (grey) or 3 (RGB) (default: 3)",
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            rich_help_panel=NETWORK_PANEL,
            help="Mean of your own network's input, a number per channel, pixels being 0 to 1 (default: ImageNet's)",
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            rich_help_panel=NETWORK_PANEL,
            help="Standard deviation of your own network's input, a number per channel (default: ImageNet's)",
        ),
    ] = None,
    # --- a network that was trained elsewhere
    class_order: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS,...",
            rich_help_panel=ADOPTION_PANEL,
            help="Classes of the network's outputs, in their order (default: those that its file names)",
        ),
    ] = None,
    pixel_range: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.one_of("0-1", "0-255", "-1-1"),
            rich_help_panel=ADOPTION_PANEL,
            help="Pixel range that --mean and --std refer to: 0-1, 0-255 or -1-1 (default: 0-1)",
        ),
    ] = None,
    bgr: Annotated[
        bool | None,
        typer.Option(
            "--bgr",
            rich_help_panel=ADOPTION_PANEL,
            help="Feed the channels in the order blue, green, red (default: off)",
        ),
    ] = None,
    interpolation: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.one_of("bilinear", "bilinear-plain", "bicubic", "nearest", "area"),
            rich_help_panel=ADOPTION_PANEL,
            help="Interpolation to the input's size: bilinear, bilinear-plain (without antialiasing), bicubic, "
            "nearest or area (default: bilinear)",
        ),
    ] = None,
    crop_scale: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=ADOPTION_PANEL,
            help="Side of the square that the network sees, in shares of the stored face's, 0.25 to 4: below 1 the "
            "centre alone (its training faces were cropped tighter), above 1 with a border (default: 1)",
        ),
    ] = None,
    keep_head: Annotated[
        bool | None,
        typer.Option(
            "--keep-head",
            rich_help_panel=ADOPTION_PANEL,
            help="Fine-tune the network with its own head (default: off, a new head)",
        ),
    ] = None,
    try_preprocessing: Annotated[
        bool,
        typer.Option(
            "--try-preprocessing",
            rich_help_panel=ADOPTION_PANEL,
            help="Print the network's accuracy on a few hundred val faces under the usual preprocessings, best first, "
            "and stop; no setting is changed (default: off)",
        ),
    ] = False,
    # --- fine-tuning
    freeze_epochs: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=FINE_TUNING_PANEL,
            help="First epochs, in which the new head trains alone, 0 or more (default: 0)",
        ),
    ] = None,
    unfreeze: Annotated[
        str | None,
        typer.Option(
            metavar="PART",
            autocompletion=completion.one_of("all", "last:", "none"),
            rich_help_panel=FINE_TUNING_PANEL,
            help="Part of the backbone that trains afterwards: all, last:N stages, or none (default: all)",
        ),
    ] = None,
    backbone_lr: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=FINE_TUNING_PANEL,
            help="Peak learning rate of the backbone, above 0 (default: that of --lr)",
        ),
    ] = None,
    layer_decay: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=FINE_TUNING_PANEL,
            help="Factor of the learning rate from a stage to the one below it, above 0 to 1 (default: the recipe's; "
            "page 1)",
        ),
    ] = None,
    # --- faces
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            rich_help_panel=FACES_PANEL,
            help="Mirror every second face at random (default: on)",
        ),
    ] = None,
    shift: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=FACES_PANEL,
            help="Largest shift, as a share of the face's width, 0 to below 1 (default: the recipe's; page 0.05)",
        ),
    ] = None,
    rotate_deg: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=FACES_PANEL,
            help="Largest rotation, degrees, 0 to 180 (default: the recipe's; page 0)",
        ),
    ] = None,
    crop: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=FACES_PANEL,
            help="Largest share of the face's width that a random square crop cuts off, 0 to below 1 (default: the "
            "recipe's; page 0)",
        ),
    ] = None,
    zoom: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=FACES_PANEL,
            help="Largest enlargement or reduction, as a share of the width, 0 to below 1 (default: the "
            "recipe's; page 0)",
        ),
    ] = None,
    jitter: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=FACES_PANEL,
            help="Largest change of brightness and contrast, a share, 0 to below 1 (default: the recipe's; page 0)",
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=FACES_PANEL,
            help="Standard deviation of Gaussian noise, a share of white, 0 to below 1 (default: 0)",
        ),
    ] = None,
    erase: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=FACES_PANEL,
            help="Probability of random erasing, 0 to 1 (default: the recipe's; page 0)",
        ),
    ] = None,
    mixup: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=FACES_PANEL, help="Alpha of MixUp's Beta distribution, 0 or more (default: 0)"
        ),
    ] = None,
    preview_augment: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            rich_help_panel=FACES_PANEL,
            help="Picture to draw of augmented faces in place of training (default: none)",
        ),
    ] = None,
    drop_leaks: DropLeaksOption = None,
    train_fraction: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=FACES_PANEL,
            help="Share of each class's training faces to use, chosen by the seed, above 0 to 1 (default: 1)",
        ),
    ] = None,
    # --- guidance
    guide: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of(
                "background", "background-sum", "regions", "action-units", "landmarks"
            ),
            rich_help_panel=GUIDANCE_PANEL,
            help="Loss on the label's map: background, background-sum, regions, action-units or landmarks (default: "
            "none; background where only another option of this panel is given)",
        ),
    ] = None,
    guide_weight: Annotated[
        str | None,
        typer.Option(
            metavar="LAMBDA",
            rich_help_panel=GUIDANCE_PANEL,
            help="Weight lambda of the guidance loss, 0 or more; several, as 0,0.1,1, are all trained, and one is "
            "chosen on val (default: 1)",
        ),
    ] = None,
    guide_explainer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of("gradcam", "rollout", "attention", "all-blocks"),
            rich_help_panel=GUIDANCE_PANEL,
            help="Explainer whose maps are guided: gradcam; for a vision transformer also rollout, attention or "
            "all-blocks (default: gradcam, or rollout for a vision "
            "transformer)",
        ),
    ] = None,
    guide_map: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of("abs", "relu", "signed"),
            rich_help_panel=GUIDANCE_PANEL,
            help="Kind of Grad-CAM map that is guided: abs, relu or signed (default: abs)",
        ),
    ] = None,
    guide_warmup: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=GUIDANCE_PANEL,
            help="Epochs over which lambda rises to its full value, 0 or more (default: 0)",
        ),
    ] = None,
    guide_masks: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of("own", "shuffled"),
            rich_help_panel=GUIDANCE_PANEL,
            help="Masks that guide a face: own, or shuffled (another face's, the placebo) (default: own)",
        ),
    ] = None,
    guide_regions: Annotated[
        str | None,
        typer.Option(
            metavar="eyes=2,mouth=1",
            rich_help_panel=GUIDANCE_PANEL,
            help="Wanted shares for --guide regions, others 0 (default: the five regions of the face alike)",
        ),
    ] = None,
    earlier_labels: Annotated[str | None, _renamed("--train-labels", "--labels")] = None,
    # --- computing
    device: DeviceOption = "auto",
    precision: Annotated[
        str | None,
        _precision("Number format: auto, fp32 or bf16 (default: auto, which tries both on a CPU)"),
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option(
            "--compile",
            rich_help_panel=COMPUTE_PANEL,
            help="Compile the network first, by torch.compile; dropout then draws other numbers (default: off)",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            rich_help_panel=COMPUTE_PANEL,
            help="Fail unless the run was begun before (default: off: begin it, or go on with it)",
        ),
    ] = False,
) -> None:
    """Train a model; the best epoch is chosen on val. An interrupted run goes on where it stopped.

    Settings that are not given follow --recipe; run.json records them all.

    Example: fertool train --model cnn --seeds 0-4
    """
    from fertool import console
    from fertool.models.listing import model_table
    from fertool.train import preview, train_series, try_preprocessings
    from fertool.train.config import settings_in
    from fertool.train.recipes import configure
    from fertool.workspace import Workspace

    if list_them:
        console.show(model_table(), as_json)
        return
    with ctrl_c_interrupts():
        config = configure(model, recipe, augment, settings_in(context.params))
        if preview_augment:
            console.show(preview(Workspace.locate(workspace), config, preview_augment, seeds=seeds), as_json)
            return
        if try_preprocessing:
            place = Workspace.locate(workspace)
            tried = try_preprocessings(place, config, weights_dir=weights_dir, device=device)
            console.show(tried, as_json)
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


@app.command(cls=_Command)
def explain(
    photographs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PHOTOGRAPH",
            help="Photographs or folders of them, besides those of --image (default: none, explain a split)",
        ),
    ] = None,
    explainer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of(*completion.EXPLAINERS),
            help="Explainer that makes the maps, NAME or NAME@option=value,..., or your own as "
            "package.module:function, repeatable (default: gradcam)",
        ),
    ] = None,
    list_them: Annotated[
        bool,
        typer.Option(
            "--list-explainers", help="Print the explainers and their rules, and stop (default: off)"
        ),
    ] = False,
    run: RunOption = None,
    split: SplitOption = "test",
    target: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.targets("predicted", "label", "all"),
            help="Class to explain: predicted, label, a class by its name, or all",
        ),
    ] = "predicted",
    gallery: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Picture to draw of two faces of each class with their maps (default: none)",
        ),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=PHOTOGRAPHS_PANEL,
            help="Photograph, or folder of photographs, whose faces are explained, repeatable (default: none, explain "
            "a split)",
        ),
    ] = None,
    overlay_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=PHOTOGRAPHS_PANEL,
            help="Folder of the overlays (default: beside each photograph)",
        ),
    ] = None,
    import_file: Annotated[
        Path | None,
        typer.Option(
            "--import",
            metavar="FILE",
            rich_help_panel=IMPORT_PANEL,
            help="File of maps (N, h, w), .npy, or of predictions, .npz with logits (N, classes), to bring into a run "
            "(default: none)",
        ),
    ] = None,
    explainer_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=IMPORT_PANEL,
            help="Name of the method that made the maps; scores then take --explainer imported:NAME (default: none)",
        ),
    ] = None,
    negatives: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            autocompletion=completion.one_of("drop", "absolute"),
            rich_help_panel=IMPORT_PANEL,
            help="Reading of the maps' negative cells in scores: drop or absolute (default: drop)",
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            rich_help_panel=IMPORT_PANEL,
            help="File whose column 'id' names the face of each row (default: rows follow faces/<split>.csv)",
        ),
    ] = None,
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "fp32",
) -> None:
    """Make heatmaps, and predictions with them, for the faces of a split or of photographs.

    Example: fertool explain --explainer gradcam --explainer occlusion --image photo.jpg
    """
    from fertool import console
    from fertool.explain import ExplainSettings, import_results, list_explainers
    from fertool.explain import explain as explain_runs
    from fertool.explain.imports import settings_of_import
    from fertool.workspace import Workspace

    if list_them:
        console.show(list_explainers(), as_json)
        return
    with ctrl_c_interrupts():
        options = {"explainer_name": explainer_name, "negatives": negatives, "ids": ids}
        brought = settings_of_import(import_file, options, runs=tuple(run or ()), target=target, split=split)
        if brought:
            console.show(import_results(Workspace.locate(workspace), brought, force=force), as_json)
            return
        console.show(
            explain_runs(
                Workspace.locate(workspace),
                ExplainSettings(
                    tuple(explainer or ["gradcam"]),
                    runs=tuple(run or ()),
                    split=split,
                    target=target,
                    device=device,
                    precision=precision,
                    images=(*(image or ()), *(photographs or ())),
                    overlay_dir=overlay_dir,
                    gallery=gallery,
                ),
                force=force,
            ),
            as_json,
        )


@app.command(cls=_Command)
def score(
    explainer: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of(*completion.EXPLAINERS),
            help="Explainer whose maps are scored, NAME or NAME@option=value,..., package.module:function or "
            "imported:NAME, one per call",
        ),
    ] = "gradcam",
    suite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUITE",
            autocompletion=completion.some_of(*completion.SUITES, "all"),
            help="Suites of figures to compute, repeatable or with commas between, or all (default: "
            "classification,attention)",
        ),
    ] = None,
    run: RunOption = None,
    on: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Workspace whose faces the runs are scored on (default: the runs' own)"
        ),
    ] = None,
    split: SplitOption = "test",
    target: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.targets("predicted", "label"),
            help="Class that is explained: predicted, label, or a class by its name",
        ),
    ] = "predicted",
    by: Annotated[
        str,
        typer.Option(
            metavar="FIELD,...", help="Fields of run.json; runs that agree in all of them share a row"
        ),
    ] = "condition",
    grid: Annotated[
        int | None,
        typer.Option(
            help="Cells per side of a common grid on which all models' maps are compared (default: each map's own)"
        ),
    ] = None,
    faces: Annotated[
        int | None,
        typer.Option(
            help="Faces to score, a sample that holds every class by its part and is alike for all runs, 1 or more; "
            "representation takes all (default: all)"
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of samples of faces and of all random choices, 0 or more")
    ] = 0,
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    contrasts: Annotated[
        str,
        typer.Option(
            metavar="REGION,...",
            autocompletion=completion.some_of(*completion.REGIONS),
            rich_help_panel=SUITES_PANEL,
            help="Regions in attention whose differences between models are tested",
        ),
    ] = "mouth,eyes,background",
    landmark_jitter: Annotated[
        float,
        typer.Option(
            rich_help_panel=SUITES_PANEL,
            help="Distance by which attention moves the landmarks to see what changes, inter-ocular distances, 0 "
            "to 1",
        ),
    ] = 0.0,
    tta: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.one_of("flip", "tencrop"),
            rich_help_panel=SUITES_PANEL,
            help="Test-time augmentation in classification: flip or tencrop (default: none)",
        ),
    ] = None,
    fill: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILL",
            autocompletion=completion.some_of("mean", "blur", "noise", "paste"),
            rich_help_panel=SUITES_PANEL,
            help="Covers of a region in causal: mean, blur, noise, paste, repeatable or with commas between (default: "
            "all)",
        ),
    ] = None,
    nulls: Annotated[
        bool,
        typer.Option(
            rich_help_panel=SUITES_PANEL,
            help="Score null maps as well in faithfulness (which takes six times as long with them) and "
            "causal-agreement",
        ),
    ] = True,
    by_column: ByColumnOption = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            autocompletion=completion.runs,
            rich_help_panel=SUITES_PANEL,
            help="Run whose error counts as 100% in robustness (default: the first)",
        ),
    ] = None,
    audit: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CSV",
            rich_help_panel=AUDIT_PANEL,
            help="Claim to check instead of runs: predictions (columns label and predicted, a row a face), or a "
            "confusion matrix of counts; repeatable (default: none)",
        ),
    ] = None,
    history: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CSV",
            rich_help_panel=AUDIT_PANEL,
            help="History of the claim's training: columns val_accuracy and test_accuracy, a row an epoch; repeatable, "
            "one for each --audit (default: none)",
        ),
    ] = None,
    jitter: Annotated[float | None, _renamed("--landmark-jitter")] = None,
    device: DeviceOption = "auto",
    precision: Annotated[
        str,
        _precision(
            "Number format of what is still to be computed: fp32, bf16, or auto: bfloat16 for faces that are "
            "covered or spoilt, if that moves accuracy by less than a tenth of its interval, else float32"
        ),
    ] = "auto",
) -> None:
    """Score runs, suite by suite; missing heatmaps are made first.

    Suites: classification, attention, faithfulness, causal, causal-agreement, robustness, robustness-attention,
    sanity, representation, truth, all.

    Example: fertool score --suite attention,causal --target label --by model
    """
    from fertool import console
    from fertool.score import ScoreSettings, audit_claims
    from fertool.score import score as score_runs
    from fertool.score.audit import settings_of_audit
    from fertool.score.perturbations.fills import FILLS
    from fertool.score.settings import DEFAULT_SUITES
    from fertool.workspace import Workspace

    with ctrl_c_interrupts():
        if claims := settings_of_audit(audit, history):
            console.show(audit_claims(Workspace.locate(workspace), claims), as_json)
            return
        console.show(
            score_runs(
                Workspace.locate(workspace),
                ScoreSettings(
                    explainer,
                    suites=_names(suite) or DEFAULT_SUITES,
                    split=split,
                    target=target,
                    by=_names([by]),
                    grid=grid,
                    jitter=landmark_jitter,
                    contrasts=_names([contrasts]),
                    fills=_names(fill) or FILLS,
                    reference=reference,
                    seed=seed,
                    tta=tta,
                    nulls=nulls,
                    by_column=by_column,
                    faces=faces,
                ),
                runs=tuple(run or ()),
                on=Workspace(on) if on else None,
                device=device,
                precision=precision,
                force=force,
            ),
            as_json,
        )


@app.command(cls=_Command)
def report(
    run: RunOption = None,
    runs: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...", help="Names of runs in the order in which they are to stand (default: all)"
        ),
    ] = None,
    split: SplitOption = "test",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART", help="Write this part only: page, tables or figures; repeatable (default: all)"
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN=LABEL", help="Name the row of a run, as cnn-s0=Baseline; repeatable (default: none)"
        ),
    ] = None,
    by_column: ByColumnOption = None,
    list_them: Annotated[
        bool, typer.Option("--list", help="Print the runs there are, and write nothing (default: off)")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare every file of the workspace with its record, and write nothing (default: off)",
        ),
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all scores as one self-contained page, with tables and figures for a paper beside it.

    Example: fertool report --runs cnn-s0,cnn-s1 --labels cnn-s0=Baseline
    """
    from fertool import console
    from fertool.report import ReportSettings, list_runs, parse_labels, write_report
    from fertool.workspace import Workspace
    from fertool.workspace_check import check_workspace

    folder = Workspace.locate(workspace)
    if list_them:
        console.show(list_runs(folder), as_json)
        return
    names = (*(run or ()), *_names([runs] if runs else None))
    with ctrl_c_interrupts():
        if check:
            console.show(check_workspace(folder), as_json)
            return
        settings = ReportSettings(names, split, tuple(only or ()), parse_labels(labels or ()), by_column)
        console.show(write_report(folder, settings), as_json)


def main() -> None:
    """Run the program: exit 0 when done, 1 with one line on what to put right, 2 for wrong usage, 130 on Ctrl-C."""
    from fertool.console import finish_stdout, prepare_streams

    prepare_streams()
    with one_line_exits():
        try:
            app()
        finally:
            finish_stdout()
