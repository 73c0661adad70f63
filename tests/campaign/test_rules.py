"""The table of rules, row by row: each row is the first that matches for the case it was made for, and says why in full sentences."""

from __future__ import annotations

from typing import Any

import pytest

from asrcore.campaign.decide import decide
from asrcore.campaign.evidence import Evidence, GuardsSeen, Outlook, TargetSeen
from asrcore.campaign.rules import JUDGEMENTS, LEVERS

UNKNOWN = Outlook(hours_now=None, hours_next=None, next_error=None, next_gain=None, chance_below_min_gain=None, last_gain_points=None, refused="too few rounds")
GROWING = Outlook(hours_now=40, hours_next=80, next_error=(10, 11, 12), next_gain=(1, 2, 3), chance_below_min_gain=0.05, last_gain_points=3, refused=None)
FLAT = GROWING.model_copy(update={"next_gain": (0.0, 0.2, 0.6), "chance_below_min_gain": 0.97})
SMALL_LAST = UNKNOWN.model_copy(update={"hours_now": 20, "hours_next": 40, "last_gain_points": 0.3})


def target(verdict: str, gain: float, more_words: int | None = None) -> TargetSeen:
    return TargetSeen(verdict=verdict, before_percent=20, percent=20 - gain, gain_points=gain, gain95=(gain - 1, gain + 1), words=5000, more_words=more_words)


def guards(verdict: str, loss: float = 0.1, more_words: int = 0) -> GuardsSeen:
    return GuardsSeen(verdict=verdict, forgotten=("bg-BG",) if verdict == "forgotten" else (), worst_loss_points=loss, more_words=more_words)


def case(verdict: str | None = "better", gain: float = 2.0, guard: str = "kept", **changes: Any) -> Evidence:
    """A good round that goes on, unless changed."""
    words = changes.pop("more_words", None)
    values: dict[str, Any] = {
        "has_candidate": verdict is not None, "targets": (target(verdict, gain, words),) if verdict else (), "guards": guards(guard) if verdict else None,
        "in_force_percent": 20.0, "min_gain_points": 1.0, "outlook": GROWING, "pulled": ("add_data",) if verdict else (),
    }  # fmt: skip
    return Evidence.model_validate(values | changes)


JUDGED: dict[str, Evidence] = {
    "no_candidate": case(None),
    "poisoned": case(poison=("tags of other locales in auto rose by 30 points",)),
    "worse": case("worse", -2.0),
    "forgotten": case(guard="forgotten"),
    "better_and_kept": case(),
    "guards_unproven": case(guard="inconclusive"),
    "unproven": case("inconclusive", 0.2),
}
ADVISED: dict[str, Evidence] = {
    "poisoned": case(poison=("tags of other locales in auto rose by 30 points",), goal_percent=30.0, spent=("3 rounds",)),
    "goal_met": case(goal_percent=18.5, spent=("3 rounds",)),
    "budget_spent": case(spent=("3 rounds",), guard="forgotten"),
    "worse_after_new_data": case("worse", -2.0),
    "worse": case("worse", -2.0, pulled=("add_data", "lower_lr")),
    "forgotten": case(guard="forgotten"),
    "forgotten_despite_blending": case(guard="forgotten", pulled=("add_data", "blend")),
    "forgotten_despite_replay": case(guard="forgotten", pulled=("add_data", "blend", "more_replay", "more_replay")),
    "guard_too_small": case(guards=guards("inconclusive", more_words=9000)),
    "guard_near_margin": case(guards=guards("inconclusive", loss=0.9)),
    "guard_still_near_margin": case(guards=guards("inconclusive", loss=0.9), pulled=("add_data", "blend")),
    "target_too_small": case("inconclusive", 1.5, more_words=4000, outlook=FLAT),
    "plateau": case(outlook=FLAT),
    "last_gain_small": case(outlook=SMALL_LAST),
    "no_gain_twice": case("inconclusive", 0.2, pulled=("add_data", "add_data"), outlook=UNKNOWN),
    "terms_dominate": case(terms_share=0.4),
    "more_data": case(),
}  # fmt: skip


def test_every_row_has_its_case_and_the_last_rows_always_match() -> None:
    assert list(JUDGED) == [rule.name for rule in JUDGEMENTS]
    assert list(ADVISED) == [rule.name for rule in LEVERS]
    for table in (JUDGEMENTS, LEVERS):
        assert table[-1].when(case(None, outlook=UNKNOWN))
        assert len({rule.name for rule in table}) == len(table)


@pytest.mark.parametrize("name", JUDGED)
def test_a_row_of_the_first_table_judges_its_case(name: str) -> None:
    verdict = decide(JUDGED[name])
    assert verdict.judgement_rule == name
    assert verdict.why[0]
    assert "{" not in verdict.why[0]


@pytest.mark.parametrize("name", ADVISED)
def test_a_row_of_the_second_table_advises_its_case(name: str) -> None:
    verdict = decide(ADVISED[name])
    assert verdict.lever_rule == name
    assert verdict.why[1]
    assert "{" not in verdict.why[1]


@pytest.mark.parametrize(
    ("evidence", "lever_rule"),
    [
        (case(guard="forgotten", targets=(target("inconclusive", 0.1),)), "forgotten_despite_blending"),  # nothing gained, nothing to blend
        (case("inconclusive", 1.5, more_words=4000, pulled=("add_data", "collect_test_words")), "more_data"),  # asked once
        (case(guards=guards("inconclusive", more_words=9000), pulled=("add_data", "collect_test_words")), "guard_near_margin"),
        (case("inconclusive", 1.5, more_words=None), "more_data"),
        (case(terms_share=0.4, boosted=True), "more_data"),
        (case("better", 2.0, goal_percent=18.5, guard="forgotten"), "forgotten"),  # a goal met by a rejected candidate is not met
        (case("better", 2.0, pulled=("add_data", "add_data")), "more_data"),
        (case(None, goal_percent=25.0, outlook=UNKNOWN), "goal_met"),
    ],
)
def test_a_row_does_not_match_what_it_only_seems_made_for(evidence: Evidence, lever_rule: str) -> None:
    assert decide(evidence).lever_rule == lever_rule


def test_a_target_that_got_worse_outweighs_the_first_one_that_got_better() -> None:
    assert decide(case(targets=(target("better", 2.0), target("worse", -1.0)))).judgement_rule == "worse"


def test_a_second_target_that_is_better_does_not_promote() -> None:
    assert decide(case(targets=(target("inconclusive", 0.3), target("better", 2.0)))).judgement_rule == "unproven"
