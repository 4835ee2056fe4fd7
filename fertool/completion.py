"""Values that a shell completes for options. Nothing here imports torch: Tab is to answer at once.

The names of the suites stand here alone, in their order: `score.registry` takes them from here. Models and explainers
stand here a second time; a test holds them equal to the registries.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from typer import Context

from fertool.errors import UserError

if TYPE_CHECKING:
    from fertool.workspace import Workspace

MODELS = (
    "cnn", "cnn-gap", "resnet48", "resnet50", "efficientnet_b0", "mobilenetv2_100", "vit", "vggface", "vggface2",
    "dlibface", "facevit", "multiscale:", "hf:",
)  # fmt: skip
EXPLAINERS = (
    "gradcam", "gradcam-size", "hirescam", "gradcam-abs", "gradcam++", "guided-backprop", "guided-gradcam", "rollout",
    "attention", "all-blocks", "attention-gradcam", "input-gradient", "smoothgrad", "integrated-gradients",
    "occlusion", "rise", "uniform", "random", "edges", "centre", "swapped",
)  # fmt: skip
SUITES = (
    "classification", "attention", "faithfulness", "causal", "causal-agreement", "robustness", "robustness-attention",
    "sanity", "representation", "truth",
)  # fmt: skip
REGIONS = ("background", "face contour", "eyes", "eyebrows", "nose", "mouth")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")

Complete = Callable[[str], list[str]]
CompleteHere = Callable[[Context, str], list[str]]


def one_of(*names: str) -> Complete:
    """Complete one name."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def some_of(*names: str) -> Complete:
    """Complete names with commas between."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        return [before + comma + name for name in names if name.startswith(last) and name not in given]

    return complete


def runs(context: Context, incomplete: str) -> list[str]:
    """The runs of the workspace."""
    names = (run.name for run in _workspace(context).runs())
    return [name for name in names if name.startswith(incomplete)]


def splits(context: Context, incomplete: str) -> list[str]:
    """The splits of the workspace."""
    return _dataset_names(context, "splits", incomplete)


def targets(*always: str) -> CompleteHere:
    """These targets, and the classes of the workspace."""

    def complete(context: Context, incomplete: str) -> list[str]:
        return [*one_of(*always)(incomplete), *_dataset_names(context, "classes", incomplete)]

    return complete


def _dataset_names(context: Context, key: str, incomplete: str) -> list[str]:
    try:
        names: Iterable[str] = _workspace(context).dataset()[key]
    except (UserError, OSError):  # nothing is prepared
        return []
    return [name for name in names if name.startswith(incomplete)]


def _workspace(context: Context) -> "Workspace":
    from fertool.workspace import Workspace

    option = context.params.get("workspace")
    return Workspace.locate(Path(option) if option else None)
