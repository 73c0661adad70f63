"""Sets that guided decisions are marked, and what ships is measured on one that guided none."""

from __future__ import annotations

from typing import Any

import pytest

from asrcore import io
from asrcore.errors import NotReadyError
from asrcore.jobs import Ledger
from asrcore.manifest import manifest_ref
from asrcore.requests import ManifestRef
from asrcore.results import Result
from asrcore.workspace import Workspace
from asrtune import registry
from tests.campaign.script import STEPS, checkpoint, rows
from tests.campaign.test_scripted_campaign import begin, evals, on_set
from tests.data.speech import manifest, row

BLIND = ManifestRef(name="later", path="/data/later.json", sha256="9" * 64)


def registered(ws: Workspace, ref: ManifestRef, role: str = "blind") -> None:
    with Ledger.open(ws) as ledger:
        made = {"role": role, "rows": 1, "hours": 0.1, "hours_by_locale": {"el-GR": 0.1}, "manifest": ref.model_dump()}
        ledger.put("set", f"set_{ref.sha256[:12]}", made)


def decided(ws: Workspace, campaign_id: str, step: Any = None) -> Result[Any]:
    asked = {"candidate_evals": evals(ws, step), "target_hours": 10.0} if step else {}
    return registry.call("decide_next_step", {"campaign_id": campaign_id, **asked}, ws)


def codes(result: Result[Any]) -> set[str]:
    return {warning.code for warning in result.warnings}


def test_a_blind_set_is_asked_for_at_the_start_and_at_every_promotion_until_there_is_one(ws: Workspace) -> None:
    campaign_id = begin(ws)
    again = {"title": "Greek telephony", "target_evals": [evals(ws, STEPS[0])[0]]}
    assert codes(registry.call("start_campaign", again, ws)) == {"guards_missing", "blind_set_missing"}
    assert "blind_set_missing" not in codes(decided(ws, campaign_id)), "the base alone is no promotion"
    promoted = decided(ws, campaign_id, STEPS[1])
    assert (promoted.data.judgement, "blind_set_missing" in codes(promoted)) == ("promote", True)
    registered(ws, BLIND)
    assert "blind_set_missing" not in codes(decided(ws, campaign_id))
    assert codes(registry.call("start_campaign", again, ws)) == {"guards_missing"}


def test_a_set_that_guided_a_decision_is_marked_used_in_whichever_campaign_and_cannot_be_blind_any_more(ws: Workspace) -> None:
    phone = ManifestRef(name="phone", path="/data/phone.json", sha256=io.sha256_json("phone"))
    registered(ws, phone, "target")
    first, second = begin(ws), begin(ws, title="The same for a second person")
    assert [line.facts for line in registry.call("list_objects", {"kind": "set"}, ws).data.objects] == ["target, 1 rows, 0.10 h"]
    decided(ws, first)
    assert "test_set_used" not in codes(decided(ws, first))
    found = decided(ws, second)
    assert [w.message for w in found.warnings if w.code == "test_set_used"] == ["the first target set has guided 2 decisions, so its last rate is too friendly"]
    assert [line.facts for line in registry.call("list_objects", {"kind": "set"}, ws).data.objects] == ["target, 1 rows, 0.10 h, used: guided 2 decisions"]


def test_a_used_set_is_refused_as_blind(ws: Workspace) -> None:
    path = manifest(ws.base_folder / "seen.jsonl", [row("a.wav")])
    with Ledger.open(ws) as ledger:
        ledger.put("eval", "eval_000000000001", {"set": {"sha256": manifest_ref(path).sha256}})
        ledger.put("decision", "decision_000000000001", {"evals": ["eval_000000000001"]})
    with pytest.raises(NotReadyError, match="set_was_used"):
        registry.call("register_set", {"manifest": str(path), "role": "blind"}, ws)
    assert registry.call("register_set", {"manifest": str(path), "role": "target"}, ws).data.set.role == "target"


def test_at_the_end_the_blind_set_is_measured_once_and_a_look_at_other_checkpoints_is_told(ws: Workspace) -> None:
    registered(ws, BLIND)
    campaign_id = begin(ws, goal_percent=30.0)
    done = decided(ws, campaign_id, STEPS[1])
    assert [action.tool for action in done.next_actions] == ["run_streaming_eval", "make_report"]
    assert "guided no decision." in done.next_actions[0].why
    on_set(ws, STEPS[2], rows("phone", STEPS[2]), "9", "later")
    assert "2 checkpoints" not in decided(ws, campaign_id).next_actions[0].why
    assert "1 checkpoints were measured on it" in decided(ws, campaign_id).next_actions[0].why
    on_set(ws, STEPS[1], rows("phone", STEPS[1]), "9", "later")
    assert checkpoint(STEPS[1]).name == done.data.in_force.name
    assert [action.tool for action in decided(ws, campaign_id).next_actions] == ["make_report"]


def test_more_data_comes_with_the_corpora_that_may_hold_the_language(ws: Workspace) -> None:
    asked = decided(ws, begin(ws)).next_actions[0]
    assert (asked.tool, asked.arguments) == ("find_corpora", {"locale": "el-GR"})
    assert asked.why.endswith("fleurs, mosel, granary, granary_v2, common_voice.")
