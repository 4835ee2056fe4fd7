"""Are transformers more global than convolutional networks: extent, entropy and background, by one explainer?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fertool.masks.regions import BACKGROUND
from fertool.report.answers.answer import Answer, Missing, Sentence, left_out, paired
from fertool.report.chance import ChanceLevels
from fertool.report.evidence import Evidence, differences
from fertool.report.pairs import Pair, family_pairs
from fertool.report.shell_lines import new_train_line, score_line, train_line
from fertool.report.views import View, recommended_grid
from fertool.report.words import listed, points, signed
from fertool.score.guidance.effects import Estimate
from fertool.score.statistics.scales import PROPORTION

QUESTION = "Are transformers more global than convolutional networks?"
FOR_BOTH = "occlusion"  # an explainer that needs nothing of a network
FEWEST_SUMMED_UP = 3  # comparisons of a transformer that a sentence of their own sums up
MOST_NAMED = 3  # networks in that sentence

# what a transformer's map does beside a convolutional network's
GLOBALLY, LOCALLY, DISAGREES, OPEN = "more globally", "more locally", "measures disagree", "not shown"


def are_transformers_more_global(evidence: Evidence, chance: ChanceLevels) -> Answer:
    """Differences in extent, entropy and background share, the same explainer on one grid."""
    compared: list[tuple[str, Sentence]] = []
    missing: list[Missing] = []
    untrusted: list[str] = []
    verdicts: dict[str, dict[str, str]] = {}
    for pair in family_pairs(evidence.conditions):
        view = common_view(evidence, pair)
        guessing = [
            condition.name for condition in (pair.one, pair.other) if not chance.is_trusted(condition)
        ]
        untrusted += guessing
        comparison = None if view is None or guessing else _compare(evidence, pair, view)
        if comparison is not None:
            sentence, found = comparison
            compared.append((pair.one.name, sentence))
            verdicts.setdefault(pair.one.name, {})[pair.other.name] = found
    families = {condition.family for condition in evidence.conditions}
    if not {"cnn", "transformer"} <= families:
        model = "vit_tiny_patch16_224" if "transformer" not in families else "cnn"
        kind = "transformer" if "transformer" not in families else "convolutional network"
        lines: tuple[str, ...] = (
            new_train_line(model),
            score_line(["attention"], explainer=FOR_BOTH, split=evidence.split),
        )
        missing.append(Missing(f"there is no {kind} among them", lines))
    elif not compared and untrusted:
        lines = tuple(
            train_line(condition.config, epochs=2 * condition.config["epochs"])
            for condition in evidence.conditions
            if condition.name in untrusted
        )
        missing.append(Missing("no transformer and CNN are both shown to be better than guessing", lines))
    elif not compared:
        missing.append(_no_common_grid(evidence))
    summed_up = {name: found for name, found in verdicts.items() if len(found) >= FEWEST_SUMMED_UP}
    sentences = [
        *(Sentence(globality_summary(name, found)) for name, found in summed_up.items()),
        *(replace(sentence, is_detail=name in summed_up) for name, sentence in compared),
        *left_out(list(dict.fromkeys(untrusted))),
    ]
    return Answer("globality", QUESTION, sentences, missing)


def common_view(evidence: Evidence, pair: Pair) -> View | None:
    """A view in which both have maps of the same explainer and target on one grid; a common grid first."""
    names = (*pair.one.run_names, *pair.other.run_names)
    fitting = []
    for view in evidence.views_with(pair.one):
        grids = {tuple(run["grid"]) for run in view.gathered.scores if run["run"] in names}
        if pair.other.name in view.conditions and len(grids) == 1:
            fitting.append(view)
    return max(fitting, key=lambda view: (view.grid is not None, view.target == "predicted"), default=None)


def _compare(evidence: Evidence, pair: Pair, view: View) -> tuple[Sentence, str] | None:
    """The sentence on a pair, and its verdict; None where a figure is missing."""
    both = [pair.one, pair.other]
    measures = {name: evidence.measure(view, name, both) for name in ("extent", "entropy")}
    shares = evidence.shares(view, both)
    if shares is None or any(means is None for means in measures.values()):
        return None
    found = {name: differences(means[0], means[1])[0] for name, means in measures.items() if means}
    background = differences(shares[0], shares[1], PROPORTION)[BACKGROUND]
    test = paired(evidence.map_faces(view, both), several_seeds=pair.has_several_seeds)
    text = globality_sentence(pair, view.name, found["extent"], found["entropy"], background)
    return Sentence(text, test), globality_verdict(found["extent"], found["entropy"])


def globality_verdict(extent: Estimate, entropy: Estimate) -> str:
    """GLOBALLY where both intervals are above 0, LOCALLY where both are below, else DISAGREES or OPEN."""
    directions = {extent.direction, entropy.direction}
    if directions == {1}:
        return GLOBALLY
    if directions == {-1}:
        return LOCALLY
    return DISAGREES if directions == {1, -1} else OPEN


def globality_summary(transformer: str, verdicts: Mapping[str, str]) -> str:
    """The sentence on all convolutional networks that a transformer is compared with: verdicts by their names."""
    beside: dict[str, list[str]] = {LOCALLY: [], GLOBALLY: []}
    undecided = []
    for name, verdict in verdicts.items():
        beside.get(verdict, undecided).append(name)
    parts = [
        f"looks {verdict} than {_who(names, len(verdicts))}" for verdict, names in beside.items() if names
    ]
    if undecided:
        parts.append(f"is not shown to do either beside {_who(undecided, len(verdicts))}")
    return f"{transformer} (transformer) {listed(parts)}."


def _who(names: Sequence[str], compared: int) -> str:
    return listed(names) if len(names) <= MOST_NAMED else f"{len(names)} of {compared} CNNs"


def globality_sentence(
    pair: Pair, view: str, extent: Estimate, entropy: Estimate, background: Estimate
) -> str:
    """The sentence that extent and entropy give together (`globality_verdict`), and the background's share.

    Args:
        pair: the transformer (`one`) and the CNN (`other`).
        view: the name of the view in which both have maps.
        extent: the transformer's mean extent less the CNN's, in inter-ocular distances.
        entropy: the transformer's mean entropy less the CNN's; the entropy of a uniform map is 1.
        background: the transformer's share of the background less the CNN's, as a proportion.
    """
    one, other = pair.one.name, pair.other.name
    verdict = globality_verdict(extent, entropy)
    begin = f"{one} (transformer) looks {verdict} than {other} (CNN)"
    if verdict == DISAGREES:
        begin = f"Extent and entropy disagree on whether {one} (transformer) looks more globally than {other} (CNN)"
    elif verdict == OPEN:
        begin = (
            f"That {one} (transformer) looks more globally than {other} (CNN) is not shown by both measures"
        )
    side = {1: "higher", -1: "lower", 0: "not shown to differ"}.get(background.direction or 0)
    return (
        f"{begin}: extent {signed(extent)} inter-ocular distances, entropy {signed(entropy, 3)}; its background "
        f"share is {side} ({points(background)}); {view}, {pair.seeds_each}."
    )


def _no_common_grid(evidence: Evidence) -> Missing:
    pairs = family_pairs(evidence.conditions)
    if not pairs:
        return Missing(
            "all transformers, or all convolutional networks, were guided", (new_train_line("cnn"),)
        )
    shared = [
        view for pair in pairs for view in evidence.views_with(pair.one) if pair.other.name in view.conditions
    ]
    if not shared:
        lines = (score_line(["attention"], explainer=FOR_BOTH, split=evidence.split),)
        return Missing("no explainer was scored for both families", lines)
    return _unlike_grids(evidence, shared)


def _unlike_grids(evidence: Evidence, shared: Sequence[View]) -> Missing:
    regions = evidence.workspace.load_region_maps(evidence.split)
    for view in shared:
        grid = recommended_grid(view, regions)
        if grid is not None:
            line = score_line(
                ["attention"], explainer=view.explainer, target=view.target, grid=grid, split=evidence.split
            )
            return Missing(f"the maps of {view.explainer} lie on unlike grids", (line,))
    names = listed(list(dict.fromkeys(view.explainer for view in shared)))
    line = score_line(["attention"], explainer=FOR_BOTH, split=evidence.split)
    return Missing(
        f"the maps of {names} lie on unlike grids, and the coarsest hides a region (its ceiling is below 50%)",
        (line,),
    )
