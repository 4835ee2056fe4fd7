"""The conditions of a report: runs that differ in their seed alone, and what a reader knows them by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from fertool.models.backbones.multiscale import layer_in_words
from fertool.workspace import Run

FROM_SCRATCH = "none"
IMAGENET = "ImageNet"
FACE_RECOGNITION = "face recognition"
UNKNOWN = "unknown data"  # of a network whose function brings the weights that it was trained to elsewhere
FACE_MODELS = ("vggface", "vggface2", "dlibface", "facevit")


@dataclass(frozen=True)
class Condition:
    """A row of the tables: one training, with one seed or several."""

    name: str
    letter: str  # stands for it where a table marks differences
    runs: tuple[Run, ...]
    record: dict[str, Any]  # run.json of its first run

    @property
    def config(self) -> dict[str, Any]:
        """The settings of its training."""
        return self.record["config"]

    @property
    def model(self) -> str:
        """The name of its architecture."""
        return str(self.record["model"])

    @property
    def family(self) -> str:
        """`cnn` or `transformer`."""
        return str(self.record["family"])

    @property
    def pretraining(self) -> str:
        """The pretraining of its weights: none, ImageNet, face recognition, unknown data, or the name of a file."""
        return pretraining_of(self.record)

    @property
    def guidance(self) -> str:
        """The guidance of its attention in training: none, or the form and lambda."""
        config = self.config
        if config.get("guide") is None or not config["guide_weight"]:
            return "none"
        masks = "" if config.get("guide_masks", "own") == "own" else f", {config['guide_masks']} masks"
        return f"{config['guide']}, lambda {config['guide_weight']:g}{masks}"

    @property
    def seeds(self) -> int:
        """How many runs stand behind its figures."""
        return len(self.runs)

    @property
    def is_adopted(self) -> bool:
        """Whether it was trained elsewhere and taken over as it was."""
        return self.config["epochs"] == 0

    @property
    def is_tuned_with_its_head(self) -> bool:
        """Whether it was trained on from a network that was trained elsewhere, whose head it kept."""
        return bool(self.config.get("keep_head"))

    @property
    def is_frozen(self) -> bool:
        """Whether nothing but the head of a pretrained network was trained."""
        return self.config.get("unfreeze") == "none"

    @property
    def run_names(self) -> tuple[str, ...]:
        """The names of its runs, by seed."""
        return tuple(run.name for run in self.runs)


def tuned_note(name: str) -> str:
    """The sentence on a run that was trained on from a network with its head (--keep-head)."""
    return (
        f"{name} was trained on from a network that was trained elsewhere, with its head: nothing is known of the data "
        "that that one had seen, so a leak cannot be ruled out."
    )


def adopted_note(name: str) -> str:
    """The sentence that stands wherever figures of an adopted run are shown."""
    return (
        f"{name} was trained elsewhere and adopted: nothing is known of the data that it was trained on, so a leak "
        "cannot be ruled out."
    )


def pretraining_of(record: dict[str, Any]) -> str:
    """The pretraining of a run's weights: none, ImageNet, face recognition, unknown data, or a file's name."""
    name = str(record.get("weights", "none"))
    source = Path(str((record.get("pretraining") or {}).get("source") or ""))
    if name == "none":
        brought = record["config"]["epochs"] == 0 or record["config"].get("keep_head")
        return UNKNOWN if brought else FROM_SCRATCH
    if name in FACE_MODELS:
        return FACE_RECOGNITION
    if name == "imagenet" or "imagenet" in source.name.lower() or ".in1k" in source.name.lower():
        return IMAGENET
    return name


def conditions_of(runs: Sequence[Run], names: dict[str, str]) -> list[Condition]:
    """The conditions of runs, in the runs' order; `names` are what the rows of runs are called, by run."""
    members: dict[str, list[tuple[Run, dict[str, Any]]]] = {}
    for run in runs:
        members.setdefault(names[run.name], []).append((run, run.config()))
    conditions = []
    for number, (name, condition_runs) in enumerate(members.items()):
        condition_runs.sort(key=lambda member: member[1]["config"]["seed"])
        conditions.append(
            Condition(name, letter(number), tuple(run for run, _ in condition_runs), condition_runs[0][1])
        )
    return conditions


def letter(number: int) -> str:
    """The letter of a row: a to z, then aa, ab and so on."""
    first, last = divmod(number, len(ascii_lowercase))
    return (letter(first - 1) if first else "") + ascii_lowercase[last]


def settings_that_differ(conditions: Sequence[Condition]) -> dict[str, list[str]]:
    """Settings of training in which conditions differ, with each condition's value, seed and names left out."""
    settings = dict.fromkeys(name for condition in conditions for name in condition.config if name != "seed")
    rows = {
        name.replace("_", " "): [_in_words(condition.config.get(name)) for condition in conditions]
        for name in settings
        if name not in ("model", "weights")
    }
    rows = {
        "model": [condition.model for condition in conditions],
        "pretrained on": [condition.pretraining for condition in conditions],
        "CAM layer": [
            layer_in_words(condition.record.get("cam_layer") or "none") for condition in conditions
        ],
        "input side, px": [str(condition.record.get("image_size")) for condition in conditions],
        **rows,
    }
    rows.pop("image size", None)
    rows.pop("cam layer", None)
    return {name: values for name, values in rows.items() if len(set(values)) > 1}


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
