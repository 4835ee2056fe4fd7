"""Shell lines: the command that makes a run, an explanation or a score."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from fertool.train.recipes import configure

SEEDS = "0-2"  # asked for where runs are missing: three tell a spread
_FLAGS = {"flip": ("--flip", "--no-flip")}  # whose absence is an option of its own


def train_line(config: Mapping[str, Any], *, seeds: str | None = None, **changes: object) -> str:
    """The shell line that makes a run of these settings, `changes` made to them.

    It names the recipe `page`, and every setting that differs from it. `seeds`, as 0-2, stands in the place of the
    run's own seed.
    """
    wanted = {**config, **changes}
    words = ["fertool", "train", "--model", str(wanted["model"]), "--recipe", "page"]
    for name, default in vars(configure(str(wanted["model"]), recipe="page")).items():
        if name in ("model", "seed") or name not in wanted:
            continue
        if wanted[name] != default and not _is_default_of_guidance(name, wanted):
            words += option_words(name, wanted[name])
    words += ["--seeds", seeds] if seeds is not None else ["--seed", str(wanted.get("seed", 0))]
    return shlex.join(words)


def new_train_line(model: str, *, weights: str | None = None, seeds: str = SEEDS, **settings: object) -> str:
    """The shell line that trains a model by its own recipe, for runs that there are none of yet."""
    words = ["fertool", "train", "--model", model, *option_words("weights", weights)]
    for name, value in settings.items():
        words += option_words(name, value)
    return shlex.join([*words, "--seeds", seeds])


def option_words(name: str, value: object) -> list[str]:
    """An option and its value as words of a command line; [] for None, which is the default."""
    option = f"--{name.replace('_', '-')}"
    if value is None:
        return []
    if isinstance(value, bool):
        yes, no = _FLAGS.get(name, (option, ""))
        chosen = yes if value else no
        return [chosen] if chosen else []
    if isinstance(value, list | tuple):
        parts = (
            "=".join(map(_number, part)) if isinstance(part, list | tuple) else _number(part)
            for part in value
        )
        return [option, ",".join(parts)]
    return [option, _number(value)]


def _is_default_of_guidance(name: str, wanted: Mapping[str, Any]) -> bool:
    """Whether a setting belongs to a guidance that there is not."""
    return name.startswith("guide_") and wanted.get("guide") is None


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def score_line(
    suites: Sequence[str],
    *,
    explainer: str | None = None,
    target: str | None = None,
    grid: int | None = None,
    sample: Mapping[str, int] | None = None,
    split: str = "test",
) -> str:
    """The shell line that scores suites.

    Args:
        suites: the names of the suites.
        explainer: the explainer whose maps are scored; None for the default.
        target: the class that maps explain (predicted, label); None for the default.
        grid: the cells a side of a common grid; None for the maps' own.
        sample: the `faces` of a sample, and the `seed` that drew it; None for all faces.
        split: the split whose faces are scored.
    """
    words = ["fertool", "score"]
    words += ["--explainer", explainer] if explainer else []
    for suite in suites:
        words += ["--suite", suite]
    words += ["--target", target] if target else []
    words += ["--grid", str(grid)] if grid else []
    if sample is not None:
        words += ["--faces", str(sample["faces"])]
        words += ["--seed", str(sample["seed"])] if sample["seed"] else []
    words += ["--split", split] if split != "test" else []
    return shlex.join(words)
