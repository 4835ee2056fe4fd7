"""The page as HTML: templates filled with what was found, style and behaviour inside it."""

import importlib.resources
from collections.abc import Sequence
from typing import Any

import jinja2
import markupsafe

import fertool
from fertool.masks.regions import REGIONS
from fertool.report.answers.answer import Answer
from fertool.report.conditions import settings_that_differ
from fertool.report.dataset_title import dataset_title
from fertool.report.evidence import Evidence
from fertool.report.export.references import Work
from fertool.report.face_diagrams import face_diagrams
from fertool.report.figures.emotions import lift_colour
from fertool.report.first_screen import HEADINGS, MEASURES, Row
from fertool.report.gallery.gallery import Gallery
from fertool.report.gallery.pictures import png_address
from fertool.report.page.contents import contents_of
from fertool.report.page.filters import filters_of
from fertool.report.page.scales import scales_of
from fertool.report.reproduction import fingerprints, run_records
from fertool.report.sections import Section
from fertool.report.warnings import Warning
from fertool.score.settings import CONTRASTS
from fertool.summary import Greyed

LEGEND_LIFTS = (0.5, 0.7, 1.0, 1.4, 2.0)
NULL_ROW = "  null: "  # how the rows of null maps begin


def render_page(
    evidence: Evidence,
    rows: Sequence[Row],
    sections: Sequence[Section],
    gallery: Gallery | None,
    answers: Sequence[Answer],
    *,
    headline: str,
    warnings: Sequence[Warning],
    notes: Sequence[str],
    methods: Sequence[str],
    works: Sequence[Work],
) -> str:
    """The whole page as HTML, self-contained.

    Args:
        evidence: the figures of the runs and where they are kept.
        rows: the rows of the table of conditions, one for each condition and view.
        sections: the suites' tables and figures, in the order of the page.
        gallery: faces beside their maps; None where there are no maps to show.
        answers: the questions with their answers.
        headline: the answer in one or two sentences, at the top of the page.
        warnings: what weakens the figures, as a list above the table of conditions.
        notes: what a reader must know to read the table of conditions.
        methods: the paragraphs of the methods text.
        works: the works to cite.
    """
    mean_face = evidence.mean_face
    cells = [cell for row in rows for region_cells in row.regions.values() for cell in region_cells.values()]
    return (
        _templates()
        .get_template("page.html")
        .render(
            version=fertool.__version__,
            title=dataset_title(evidence.dataset),
            style=_text("style.css"),
            script=_text("page.js"),
            dataset=evidence.dataset,
            split=evidence.split,
            headline=headline,
            warnings=warnings,
            notes=notes,
            conditions=evidence.conditions,
            differing_settings=settings_that_differ(evidence.conditions),
            rows=rows,
            regions=REGIONS,
            headings=HEADINGS,
            measures=MEASURES,
            scales=scales_of(rows),
            mean_face=mean_face and png_address(mean_face.picture),
            lift_legend=[(f"{lift:g}", lift_colour(lift)) for lift in LEGEND_LIFTS],
            diagrams=face_diagrams(evidence, rows),
            filters=filters_of(rows),
            contrasts=CONTRASTS,
            any_marked=any(cell.mark == "chance" for cell in cells),
            any_differ=any(cell.differs for cell in cells),
            pictured=len(evidence.conditions) < len(evidence.runs),
            runs=run_records(evidence.runs),
            fingerprints=fingerprints(evidence.runs),
            methods=methods,
            works=works,
            sections=sections,
            gallery=gallery,
            answers=answers,
            contents=contents_of(sections, has_gallery=gallery is not None),
        )
    )


def _text(name: str) -> str:
    return importlib.resources.files("fertool.report.page").joinpath(name).read_text(encoding="utf-8")


def _breakable(name: str) -> markupsafe.Markup:
    """A name that a narrow column breaks behind its underscores first."""
    return markupsafe.escape(name).replace("_", markupsafe.Markup("_<wbr>"))


def _is_greyed(value: Any) -> bool:
    return isinstance(value, Greyed)


def _is_null_row(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(NULL_ROW)


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fertool.report.page", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    environment.tests["greyed"] = _is_greyed
    environment.tests["null_row"] = _is_null_row
    environment.undefined = jinja2.StrictUndefined
    return environment
