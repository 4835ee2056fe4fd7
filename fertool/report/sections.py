"""The sections below the first screen: each suite's figures, and its tables in full."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fertool.report.evidence import Evidence
from fertool.report.figures.confusion import confusion_figure
from fertool.report.figures.curves import curves_figure
from fertool.report.figures.guidance import guidance_figure, lifts_figure
from fertool.report.figures.regions import regions_figure
from fertool.report.figures.style import as_svg, styled
from fertool.report.first_screen import Row
from fertool.runtime.files import read_csv
from fertool.score.gather import Gathered
from fertool.score.guidance.effects import Guidance, gather_guidance
from fertool.score.guidance.tables import guidance_tables
from fertool.score.guidance.verdict import verdicts_of
from fertool.score.results.tables import run_label
from fertool.summary import Table


@dataclass(frozen=True)
class Picture:
    """A figure in the page: its markup and what stands above it."""

    caption: str
    markup: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph that begins in bold."""

    bold: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of the page with a name and an anchor of its own."""

    anchor: str
    name: str
    lead: str = ""
    paragraphs: list[Paragraph] = field(default_factory=list)
    figures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    folded: bool = True  # whether the tables are


NAMES = {
    "classification": "Recognition",
    "attention": "Attention",
    "faithfulness": "Faithfulness",
    "causal": "Causes",
    "causal-agreement": "Do the maps tell the causes?",
    "robustness": "Robustness",
    "robustness-attention": "Attention on spoilt faces",
    "sanity": "Sanity of the maps",
    "representation": "Representation",
    "truth": "Planted truth",
}


def sections_of(evidence: Evidence, rows: Sequence[Row]) -> list[Section]:
    """The sections of a report, in the order of suites; then guidance and training."""
    sections = [_suite_section(evidence, found, rows) for found in evidence.gathered]
    sections += [
        _guidance_section(number, of_sweep)
        for number, of_sweep in enumerate(gather_guidance(evidence.workspace, evidence.runs, evidence.split))
    ]
    return [*sections, *_training_section(evidence)]


def _suite_section(evidence: Evidence, found: Gathered, rows: Sequence[Row]) -> Section:
    settings, name = found.settings, NAMES.get(found.suite.name, found.suite.name.capitalize())
    anchor = found.suite.name
    if found.suite.explains:
        grid = f", {settings.grid}x{settings.grid} cells" if settings.grid else ""
        target = f", target {settings.target}" if found.suite.only_target is None else ""
        name = f"{name}: {settings.request.key}{target}{grid}"
        anchor = "-".join([anchor, settings.request.key, settings.target, str(settings.grid or "")])
    figures = []
    if found.suite.name == "classification":
        figures = _confusion_figures(evidence, found)
    if found.suite.name == "attention":
        figures = _attention_figures(found, rows)
    return Section(_anchor(anchor), name, figures=figures, tables=found.tables)


def _anchor(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text).strip("-")


def _confusion_figures(evidence: Evidence, found: Gathered) -> list[Picture]:
    pictures = []
    for condition in evidence.conditions:
        known = evidence.stored(found, condition)
        if known:
            with styled():
                figure = confusion_figure(known[0]["confusion"], evidence.classes)
            run = run_label(known[0])
            pictures.append(Picture(f"{run}: confusion matrix", as_svg(figure, f"confusion matrix of {run}")))
    return pictures


def _attention_figures(found: Gathered, rows: Sequence[Row]) -> list[Picture]:
    shown = [row for row in rows if row.view is not None and row.view.gathered is found]
    if not any(cell.is_known for row in shown for cell in row.regions["lift"].values()):
        return []
    seeds: dict[str, list[list[float]]] = {}
    for run in found.scores:
        if run["overall"]:
            seeds.setdefault(run["group"], []).append(list(run["overall"]["lift"].values()))
    several = {name: of_runs for name, of_runs in seeds.items() if len(of_runs) > 1}
    with styled():
        figure = regions_figure(shown, "lift", several)
    caption = (
        "Lift of each region with its 95% interval, each panel on a scale of its own; 1 is a map that ignores the "
        "face. Small dots: seeds. Hollow: not above a blob in the middle. Cross: the grid hides the region; do not "
        "read it."
    )
    return [Picture(caption, as_svg(figure, "lift of each region by condition"))]


def _guidance_section(number: int, guidance: Guidance) -> Section:
    with styled():
        over_lambda, lifts = guidance_figure(guidance), lifts_figure(guidance)
    figures = []
    if over_lambda is not None:
        figures.append(
            Picture(
                "Over lambda, in %, with 95% intervals: accuracy; the background's share of the maps that are not "
                "empty, and of all where some are; their faithfulness (ROAD, higher is better); how far the answers, "
                "right or wrong, rest on the background (causal weight), its part of what they rest on (causal part), "
                "and how many change before another one; mCE, where faces were spoilt.",
                as_svg(over_lambda, "measures over lambda"),
            )
        )
    if lifts is not None:
        figures.append(
            Picture(
                "Lift of the regions over lambda, a row an explainer, with 95% intervals: share of the map over share "
                "of the picture, 1 where the map does not care.",
                as_svg(lifts, "lift of the regions over lambda"),
            )
        )
    return Section(
        f"guidance-{number + 1}",
        f"Guidance: {guidance.sweep.name}",
        "What became of the model as its map was told where to lie with weight lambda. The words follow from 95% "
        "intervals of differences alone: something fell where the whole interval lies below 0. The model is said to "
        "have moved only where answers came to rest less on the background and less on it than on the other regions.",
        [
            Paragraph(f"lambda {verdict.weight:g}: {verdict.sentences[0]}", " ".join(verdict.sentences[1:]))
            for verdict in verdicts_of(guidance)
        ],
        figures,
        guidance_tables(guidance),
    )


def _training_section(evidence: Evidence) -> list[Section]:
    runs = [condition.runs[0] for condition in evidence.conditions]
    histories = {run.name: read_csv(run.history_csv) for run in runs if run.history_csv.exists()}
    histories = {name: rows for name, rows in histories.items() if rows}
    if not histories:
        return []
    with styled():
        figure = curves_figure(histories)
    caption = "Train dashed (with augmentation and label smoothing), val solid; the dot is the chosen epoch."
    return [
        Section(
            "training", "Training", figures=[Picture(caption, as_svg(figure, "training curves by epoch"))]
        )
    ]
