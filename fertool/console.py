"""The program's output: tables and notes, or one JSON object; rows of epochs as they come."""

import io
import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, Literal

from fertool.errors import UserError
from fertool.runtime.printable import printable
from fertool.runtime.ranks import started_as_first
from fertool.summary import Greyed, Summary, Table

_LONGEST_FIGURE = 30  # characters of a cell: a column with longer ones holds prose, and stands left


def show(summary: Summary, as_json: bool) -> None:
    """Print a summary on stdout: its tables and notes, or its data as one JSON object and nothing else.

    Only the first of several processes on one job prints. Raises UserError where stdout takes nothing (a full disk),
    and for the failure that the summary says.
    """
    if not started_as_first():
        return
    if as_json:
        _print_json(summary.data)
    else:
        _print_tables(summary)
    finish_stdout()
    if summary.failure is not None:
        raise UserError(summary.failure)


def finish_stdout() -> None:
    """Write what was printed. Raises UserError where stdout takes nothing, as on a full disk."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # what is still in the buffer would fail once more at the end of the program
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UserError(f"standard output: {error.strerror}") from None


def _print_json(data: Mapping[str, Any]) -> None:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:  # an ASCII terminal, or the name of a file that is not UTF-8
        text = json.dumps(data, allow_nan=False, default=str)
    print(text)


def _print_tables(summary: Summary) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        # a script's table is not folded to a terminal that is not there
        console.width = max(console.width, 160)
    for table in summary.tables:
        if not table.detail:
            _print_table(console, table)
    for note in summary.notes:
        console.print(_lines(note), markup=False)


def _print_table(console: Any, table: Table) -> None:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=Text(_lines(table.title)), title_justify="left", box=box.SIMPLE_HEAD)
    for number, column in enumerate(table.columns):
        is_prose = any(len(row[number]) > _LONGEST_FIGURE for row in table.rows)
        justify: Literal["left", "right"] = "left" if number == 0 or is_prose else "right"
        drawn.add_column(Text(_lines(column)), justify=justify, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(_lines(cell), style="dim" if isinstance(cell, Greyed) else "") for cell in row))
    console.print(drawn)
    for note in table.notes:
        console.print(Text(_lines(note), style="dim"))


def _lines(text: str) -> str:
    """Text fit for a terminal, with its own line breaks."""
    return "\n".join(map(printable, text.split("\n")))


def prepare_streams() -> None:
    """Let stdout and stderr take any text, escaped where their encoding lacks it; the program's log goes to stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _log_to_stderr()


def _log_to_stderr() -> None:
    """Let the program's log go to stderr, a line per event; only the first of several processes on one job logs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    # where a home cannot be written to it speaks of its cache at length, and draws all the same
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    logger = logging.getLogger("fertool")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if started_as_first() else logging.WARNING)
    logger.propagate = False


class EpochTable:
    """The live table of a training, on stderr: a row per epoch, as it comes."""

    COLUMNS = ("epoch", "train loss", "train acc", "val loss", "val acc", "epoch s", "images/s")

    def __init__(self) -> None:
        self._run: str | None = None

    def __call__(self, run: str, history: dict[str, Any], timing: dict[str, Any]) -> None:
        """Print one epoch of a run: a row of history.csv and one of timing.csv; the best so far carries a star."""
        if self._run is None:
            print("* the best val accuracy of the run so far", file=sys.stderr)
            self._print(self.COLUMNS)
        if run != self._run:
            print(run, file=sys.stderr)
            self._run = run
        self._print(
            (
                str(history["epoch"]),
                f"{history['train_loss']:.4f}",
                f"{history['train_accuracy']:.2%}",
                f"{history['val_loss']:.4f}",
                f"{history['val_accuracy']:.2%}" + ("*" if history["best"] else " "),
                f"{timing['epoch_s']:.1f}",
                f"{timing['images_per_s']:,.0f}",
            )
        )

    @staticmethod
    def _print(cells: tuple[str, ...]) -> None:
        print("".join(cell.rjust(12) for cell in cells), file=sys.stderr, flush=True)
