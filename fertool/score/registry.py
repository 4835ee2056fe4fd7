"""The suites there are, in the order in which they are scored and shown; each declares itself in its own file."""

from collections.abc import Sequence

from fertool.errors import UserError
from fertool.score.suites.attention import ATTENTION
from fertool.score.suites.causal import CAUSAL
from fertool.score.suites.causal_agreement import CAUSAL_AGREEMENT
from fertool.score.suites.classification import CLASSIFICATION
from fertool.score.suites.faithfulness import FAITHFULNESS
from fertool.score.suites.representation import REPRESENTATION
from fertool.score.suites.robustness import ROBUSTNESS
from fertool.score.suites.robustness_attention import ROBUSTNESS_ATTENTION
from fertool.score.suites.sanity import SANITY
from fertool.score.suites.suite import Suite
from fertool.score.suites.truth import TRUTH

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        CLASSIFICATION,
        ATTENTION,
        FAITHFULNESS,
        CAUSAL,
        CAUSAL_AGREEMENT,
        ROBUSTNESS,
        ROBUSTNESS_ATTENTION,
        SANITY,
        REPRESENTATION,
        TRUTH,
    )
}
EVERY_SUITE = "all"


def chosen_suites(written: Sequence[str], target: str, truth_is_known: bool) -> list[Suite]:
    """The suites of these names, in the order of SUITES; a text may hold several names behind commas.

    `all` are the suites that target and faces allow. `causal` brings its agreement with the explainer along where the
    target is one whose logit is played for. Raises UserError for a suite that there is not.
    """
    names = [name.strip() for text in written for name in text.split(",")]
    for name in names:
        if name != EVERY_SUITE and name not in SUITES:
            raise UserError(f"--suite {name}: no such suite; there are {', '.join(SUITES)}, {EVERY_SUITE}")
    wanted = set(names)
    if EVERY_SUITE in wanted:
        wanted |= set(SUITES) - (set() if truth_is_known else {"truth"})
    if "causal" in wanted:
        wanted.add("causal-agreement")
    if target not in ("label", "predicted") and "causal-agreement" not in names:
        wanted.discard("causal-agreement")
    return [suite for name, suite in SUITES.items() if name in wanted]
