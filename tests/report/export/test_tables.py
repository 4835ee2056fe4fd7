import csv
import io
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fertool.report.export.tables import as_csv, as_tex, tex
from fertool.summary import Greyed, Table

TABLE = Table(
    "50% of $x$ & <b>_y",
    ["model", "accuracy, %", "p"],
    [
        ["a_b", "42.4 [36.8, 47.9]", "0.01"],
        ["c", Greyed("-1.0 ± 0.2 [-2.0, +0.1]"), "-"],
        ["  null: centre", "3.1", ""],
    ],
    ['A note with 100% \\ {braces} ~ ^ # "quotes" and λ.'],
)
DOCUMENT = "\\documentclass{article}\\usepackage{booktabs,graphicx,xcolor}\\usepackage[T1]{fontenc}\\begin{document}\n%s\\end{document}\n"  # noqa: E501


def test_a_figure_with_an_interval_takes_three_columns_of_csv() -> None:
    rows = list(csv.reader(io.StringIO(as_csv(TABLE))))
    assert rows[0] == ["model", "accuracy, %", "accuracy, % low", "accuracy, % high", "p"]
    assert rows[1] == ["a_b", "42.4", "36.8", "47.9", "0.01"]
    assert rows[2] == ["c", "-1.0 ± 0.2", "-2.0", "+0.1", "-"]
    assert rows[3] == ["  null: centre", "3.1", "", "", ""]


def test_intervals_are_subscripts_and_greyed_figures_grey() -> None:
    text = as_tex(TABLE, "x")
    assert "a\\_b & 42.4\\ensuremath{_{[36.8,\\,47.9]}} & 0.01 \\\\" in text
    assert "\\textcolor{gray}{-1.0 $\\pm$ 0.2\\ensuremath{_{[-2.0,\\,+0.1]}}}" in text
    assert "\\toprule" in text and "\\caption{50\\% of \\$x\\$ \\& \\textless{}b\\textgreater{}\\_y}" in text


@given(st.text())
def test_any_text_is_literal_for_tex(text: str) -> None:
    literal = tex(text)
    assert all(ord(letter) < 0x100 and letter.isprintable() for letter in literal)
    bare = literal
    for command in ("\\textbackslash{}", "\\{", "\\}", "\\&", "\\%", "\\$", "\\#", "\\_"):
        bare = bare.replace(command, "")
    for special in "&%#_":
        assert special not in bare


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (Debian's texlive-latex-base)")
def test_a_table_compiles_in_a_minimal_article(tmp_path) -> None:
    letters = "".join(chr(code) for code in (*range(0x20, 0x7F), *range(0xA1, 0x250), 0x4E2D, 0x7, 0xB1))
    everything = Table("t", ["a"], [[letters]])
    long = Table("many rows", ["model", "lift"], [[str(row), "1.00 [0.90, 1.10]"] for row in range(45)])
    tables = as_tex(TABLE, "x") + as_tex(everything, "y") + as_tex(long, "z")
    (tmp_path / "t.tex").write_text(DOCUMENT % tables)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "too large" not in done.stdout, "a table is cut off at the page's end"
    assert (tmp_path / "t.pdf").stat().st_size > 5000
