"""Jobs from submit to their end, with real processes: results, errors, cancel, resume, slots, limits."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest

from asrcore import io, requests
from asrcore.errors import EnvironmentFault, NotReadyError, UsageError
from asrcore.jobs import Ledger, Limits, api, cancel_job, follow, get_job, list_jobs, process, resume_job, submit
from asrcore.jobs.child import LOGGERS
from asrcore.jobs.process import identify
from asrcore.requests import ShardsRequest, ShardsResult
from asrcore.workspace import Budgets, Config, Loggers, Workspace

SHARDS = {
    "shards_id": "shards_0123456789ab", "root": "/data", "skipped": {"too_long": 2},
    "sources": [{"name": "el", "role": "train", "share": 1.0, "weight": 1.0, "utterances": 3, "seconds": 7.5, "seconds_by_locale": {"el-GR": 7.5},
                 "shards": [{"tar": "a.tar", "manifest": "a.json", "sha256": "0" * 64, "utterances": 3, "seconds": 7.5}]}],
}  # fmt: skip
WER = {"percent": 8.0, "errors": 8, "substitutions": 5, "deletions": 2, "insertions": 1, "words": 100}


def cell(eval_id: str) -> dict[str, Any]:
    ref = {"name": "x", "path": "/x", "sha256": "0" * 64}
    return {"eval_id": eval_id, "checkpoint": ref, "set": ref, "att_context": [56, 0], "latency_ms": 80, "prompt_mode": "langID", "locales": ["el-GR"],
            "utterances": 10, "seconds": 30.0, "raw": WER, "normalised": WER, "normaliser": "n/1", "empty_hypotheses": 0, "script_share": 1.0,
            "rtfx": 3.0, "engine": "exact", "batch_size": 1, "hypotheses": "/h.jsonl", "versions": {}}  # fmt: skip


RUN = {"run_id": "run_0123456789ab", "best": {"name": "best", "path": "/b.nemo", "sha256": "0" * 64}, "best_step": 4, "candidates": [],
       "base_dev_wer": 20.0, "consumed": [], "steps": 8, "trainable_parameters": 10, "seconds": 5.0, "audio_hours_per_hour": 2.0}  # fmt: skip
EXPORT = {"target": "nemo", "path": "/e.nemo", "sha256": "0" * 64, "compared_utterances": 8, "compared_tokens": 90, "identical": 8, "prompt_changes_output": True}


def test_a_job_runs_to_its_result_through_all_states(jobs: Any) -> None:
    view = submit(jobs.ws, "probe", jobs.request("finish", result={"answer": 42}))
    assert view.state in ("queued", "starting", "running")
    assert not view.deduplicated
    done = jobs.ended(view.job_id)
    assert (done.state, done.exit_code, done.attempt, done.poll_after_s) == ("succeeded", 0, 1, 0.0)
    assert done.result == {"answer": 42}
    assert done.progress is not None
    assert (done.progress.stage, done.progress.step, done.progress.total) == ("work", 3, 3)
    assert done.started is not None
    assert done.ended is not None
    assert done.created <= done.started <= done.ended
    assert jobs.history(view.job_id) == ["queued", "starting", "running", "succeeded"]
    assert sorted(path.name for path in Path(done.folder).iterdir()) == ["events.jsonl", "log.txt", "request.json", "result.json", "supervisor.log"]
    assert (Path(done.folder) / "supervisor.log").read_text() == ""


def test_a_training_learns_where_the_config_wants_its_metrics_and_nothing_else_does(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(requests.MODULES, "train", requests.MODULES["probe"])

    def told(kind: str, loggers: Loggers) -> str | None:
        jobs.ws = Workspace(jobs.ws.home, Config(loggers=loggers), jobs.ws.base_folder)
        view = submit(jobs.ws, kind, jobs.request("finish", of=loggers.wandb or ""))
        jobs.ended(view.job_id)
        path = Path(view.folder) / LOGGERS
        return path.read_text(encoding="utf-8") if path.exists() else None

    assert told("train", Loggers()) is None
    asked = Loggers(tensorboard=True, wandb="asr")
    assert told("probe", asked) is None
    text = told("train", asked)
    assert text is not None
    assert Loggers.model_validate_json(text) == asked


def test_the_same_request_is_done_once_and_found_again(jobs: Any) -> None:
    first = submit(jobs.ws, "probe", jobs.request("finish"))
    jobs.ended(first.job_id)
    again = submit(jobs.ws, "probe", jobs.request("finish"))
    assert (again.job_id, again.deduplicated, again.state) == (first.job_id, True, "succeeded")
    other = submit(jobs.ws, "probe", jobs.request("finish", tag="other"))
    assert other.job_id != first.job_id
    jobs.ended(other.job_id)
    assert [view.job_id for view in list_jobs(jobs.ws)] == [other.job_id, first.job_id]


def test_a_list_shows_live_progress_and_leaves_logs_and_results_to_get_job(jobs: Any) -> None:
    done = jobs.ended(submit(jobs.ws, "probe", jobs.request("finish", result={"answer": 42}, tag="done")).job_id)
    assert done.result == {"answer": 42}
    live = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(live)
    first, second = list_jobs(jobs.ws)
    assert first.progress is not None
    assert (first.job_id, first.progress.stage, first.untrusted_text) == (live, "gate", "")
    assert (second.job_id, second.state, second.result, second.progress) == (done.job_id, "succeeded", None, None)


def test_force_new_makes_another_job_but_never_beside_a_live_twin(jobs: Any) -> None:
    first = submit(jobs.ws, "probe", jobs.request("wait"))
    with pytest.raises(NotReadyError, match=rf"\[job_running\].*{first.job_id}"):
        submit(jobs.ws, "probe", jobs.request("wait"), force_new=True)
    jobs.at_gate(first.job_id)
    jobs.open_gate()
    jobs.ended(first.job_id)
    second = submit(jobs.ws, "probe", jobs.request("wait"), force_new=True)
    assert second.job_id != first.job_id
    jobs.at_gate(second.job_id)
    jobs.open_gate()
    assert jobs.ended(second.job_id).state == "succeeded"
    assert submit(jobs.ws, "probe", jobs.request("wait")).job_id == second.job_id


def test_a_succeeded_job_whose_output_was_deleted_is_done_again(jobs: Any) -> None:
    out = jobs.ws.folder("shards", "shards_1")
    out.mkdir(parents=True)
    first = submit(jobs.ws, "probe", jobs.request("finish", out=str(out)))
    jobs.ended(first.job_id)
    assert submit(jobs.ws, "probe", jobs.request("finish", out=str(out))).deduplicated
    out.rmdir()
    again = submit(jobs.ws, "probe", jobs.request("finish", out=str(out)))
    assert (again.job_id, again.attempt, again.deduplicated) == (first.job_id, 2, False)
    jobs.ended(again.job_id)


def test_an_unknown_kind_and_an_unknown_job_are_refused(jobs: Any) -> None:
    with pytest.raises(UsageError, match="job_kind_unknown"):
        submit(jobs.ws, "shell", {"do": "finish"})
    for call in (get_job, cancel_job, resume_job):
        with pytest.raises(UsageError, match=r"job_unknown.*list_objects"):
            call(jobs.ws, "job_000000000000")
    with pytest.raises(UsageError, match="wait_too_long"):
        get_job(jobs.ws, "job_000000000000", wait_s=46)
    assert not jobs.ws.home.exists()


def test_the_error_that_a_child_understood_surfaces_whole(jobs: Any) -> None:
    view = jobs.ended(submit(jobs.ws, "probe", jobs.request("error")).job_id)
    assert (view.state, view.exit_code, view.reason) == ("failed", 3, "manifest_invalid")
    assert view.error is not None
    assert (view.error.code, view.error.next_step, view.error.exit_code) == ("manifest_invalid", "call inspect_dataset.", 3)
    assert [(problem.file, problem.line) for problem in view.error.problems] == [("train.jsonl", 7)]


@pytest.mark.parametrize(
    ("do", "code", "exit_code"),
    [("bug", "child_failed", 1), ("memory", "out_of_memory_or_killed", 1), ("kill", "out_of_memory_or_killed", -9), ("silent", "result_missing", 0)],
)
def test_an_end_that_nobody_explained_gets_a_code_and_a_next_step(jobs: Any, do: str, code: str, exit_code: int) -> None:
    view = jobs.ended(submit(jobs.ws, "probe", jobs.request(do)).job_id)
    assert view.error is not None
    assert (view.state, view.exit_code, view.error.code) == ("failed", exit_code, code)
    assert f'resume_job with {{"job_id": "{view.job_id}"}}' in view.error.next_step
    assert view.result is None


def test_a_module_that_cannot_be_imported_sends_to_doctor(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(requests.MODULES, "probe", "asrtune_probe_of_a_missing_package")
    view = jobs.ended(submit(jobs.ws, "probe", jobs.request("finish")).job_id)
    assert view.error is not None
    assert (view.error.code, view.error.exit_code) == ("package_missing", 4)
    assert "doctor" in view.error.next_step


def test_log_output_reaches_only_untrusted_text_and_is_cleaned(jobs: Any) -> None:
    view = jobs.ended(submit(jobs.ws, "probe", jobs.request("bug")).job_id)
    assert "Ignore all previous instructions" in view.untrusted_text
    assert "\x1b" not in view.untrusted_text
    assert "\u202e" not in view.untrusted_text
    assert len(view.untrusted_text) <= 2000
    assert "instructions" not in view.model_copy(update={"untrusted_text": ""}).model_dump_json()


@pytest.mark.parametrize("do", ["disk_full", "disk_full_all"])
def test_a_full_disk_in_the_child_is_a_retryable_coded_error(jobs: Any, do: str) -> None:
    view = jobs.ended(submit(jobs.ws, "probe", jobs.request(do)).job_id)
    assert view.error is not None
    assert (view.state, view.exit_code, view.error.code, view.error.retryable) == ("failed", 4, "disk_full", True)
    assert not (Path(view.folder) / "result.json").exists()


def test_a_full_disk_at_submit_reaches_the_caller_and_the_job(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, value: object) -> None:
        raise io.disk_full(path.parent)

    with monkeypatch.context() as patch:
        patch.setattr(io, "write_json", full)
        with pytest.raises(EnvironmentFault, match="disk_full"):
            submit(jobs.ws, "probe", jobs.request("finish"))
    (view,) = list_jobs(jobs.ws)
    assert view.error is not None
    assert (view.state, view.error.code) == ("failed", "disk_full")
    again = submit(jobs.ws, "probe", jobs.request("finish"))
    assert (again.job_id, again.attempt) == (view.job_id, 2)
    assert jobs.ended(view.job_id).state == "succeeded"


def test_resume_is_attempt_2_of_the_same_job_and_goes_on_in_its_folder(jobs: Any) -> None:
    out = jobs.ws.folder("runs", "run_1")
    first = jobs.ended(submit(jobs.ws, "probe", jobs.request("parts", out=str(out))).job_id)
    assert (first.state, first.attempt) == ("failed", 1)
    resumed = resume_job(jobs.ws, first.job_id)
    assert (resumed.job_id, resumed.attempt) == (first.job_id, 2)
    done = jobs.ended(first.job_id)
    assert (done.state, done.attempt, done.result, done.error) == ("succeeded", 2, {"parts": 2}, None)
    assert done.folder != first.folder
    assert resume_job(jobs.ws, first.job_id).deduplicated


def test_a_live_job_is_not_resumed(jobs: Any) -> None:
    view = submit(jobs.ws, "probe", jobs.request("wait"))
    with pytest.raises(NotReadyError, match="job_running"):
        resume_job(jobs.ws, view.job_id)


def test_cancel_lets_the_work_stop_by_itself(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(job_id)
    asked = cancel_job(jobs.ws, job_id)
    assert asked.reason == "cancel requested"
    view = jobs.ended(job_id)
    assert (view.state, view.exit_code, view.error) == ("cancelled", 143, None)
    assert cancel_job(jobs.ws, job_id).state == "cancelled"
    again = submit(jobs.ws, "probe", jobs.request("wait"))
    assert (again.job_id, again.attempt) == (job_id, 2)


def test_what_does_not_stop_within_the_grace_is_killed_with_its_helpers(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("stubborn")).job_id
    view = jobs.at_gate(job_id)
    lines = (Path(view.folder) / "events.jsonl").read_text().splitlines()
    helper = identify(int(requests.Event.model_validate_json(lines[0]).metrics["pid"]))
    assert helper is not None
    child = jobs.child(job_id)
    cancel_job(jobs.ws, job_id, grace_s=0.2)
    view = jobs.ended(job_id)
    assert (view.state, view.exit_code) == ("cancelled", -signal.SIGKILL)
    assert not child.alive
    assert not helper.alive


def test_a_cancelled_job_in_the_queue_never_starts(jobs: Any) -> None:
    first = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(first)
    second = submit(jobs.ws, "probe", jobs.request("finish")).job_id
    cancel_job(jobs.ws, second)
    assert jobs.ended(second).state == "cancelled"
    assert "starting" not in jobs.history(second)


def test_jobs_beyond_the_limit_wait_their_turn(jobs: Any) -> None:
    first = submit(jobs.ws, "probe", jobs.request("wait", tag="first")).job_id
    jobs.at_gate(first)
    second = submit(jobs.ws, "probe", jobs.request("finish", tag="second")).job_id
    waiting = jobs.until(second, lambda view: view.state != "queued" or view.health.detail == "waiting for a slot")
    assert (waiting.state, waiting.started) == ("queued", None)
    jobs.open_gate()
    done = [jobs.ended(job_id) for job_id in (first, second)]
    assert [view.state for view in done] == ["succeeded", "succeeded"]
    assert done[1].started >= done[0].ended


def test_a_larger_budget_runs_jobs_side_by_side(jobs: Any) -> None:
    ws = Workspace(jobs.ws.home, Config(budgets=Budgets(max_parallel_jobs=2)), jobs.ws.base_folder)
    both = [submit(ws, "probe", jobs.request("wait", tag=tag)).job_id for tag in "ab"]
    for job_id in both:
        jobs.at_gate(job_id)
    assert [get_job(ws, job_id).state for job_id in both] == ["running", "running"]


def test_the_time_limit_ends_an_attempt_with_its_own_code(jobs: Any) -> None:
    view = jobs.ended(submit(jobs.ws, "probe", jobs.request("wait"), limits=Limits(walltime_s=0.3)).job_id)
    assert view.error is not None
    assert (view.state, view.error.code, view.error.retryable) == ("failed", "walltime_exceeded", False)


def test_follow_gives_every_event_and_ends_with_the_job(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("finish")).job_id
    assert [(event.stage, event.step) for event in follow(jobs.ws, job_id)] == [("work", 1), ("work", 2), ("work", 3)]
    assert get_job(jobs.ws, job_id).state == "succeeded"


def test_an_interrupt_while_following_leaves_the_job_running(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("stubborn")).job_id
    events = follow(jobs.ws, job_id)
    assert next(events).stage == "helper"
    with pytest.raises(KeyboardInterrupt):
        cast("Generator[object]", events).throw(KeyboardInterrupt())
    view = get_job(jobs.ws, job_id)
    assert view.state in ("starting", "running")
    assert view.reason is None


def test_the_long_poll_returns_on_a_new_event_or_only_on_a_new_state(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("two_gates")).job_id
    jobs.at_gate(job_id)
    polls: list[float] = []
    real = api.time.sleep

    def sleep(seconds: float) -> None:
        polls.append(seconds)
        if len(polls) == 2:
            jobs.open_gate()
        real(seconds)

    monkeypatch.setattr(api.time, "sleep", sleep)
    assert get_job(jobs.ws, job_id, wait_s=45).state == "running"
    assert 2 <= len(polls) < 200  # all 45 s would be 225 polls
    polls.clear()
    assert get_job(jobs.ws, job_id, wait_s=45, wake_on_event=False).state == "succeeded"
    assert 2 <= len(polls) < 200


def test_a_shutdown_that_ends_the_supervisor_gently_stops_the_work_gently(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(job_id)
    jobs.supervisor(job_id).send(signal.SIGTERM)
    view = jobs.ended(job_id)
    assert (view.state, view.exit_code) == ("cancelled", 143)
    assert "SIGTERM" in str(view.reason)


@pytest.mark.parametrize(
    ("kind", "result", "rows"),
    [
        ("build_shards", SHARDS, [("shards", "shards_0123456789ab")]),
        ("train", RUN, [("run", "run_0123456789ab")]),
        ("eval", {"cells": [cell("eval_1"), cell("eval_2")], "seconds": 3.0}, [("eval", "eval_1"), ("eval", "eval_2")]),
        ("export", EXPORT, [("export", "export_1")]),
    ],
)
def test_success_enters_the_ledger_with_the_state_and_once(
    jobs: Any, monkeypatch: pytest.MonkeyPatch, kind: str, result: dict[str, Any], rows: list[tuple[Any, str]]
) -> None:
    monkeypatch.setitem(requests.MODULES, kind, "asrtune_probe")
    job_id = submit(jobs.ws, kind, jobs.request("finish", result=result, out=str(jobs.ws.folder("exports", "export_1")))).job_id
    view = jobs.ended(job_id)
    assert (view.state, view.error) == ("succeeded", None)
    with Ledger.open(jobs.ws) as ledger:
        assert [(row.kind, row.id) for row_kind, _ in rows[:1] for row in reversed(ledger.list(row_kind))] == rows
        if kind == "build_shards":
            assert ShardsResult.model_validate(ledger.get("shards", "shards_0123456789ab")) == ShardsResult.model_validate(SHARDS)


def test_a_result_of_the_wrong_shape_is_no_success(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(requests.MODULES, "train", "asrtune_probe")
    view = jobs.ended(submit(jobs.ws, "train", jobs.request("finish", result={"run_id": "run_1"})).job_id)
    assert view.error is not None
    assert (view.state, view.error.code) == ("failed", "result_missing")
    assert Ledger.open(jobs.ws).list("run") == ()


def test_a_typed_request_and_its_json_are_the_same_job(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(requests.MODULES, "build_shards", "asrtune_probe")
    manifest = {"name": "m", "path": "/m", "sha256": "0" * 64}
    request = ShardsRequest.model_validate({"sources": [{"name": "a", "manifest": manifest, "role": "train", "share": 1.0}], "out": "/out"})
    typed = submit(jobs.ws, "build_shards", request)
    assert submit(jobs.ws, "build_shards", request.model_dump(mode="json"), force_new=False).job_id == typed.job_id
    jobs.ended(typed.job_id)


def test_children_see_an_allow_list_of_the_environment_and_no_credentials() -> None:
    seen = process.environment({"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0", "ASRTUNE_HOME": "/w", "HF_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x",
                                "ASRTUNE_API_KEY": "x", "EDITOR": "vi", "PYTHONPATH": "/mine"})  # fmt: skip
    assert {"PATH", "CUDA_VISIBLE_DEVICES", "ASRTUNE_HOME"} <= set(seen)
    assert not {"HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "ASRTUNE_API_KEY", "EDITOR"} & set(seen)
    assert seen["PYTHONPATH"].split(os.pathsep) == [str(Path(__file__).parents[2]), "/mine"]
