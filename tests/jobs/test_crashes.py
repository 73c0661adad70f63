"""What survives when processes are killed: the launcher, the supervisor, the work, or all of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrcore.jobs import Ledger, api, cancel_job, get_job, list_jobs, resume_job, store, submit
from asrcore.jobs.clock import tick
from asrcore.jobs.process import Identity, identify

Launch = Callable[[], "subprocess.Popen[str]"]


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def gone(jobs: Any, job_id: str, *processes: Identity) -> None:
    """Waits through the public long-poll until killed processes have really left."""
    for _ in range(100):
        if not any(process.alive for process in processes):
            return
        get_job(jobs.ws, job_id, wait_s=0.2)
    raise AssertionError("a killed process still lives")


def test_a_job_outlives_the_process_that_launched_it(jobs: Any, launch: Launch) -> None:
    launcher = launch()
    assert hear(launcher) == "ready"
    say(launcher, json.dumps(jobs.request("wait", result={"answer": 42})))
    job_id, _ = json.loads(hear(launcher))
    launcher.kill()
    launcher.wait()
    assert jobs.at_gate(job_id).state == "running"
    assert os.getsid(jobs.supervisor(job_id).pid) == jobs.supervisor(job_id).pid
    jobs.open_gate()
    view = jobs.ended(job_id)
    assert (view.state, view.exit_code, view.result) == ("succeeded", 0, {"answer": 42})


def test_two_launches_at_once_make_one_job(jobs: Any, launch: Launch) -> None:
    launchers = [launch(), launch()]
    assert [hear(launcher) for launcher in launchers] == ["ready", "ready"]
    for launcher in launchers:
        say(launcher, json.dumps(jobs.request("wait")))
    answers = [json.loads(hear(launcher)) for launcher in launchers]
    assert answers[0][0] == answers[1][0]
    assert sorted(deduplicated for _, deduplicated in answers) == [False, True]
    job_id = answers[0][0]
    jobs.at_gate(job_id)
    jobs.open_gate()
    assert jobs.ended(job_id).attempt == 1
    assert jobs.history(job_id) == ["queued", "starting", "running", "succeeded"]


def test_work_whose_supervisor_was_killed_is_orphaned_and_then_judged_by_its_result(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("wait", result={"answer": 42})).job_id
    jobs.at_gate(job_id)
    supervisor, child = jobs.supervisor(job_id), jobs.child(job_id)
    assert supervisor.send(signal.SIGKILL)
    gone(jobs, job_id, supervisor)
    orphan = get_job(jobs.ws, job_id)
    assert (orphan.state, child.alive) == ("orphaned", True)
    assert submit(jobs.ws, "probe", jobs.request("wait", result={"answer": 42})).deduplicated
    jobs.open_gate()
    view = jobs.ended(job_id)
    assert (view.state, view.result, view.exit_code) == ("succeeded", {"answer": 42}, None)
    assert jobs.history(job_id) == ["queued", "starting", "running", "orphaned", "succeeded"]


def test_an_orphan_is_cancelled_and_killed_after_its_grace(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("stubborn")).job_id
    jobs.at_gate(job_id)
    supervisor, child = jobs.supervisor(job_id), jobs.child(job_id)
    supervisor.send(signal.SIGKILL)
    gone(jobs, job_id, supervisor)
    assert cancel_job(jobs.ws, job_id, grace_s=0.1).state == "orphaned"
    assert jobs.ended(job_id).state == "cancelled"
    assert not child.alive


def test_when_everything_was_killed_the_job_is_lost_and_can_be_resumed(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(job_id)
    supervisor, child = jobs.supervisor(job_id), jobs.child(job_id)
    supervisor.send(signal.SIGKILL)
    child.send(signal.SIGKILL)
    view = jobs.ended(job_id)
    assert (view.state, view.error, view.result) == ("lost", None, None)
    assert resume_job(jobs.ws, job_id).attempt == 2
    jobs.at_gate(job_id)
    jobs.open_gate()
    assert jobs.ended(job_id).state == "succeeded"


def test_a_dead_job_does_not_keep_its_slot(jobs: Any) -> None:
    first = submit(jobs.ws, "probe", jobs.request("wait", tag="first")).job_id
    jobs.at_gate(first)
    second = submit(jobs.ws, "probe", jobs.request("finish", tag="second")).job_id
    jobs.supervisor(first).send(signal.SIGKILL)
    jobs.child(first).send(signal.SIGKILL)
    assert jobs.ended(second).state == "succeeded"
    assert jobs.row(first).state == "lost"  # noticed by the waiting supervisor, not by this test's reads


def test_an_orphan_keeps_its_slot(jobs: Any) -> None:
    first = submit(jobs.ws, "probe", jobs.request("wait", tag="first")).job_id
    jobs.at_gate(first)
    supervisor = jobs.supervisor(first)
    supervisor.send(signal.SIGKILL)
    gone(jobs, first, supervisor)
    second = submit(jobs.ws, "probe", jobs.request("finish", tag="second")).job_id
    waiting = jobs.until(second, lambda view: view.state != "queued" or view.health.detail == "waiting for a slot")
    assert (waiting.state, get_job(jobs.ws, first).state) == ("queued", "orphaned")
    jobs.open_gate()
    assert jobs.ended(second).state == "succeeded"


def test_a_launcher_that_died_before_the_supervisor_started_leaves_a_job_that_becomes_lost(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(api, "_start", lambda ws, ledger, job: None)
        job_id = submit(jobs.ws, "probe", jobs.request("finish")).job_id
    assert get_job(jobs.ws, job_id).state == "queued"
    with Ledger.open(jobs.ws).transaction() as connection:
        old = tick()._replace(seconds=tick().seconds - 60)
        connection.execute("UPDATE attempts SET queued_tick = ? WHERE job_id = ?", (old.encode(), job_id))
    assert get_job(jobs.ws, job_id).state == "lost"
    assert submit(jobs.ws, "probe", jobs.request("finish")).attempt == 2
    assert jobs.ended(job_id).state == "succeeded"


def test_a_reader_in_another_container_goes_by_the_heartbeats_it_misses_itself(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pids are of another namespace there; only a heartbeat that stopped says that the supervisor is gone, and wall clocks may differ."""
    job_id = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(job_id)
    supervisor, child = jobs.supervisor(job_id), jobs.child(job_id)
    supervisor.send(signal.SIGKILL)
    child.send(signal.SIGKILL)

    def beat(seconds_ago: float) -> None:
        there = [identity._replace(host="other pid:[1]").encode() for identity in (supervisor, child)]
        with Ledger.open(jobs.ws).transaction() as connection:
            connection.execute("UPDATE attempts SET supervisor = ?, child = ?, beat = ? WHERE job_id = ?", (*there, time.time() - seconds_ago, job_id))

    beat(seconds_ago=1)
    assert get_job(jobs.ws, job_id).state == "running"
    beat(seconds_ago=1000)  # or the two clocks differ by that
    assert get_job(jobs.ws, job_id).state == "running"
    waited = time.monotonic() + store.FOREIGN_DEAD_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: waited)
    beat(seconds_ago=999)
    assert get_job(jobs.ws, job_id).state == "running"
    waited += store.FOREIGN_DEAD_S + 1
    assert get_job(jobs.ws, job_id).state == "lost"


def test_a_pid_that_was_given_to_another_process_is_not_the_same_process() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert me.alive
    assert not me._replace(start=me.start - 1).alive
    assert not me._replace(boot="another boot").alive
    assert not me._replace(start=me.start - 1).send(signal.SIGKILL)
    assert Identity.decode(me.encode()) == me


def test_a_launcher_that_lives_on_keeps_no_zombies(jobs: Any) -> None:
    for tag in "ab":
        jobs.ended(submit(jobs.ws, "probe", jobs.request("finish", tag=tag)).job_id)
    for thread in threading.enumerate():
        if thread.name.startswith("reap-"):
            thread.join(timeout=60)
    pids = [jobs.supervisor(view.job_id).pid for view in list_jobs(jobs.ws)]
    assert len(pids) == 2
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
