"""What to collect next, from transcripts alone: kinds of data by their errors, words, and utterances that nobody got right."""

from __future__ import annotations

from pathlib import Path

import pytest

from asrcore.campaign.diagnosis import diagnose
from asrcore.campaign.mining import data_wanted, hardest, missed_words
from asrcore.requests import EvalCell, Hypothesis
from asrcore.workspace import Workspace
from asrtune import registry
from tests.campaign.script import STEPS, measured
from tests.campaign.test_diagnosis import rows
from tests.score.evals import BASE, TUNED, cell, hypotheses


def wanted(folder: Path, hyps: list[Hypothesis], hours: float | None = 10.0) -> list[tuple[str, str, float, float | None]]:
    one: EvalCell = cell(folder, BASE, hyps)
    return [(w.about, w.untrusted_text, w.share, w.hours) for w in data_wanted(one, diagnose(one), hours)]


def test_new_hours_go_where_the_errors_are(tmp_path: Path) -> None:
    found = wanted(tmp_path, rows(lambda n: 0.4 if n % 4 == 0 else 0.05, fields=lambda n: {"channel": "gsm" if n % 4 == 0 else "voip"}))
    assert [(about, value) for about, value, _, _ in found] == [("channel", "gsm"), ("channel", "voip")]
    assert found[0][2] == pytest.approx(0.1 / 0.1375, abs=0.06)
    assert sum(share for _, _, share, _ in found) == pytest.approx(1.0)
    assert [hours for _, _, _, hours in found] == pytest.approx([10 * share for _, _, share, _ in found])


def test_an_amount_that_is_open_leaves_the_hours_open(tmp_path: Path) -> None:
    found = wanted(tmp_path, rows(lambda n: 0.4 if n % 4 == 0 else 0.05, fields=lambda n: {"channel": "gsm" if n % 4 == 0 else "voip"}), None)
    assert [hours for _, _, _, hours in found] == [None, None]


def test_even_errors_and_bad_speakers_ask_for_no_kind(tmp_path: Path) -> None:
    assert wanted(tmp_path, rows(fields=lambda n: {"channel": "gsm" if n % 4 == 0 else "voip"})) == []
    assert wanted(tmp_path, rows(lambda n: 0.6 if n % 4 == 0 else 0.02, speaker=lambda n: "one" if n % 4 == 0 else f"s{n % 40}")) == []


def test_a_decision_that_asks_for_data_says_which_kinds(ws: Workspace) -> None:
    base = measured(ws, STEPS[0])
    made = registry.call("start_campaign", {"title": "T", "target_evals": [base["phone"]], "guard_evals": [base["guard_bg"]]}, ws).data
    decision = registry.call("decide_next_step", {"campaign_id": made.campaign_id}, ws).data
    assert decision.lever == "add_data"
    assert {one.about for one in decision.wanted} <= {"channel", "duration", "words_per_second", "source"}
    goal = registry.call("start_campaign", {"title": "G", "target_evals": [base["phone"]], "guard_evals": [base["guard_bg"]], "goal_percent": 90.0}, ws).data
    assert registry.call("decide_next_step", {"campaign_id": goal.campaign_id}, ws).data.wanted == ()


def test_missed_words_are_counted_against_how_often_they_were_said(tmp_path: Path) -> None:
    references = ["please call back", "call me back", "call again"]
    one = cell(tmp_path, BASE, hypotheses(references, ["please tall pack", "all me back", "call again"]))
    assert [(w.untrusted_text, w.missed, w.occurrences) for w in missed_words(one)] == [("call", 2, 3)]


def test_utterances_that_one_of_two_models_got_right_are_not_the_hard_ones(tmp_path: Path) -> None:
    references = ["a b c d", "e f g h", "i j k l"]
    first = cell(tmp_path, BASE, hypotheses(references, ["x x x x", "e f g h", "i j x x"]))
    second = cell(tmp_path, TUNED, hypotheses(references, ["a b x x", "x x x x", "x x x x"]))
    assert [(one.line, one.errors, one.words, one.untrusted_text) for one in hardest([first, second])] == [(1, 2, 4, "a b x x"), (3, 2, 4, "i j x x")]
    assert hardest([second, first]) == hardest([first, second])
    assert [one.line for one in hardest([first, second], 1)] == [1]


def test_text_of_the_data_is_cleaned_and_cut(tmp_path: Path) -> None:
    one = cell(tmp_path, BASE, hypotheses(["call\u202e back " * 60] * 3, ["x"] * 3))
    (hard, *_) = hardest([one])
    assert "\u202e" not in hard.untrusted_reference
    assert len(hard.untrusted_reference) <= 201
    assert all("\u202e" not in word.untrusted_text for word in missed_words(one))
