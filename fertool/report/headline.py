"""The headline: what was found above all, in two sentences that follow from the figures."""

from fertool.masks.regions import BACKGROUND, REGIONS
from fertool.report.chance import ChanceLevels
from fertool.report.conditions import Condition
from fertool.report.evidence import Evidence, differences, estimates
from fertool.report.pairs import Pair, pretraining_pairs
from fertool.report.views import View
from fertool.report.words import listed, percent, plain, seeds, size_in_points
from fertool.score.guidance.effects import Estimate
from fertool.score.statistics.scales import POSITIVE, PROPORTION

MOST_REGIONS = 2


def headline(evidence: Evidence, chance: ChanceLevels) -> str:
    """Say what the best of the networks leans on, or the one whose pretraining moved its background share most."""
    trusted = [
        condition
        for condition in evidence.conditions
        if evidence.accuracy(condition) is not None and chance.is_trusted(condition)
    ]
    if not trusted:
        return (
            "No network here is shown to classify better than guessing, so where their maps lie says nothing "
            "about reading expressions."
        )
    moved = _largest_move(evidence, trusted)
    if moved is not None:
        pair, difference = moved
        return f"{_leans(evidence, chance, pair.one)} {_moved(pair, difference)}"
    best = evidence.most_accurate(trusted)[0]
    return f"{_leans(evidence, chance, best)} {_best(evidence, best)}"


def leaning(evidence: Evidence, chance: ChanceLevels, condition: Condition) -> list[tuple[str, Estimate]]:
    """The regions of the face that a condition's maps lean on, with their lifts, the highest first.

    A region counts where its lift is above 1 and its share above that of a blob in the middle; the background
    never does.
    """
    view = evidence.main_view(condition)
    if view is None:
        return []
    # over the faces that all have a map of, as in the table of conditions
    others = [other for other in evidence.conditions if other.name in view.conditions and other != condition]
    lifts, compared = evidence.lifts(view, [condition, *others]), chance.compare(condition, view)
    if lifts is None or compared is None:
        return []
    found = [
        (region, lift)
        for region, lift in zip(REGIONS, estimates(lifts[0], POSITIVE), strict=True)
        if region != REGIONS[BACKGROUND] and lift.low > 1 and compared.is_above_blob(region)
    ]
    return sorted(found, key=lambda item: -item[1].value)


def _accuracy(evidence: Evidence, condition: Condition) -> Estimate:
    accuracy = evidence.accuracy(condition)
    return estimates(accuracy, PROPORTION)[0] if accuracy is not None else Estimate(0, 0, 0)


def fair_view(evidence: Evidence, one: Condition, other: Condition) -> View | None:
    """The view in which two networks may be compared: their first, where both have it on one grid."""
    view = evidence.main_view(one)
    if view is None or other.name not in view.conditions:
        return None
    grids = {
        tuple(run["grid"]) for run in view.gathered.scores if run["run"] in one.run_names + other.run_names
    }
    return view if len(grids) == 1 else None


def _largest_move(evidence: Evidence, trusted: list[Condition]) -> tuple[Pair, Estimate] | None:
    names = [condition.name for condition in trusted]
    moves = []
    for pair in pretraining_pairs(evidence.conditions):
        # what moved must be the pretraining alone
        if pair.also_differ or pair.one.is_frozen:
            continue
        view = fair_view(evidence, pair.one, pair.other)
        if view is None or pair.one.name not in names or pair.other.name not in names:
            continue
        shares = evidence.shares(view, [pair.one, pair.other])
        if shares is not None:
            difference = differences(shares[0], shares[1], PROPORTION)[BACKGROUND]
            if difference.direction in (-1, 1):
                moves.append((pair, difference))
    return max(moves, key=lambda move: abs(move[1].value)) if moves else None


def _leans(evidence: Evidence, chance: ChanceLevels, condition: Condition) -> str:
    view = evidence.main_view(condition)
    if view is None:
        return f"No map of {condition.name} was scored, so nothing is known of where it looks."
    found = leaning(evidence, chance, condition)[:MOST_REGIONS]
    if not found:
        return (
            f"No region of the face draws more of the maps of {condition.name} ({view.name}) than a blob in the "
            "middle would give it."
        )
    lifts = listed([f"the {region} (lift {plain(lift)})" for region, lift in found])
    return f"{condition.name} leans most on {lifts}, by {view.name}."


def _moved(pair: Pair, difference: Estimate) -> str:
    side = "lower" if difference.value < 0 else "higher"
    return (
        f"Its background share is {side} than the same network's from scratch by {size_in_points(difference)}, "
        f"{pair.seeds_each}."
    )


def _best(evidence: Evidence, condition: Condition) -> str:
    weights = evidence.causal_weights(condition)
    accuracy = f"It reaches {percent(_accuracy(evidence, condition))} accuracy, {seeds(condition.seeds)}"
    if weights is None:
        return f"{accuracy}."
    weight_by_region = dict(zip(REGIONS, estimates(weights), strict=True))
    most = max(weight_by_region, key=lambda region: weight_by_region[region].value)
    return f"{accuracy}, and its answers rest most on the {most} (causal weight {percent(weight_by_region[most])})."
