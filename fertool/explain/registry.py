"""The explainers there are, by name, and the way their options are written: `rollout@discard=0.9,fusion=max`.

Beside those that are registered stand functions of the user's own, `package.module:function`, and maps that were made
elsewhere, `imported:NAME`.
"""

import difflib
import math
import re
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from fertool.errors import UserError
from fertool.explain.explainer import Explainer, Negatives, Option
from fertool.explain.methods.attention import ATTENTION
from fertool.explain.methods.cams import CAMS
from fertool.explain.methods.gradients import GRADIENTS
from fertool.explain.methods.guided_backprop import GUIDED
from fertool.explain.methods.imported import imported_explainer, is_imported
from fertool.explain.methods.nulls import NULLS, Null
from fertool.explain.methods.own import (
    OwnFunction,
    absent_explainer,
    declared_explainer,
    find_own_explainer,
    own_name,
)
from fertool.explain.methods.perturbation import PERTURBATION
from fertool.runtime.user_function import is_function_name

EXPLAINERS: dict[str, Explainer] = {
    explainer.name: explainer for explainer in [*CAMS, *GUIDED, *ATTENTION, *GRADIENTS, *PERTURBATION]
}
DEFAULT_EXPLAINER = "gradcam"
TEXT = re.compile(r"\w[\w.-]*")  # of an option's value: it becomes part of a folder's name


@dataclass(frozen=True)
class Request:
    """An explainer with the options that a user asks for.

    `null` is a null explanation whose maps stand beside those of `explainer`; `options` are the explainer's options
    that differ from their defaults.
    """

    explainer: Explainer
    null: Null | None = None
    options: dict[str, Option] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The request as text, the same for the same maps: also the name of their folder."""
        if self.null is not None:
            return f"{self.null.name}@of={self.beside.key}"
        if not self.options:
            return self.explainer.name
        written = ",".join(f"{name}={value}" for name, value in sorted(self.options.items()))
        return f"{self.explainer.name}@{written}"

    @property
    def beside(self) -> "Request":
        """The explainer itself, beside whose maps a null's stand."""
        return Request(self.explainer, options=self.options)

    @property
    def looks_at_target(self) -> bool:
        """Whether the map depends on the class that is asked for."""
        return self.null is None and self.explainer.looks_at_target


Wanted = str | OwnFunction | Request
"""An explainer as it is asked for: by name, as a function of the user's own, or as it was read already."""


def parse_request(text: str) -> Request:
    """Read `name` or `name@option=value,...`. Raises UserError for unknown names, options and values.

    A null explanation takes the explainer that it stands beside, with its options: `random@of=rollout`,
    `random@of=rollout@discard=0.9` (gradcam if not said).
    """
    name, _, written = text.partition("@")
    if name in NULLS:
        option, _, explainer_text = written.partition("=")
        if written and option != "of":
            raise UserError(f"--explainer {text}: '{name}' takes only 'of'")
        beside = parse_request(explainer_text or DEFAULT_EXPLAINER)
        if beside.null is not None:
            raise UserError(f"--explainer {text}: 'of' takes one of {', '.join(EXPLAINERS)}")
        return Request(beside.explainer, null=NULLS[name], options=beside.options)
    values = dict(part.partition("=")[::2] for part in written.split(",") if part)
    explainer = _find(name)
    options = {option: _read(text, explainer, option, value) for option, value in values.items()}
    changed = {option: value for option, value in options.items() if value != explainer.options[option]}
    if is_imported(name) and changed:
        explainer = replace(explainer, negatives=_negatives(text, changed["negatives"]))
    return Request(explainer, options=changed)


def as_request(explainer: "Wanted") -> Request:
    """The request that a text, a function of the user's own, or a request is. Raises UserError as `parse_request`."""
    if isinstance(explainer, Request):
        return explainer
    if isinstance(explainer, str):
        return parse_request(explainer)
    return Request(declared_explainer(explainer, own_name(explainer)))


def stored_request(text: str) -> Request:
    """The request whose maps or scores lie on disk under this text.

    A function of the user's own may be absent by now: what was stored of it is read all the same.
    """
    try:
        return parse_request(text)
    except UserError:
        name, _, written = text.partition("@")
        if name in NULLS and written.startswith("of="):
            beside = stored_request(written.removeprefix("of="))
            return Request(beside.explainer, null=NULLS[name], options=beside.options)
        if not is_function_name(name):
            raise
        options: dict[str, Option] = dict(part.partition("=")[::2] for part in written.split(",") if part)
        return Request(absent_explainer(name), options=options)


def _find(name: str) -> Explainer:
    if name in EXPLAINERS:
        return EXPLAINERS[name]
    if is_imported(name):
        return imported_explainer(name)
    if is_function_name(name):
        return find_own_explainer(name)
    raise UserError(f"no explainer '{name}'; {_there_are(name)}")


def _negatives(text: str, value: Option) -> Negatives:
    for known in get_args(Negatives):
        if value == known:
            return known
    raise UserError(f"--explainer {text}: 'negatives' is {' or '.join(get_args(Negatives))}")


def _there_are(name: str) -> str:
    names = [*EXPLAINERS, *NULLS]
    near = difflib.get_close_matches(name, names)
    nearest = f"nearest are {', '.join(near)}; " if near else ""
    return f"{nearest}there are {', '.join(names)}; or your own, as package.module:function"


def _read(text: str, explainer: Explainer, option: str, value: str) -> Option:
    if option not in explainer.options:
        known = ", ".join(explainer.options) or "no options"
        raise UserError(f"--explainer {text}: no option '{option}'; '{explainer.name}' takes {known}")
    default = explainer.options[option]
    if default is None and value == "none":
        return None
    kind: Any = explainer.types.get(option, type(default))
    if kind is str and not TEXT.fullmatch(value):
        raise UserError(f"--explainer {text}: '{value}' is no name for '{option}'")
    try:
        read = kind(value)
        if isinstance(read, float) and not math.isfinite(read):
            raise ValueError
    except ValueError:
        raise UserError(f"--explainer {text}: '{value}' is no {kind.__name__} for '{option}'") from None
    return read


def explainers_of(family: str, attention_blocks: int) -> list[str]:
    """The names of the explainers that can explain such a model."""
    return [name for name, explainer in EXPLAINERS.items() if explainer.can_explain(family, attention_blocks)]
