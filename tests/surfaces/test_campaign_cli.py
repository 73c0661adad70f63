"""`asrtune campaign` and `asrtune gate`: what people and CI see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from asrcore.workspace import Workspace
from asrtune import registry
from asrtune.cli import app
from tests.campaign.script import STEPS, checkpoint, measured
from tests.campaign.test_changes import recorded, request
from tests.campaign.test_observe import source


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False, prog_name="asrtune")


def parsed(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml.encode())  # noqa: S314 - our own output


@pytest.fixture
def campaign(ws: Workspace) -> str:
    """Base and first round of the scripted campaign."""
    base, first = (measured(ws, step) for step in STEPS[:2])
    call: dict[str, Any] = {"title": "Greek telephony", "target_evals": [base["phone"]], "guard_evals": [base["guard_bg"]]}
    campaign_id = registry.call("start_campaign", call, ws).data.campaign_id
    registry.call("decide_next_step", {"campaign_id": campaign_id, "candidate_evals": [first["phone"], first["guard_bg"]], "target_hours": 10.0}, ws)
    return campaign_id


def test_a_campaign_is_shown_as_a_table_a_curve_and_the_last_decision(campaign: str) -> None:
    shown = run("campaign")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0] == f"{campaign}  Greek telephony"
    assert lines[3].split()[:3] == ["round", "hours", "target"]
    assert lines[5].split()[:2] == ["1", "10"]
    assert "no curve: 1 of at least 3 different amounts" in shown.stdout
    assert "Next: add_data: " in lines[-1]
    assert run("campaign", campaign).stdout == shown.stdout


def test_what_more_hours_would_bring_is_refused_with_the_reason(campaign: str) -> None:
    assert "What 100 more hours would bring is not known: 1 of at least 3" in run("campaign", "--more-hours", "100").stdout


def test_machines_get_the_campaign_as_one_object(campaign: str) -> None:
    answer = json.loads(run("campaign", campaign, "--json").stdout)
    assert answer["campaign"]["campaign_id"] == campaign
    assert [one["round"]["number"] for one in answer["decisions"]] == [0, 1]
    assert answer["points"][0]["hours"] == 10.0


def test_what_was_missed_most_is_shown_when_asked_for_and_only_then(campaign: str) -> None:
    shown = run("campaign", "--hard", "3").stdout
    assert shown.count("    said   ") == 3
    assert "missed words: " in shown
    assert "    said   " not in run("campaign").stdout
    answer = json.loads(run("campaign", "--hard", "2", "--json").stdout)
    assert (len(answer["hard_utterances"]), len(answer["missed_words"])) == (2, 2)


def test_a_workspace_without_a_campaign_says_how_to_start_one(ws: Workspace) -> None:
    shown = run("campaign")
    assert shown.exit_code == 3
    assert "[no_campaign]" in shown.stderr
    assert run("campaign", "campaign_000000000000").exit_code == 3


@pytest.fixture
def sides(ws: Workspace) -> tuple[dict[str, str], dict[str, str]]:
    """Evals of the base and of the candidate that forgot a guard."""
    return dict(measured(ws, STEPS[0])), dict(measured(ws, STEPS[2]))


def gate(base: dict[str, str], tuned: dict[str, str], guard: str, *more: str) -> Result:
    return run("gate", "--baseline", base["phone"], "--candidate", tuned["phone"], "--guard-baseline", base[guard], "--guard-candidate", tuned[guard], *more)


def test_a_candidate_that_gained_and_kept_its_guards_passes_with_exit_code_0(sides: Any) -> None:
    done = gate(*sides, "guard_en", "--markdown", "summary.md", "--junit", "out/junit.xml")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("### asrtune gate: passed")
    assert Path("summary.md").read_text(encoding="utf-8") == done.stdout
    suite = parsed(Path("out/junit.xml").read_text(encoding="utf-8"))
    assert (suite.get("tests"), suite.get("failures")) == ("2", "0")


def test_a_candidate_that_forgot_a_guard_fails_with_exit_code_3_and_says_which(sides: Any) -> None:
    done = gate(*sides, "guard_bg", "--junit", "junit.xml")
    assert done.exit_code == 3
    assert "| **fail** | guard guard\\_bg |" in done.stdout
    assert "[gate_failed] 1 of 2 checks did not pass." in done.stderr
    suite = parsed(Path("junit.xml").read_text(encoding="utf-8"))
    [failure] = suite.findall("./testcase/failure")
    assert failure.get("message") == "forgotten"


def test_a_target_that_is_the_same_fails_unless_not_worse_is_enough(sides: Any) -> None:
    base, tuned = sides
    same = ["gate", "--baseline", base["guard_en"], "--candidate", tuned["guard_en"]]
    assert run(*same).exit_code == 3
    assert run(*same, "--not-worse").exit_code == 0


def test_guards_of_one_side_only_are_a_usage_error(sides: Any) -> None:
    base, tuned = sides
    done = run("gate", "--baseline", base["phone"], "--candidate", tuned["phone"], "--guard-baseline", base["guard_bg"])
    assert done.exit_code == 2
    assert "[guards_one_sided]" in done.stderr


def test_names_of_sets_cannot_write_markup_into_the_summary_or_the_xml(ws: Workspace) -> None:
    from asrcore.campaign.gate import Check, GateReport, junit, markdown

    check = Check(role="target", untrusted_text='|<b>"&x', conditions="80 ms, langID", verdict="worse", passed=False, numbers="1 < 2 & 3", evals=("a", "b"))
    report = GateReport(passed=False, require="better", checks=(check,), warnings=("[link](x)",))
    assert '\\|\\<b\\>"&x' in markdown(report)
    assert "\\[link\\](x)" in markdown(report)
    assert parsed(junit(report))[0].get("name") == 'target |<b>"&x 80 ms, langID'


def test_the_ledger_lists_campaigns_and_decisions_newest_first(campaign: str, ws: Workspace) -> None:
    [line] = registry.call("list_objects", {"kind": "campaign"}, ws).data.objects
    assert (line.id, line.facts, line.untrusted_text) == (campaign, "goal the plateau, 1 targets, 1 guards", "Greek telephony")
    newest, first = registry.call("list_objects", {"kind": "decision"}, ws).data.objects
    assert newest.facts == f"{campaign} round 1: promote, next add_data (more_data)"
    assert first.facts.endswith("round 0: none, next add_data (more_data)")


def test_each_target_has_a_learning_curve_over_the_hours_of_its_own_locale(ws: Workspace) -> None:
    base = measured(ws, STEPS[0])
    call: dict[str, Any] = {"title": "Two languages", "target_evals": [base["phone"], base["guard_bg"]], "min_gain_points": 0.1}
    campaign_id = registry.call("start_campaign", call, ws).data.campaign_id
    for number, hours in ((1, 3600.0), (4, 7200.0), (6, 14400.0)):
        asked = request(number, source("both", "train", el_GR=hours, bg_BG=3 * hours))
        recorded(ws, asked, checkpoint(STEPS[number]))
        made = measured(ws, STEPS[number])
        registry.call("decide_next_step", {"campaign_id": campaign_id, "candidate_evals": [made["phone"], made["guard_bg"]]}, ws)
    greek, bulgarian = (json.loads(run("campaign", "--json", "--target", str(n), "--more-hours", "3").stdout) for n in (1, 2))
    assert [point["hours"] for point in greek["points"]] == [1.0, 2.0, 4.0]
    assert [point["hours"] for point in bulgarian["points"]] == [3.0, 6.0, 12.0]
    assert greek["more_hours"].startswith("3 more hours (from 4 h): ")
    assert bulgarian["more_hours"].startswith("3 more hours (from 12 h): ")
    assert "Learning curve on guard_bg, over hours of bg-BG:" in run("campaign", "--target", "2").stdout
    refused = run("campaign", "--target", "3")
    assert refused.exit_code == 2
    assert "[target_unknown]" in refused.stderr
