"""The library `transformers`: imported where it is needed, silent, its errors in one line."""

import contextlib
from collections.abc import Generator
from typing import Any

from fertool.errors import UserError
from fertool.models.structure.trial import first_line

PREFIX = "hf:"
INSTALL = "pip install 'fertool[hf]'"


def is_hub_model(name: str) -> bool:
    """Whether a model's name is `hf:ORG/NAME` or `hf:FOLDER`."""
    return name.startswith(PREFIX)


def library(name: str) -> Any:
    """The module; `name` is the model that asks for it. Raises UserError where it is not installed."""
    try:
        import transformers
    except ImportError:
        raise UserError(f"--model {name}: needs the package transformers: {INSTALL}") from None
    return transformers


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Without the library's own bars and warnings: what does not fit is said in one line of ours."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


@contextlib.contextmanager
def one_line(name: str, what: str) -> Generator[None]:
    """Say in one line what failed: the library's errors are of any kind, and of many lines."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"--model {name}: {what} ({first_line(error)})") from None
