"""The scripted campaign over the tools: every decision as written down in `script.py`, again from the ledger alone, and after losing any of them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asrcore import io
from asrcore.campaign import decide
from asrcore.campaign.decide import replayed
from asrcore.campaign.observe import points_of
from asrcore.campaign.state import Decision, decisions_of, load_campaign
from asrcore.errors import NotReadyError, ToolFault, UsageError
from asrcore.jobs import Ledger
from asrcore.requests import Hypothesis, ManifestRef
from asrcore.workspace import Config, Workspace
from asrtune import registry
from tests.campaign.script import MIN_GAIN, STEPS, checkpoint, measured, rows
from tests.score.evals import cell

AGAIN = """
import json, sys
from pathlib import Path
from asrcore.campaign.decide import replayed
from asrcore.campaign.state import decisions_of, load_campaign
from asrcore.jobs import Ledger
from asrcore.workspace import Workspace
with Ledger.open(Workspace.open(Path(sys.argv[1]))) as ledger:
    decisions = replayed(ledger, load_campaign(ledger, sys.argv[2]), decisions_of(ledger, sys.argv[2]))
print(json.dumps([decision.model_dump(mode="json") for decision in decisions]))
"""


def evals(ws: Workspace, step: Any) -> list[str]:
    return list(measured(ws, step).values())


def begin(ws: Workspace, **changes: Any) -> str:
    base = measured(ws, STEPS[0])
    arguments = {"title": "Greek telephony", "target_evals": [base["phone"], base["phone_auto"]], "guard_evals": [base["guard_bg"], base["guard_en"]],
                 "min_gain_points": MIN_GAIN, **changes}  # fmt: skip
    return registry.call("start_campaign", arguments, ws).data.campaign_id


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str, list[Decision]]:
    """The whole script, one call a round, as an agent makes them."""
    folder = tmp_path_factory.mktemp("campaign")
    ws = Workspace(folder / ".asrtune", Config(), folder)
    campaign_id = begin(ws)
    decisions = [registry.call("decide_next_step", {"campaign_id": campaign_id}, ws).data]
    for step in STEPS[1:]:
        arguments = {"campaign_id": campaign_id, "candidate_evals": evals(ws, step), "target_hours": float(step.hours)}
        decisions.append(registry.call("decide_next_step", arguments, ws).data)
    return ws, campaign_id, decisions


def test_every_decision_is_the_one_written_down_before_and_stands_again_from_the_ledger_alone(played: Any) -> None:
    ws, campaign_id, decisions = played
    assert [(step.name, d.judgement, d.lever, d.lever_rule) for step, d in zip(STEPS, decisions, strict=True)] == [
        (step.name, step.judgement, step.lever, step.rule) for step in STEPS
    ]
    assert [d.in_force.name for d in decisions] == ["base", "ten_hours", "ten_hours", "ten_hours", "more_replay", "more_replay", "mended", "mended"]
    assert [d.accepted is not None for d in decisions] == [d.judgement == "promote" for d in decisions]
    with Ledger.open(ws) as ledger:
        known = {row.id for row in ledger.list("eval", 1000)}
        assert all(set(d.evals) <= known and all(d.why) for d in decisions)
        assert decisions_of(ledger, campaign_id) == tuple(decisions)
    done = subprocess.run([sys.executable, "-c", AGAIN, str(ws.base_folder), campaign_id], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [d.model_dump(mode="json") for d in decisions]
    assert registry.call("decide_next_step", {"campaign_id": campaign_id}, ws).data == decisions[-1]


def test_a_process_killed_before_its_decision_was_written_changes_no_decision(played: Any) -> None:
    ws, campaign_id, decisions = played
    with Ledger.open(ws) as ledger:
        for lost in (decisions[-1], decisions[4], decisions[0]):
            later = [d for d in decisions if d.round.number >= lost.round.number]
            with ledger.transaction() as connection:
                for d in later:
                    connection.execute("DELETE FROM objects WHERE kind = 'decision' AND id = ?", (d.decision_id,))
            for d in later:
                taken = [tuned for _, tuned in (*d.round.target_pairs, *d.round.guard_pairs)]
                hours = {"target_hours": d.round.target_hours} if d.round.target_hours else {}
                assert registry.call("decide_next_step", {"campaign_id": campaign_id, "candidate_evals": taken, **hours}, ws).data == d
        assert replayed(ledger, load_campaign(ledger, campaign_id), decisions) == tuple(decisions)


def dying(ws: Workspace, write: int | None) -> bool:
    """Base and first round in a process that dies (no handler runs) before number `write` of the inserts and commits of its campaign. Whether it died."""
    child = os.fork()
    if child == 0:
        done, ours = 0, False

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
                nonlocal done, ours
                insert = sql.startswith("INSERT INTO objects") and values[0][0] in ("campaign", "decision")
                done += insert or (ours and sql == "COMMIT")
                ours = insert or (ours and sql != "COMMIT")
                if done == write:
                    os._exit(9)
                return super().execute(sql, *values)

        connect = sqlite3.connect
        sqlite3.connect = lambda *given, **options: connect(*given, factory=Connection, **options)  # pyright: ignore[reportAttributeAccessIssue]
        try:
            campaign_id = begin(ws)
            registry.call("decide_next_step", {"campaign_id": campaign_id}, ws)
            registry.call("decide_next_step", {"campaign_id": campaign_id, "candidate_evals": evals(ws, STEPS[1]), "target_hours": 10.0}, ws)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


@pytest.mark.slow
def test_a_process_that_dies_before_any_of_its_writes_leaves_a_campaign_that_goes_on_to_the_same_decisions(tmp_path: Path) -> None:
    whole: list[Any] | None = None
    for write in (None, *range(1, 20)):
        folder = tmp_path / "one"
        folder.mkdir()
        ws = Workspace(folder / ".asrtune", Config(), folder)
        died = dying(ws, write)
        assert not died or not dying(ws, None)
        with Ledger.open(ws) as ledger:
            (campaign,) = ledger.list("campaign", 10)
            decisions = [d.model_dump() for d in decisions_of(ledger, campaign.id)]
        shutil.rmtree(folder)
        whole = whole or decisions
        assert decisions == whole
        if write is not None and not died:
            assert write == 7, "campaign, base and first round: an insert and a commit each"
            return
    raise AssertionError("it never came to its end")


def test_the_same_evals_again_are_the_same_round(ws: Workspace) -> None:
    campaign_id = begin(ws)
    call: dict[str, Any] = {"campaign_id": campaign_id, "candidate_evals": evals(ws, STEPS[1]), "target_hours": 10.0}
    first = registry.call("decide_next_step", call, ws).data
    again = registry.call("decide_next_step", {**call, "candidate_evals": call["candidate_evals"][::-1], "target_hours": 11.0}, ws).data
    assert again == first
    assert begin(ws) == campaign_id


def test_a_round_that_lacks_evals_or_brings_foreign_ones_is_refused_with_all_of_them_and_leaves_no_trace(ws: Workspace) -> None:
    campaign_id = begin(ws)
    first = measured(ws, STEPS[1])
    other = measured(ws, STEPS[2])
    with pytest.raises(NotReadyError) as caught:
        registry.call("decide_next_step", {"campaign_id": campaign_id, "candidate_evals": [first["phone"], other["guard_bg"]]}, ws)
    assert caught.value.code == "round_incomplete"
    assert sorted(problem.code for problem in caught.value.problems) == ["round_eval_missing", "round_eval_missing", "round_mixed"]
    with Ledger.open(ws) as ledger:
        assert [d.round.number for d in decisions_of(ledger, campaign_id)] == [0]


def test_the_base_that_meets_the_goal_needs_no_training(ws: Workspace) -> None:
    result = registry.call("decide_next_step", {"campaign_id": begin(ws, goal_percent=50.0)}, ws)
    assert (result.data.lever, result.data.lever_rule) == ("stop", "goal_met")
    assert result.data.judgement == "none"


def test_a_spent_budget_stops_a_campaign_that_would_go_on_and_says_that_the_goal_was_missed(ws: Workspace) -> None:
    campaign_id = begin(ws, max_rounds=1, goal_percent=5.0)
    result = registry.call("decide_next_step", {"campaign_id": campaign_id, "candidate_evals": evals(ws, STEPS[1]), "target_hours": 10.0}, ws)
    assert (result.data.judgement, result.data.lever, result.data.lever_rule) == ("promote", "stop", "budget_spent")
    assert "goal_not_met" in {warning.code for warning in result.warnings}


def test_guards_are_held_against_the_base_and_targets_against_the_model_in_force(played: Any) -> None:
    ws, _, decisions = played
    with Ledger.open(ws) as ledger:
        base = {row.data["eval_id"] for row in ledger.list("eval", 1000) if row.data["checkpoint"]["name"] == "base"}
        names = {row.data["eval_id"]: row.data["checkpoint"]["name"] for row in ledger.list("eval", 1000)}
    assert all(before in base for d in decisions for before, _ in d.round.guard_pairs)
    assert [names[d.round.target_pairs[0][0]] for d in decisions[1:]] == [d.in_force.name for d in decisions[:-1]]


@pytest.mark.parametrize(
    ("targets", "guards", "problem"),
    [
        (["phone", "phone"], ["guard_bg"], None),
        (["phone"], ["phone"], "campaign_set_twice"),
        (["phone"], ["phone_other"], "campaign_base_mixed"),
    ],
)
def test_a_campaign_is_of_one_base_with_sets_in_one_role(ws: Workspace, targets: list[str], guards: list[str], problem: str | None) -> None:
    known = {**measured(ws, STEPS[0]), "phone_other": measured(ws, STEPS[1])["guard_en"]}
    call = {"title": "T", "target_evals": [known[name] for name in targets], "guard_evals": [known[name] for name in guards]}
    if problem is None:
        assert len(registry.call("start_campaign", call, ws).data.targets) == 1
        return
    with pytest.raises(Exception, match="campaign_invalid") as caught:
        registry.call("start_campaign", call, ws)
    assert problem in {one.code for one in caught.value.problems}


def test_of_two_processes_that_judge_at_once_one_is_sent_back_and_then_builds_on_the_other(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign_id, original = begin(ws), decide.judge_round
    mine, other = evals(ws, STEPS[1]), evals(ws, STEPS[2])

    def overtaken(ledger: Ledger, campaign: Any, earlier: Any, this: Any) -> Decision:
        decision = original(ledger, campaign, earlier, this)
        if this.number == 1:
            monkeypatch.setattr(decide, "judge_round", original)
            decide.next_step(ledger, campaign, other, target_hours=20.0)
        return decision

    monkeypatch.setattr(decide, "judge_round", overtaken)
    call = {"campaign_id": campaign_id, "candidate_evals": mine, "target_hours": 10.0}
    with pytest.raises(ToolFault, match="campaign_moved") as caught:
        registry.call("decide_next_step", call, ws)
    assert caught.value.retryable
    assert registry.call("decide_next_step", call, ws).data.round.number == 2


def on_set(ws: Workspace, step: Any, hyps: list[Hypothesis], version: str, name: str = "phone") -> str:
    """The eval of one checkpoint on another version of a set."""
    grown = ManifestRef(name=name, path=f"/data/{name}.json", sha256=version * 64)
    one = cell(Path(ws.home) / "evals", checkpoint(step), hyps, set_name=f"{name}{version}", prompt_mode="langID", wrong_tag_rate=None, set=grown)
    with Ledger.open(ws) as ledger:
        ledger.put("eval", one.eval_id, one)
    return one.eval_id


def test_a_target_set_may_grow_but_not_be_swapped(ws: Workspace) -> None:
    campaign_id, first = begin(ws), measured(ws, STEPS[1])
    others = [first[name] for name in ("phone_auto", "guard_bg", "guard_en")]
    more = {step.name: rows("phone", step) + [h.model_copy(update={"id": f"new{n}"}) for n, h in enumerate(rows("phone", step)[:60])] for step in STEPS[:2]}
    swapped = {name: hyps[30:] for name, hyps in more.items()}

    def codes(version: str, sets: Any, *steps: Any) -> list[str]:
        taken = [on_set(ws, step, sets[step.name], version) for step in steps][-1]
        try:
            result = registry.call("decide_next_step", {"campaign_id": campaign_id, "candidate_evals": [taken, *others], "target_hours": 10.0}, ws)
        except NotReadyError as error:
            return [problem.code for problem in error.problems]
        return [result.data.judgement]

    assert codes("5", more, STEPS[1]) == ["round_partner_missing"]
    assert codes("6", swapped, STEPS[0], STEPS[1]) == ["round_set_changed"]
    assert codes("5", more, STEPS[0], STEPS[1]) == ["promote"]


def test_a_checkpoint_that_is_judged_again_on_more_words_of_a_guard_is_one_point_of_the_curve(ws: Workspace) -> None:
    campaign_id, step = begin(ws), STEPS[2]
    first = measured(ws, step)
    more = [[h.model_copy(update={"id": f"{n}{h.id}" if n else h.id}) for n in range(2) for h in rows("guard_bg", one)] for one in (STEPS[0], step)]
    _, grown = (on_set(ws, one, hyps, "5", "guard_bg") for one, hyps in zip((STEPS[0], step), more, strict=True))
    others = [first[name] for name in ("phone", "phone_auto", "guard_en")]
    for guard in (first["guard_bg"], grown):
        registry.call("decide_next_step", {"campaign_id": campaign_id, "candidate_evals": [*others, guard], "target_hours": 20.0}, ws)
    with Ledger.open(ws) as ledger:
        decisions = decisions_of(ledger, campaign_id)
        assert [d.round.number for d in decisions] == [0, 1, 2]
        assert [point.hours for point in points_of(ledger, decisions)[0]] == [20.0]


def test_a_blind_set_guides_no_decision_and_is_asked_for_at_the_end(ws: Workspace) -> None:
    def register(name: str, sha256: str) -> None:
        with Ledger.open(ws) as ledger:
            ledger.put("set", f"set_{name}", {"role": "blind", "manifest": {"name": name, "path": f"/data/{name}.json", "sha256": sha256}})

    register("later", "9" * 64)
    campaign_id = begin(ws, goal_percent=30.0)
    result = registry.call("decide_next_step", {"campaign_id": campaign_id, "candidate_evals": evals(ws, STEPS[1])}, ws)
    assert (result.data.judgement, result.data.lever_rule) == ("promote", "goal_met")
    assert [action.tool for action in result.next_actions] == ["run_streaming_eval", "make_report"]
    assert result.next_actions[0].arguments["manifests"] == ["/data/later.json"]
    assert "target_hours_unknown" in {warning.code for warning in result.warnings}
    register("phone", io.sha256_json("phone"))
    with pytest.raises(UsageError, match="registered as blind"):
        begin(ws)
