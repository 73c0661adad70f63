"""Caps hold over all attempts of a job, and over work whose supervisor died: an orphan is adopted by another."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrcore.jobs import Limits, cancel_job, get_job, resume_job, submit
from asrcore.recipe import FinetuneSpec, Plan, make_plan
from asrcore.recipe.caps import caps_of
from asrcore.workspace import Config, Workspace
from tests.recipe.corpora import build, corpus


def unread(holds: Callable[[], bool]) -> None:
    """Waits until it holds, without a read that would reconcile anything."""
    for _ in range(600):
        if holds():
            return
        signal.sigtimedwait([], 0.1)
    raise AssertionError("it never came to hold")


def orphan(jobs: Any, **options: Any) -> str:
    """A job at the gate whose supervisor was killed, and which another one has adopted."""
    job_id = submit(jobs.ws, "probe", jobs.request("wait", result={"answer": 42}), **options).job_id
    jobs.at_gate(job_id)
    first = jobs.supervisor(job_id)
    first.send(signal.SIGKILL)
    jobs.until(job_id, lambda view: view.state == "orphaned")
    unread(lambda: jobs.supervisor(job_id) != first)
    assert jobs.supervisor(job_id).alive
    return job_id


def test_an_adopted_orphan_is_finished_without_a_reader(jobs: Any) -> None:
    job_id = orphan(jobs)
    jobs.open_gate()
    unread(lambda: jobs.row(job_id).state == "succeeded")
    assert get_job(jobs.ws, job_id).result == {"answer": 42}
    assert jobs.history(job_id) == ["queued", "starting", "running", "orphaned", "succeeded"]


def test_the_cap_on_time_ends_an_orphan_without_a_reader(jobs: Any) -> None:
    job_id = orphan(jobs, limits=Limits(walltime_s=20.0))
    unread(lambda: jobs.row(job_id).state == "failed")
    view = get_job(jobs.ws, job_id)
    assert view.error is not None
    assert view.error.code == "walltime_exceeded"
    assert not jobs.child(job_id).alive


def test_a_cancel_of_an_adopted_orphan_lets_it_save_and_needs_no_reader(jobs: Any) -> None:
    job_id = orphan(jobs)
    cancel_job(jobs.ws, job_id)
    unread(lambda: jobs.row(job_id).state == "cancelled")
    assert not jobs.child(job_id).alive


def test_an_orphan_whose_second_supervisor_is_killed_too_is_adopted_again(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asrcore.jobs.start._AGAIN_S", 0.0)
    job_id = orphan(jobs)
    second = jobs.supervisor(job_id)
    second.send(signal.SIGKILL)
    jobs.until(job_id, lambda view: jobs.supervisor(job_id) != second)
    assert jobs.supervisor(job_id).alive
    jobs.open_gate()
    unread(lambda: jobs.row(job_id).state == "succeeded")


def test_time_that_earlier_attempts_used_counts_and_a_higher_limit_lets_the_job_go_on(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("wait"), limits=Limits(walltime_s=0.3)).job_id
    assert jobs.ended(job_id).error.code == "walltime_exceeded"
    assert jobs.row(job_id).worked_s >= 0.3
    resume_job(jobs.ws, job_id)
    again = jobs.ended(job_id)
    assert again.error is not None
    assert (again.attempt, again.error.code, again.error.retryable) == (2, "walltime_exceeded", False)
    assert "max_run_hours" in again.error.next_step
    assert jobs.history(job_id).count("running") == 1
    raised = submit(jobs.ws, "probe", jobs.request("wait"), limits=Limits(walltime_s=600.0))
    assert (raised.job_id, raised.attempt) == (job_id, 3)
    jobs.at_gate(job_id)
    jobs.open_gate()
    assert jobs.ended(job_id).state == "succeeded"


def test_a_second_cancel_may_shorten_the_grace(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("stubborn"), grace_s=600.0).job_id
    jobs.at_gate(job_id)
    cancel_job(jobs.ws, job_id)
    assert get_job(jobs.ws, job_id, wait_s=0.3).state == "running"
    cancel_job(jobs.ws, job_id, grace_s=0.0)
    assert jobs.ended(job_id).state == "cancelled"


# --- what a launch may use


@pytest.fixture
def plan(ws: Workspace, tmp_path: Path) -> Plan:
    shards = build(ws, [corpus(tmp_path, "greek", "el-GR", 8)])
    dev = corpus(tmp_path, "dev", "el-GR", 3, seed=1)
    made = make_plan(FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(dev), max_steps=8), ws).plan
    estimates = made.summary.estimates.model_copy(update={"seconds": 7200, "gpus": 1, "memory_gb": 30.0, "disk_gb": 5.0})
    return made.model_copy(update={"summary": made.summary.model_copy(update={"estimates": estimates})})


@pytest.mark.parametrize(
    ("backend", "settings", "hours", "gpu_hours"),
    [
        ("local", {}, None, None),
        ("local", {"budgets": {"max_run_hours": 8}}, 8, None),
        ("local", {"budgets": {"max_run_hours": 1}}, 4, None),  # approved: twice the two hours that were shown
        ("local", {"budgets": {"price_per_gpu_hour": 2, "max_gpu_hours": 5}}, None, 5),
        ("local", {"budgets": {"price_per_gpu_hour": 2, "max_gpu_hours": 1}}, None, 4),
        ("slurm", {}, None, None),
        ("slurm", {"budgets": {"max_run_hours": 30}, "slurm": {"gpus": 8}}, 30, None),
        ("slurm", {"budgets": {"max_run_hours": 3, "price_per_gpu_hour": 1}, "slurm": {"gpus": 8, "time_hours": 10}}, 10, 80),
        ("sky", {"sky": {"gpus": 2, "time_hours": 3}}, None, 6),
        ("sky", {"sky": {"price_per_gpu_hour": 0}}, None, None),
    ],
)
def test_what_a_run_may_use_is_the_limit_or_what_a_person_said_yes_to(
    plan: Plan, backend: Any, settings: dict[str, Any], hours: float | None, gpu_hours: float | None
) -> None:
    caps = caps_of(plan, Config.model_validate(settings), backend)
    assert caps.walltime_s == (None if hours is None else pytest.approx(3600 * hours))
    assert caps.gpu_hours == (None if gpu_hours is None else pytest.approx(gpu_hours))
    assert (caps.memory_gb, caps.disk_gb) == ((0.0 if backend in ("slurm", "sky") else 30.0), 5.0)


def test_a_yes_to_an_unknown_time_is_no_cap(plan: Plan) -> None:
    estimates = plan.summary.estimates.model_copy(update={"seconds": None})
    unknown = plan.model_copy(update={"summary": plan.summary.model_copy(update={"estimates": estimates})})
    caps = caps_of(unknown, Config.model_validate({"budgets": {"max_run_hours": 1, "price_per_gpu_hour": 2}}), "local")
    assert (caps.walltime_s, caps.gpu_hours) == (None, None)
