"""Functions of the user's own, named on the command line as `package.module:function`."""

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from fertool.errors import UserError

INSTALLED = {"site-packages", "dist-packages"}


def is_function_name(name: str) -> bool:
    """Whether a name is of the form `package.module:function`."""
    module, colon, function = name.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))


def find_function(option: str, name: str) -> Callable[..., object]:
    """The function of that name; modules are looked for in the current folder too.

    Raises UserError, which begins with the option, where there is no such function, or its module cannot be imported.
    """
    module_name, _, function = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{option} {name}: no module '{error.name}'; run from the folder that holds it, or install it"
        ) from None
    # the user's own code may raise anything
    except Exception as error:
        raise UserError(f"{option} {name}: {module_name} cannot be imported ({first_line(error)})") from None
    finally:
        sys.path.remove(here)
    found = getattr(module, function, None)
    if not callable(found):
        where = getattr(module, "__file__", None) or module_name
        raise UserError(f"{option} {name}: no function '{function}' in {where}")
    return found


def defining_files(module: str, function: Callable[..., object]) -> list[Path]:
    """The files that define a function which is found in an imported module.

    They are those of the module, of the function where that is written elsewhere, and of their whole package, unless
    it is an installed one.
    """
    files = {getattr(sys.modules[module], "__file__", None)}
    with contextlib.suppress(TypeError):  # classes and functions in C have none
        files.add(inspect.getsourcefile(inspect.unwrap(function)))
    own = {Path(file) for file in files if file is not None}
    for folder in getattr(sys.modules[module.partition(".")[0]], "__path__", ()):
        if INSTALLED.isdisjoint(Path(folder).parts):
            own |= set(Path(folder).rglob("*.py"))
    return sorted(own)


def first_line(error: Exception) -> str:
    """An error's kind and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
