"""What a lever is expected to bring rests on the rounds that pulled it and on the learning curve, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from asrcore.campaign.effects import effects
from asrcore.campaign.evidence import Evidence, Lever
from asrcore.campaign.state import Round
from asrcore.jobs import Ledger
from asrcore.workspace import Workspace
from asrtune import registry
from tests.campaign.script import STEPS, checkpoint, rows
from tests.campaign.test_rules import GROWING, UNKNOWN, case
from tests.score.evals import cell

FITTED = ("eval_00000000000a", "eval_00000000000b")


def a_round(number: int, lever: Lever | None, evidence: Evidence) -> tuple[Round, Evidence]:
    pair = (f"eval_{number:012d}", f"eval_{number:011d}c")
    return Round(number=number, candidate=None, target_pairs=(pair,) if lever else (), incumbent_evals=(pair[0],), lever=lever), evidence


def test_nothing_is_expected_before_a_round() -> None:
    assert effects([a_round(0, None, case(None, outlook=UNKNOWN))], ()) == {}


def test_a_lever_is_expected_to_do_what_it_did_the_last_time() -> None:
    rounds = [a_round(1, "blend", case(gain=3.0, outlook=UNKNOWN)), a_round(2, "blend", case("inconclusive", 0.5, outlook=UNKNOWN)), a_round(3, "lower_lr", case(outlook=UNKNOWN))]
    found = effects(rounds, ())
    assert set(found) == {"blend", "lower_lr"}
    blend = found["blend"]
    assert (blend.points, blend.low, blend.high, blend.level) == (0.5, -0.5, 1.5, 0.95)
    assert blend.rests_on == "round 2, the last with this lever"
    assert blend.evals == rounds[1][0].target_pairs[0]


def test_for_more_data_the_curve_speaks_and_without_one_the_last_round() -> None:
    curve = effects([a_round(1, "add_data", case(gain=9.0))], FITTED)["add_data"]
    assert (curve.low, curve.points, curve.high, curve.level, curve.evals) == (1, 2, 3, 0.9, FITTED)
    assert curve.rests_on == "the learning curve from 40 h to 80 h"
    measured = effects([a_round(1, "add_data", case(gain=9.0, outlook=UNKNOWN))], ())["add_data"]
    assert (measured.points, measured.level) == (9.0, 0.95)


def test_wrong_data_rounds_that_change_two_things_and_rounds_that_change_no_checkpoint_say_nothing_of_a_lever() -> None:
    assert effects([a_round(1, "add_data", case("worse", -4.0, outlook=UNKNOWN, poison=("wrong tags",)))], ()) == {}
    both = a_round(1, "lower_lr", case(outlook=UNKNOWN))
    assert set(effects([both], ())) == {"lower_lr"}
    assert effects([(both[0].model_copy(update={"changed": ("replay", "rate")}), both[1])], ()) == {}
    assert effects([a_round(1, "collect_test_words", case(outlook=UNKNOWN))], ()) == {}
    assert effects([a_round(1, "add_data", case(outlook=GROWING)), a_round(2, "add_data", case("worse", -4.0, outlook=UNKNOWN, poison=("wrong tags",)))], FITTED)["add_data"].points == 2


def test_a_decision_says_of_each_place_what_the_curve_expects_of_more_data_and_cites_the_evals_behind_it(ws: Workspace) -> None:
    def measured(number: int) -> str:
        hyps = [h if h.fields["channel"] == "gsm" else h.model_copy(update={"text": "λάθος " * (len(h.text.split()) - 2)}) for h in rows("phone", STEPS[number])]
        one = cell(Path(ws.home) / "evals", checkpoint(STEPS[number]), hyps)
        with Ledger.open(ws) as ledger:
            ledger.put("eval", one.eval_id, one)
        return one.eval_id

    campaign_id = registry.call("start_campaign", {"title": "Calls", "target_evals": [measured(0)], "min_gain_points": 0.5}, ws).data.campaign_id
    taken = [measured(number) for number in (1, 4, 6)]
    for one, hours in zip(taken, (10.0, 20.0, 40.0), strict=True):
        registry.call("decide_next_step", {"campaign_id": campaign_id, "candidate_evals": [one], "target_hours": hours}, ws)
    decision = registry.call("decide_next_step", {"campaign_id": campaign_id}, ws).data
    place = next(found for found in decision.findings if found.kind == "slice" and found.about == "channel")
    assert (place.untrusted_text, place.lever) == ("voip", "add_data")
    low, middle, high = decision.evidence.outlook.next_gain
    assert place.expected is not None
    assert (place.expected.low, place.expected.points, place.expected.high) == pytest.approx((low, middle, high), abs=1e-3)
    assert sorted(place.expected.evals) == sorted(taken)
    assert place.expected.rests_on == "the learning curve from 40 h to 80 h"
