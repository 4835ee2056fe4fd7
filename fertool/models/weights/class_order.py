"""The classes of a finished network's outputs, in their order: as the user gives them, or as its file names them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fertool.errors import UserError
from fertool.prepare.emotions import class_name

PLACEHOLDER = re.compile(r"LABEL_\d+")  # of transformers, where nobody gave names
KEYS = ("id2label", "idx_to_class", "class_to_idx", "label2id", "classes", "class_names", "labels")


def find_class_order(given: Sequence[str] | None, file: Mapping[str, Any] | None, where: str) -> list[str]:
    """The classes of a network's outputs, with the names that `fertool prepare` gives them.

    Args:
        given: the names of `--class-order`.
        file: what a checkpoint holds beside its weights; names in it count where none are given.
        where: the model or file, for the error.

    Raises:
        UserError: no order is given and none stands in the file, or a class stands in it twice.
    """
    names = list(given) if given is not None else names_in(file or {})
    if not names:
        raise UserError(
            f"{where}: the order of its classes is not in the file; give it as --class-order happy,sad,... (the order "
            "of its outputs)"
        )
    order = [class_name(name) for name in names]
    twice = next((name for name in order if order.count(name) > 1), None)
    if twice is not None or len(order) < 2:
        raise UserError(
            f"--class-order: '{twice or order[0]}' must stand there once, beside others; name each output"
        )
    return order


def names_in(content: Mapping[str, Any]) -> list[str]:
    """The names of classes that a checkpoint holds under one of KEYS, in the order of the outputs; none: empty."""
    for key in KEYS:
        value = content.get(key)
        if isinstance(value, str):  # metadata of safetensors are texts
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                value = value.split(",")
        names = _in_order(value)
        if names and not all(PLACEHOLDER.fullmatch(name) for name in names):
            return names
    return []


def _in_order(value: object) -> list[str]:
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return list(value)
    if not isinstance(value, Mapping):
        return []
    pairs = list(value.items())
    if all(isinstance(number, int) for _, number in pairs):  # name -> number
        pairs = [(number, name) for name, number in pairs]
    try:
        numbered = sorted((int(number), name) for number, name in pairs)
    except (ValueError, TypeError):
        return []
    if [number for number, _ in numbered] != list(range(len(numbered))):
        return []
    return [name for _, name in numbered] if all(isinstance(name, str) for _, name in numbered) else []


def outputs_for(classes: Sequence[str], order: Sequence[str]) -> list[int]:
    """The number of the network's output for each class of a data set, -1 for a class that it does not have.

    Raises UserError where it has fewer than two of them.
    """
    outputs = [order.index(name) if name in order else -1 for name in classes]
    if sum(output >= 0 for output in outputs) < 2:
        raise UserError(
            f"--class-order {','.join(order)}: fewer than two of the data set's classes, {', '.join(classes)}, are "
            "among them; correct the names"
        )
    return outputs
