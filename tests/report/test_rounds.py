"""The rounds of a campaign on the page, from the scripted campaign as an agent plays it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from asrcore.campaign.history import History, campaign_of, history_of
from asrcore.jobs import Ledger
from asrcore.report.rounds import rounds
from asrcore.workspace import Config, Workspace
from asrtune import registry
from tests.campaign.script import MIN_GAIN, STEPS, measured


class Played(NamedTuple):
    ws: Workspace
    campaign_id: str
    page: str


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The whole script, and the report call that the last decision proposes."""
    folder = tmp_path_factory.mktemp("rounds")
    ws = Workspace(folder / ".asrtune", Config(), folder)
    base = measured(ws, STEPS[0])
    opened = {"title": "Greek", "target_evals": [base["phone"], base["phone_auto"]], "guard_evals": [base["guard_bg"], base["guard_en"]],
              "min_gain_points": MIN_GAIN, "goal_percent": 15.0}  # fmt: skip
    campaign_id = registry.call("start_campaign", opened, ws).data.campaign_id
    result: Any = None
    for step in STEPS[1:]:
        call = {"campaign_id": campaign_id, "candidate_evals": list(measured(ws, step).values()), "target_hours": float(step.hours or 0)}
        result = registry.call("decide_next_step", call, ws)
    [asked] = [action.arguments for action in result.next_actions if action.tool == "make_report"]
    report = registry.call("make_report", asked, ws)
    assert report.data.campaign_id == campaign_id
    return Played(ws, campaign_id, Path(report.data.path).read_text(encoding="utf-8"))


def history(played: Played) -> History:
    """Found by the last candidate's evals, as make_report finds it."""
    with Ledger.open(played.ws) as ledger:
        campaign = campaign_of(ledger, [row.id for row in ledger.list("eval", 1000) if row.data["checkpoint"]["name"] == STEPS[-1].name])
        assert campaign is not None
        assert campaign.campaign_id == played.campaign_id
        assert campaign_of(ledger, [campaign.targets[0].base_eval]) is None
        return history_of(ledger, campaign)


def test_the_page_of_a_campaigns_last_round_shows_all_rounds_and_the_learning_curve(played: Played) -> None:
    page = played.page
    assert "<h2>Rounds</h2>" in page
    assert "WER by round" in page
    assert "WER by hours of target audio" in page
    rows = re.findall(r'<th scope="row"><bdi>(\w+)</bdi><small>round (\d)', page)
    assert rows == [(step.name, str(number)) for number, step in enumerate(STEPS)]
    assert "In force: mended." in page
    assert "goal 15.0" in page
    assert "guided 8 decisions" in page


def test_the_curve_is_fitted_to_rounds_that_learned_from_their_hours_alone(played: Played) -> None:
    found = history(played)
    fitted = [one.checkpoint for one in found.rounds if one.on_curve]
    assert fitted == ["ten_hours", "forgotten_guard", "more_replay", "mended", "plateau"]
    assert [one.judgement for one in found.rounds] == [step.judgement for step in STEPS]
    assert found.refused is None
    assert (found.curve[0].hours, found.curve[-1].hours) == (pytest.approx(10.0), pytest.approx(160.0))
    for at in found.curve:
        assert at.error[0] <= at.error[1] <= at.error[2]
    inside = [at for at in found.curve if 18 < at.hours < 22]
    assert inside
    assert all(at.error[0] < 22.5 and at.error[2] > 21.5 for at in inside)


def test_without_a_curve_the_page_says_why_and_draws_none(played: Played) -> None:
    whole = history(played)
    two = whole.model_copy(update={"rounds": whole.rounds[:2], "curve": (), "refused": "1 of at least 3 different amounts of data are measured"})
    page = rounds(two)
    assert 'class="band"' in rounds(whole)
    assert 'class="band"' not in page
    assert "not known yet: 1 of at least 3 different amounts" in page
    unknown = two.model_copy(update={"rounds": tuple(one.model_copy(update={"on_curve": False, "hours": None}) for one in two.rounds)})
    assert "by hours" not in rounds(unknown)
    assert "not known yet" in rounds(unknown)


def test_a_report_on_evals_that_no_campaign_judged_has_no_rounds(played: Played) -> None:
    with Ledger.open(played.ws) as ledger:
        by_name = {(row.data["checkpoint"]["name"], row.data["set"]["name"]): row.id for row in ledger.list("eval", 1000)}
    result = registry.call("make_report", {"title": "T", "base_evals": [by_name["ten_hours", "phone"]], "tuned_evals": [by_name["base", "phone"]]}, played.ws)
    assert result.data.campaign_id is None
    assert "<h2>Rounds</h2>" not in Path(result.data.path).read_text(encoding="utf-8")
