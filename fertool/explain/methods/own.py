"""Explainers of the user's own: a function that declares its rules, named `package.module:function`."""

import hashlib
import inspect
import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from fertool.errors import UserError
from fertool.explain.explainer import ChooseClasses, Explainer, Explanation, Needs, Negatives, Option
from fertool.models.classifier import FaceClassifier
from fertool.models.frozen_eval import frozen_eval
from fertool.runtime.user_function import defining_files, find_function, first_line

OwnFunction = Callable[..., Any]
"""`(model, faces, classes, **options)`: a FaceClassifier, pixels as stored (B, H, W) or (B, H, W, 3), and the class to
explain of each face, int64 (B,), to raw, signed heatmaps (B, h, w), a tensor or an array. The map of a face depends on
this face alone."""

Decorated = TypeVar("Decorated", bound=OwnFunction)

RULES = "explainer_rules"  # the attribute in which a function keeps its rules
GIVEN = 3  # arguments of the function that are no options: model, faces, classes
SAME = 1e-2  # largest difference of two maps of a face that counts as rounding, in shares of the largest cell
OPTION_TYPES = (int, float, str)


@dataclass(frozen=True)
class Rules:
    """The rules of an explainer of the user's own, see `Explainer`."""

    negatives: Negatives
    looks_at_target: bool
    needs: Needs
    source: str


def rules(
    *,
    negatives: Negatives,
    looks_at_target: bool,
    needs: Needs = "nothing",
    source: str = "a function of the user's own",
) -> Callable[[Decorated], Decorated]:
    """Declare the rules of a function that explains: `@rules(negatives="drop", looks_at_target=True)`.

    Args:
        negatives: the reading of negative cells in a score: `drop` sets them to zero, `absolute` counts their size.
        looks_at_target: whether the map depends on the class that is explained.
        needs: what a model must have: `nothing`, `a CAM layer`, `a convolutional network` or `attention blocks`.
        source: the paper.

    Returns:
        The decorator, which leaves the function as it is.

    Raises:
        UserError: a rule that there is not.
    """
    for option, value, known in (
        ("negatives", negatives, get_args(Negatives)),
        ("needs", needs, get_args(Needs)),
        ("looks_at_target", looks_at_target, (True, False)),
    ):
        if value not in known:
            raise UserError(f"@rules({option}={value!r}): must be one of {', '.join(map(repr, known))}")

    def declare(function: Decorated) -> Decorated:
        setattr(function, RULES, Rules(negatives, looks_at_target, needs, source))
        return function

    return declare


@dataclass(frozen=True, eq=False)
class OwnExplainer:
    """A function of the user's own as an `ExplainBatch`: what it returns is checked, and it leaves the model as it was.

    Before its first maps of a kind of model it is tried on a face and its mirrored negative.
    """

    name: str
    function: OwnFunction
    looks_at_target: bool
    tried: set[str] = field(default_factory=set)

    def __call__(
        self, model: FaceClassifier, pixels: Tensor, choose: ChooseClasses, **options: Option
    ) -> Explanation:
        """The maps of each chosen class, and the model's logits.

        Raises UserError where the function fails, or returns what are no maps.
        """
        kind = json.dumps([model.recipe, options], default=str, sort_keys=True)
        if kind not in self.tried and len(pixels):
            self._try_out(model, pixels[:1], options)
            self.tried.add(kind)
        with frozen_eval(model), torch.no_grad():
            logits = model(pixels).float()
            classes = choose(logits)
        count = classes.shape[1] if self.looks_at_target else 1
        maps = [self._maps(model, pixels, classes[:, number], options) for number in range(count)]
        heatmaps = torch.stack(maps, dim=1).expand(-1, classes.shape[1], -1, -1)
        return Explanation(heatmaps, logits)

    def _maps(
        self, model: FaceClassifier, pixels: Tensor, classes: Tensor, options: dict[str, Option]
    ) -> Tensor:
        """The maps that the function returns, float32 (B, h, w). Raises UserError where it returns none."""
        with frozen_eval(model), torch.enable_grad():
            parameters = [each for each in model.parameters() if each.is_floating_point()]
            for parameter in parameters:
                parameter.requires_grad_(True)  # a function may ask for the gradient of any layer
            try:
                found = self.function(model, pixels.clone(), classes.clone(), **options)
            except UserError:
                raise
            # the user's own code may raise anything
            except Exception as error:
                raise self._error(f"failed{_line(error)} ({first_line(error)})") from None
            finally:
                for parameter in parameters:
                    parameter.grad = None
        if isinstance(found, np.ndarray) and found.dtype.kind in "fiu":
            found = torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32))
        if not isinstance(found, Tensor):
            raise self._error(f"returned {type(found).__name__}, not heatmaps (B, h, w)")
        if found.ndim != 3 or len(found) != len(pixels) or not found.numel():
            raise self._error(f"returned shape {tuple(found.shape)}, not ({len(pixels)}, h, w)")
        maps = found.detach().to(model.device, torch.float32)
        spoilt = ~torch.isfinite(maps).all(dim=2).all(dim=1)
        if spoilt.any():
            raise self._error(
                f"gave face {int(spoilt.int().argmax())} of a batch cells that are nan or infinite"
            )
        return maps

    def _try_out(self, model: FaceClassifier, face: Tensor, options: dict[str, Option]) -> None:
        """Try the function on a face (1, H, W[, 3]). Raises UserError where its maps hang on what they must not."""
        other_face = 255 - face.flip(2)
        classes = torch.zeros(2, dtype=torch.int64, device=model.device)
        with model.looking_at(None if model.boxes is None else model.boxes[:1]):
            maps = self._maps(model, torch.cat([face, other_face]), classes, options)
            again = self._maps(model, torch.cat([face, face]), classes, options)
            other = self._maps(model, torch.cat([face, other_face]), classes + 1, options)
        if _differ(maps[0], again[0]):
            raise self._error(
                "gives the same face another map the next time, or beside another face; seed what is random in it, and "
                "normalise each face by itself"
            )
        if not self.looks_at_target and _differ(maps, other):
            raise self._error("gives another map for another class; declare looks_at_target=True")

    def _error(self, what: str) -> UserError:
        return UserError(f"--explainer {self.name}: the function {what}")


