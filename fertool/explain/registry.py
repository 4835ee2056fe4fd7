"""The explainers there are, by name, and the way their options are written: `rollout@discard=0.9,fusion=max`."""

import difflib
import math
import re
from dataclasses import dataclass, field
from typing import Any

from fertool.errors import UserError
from fertool.explain.explainer import Explainer, Option
from fertool.explain.methods.attention import ATTENTION
from fertool.explain.methods.cams import CAMS
from fertool.explain.methods.gradients import GRADIENTS
from fertool.explain.methods.guided_backprop import GUIDED
from fertool.explain.methods.nulls import NULLS, Null
from fertool.explain.methods.perturbation import PERTURBATION

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
    if name not in EXPLAINERS:
        raise UserError(f"no explainer '{name}'; {_there_are(name)}")
    values = dict(part.partition("=")[::2] for part in written.split(",") if part)
    explainer = EXPLAINERS[name]
    options = {option: _read(text, explainer, option, value) for option, value in values.items()}
    changed = {option: value for option, value in options.items() if value != explainer.options[option]}
    return Request(explainer, options=changed)


def _there_are(name: str) -> str:
    names = [*EXPLAINERS, *NULLS]
    near = difflib.get_close_matches(name, names)
    return f"{'nearest are ' + ', '.join(near) + '; ' if near else ''}there are {', '.join(names)}"


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
