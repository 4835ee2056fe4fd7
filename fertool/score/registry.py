"""The suites there are, in the order in which they are scored and shown.

A suite `some-name` declares itself as SOME_NAME in `suites/some_name.py`; its name in `completion.SUITES` puts it here.
"""

from collections.abc import Sequence
from importlib import import_module

from fertool.completion import SUITES as NAMES
from fertool.errors import UserError
from fertool.score.suites.suite import Suite


def _declared(name: str) -> Suite:
    module = name.replace("-", "_")
    return getattr(import_module(f"fertool.score.suites.{module}"), module.upper())


SUITES = {name: _declared(name) for name in NAMES}
EVERY_SUITE = "all"


def names_written(written: Sequence[str]) -> list[str]:
    """The names in what `--suite` says; a text may hold several behind commas."""
    return [name.strip() for text in written for name in text.split(",")]


def chosen_suites(
    written: Sequence[str], target: str, truth_is_known: bool, makes_maps: bool = True
) -> list[Suite]:
    """The suites of these names, in the order of SUITES.

    `all` are the suites that target, faces and explainer allow. `causal` brings its agreement with the explainer along
    where the target is one whose logit is played for.

    Args:
        written: what `--suite` says.
        target: the class that is explained.
        truth_is_known: whether the faces' evidence is known.
        makes_maps: whether the explainer can make maps, or only has those that were imported.

    Raises:
        UserError: a suite that there is not, or one that needs maps which the explainer cannot make.
    """
    names = names_written(written)
    for name in names:
        if name != EVERY_SUITE and name not in SUITES:
            raise UserError(f"--suite {name}: no such suite; there are {', '.join(SUITES)}, {EVERY_SUITE}")
    wanted = set(names)
    without_maps = {name for name, suite in SUITES.items() if suite.runs_explainer and not makes_maps}
    if EVERY_SUITE in wanted:
        wanted |= set(SUITES) - without_maps - (set() if truth_is_known else {"truth"})
    for name in names:
        if name in without_maps:
            raise UserError(
                f"--suite {name}: needs maps of other faces or weights, and imported ones are of these alone; leave it "
                "out, or give the explainer as package.module:function"
            )
    if "causal" in wanted:
        wanted.add("causal-agreement")
    if target not in ("label", "predicted") and "causal-agreement" not in names:
        wanted.discard("causal-agreement")
    return [suite for name, suite in SUITES.items() if name in wanted]
