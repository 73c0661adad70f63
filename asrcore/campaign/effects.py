"""What each lever has brought in a campaign so far, for the findings that name it: measured by the last round that pulled it, or read off the curve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from asrcore.campaign.curve import LEVEL
from asrcore.campaign.evidence import Evidence, Lever
from asrcore.campaign.finding import Effect
from asrcore.campaign.state import Round

CHANGES_NOTHING: frozenset[Lever] = frozenset({"collect_test_words", "stop"})
"""Levers after which the same checkpoint is there."""


def effects(rounds: Iterable[tuple[Round, Evidence]], fitted: Sequence[str]) -> dict[Lever, Effect]:
    """Lever -> effect on the first target, from rounds in their order, the one that is judged last. `fitted` are the evals that its curve was fitted to.

    A round is evidence of its lever's effect, unless its data was wrong or its training changed more than one thing. For more data the latest learning curve says what comes *next*, which the last
    round does not: gains shrink. Levers that were never pulled are absent.
    """
    found: dict[Lever, Effect] = {}
    for this, evidence in rounds:
        look = evidence.outlook
        if this.lever is not None and this.lever not in CHANGES_NOTHING and len(this.changed) <= 1 and evidence.targets and not evidence.poison:
            seen = evidence.targets[0]
            found[this.lever] = Effect(points=round(seen.gain_points, 3), low=round(seen.gain95[0], 3), high=round(seen.gain95[1], 3), level=0.95,
                                       rests_on=f"round {this.number}, the last with this lever", evals=this.target_pairs[0])  # fmt: skip
        if look.next_gain is not None:
            low, middle, high = (round(value, 3) for value in look.next_gain)
            found["add_data"] = Effect(points=middle, low=low, high=high, level=LEVEL, evals=tuple(fitted),
                                       rests_on=f"the learning curve from {look.hours_now:.3g} h to {look.hours_next:.3g} h")  # fmt: skip
    return found
