"""The sections below the first screen: each suite's figures, and its tables in full."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fertool.report.blob_table import blob_table
from fertool.report.chance import ChanceLevels
from fertool.report.drawings import (
    Drawing,
    confusion_drawing,
    corruptions_drawing,
    depth_drawing,
    emotions_drawing,
    guidance_drawings,
    regions_drawing,
    training_drawing,
)
from fertool.report.evidence import Evidence
from fertool.report.expectations import expectations_table
from fertool.report.figures.style import PAGE_INCHES, as_svg, styled
from fertool.report.first_screen import Row
from fertool.report.mean_heat import HeatOfCondition, heat_of_conditions
from fertool.score.gather import Gathered
from fertool.score.guidance.effects import Guidance
from fertool.score.guidance.tables import guidance_tables
from fertool.score.guidance.verdict import verdicts_of
from fertool.summary import Table


@dataclass(frozen=True)
class Picture:
    """A figure in the page: its markup and what stands above it."""

    caption: str
    markup: str
    small: bool = False  # several stand side by side


@dataclass(frozen=True)
class Paragraph:
    """A paragraph that begins in bold."""

    bold: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of the page with a name and an anchor of its own."""

    anchor: str
    topic: str
    lead: str = ""
    paragraphs: list[Paragraph] = field(default_factory=list)
    figures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    heat: list[HeatOfCondition] = field(default_factory=list)
    shows_table: bool = False  # its first table, beside its figures too
    view: str = ""  # explainer, target and grid, or what else tells it from other sections of the topic

    @property
    def name(self) -> str:
        """The heading."""
        return f"{self.topic}: {self.view}" if self.view else self.topic

    @property
    def shown_tables(self) -> list[Table]:
        """The tables that stand in the section; all of them stand at the page's end."""
        shown = [table for table in self.tables if not table.detail]
        return shown[:1] if self.shows_table or not self.figures else []

    @property
    def folds(self) -> bool:
        """Whether it has tables that are shown at the page's end alone."""
        return len(self.tables) > len(self.shown_tables)


SMALL_INCHES = 5.2  # figures that stand side by side
NAMES = {
    "classification": "Recognition",
    "attention": "Attention",
    "faithfulness": "Faithfulness",
    "causal": "Causes",
    "causal-agreement": "Maps against causes",
    "robustness": "Robustness",
    "robustness-attention": "Attention on spoilt faces",
    "sanity": "Sanity of the maps",
    "representation": "Representation",
    "truth": "Planted truth",
}


def sections_of(evidence: Evidence, chance: ChanceLevels, rows: Sequence[Row]) -> list[Section]:
    """The sections of a report, in the order of suites; then guidance and training."""
    sections = [_suite_section(evidence, found, rows) for found in evidence.gathered]
    sections += _blob_section(evidence, chance, rows)
    sections += [*_emotions_section(evidence), *_mean_heat_section(evidence)]
    sections += [_guidance_section(number, guidance) for number, guidance in enumerate(evidence.guidance)]
    return [*sections, *_training_section(evidence), _expectations_section(evidence, rows)]


def _suite_section(evidence: Evidence, found: Gathered, rows: Sequence[Row]) -> Section:
    settings, topic = found.settings, NAMES.get(found.suite.name, found.suite.name.capitalize())
    anchor, view = found.suite.name, ""
    if found.suite.explains:
        grid = f", {settings.grid}x{settings.grid} cells" if settings.grid else ""
        target = f", target {settings.target}" if found.suite.only_target is None else ""
        view = f"{settings.request.key}{target}{grid}"
        anchor = "-".join([anchor, settings.request.key, settings.target, str(settings.grid or "")])
    pictures = _pictures(evidence, found, rows)
    return Section(_anchor(anchor), topic, figures=pictures, tables=found.tables, view=view)


def _anchor(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text).strip("-")


def _pictures(evidence: Evidence, found: Gathered, rows: Sequence[Row]) -> list[Picture]:
    """A suite's figures."""
    drawings: list[Drawing | None] = []
    name, width = found.suite.name, PAGE_INCHES
    if name == "classification":
        width = SMALL_INCHES
        drawings = [confusion_drawing(evidence, condition) for condition in evidence.conditions]
    elif name == "attention":
        shown = [row for row in rows if row.view is not None and row.view.gathered is found]
        if any(cell.is_known for row in shown for cell in row.regions["lift"].values()):
            drawings = [regions_drawing(evidence, shown, "lift")]
    elif name == "causal":
        shown = [row for row in rows if row.first or row.view is None]
        drawings = [regions_drawing(evidence, shown, "causal")]
    elif name == "robustness":
        drawings = [corruptions_drawing(evidence)]
    elif name == "representation":
        drawings = [depth_drawing(evidence)]
    return [picture(drawing, width) for drawing in drawings if drawing is not None]


def picture(drawing: Drawing, width_inches: float) -> Picture:
    """A figure of the page, drawn now; small where it is narrower than the page."""
    with styled():
        figure = drawing.draw(width_inches)
    return Picture(drawing.caption, as_svg(figure, drawing.caption), width_inches < PAGE_INCHES)


def _blob_section(evidence: Evidence, chance: ChanceLevels, rows: Sequence[Row]) -> list[Section]:
    table = blob_table(chance, rows, evidence.split)
    return [Section("beside-a-blob", "Beside a blob in the middle", tables=[table])] if table else []


def _emotions_section(evidence: Evidence) -> list[Section]:
    drawings = [emotions_drawing(evidence, condition) for condition in evidence.conditions]
    figures = [picture(drawing, SMALL_INCHES) for drawing in drawings if drawing is not None]
    lead = "Lift of each region over the faces of one emotion: orange above 1, blue below, on a scale that all share."
    return [Section("by-emotion", "Regions by emotion", lead, figures=figures)] if figures else []


def _mean_heat_section(evidence: Evidence) -> list[Section]:
    heat = heat_of_conditions(evidence)
    lead = (
        "Every face's map is warped onto the mean face by its landmarks, then averaged over the faces of one emotion: "
        "orange where there is more heat than in a map that is the same everywhere, blue where there is less, clear "
        "where there is as much. Numbers are of faces."
    )
    return [Section("mean-heat", "Mean heatmap of each emotion", lead, heat=heat)] if heat else []


def _guidance_section(number: int, guidance: Guidance) -> Section:
    return Section(
        f"guidance-{number + 1}",
        "Guidance",
        "The table says what became of the model as its map was told where to lie with weight lambda. The words "
        "follow from 95% intervals of differences alone: something fell where the whole interval lies below 0. "
        "The model is said to have moved only where answers came to rest less on the background and less on it "
        "than on the other regions.",
        [
            Paragraph(f"lambda {verdict.weight:g}: {verdict.sentences[0]}", " ".join(verdict.sentences[1:]))
            for verdict in verdicts_of(guidance)
        ],
        [picture(drawing, PAGE_INCHES) for drawing in guidance_drawings(guidance)],
        guidance_tables(guidance),
        view=guidance.sweep.name,
    )


def _training_section(evidence: Evidence) -> list[Section]:
    drawing = training_drawing(evidence)
    return [Section("training", "Training", figures=[picture(drawing, PAGE_INCHES)])] if drawing else []


def _expectations_section(evidence: Evidence, rows: Sequence[Row]) -> Section:
    return Section("expectations", "Expected and measured", tables=[expectations_table(evidence, list(rows))])
