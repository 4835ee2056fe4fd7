"""The name that a person would give a condition: the model, and the settings in which it differs from those beside it.

A condition is all settings of a training but its seed. Its own name, `cnn-fbf71b`, holds a hash, which no reader can
look up; its label is `cnn, lr 1e-3, 12 epochs`, or the name that `train --name` gave to its runs.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from fertool.workspace import Run

MOST_SETTINGS = 4  # that a label holds where they tell the conditions apart; the others are counted
WEIGHTS_WORDS = {
    "none": "from scratch",
    "imagenet": "ImageNet weights",
    **dict.fromkeys(("dlibface", "facevit", "vggface", "vggface2"), "face-recognition weights"),
}
_HASHED = r"-[0-9a-f]{6}(-|$)"  # as in the names that `train` makes


def condition_labels(runs: Sequence[Run]) -> dict[str, str]:
    """A label for each condition among runs, each another one, by the condition's name in run.json.

    A name that `train --name` gave stands where all runs of the condition have it and no other condition's has.
    Else the label is the model and the settings that differ among the conditions of this model, in the words of
    the options (`lr 1e-3`, `12 epochs`, `no flip`), its weights by what they were trained on. The model alone stands
    where it has one condition, and for its default training where all others were given names and more settings differ
    than a label holds.
    """
    records = {run.name: run.config() for run in runs}
    conditions: dict[str, dict[str, Any]] = {}
    conditions_by_model: dict[str, list[str]] = {}
    for record in records.values():
        if record["condition"] not in conditions:
            conditions[record["condition"]] = _settings(record)
            conditions_by_model.setdefault(record["model"], []).append(record["condition"])
    given = _given_names(records)
    labels: dict[str, str] = {}
    for model, members in conditions_by_model.items():
        labels |= _labels_of_model(model, {name: conditions[name] for name in members})
        unnamed = [condition for condition in members if condition not in given]
        if len(unnamed) == 1 and not re.search(_HASHED, unnamed[0]):
            said = labels[unnamed[0]].split(", ")[1:]
            if len(said) > MOST_SETTINGS:  # one of them counts those that are left out, or all are there
                labels[unnamed[0]] = model
    return _unique(labels | given)


def labels_of_runs(runs: Sequence[Run]) -> dict[str, str]:
    """A label for each of several runs, by its name: its condition's, with the seed where that has several runs."""
    records = {run.name: run.config() for run in runs}
    labels = condition_labels(runs)
    several = Counter(record["condition"] for record in records.values())
    return {
        name: labels[record["condition"]]
        + (f", seed {record['config']['seed']}" if several[record["condition"]] > 1 else "")
        for name, record in records.items()
    }


def runs_called(text: str, runs: Sequence[Run]) -> list[Run]:
    """The runs of the conditions that a table may have called `text`; none where none fits.

    A label that `condition_labels` gives among all `runs` is preferred. A table of fewer runs has shorter ones, whose
    parts are looked for among each run's settings: `cnn, lr 1e-3` are all runs of the model cnn with that rate.
    """
    records = {run: run.config() for run in runs}
    labels = condition_labels(runs)
    exact = [
        run for run, record in records.items() if text in (record["condition"], labels[record["condition"]])
    ]
    wanted = {part.strip() for part in re.sub(r", \d+ more$", "", text).split(",")}
    return exact or [run for run, record in records.items() if wanted <= _said(record)]


def _said(record: Mapping[str, Any]) -> set[str]:
    """Every part that a label of this condition could have."""
    return {record["model"], record["condition"]} | {
        words for name, value in _settings(record).items() if (words := setting_words(name, value))
    }


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings, with the weights that `--weights auto` stood for, if any."""
    config, found = record["config"], record.get("weights", "none")
    return config | {"weights": found} if config.get("weights") == "auto" and found != "none" else config


def _labels_of_model(model: str, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    names = list(dict.fromkeys(name for config in configs.values() for name in config))
    values = {
        name: [json.dumps(config[name]) if name in config else None for config in configs.values()]
        for name in names
        if name not in ("model", "seed")
    }
    differing = [name for name, by_condition in values.items() if len(set(by_condition)) > 1]
    # a setting that older records have not is said only where nothing else tells conditions apart
    known = [name for name in differing if None not in values[name]]
    labels: dict[str, str] = {}
    for shown in (known[:MOST_SETTINGS], known, differing):
        labels = {
            condition: _label(model, config, shown, len(known)) for condition, config in configs.items()
        }
        if len(set(labels.values())) == len(labels):
            break
    return labels


def _label(model: str, config: Mapping[str, Any], shown: Sequence[str], differing: int) -> str:
    unguided = config.get("guide") is None
    words = [
        setting_words(name, config.get(name))
        for name in shown
        if not (unguided and name.startswith("guide_"))  # settings of a guidance that there is not
    ]
    more = [f"{differing - len(shown)} more"] if differing > len(shown) else []
    return ", ".join([model, *(text for text in words if text), *more])


def setting_words(name: str, value: object) -> str:
    """A setting in the words of its option, as `lr 1e-3`, `12 epochs`, `no flip`; nothing for None, the default.

    Weights are called by what they were trained on (WEIGHTS_WORDS), a file by its name.
    """
    option = name.replace("_", "-")
    if value is None:
        return ""
    if isinstance(value, bool):
        return option if value else f"no {option}"
    if name == "weights":
        return WEIGHTS_WORDS.get(str(value)) or f"{option} {PurePath(str(value)).name}"
    if name == "epochs":
        return f"{value} epoch{'' if value == 1 else 's'}"
    if isinstance(value, float):
        return f"{option} {_number(value)}"
    if isinstance(value, list | tuple):
        parts = ("=".join(map(str, part)) if isinstance(part, list | tuple) else str(part) for part in value)
        return f"{option} {'/'.join(parts)}"
    return f"{option} {value}"


def _number(value: float) -> str:
    """A number as people write settings: 0.05, 12, 1e-3, 2.5e-4."""
    if value == 0 or 0.01 <= abs(value) < 1e6:
        return f"{value:g}"
    digits, exponent = f"{value:.6e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def _given_names(records: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The names that `--name` gave, by condition: those that all its runs have, and the runs of no other."""
    called: dict[str, set[str]] = {}
    for run, record in records.items():
        name = run.removesuffix(f"-s{record['config']['seed']}")
        called.setdefault(record["condition"], set()).add(name)
    given = {}
    for condition, names in called.items():
        (name,) = names if len(names) == 1 else ("",)
        others = {other for key, theirs in called.items() if key != condition for other in (key, *theirs)}
        if name and name != condition and name not in others and not _is_made(name, condition):
            given[condition] = name
    return given


def _is_made(name: str, condition: str) -> bool:
    """Whether `train` made the name up itself: of the model and a hash, as `cnn-fbf71b` or `cnn-fbf71b-g0.3`."""
    model = re.sub(_HASHED, "", condition)
    return re.match(re.escape(model) + _HASHED, name) is not None


def _unique(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels; those that several conditions have get the condition's name behind them."""
    count: Callable[[str], int] = list(labels.values()).count
    return {name: f"{label} ({name})" if count(label) > 1 else label for name, label in labels.items()}
