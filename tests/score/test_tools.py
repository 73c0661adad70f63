"""compare_models and check_replay as an agent calls them: by eval id, through the registry, with the verdict kept in the ledger."""

from __future__ import annotations

import random
from typing import Any

import pytest

from asrcore.errors import AsrtuneError
from asrcore.jobs import Ledger
from asrcore.requests import EvalCell
from asrcore.workspace import Workspace
from asrtune import registry
from tests.score.evals import BASE, TUNED, cell, hypotheses

REFS = [" ".join(random.Random(n).choices("the line is busy please call back".split(), k=8)) for n in range(150)]


def texts(share: float, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [" ".join("x" if rng.random() < share else w for w in ref.split()) for ref in REFS]


def stored(ws: Workspace, *cells: EvalCell) -> list[str]:
    with Ledger.open(ws) as ledger:
        for one in cells:
            ledger.put("eval", one.eval_id, one)
    return [one.eval_id for one in cells]


def pair(ws: Workspace, base: float, tuned: float, **changes: Any) -> list[str]:
    folder = ws.home / "evals"
    return stored(
        ws, cell(folder, BASE, hypotheses(REFS, texts(base)), **changes), cell(folder, TUNED, hypotheses(REFS, texts(tuned)), **changes)
    )


def test_a_comparison_says_its_verdict_in_a_sentence_and_enters_the_ledger(ws: Workspace) -> None:
    base, tuned = pair(ws, 0.3, 0.1)
    result = registry.call("compare_models", {"base_eval": base, "tuned_eval": tuned}, ws)
    assert result.summary.startswith("Better on target at 80 ms, langID: ")
    assert [action.tool for action in result.next_actions] == ["list_objects", "make_report"]
    with Ledger.open(ws) as ledger:
        assert ledger.get("comparison", result.data.comparison_id) == result.data.model_dump(mode="json")


def test_an_inconclusive_comparison_names_the_words_it_lacks(ws: Workspace) -> None:
    base, tuned = stored(ws, cell(ws.home, BASE, hypotheses(REFS, texts(0.2))), cell(ws.home, TUNED, hypotheses(REFS, texts(0.2, seed=2))))
    result = registry.call("compare_models", {"base_eval": base, "tuned_eval": tuned}, ws)
    assert result.data.verdict == "inconclusive"
    assert f"about {result.data.more_words:,} more words" in result.summary


def test_the_replay_check_pairs_evals_by_their_conditions_whatever_their_order(ws: Workspace) -> None:
    one, two = pair(ws, 0.1, 0.1, set_name="bg"), pair(ws, 0.1, 0.4, set_name="es", prompt_mode="auto", wrong_tag_rate=0.1)
    result = registry.call("check_replay", {"base_evals": [one[0], two[0]], "tuned_evals": [two[1], one[1]], "margin_points": 1.0}, ws)
    assert [(g.set.name, g.verdict) for g in result.data.guards] == [("bg", "kept"), ("es", "forgotten")]
    assert result.data.guards[1].wrong_tag_rates == (0.1, 0.1)
    assert result.summary.startswith("Other languages forgotten: of 2 guards 1 kept, 1 forgotten; closest call es ")
    assert result.next_actions[0].tool == "list_objects"
    with Ledger.open(ws) as ledger:
        assert ledger.get("replay", result.data.replay_id) == result.data.model_dump(mode="json")


def test_warnings_that_several_guards_share_are_said_once(ws: Workspace) -> None:
    evals: list[list[str]] = []
    for name in ("bg", "es", "en"):
        rows = hypotheses(REFS, REFS, speakers=3)
        evals.append(stored(ws, cell(ws.home, BASE, rows, set_name=name), cell(ws.home, TUNED, rows, set_name=name)))
    result = registry.call("check_replay", {"base_evals": [e[0] for e in evals], "tuned_evals": [e[1] for e in evals]}, ws)
    assert [w.code for w in result.warnings] == ["few_speakers", "overlap_unchecked"]
    assert result.warnings[0].message.startswith("3 guards (bg, es, en), e.g. 3 distinct speakers;")


def test_evals_without_a_partner_and_twins_are_all_named_at_once(ws: Workspace) -> None:
    one, other = pair(ws, 0.1, 0.1, set_name="bg"), pair(ws, 0.1, 0.1, set_name="es")
    [twin] = stored(ws, cell(ws.home, TUNED, hypotheses(REFS, REFS), set_name="bg", batch_size=1))
    with pytest.raises(AsrtuneError) as caught:
        registry.call("check_replay", {"base_evals": [one[0], other[0]], "tuned_evals": [one[1], twin]}, ws)
    assert caught.value.code == "evals_unpaired"
    assert len(caught.value.problems) == 3
    assert all(name in str(caught.value.problems) for name in (other[0], one[1], twin))


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("compare_models", {"base_eval": "eval_0123456789ab", "tuned_eval": "eval_0123456789ab"}, "eval_unknown"),
        ("compare_models", {"base_eval": "../x", "tuned_eval": "eval_0123456789ab"}, "arguments_invalid"),
        ("check_replay", {"base_evals": ["eval_0123456789ab"], "tuned_evals": ["eval_0123456789ab"]}, "eval_unknown"),
        ("check_replay", {"base_evals": [], "tuned_evals": []}, "arguments_invalid"),
        (
            "check_replay",
            {"base_evals": ["eval_0123456789ab"], "tuned_evals": ["eval_0123456789ab"], "margin_points": 0},
            "arguments_invalid",
        ),
    ],
)
def test_calls_that_cannot_work_answer_with_a_code(ws: Workspace, tool: str, arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(AsrtuneError) as caught:
        registry.call(tool, arguments, ws)
    assert caught.value.code == code


def test_names_of_sets_come_out_clean(ws: Workspace) -> None:
    base, tuned = pair(ws, 0.3, 0.1, set_name="a\u202eb\nc")
    assert "ab c" in registry.call("compare_models", {"base_eval": base, "tuned_eval": tuned}, ws).summary