def find_own_explainer(name: str) -> Explainer:
    """The explainer `package.module:function`.

    Raises UserError where there is no such function, or it declares no rules.
    """
    return declared_explainer(find_function("--explainer", name), name)


def own_name(function: OwnFunction) -> str:
    """The name of a function in memory, `module:function`.

    Raises UserError for a function that stands in another or has no name: two of them could not be told apart, nor the
    maps of one from the other's.
    """
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if not (module and name.isidentifier()):
        raise UserError(
            f"explainer {name or function!r}: define the function by a name at the top of a module or a notebook's cell"
        )
    return f"{module}:{name}"


@lru_cache
def declared_explainer(function: OwnFunction, name: str) -> Explainer:
    """A function with its rules as an explainer. Raises UserError where it declares none."""
    declared = getattr(function, RULES, None)
    if not isinstance(declared, Rules):
        raise UserError(
            f"--explainer {name}: the function declares no rules; put @rules(negatives='drop', looks_at_target=True), "
            "of fertool.explain, above it, with what holds for its maps"
        )
    return Explainer(
        name=name,
        source=declared.source,
        needs=declared.needs,
        negatives=declared.negatives,
        class_token="-",
        looks_at_target=declared.looks_at_target,
        explain=OwnExplainer(name, function, declared.looks_at_target),
        options=_options(name, function),
        revision=_revision(function, name.partition(":")[0], declared),
    )


def absent_explainer(name: str) -> Explainer:
    """The explainer of maps on disk whose function is not here: it makes none, and its revision is not known."""

    def absent(*_arguments: object, **_options: object) -> Explanation:
        raise UserError(f"--explainer {name}: its function is not here; run from the folder that holds it")

    return Explainer(
        name=name,
        source="a function that is not here",
        needs="nothing",
        negatives="drop",
        class_token="-",
        looks_at_target=True,
        explain=absent,
        revision=0,
    )


def _options(name: str, function: OwnFunction) -> dict[str, Option]:
    """The function's further arguments, with their defaults, as options."""
    try:
        arguments = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C
        return {}
    given, further = arguments[:GIVEN], arguments[GIVEN:]
    if len(given) < GIVEN and not any(each.kind is each.VAR_POSITIONAL for each in given):
        raise UserError(f"--explainer {name}: the function must take (model, faces, classes)")
    return {each.name: each.default for each in further if type(each.default) in OPTION_TYPES}


def _revision(function: OwnFunction, module: str, declared: Rules) -> int:
    """A number of the function's files and rules: other files, other maps."""
    digest = hashlib.sha256(repr(declared).encode())
    files = [file for file in defining_files(module, function) if file.is_file()]
    for file in files:
        digest.update(file.read_bytes())
    code = getattr(inspect.unwrap(function), "__code__", None)
    if not files and code is not None:  # typed into a session
        digest.update(repr((code.co_code, code.co_consts, code.co_names)).encode())
    return 2 + int(digest.hexdigest()[:12], 16)


def _differ(first: Tensor, second: Tensor) -> bool:
    return bool((first - second).abs().max() > SAME * first.abs().max().clamp(min=1e-12))


def _line(error: Exception) -> str:
    """The place in the user's file where an error came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    return f" at {Path(frames[0].filename).name}, line {frames[0].lineno}" if frames else ""
