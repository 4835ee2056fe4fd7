"""Tables as CSV and as LaTeX (booktabs, intervals as subscripts)."""

import csv
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fertool.masks.regions import REGIONS
from fertool.report.blob_table import blob_table
from fertool.report.chance import ChanceLevels
from fertool.report.conditions import adopted_note
from fertool.report.evidence import Evidence
from fertool.report.first_screen import HEADINGS, MEASURES, Cell, Row
from fertool.score.results.tables import ADOPTED
from fertool.summary import Greyed, Table

WITH_INTERVAL = re.compile(r"(?P<value>.*\S) \[(?P<low>\S+), (?P<high>\S+)\](?P<rest>.*)")
# control characters have no place in a file of text, and TeX stops at them
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "†": r"\dag{}",
    "°": r"$^\circ$",
    "λ": r"$\lambda$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "…": r"\ldots{}",
    "✓": "yes",
}


IN_ITALICS = "In italics: not above a blob in the middle; causal agreement: not above the null maps."
IN_GREY = "In grey: do not read, since no map on this grid can give the region half of its heat."


class LikeChance(str):
    """A cell that is not above its chance level."""


def paper_tables(evidence: Evidence, chance: ChanceLevels, rows: Sequence[Row]) -> dict[str, Table]:
    """The tables by the names of their files: conditions by measure, then those of every suite."""
    shown = [row for row in rows if row.first or row.view is None]
    adopted = {
        condition.name: adopted_note(condition.name)
        for condition in evidence.conditions
        if condition.is_adopted
    }
    tables = {f"conditions-{measure}": _conditions(shown, measure, evidence.split) for measure in MEASURES}
    if beside_blob := blob_table(chance, rows, evidence.split):
        tables["beside-a-blob"] = beside_blob
    for found in evidence.gathered:
        name = found.suite.name
        if found.suite.explains:
            grid = f"-grid{found.settings.grid}" if found.settings.grid else ""
            name = f"{name}-{found.settings.request.key}-{found.settings.target}{grid}"
        for number, table in enumerate(found.tables, 1):
            tables[f"{_file_name(name)}-{number}"] = _with_adopted(table, adopted)
    return tables


def _with_adopted(table: Table, notes: Mapping[str, str]) -> Table:
    """A table with the notes on those adopted networks that it names."""
    text = " ".join([table.title, *(cell for row in table.rows for cell in row)])
    named = [note for name, note in notes.items() if f"{name}{ADOPTED}" in text]
    return replace(table, notes=[*table.notes, *named]) if named else table


def _conditions(rows: Sequence[Row], measure: str, split: str) -> Table:
    """Accuracy, macro F1, the six regions by one measure, and causal agreement."""
    columns = ["condition", "seeds", *HEADINGS.values()]
    place = columns.index(HEADINGS["agreement"])
    columns[place:place] = list(REGIONS)
    cells = [
        [
            f"{row.condition.name}{ADOPTED}" if row.condition.is_adopted else row.condition.name,
            str(row.condition.seeds),
            *(_text(row.cells[key]) for key in HEADINGS if key != "agreement"),
            *(_text(row.regions[measure][region]) for region in REGIONS),
            _text(row.cells["agreement"]),
        ]
        for row in rows
    ]
    views = list(dict.fromkeys(f"{row.view.name}" for row in rows if row.view is not None))
    notes = [f"Maps: {'; '.join(views)}."] if views and measure != "causal" else []
    marks = {type(cell) for row in cells for cell in row}
    notes += [IN_ITALICS] if LikeChance in marks else []
    notes += [IN_GREY] if Greyed in marks else []
    notes += dict.fromkeys(adopted_note(row.condition.name) for row in rows if row.condition.is_adopted)
    return Table(f"conditions on {split}, {MEASURES[measure]} of each region", columns, cells, notes)


def _text(cell: Cell) -> str:
    if not cell.is_known:
        return "-"
    text = cell.text("value")
    if cell.has_interval:
        text += f" [{cell.text('low')}, {cell.text('high')}]"
    return {"ceiling": Greyed, "chance": LikeChance}.get(cell.mark, str)(text)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-")


LONG_ROWS = 30  # of a table that would not fit a page in the text's size


def as_csv(table: Table) -> str:
    """A table as CSV: a figure with an interval takes three columns, its own and those of its limits."""
    split = [
        any(WITH_INTERVAL.fullmatch(row[number]) for row in table.rows)
        for number in range(len(table.columns))
    ]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        [
            name
            for column, has_limits in zip(table.columns, split, strict=True)
            for name in ([column, f"{column} low", f"{column} high"] if has_limits else [column])
        ]
    )
    for row in table.rows:
        writer.writerow(
            [
                cell
                for text, has_limits in zip(row, split, strict=True)
                for cell in (_with_limits(text) if has_limits else [_clean(text)])
            ]
        )
    return buffer.getvalue()


def _with_limits(text: str) -> list[str]:
    found = WITH_INTERVAL.fullmatch(text)
    if not found:
        return [_clean(text), "", ""]
    return [_clean(found["value"] + found["rest"]), found["low"], found["high"]]


def as_tex(table: Table, label: str) -> str:
    """A table as LaTeX for \\input: booktabs, an interval as a subscript; greyed figures in grey.

    The document needs the packages booktabs, graphicx and xcolor, and fontenc with T1.
    """
    lines = [
        "% needs \\usepackage[T1]{fontenc} and \\usepackage{booktabs,graphicx,xcolor}",
        "\\begin{table}",
        "  \\centering",
        *(["  \\scriptsize"] if len(table.rows) > LONG_ROWS else []),
        f"  \\caption{{{tex(table.title)}}}",
        f"  \\label{{tab:{label}}}",
        "  \\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
        f"  \\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        "    \\toprule",
        f"    {' & '.join(map(tex, table.columns))} \\\\",
        "    \\midrule",
        *(f"    {' & '.join(map(_tex_cell, row))} \\\\" for row in table.rows),
        "    \\bottomrule",
        "  \\end{tabular}}",
        *(f"  \\par\\footnotesize {tex(note)}" for note in table.notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tex_cell(text: str) -> str:
    found = WITH_INTERVAL.fullmatch(text)
    if found:
        limits = f"\\ensuremath{{_{{[{_math(found['low'])},\\,{_math(found['high'])}]}}}}"
        shown = f"{tex(found['value'])}{limits}{tex(found['rest'])}"
    else:
        shown = tex(text)
    if isinstance(text, LikeChance):
        return f"\\textit{{{shown}}}"
    return f"\\textcolor{{gray}}{{{shown}}}" if isinstance(text, Greyed) else shown


def _math(limit: str) -> str:
    """A limit within mathematics: its characters are digits, a sign and a point, or it is set as text."""
    return limit if re.fullmatch(r"[+-]?[\d.,]+%?", limit) and "%" not in limit else f"\\mbox{{{tex(limit)}}}"


def tex(text: str) -> str:
    """Any text made literal for LaTeX; of letters beyond Latin-1 the plain one, else a question mark."""
    return "".join(_TEX.get(letter) or _in_latin1(letter) for letter in _clean(text))


def _in_latin1(letter: str) -> str:
    if ord(letter) < 0x100:
        return letter if letter.isprintable() else " "
    plain = unicodedata.normalize("NFKD", letter)[0]
    return plain if plain.isascii() and plain.isalnum() else "?"


def _clean(text: str) -> str:
    return _CONTROL.sub(" ", text)
