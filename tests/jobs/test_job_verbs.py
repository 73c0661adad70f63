"""The four tools of this room, through the registry as every surface calls them."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from asrcore.errors import UsageError
from asrcore.jobs import Ledger, submit
from asrcore.jobs.answer import answer
from asrtune import registry


def test_a_live_job_tells_to_wait_and_a_finished_one_to_list_what_it_made(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(job_id)
    live = registry.call("get_job", {"job_id": job_id}, jobs.ws)
    assert live.data.state == "running"
    assert [(action.tool, action.arguments) for action in live.next_actions] == [("get_job", {"job_id": job_id, "wait_s": 45})]
    assert live.summary == f"Job {job_id} (probe) is running: gate 0 of 1."
    listed = registry.call("list_objects", {"kind": "job"}, jobs.ws)
    assert [(line.id, line.facts) for line in listed.data.objects] == [(job_id, "probe, running, attempt 1, step 0 of 1")]
    assert listed.next_actions[0].arguments == {"job_id": job_id, "wait_s": 45}
    jobs.open_gate()
    done = registry.call("get_job", {"job_id": job_id, "wait_s": 45}, jobs.ws)
    assert done.summary == f"Job {job_id} (probe) is succeeded: complete."
    assert [(action.tool, action.arguments) for action in done.next_actions] == [("list_objects", {"kind": "job", "limit": 5})]


def test_cancel_and_resume_answer_at_once_and_say_when_there_is_nothing_to_do(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(job_id)
    asked = registry.call("cancel_job", {"job_id": job_id}, jobs.ws)
    assert asked.summary.endswith("a cancel was requested.")
    ended = jobs.ended(job_id)
    assert answer(ended).next_actions[0].tool == "resume_job"
    resumed = registry.call("resume_job", {"job_id": job_id}, jobs.ws)
    assert resumed.data.attempt == 2
    jobs.at_gate(job_id)
    jobs.open_gate()
    jobs.ended(job_id)
    assert registry.call("resume_job", {"job_id": job_id}, jobs.ws).summary.startswith("Nothing to resume.")
    assert registry.call("cancel_job", {"job_id": job_id}, jobs.ws).summary.startswith("Nothing to cancel.")


def test_a_failed_job_shows_its_error_and_how_to_go_on(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("error")).job_id
    jobs.ended(job_id)
    result = registry.call("get_job", {"job_id": job_id}, jobs.ws)
    assert result.summary == f"Job {job_id} (probe) is failed: [manifest_invalid] 1 problem. Next: call inspect_dataset."
    assert [action.tool for action in result.next_actions] == ["resume_job"]
    assert "mended" in result.next_actions[0].why


def test_a_lost_job_offers_to_resume(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(job_id)
    jobs.supervisor(job_id).send(signal.SIGKILL)
    jobs.child(job_id).send(signal.SIGKILL)
    jobs.ended(job_id)
    result = registry.call("get_job", {"job_id": job_id}, jobs.ws)
    assert result.data.state == "lost"
    assert [action.tool for action in result.next_actions] == ["resume_job"]


def test_a_huge_result_is_cut_for_the_answer_only(jobs: Any) -> None:
    big = {"shards": [{"name": f"s{n}", "files": list(range(50))} for n in range(500)], "n": 500}
    job_id = submit(jobs.ws, "probe", jobs.request("finish", result=big)).job_id
    assert jobs.ended(job_id).result == big
    result = registry.call("get_job", {"job_id": job_id}, jobs.ws)
    assert result.truncated
    assert result.data.result["n"] == 500
    assert len(result.model_dump_json()) < 6000


@pytest.mark.parametrize("job_id", ["", "job_1", "../../etc/passwd", "job_0123456789ab\n", "job_0123456789AB"])
@pytest.mark.parametrize("tool", ["get_job", "cancel_job", "resume_job"])
def test_an_id_that_is_none_is_refused_before_anything_is_read(ws: Any, tool: str, job_id: str) -> None:
    with pytest.raises(UsageError, match="arguments_invalid"):
        registry.call(tool, {"job_id": job_id}, ws)
    assert not ws.home.exists()


def test_an_empty_workspace_lists_nothing_and_stays_empty(ws: Any) -> None:
    for kind in ("dataset", "set", "shards", "plan", "run", "blend", "base", "eval", "comparison", "replay", "export", "report", "campaign", "decision", "job"):
        result = registry.call("list_objects", {"kind": kind}, ws)
        assert (result.data.objects, result.truncated) == ((), False)
        assert result.summary.startswith(f"No {kind} objects")
    assert not ws.home.exists()


def test_listing_says_when_there_is_more_and_keeps_names_out_of_the_facts(ws: Any) -> None:
    with Ledger.open(ws) as ledger:
        for n in range(4):
            ledger.put("plan", f"plan_{n:012x}", {"shards_id": "shards_0123456789ab", "max_steps": 10 + n, "name": "ignore\u202e this", "problems": [1, 2]})
    result = registry.call("list_objects", {"kind": "plan", "limit": 3}, ws)
    assert result.truncated
    assert [line.id for line in result.data.objects] == ["plan_000000000003", "plan_000000000002", "plan_000000000001"]
    assert result.data.objects[0].facts == "shards_id shards_0123456789ab, max_steps 13, 2 problems"
    assert "ignore" not in result.model_dump_json()
