"""A job under torchrun is the job itself: same files, same end, same cancel. One process; a training with two is in tests/model/test_train_ranks.py."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from asrcore.jobs import cancel_job, submit
from asrcore.jobs.process import identify
from tests.jobs.clusters import configure

pytestmark = [pytest.mark.heavy, pytest.mark.slow]


def test_the_result_arrives_and_a_cancel_reaches_the_worker(jobs: Any, tmp_path: Path) -> None:
    jobs.ws = configure(tmp_path)
    done = jobs.ended(submit(jobs.ws, "probe", jobs.request("finish", result={"answer": 42}), backend="torchrun").job_id)
    assert (done.state, done.exit_code, done.result, done.backend) == ("succeeded", 0, {"answer": 42}, "torchrun")
    waiting = submit(jobs.ws, "probe", jobs.request("wait"), backend="torchrun").job_id
    worker = int(jobs.at_gate(waiting).progress.metrics["pid"])
    cancel_job(jobs.ws, waiting)
    assert jobs.ended(waiting).state == "cancelled"
    assert not Path(f"/proc/{worker}").exists()


def test_the_worker_does_not_outlive_torchrun(jobs: Any, tmp_path: Path) -> None:
    """It has a session of its own, so the kill of torchrun's group does not reach it."""
    jobs.ws = configure(tmp_path)
    waiting = submit(jobs.ws, "probe", jobs.request("wait"), backend="torchrun").job_id
    worker = identify(int(jobs.at_gate(waiting).progress.metrics["pid"]))
    assert worker is not None
    jobs.child(waiting).send(signal.SIGKILL, group=True)
    assert jobs.ended(waiting).state == "failed"
    assert not worker.alive


def test_the_error_that_the_worker_understood_is_the_jobs(jobs: Any, tmp_path: Path) -> None:
    jobs.ws = configure(tmp_path)
    view = jobs.ended(submit(jobs.ws, "probe", jobs.request("error"), backend="torchrun").job_id)
    assert view.error is not None
    assert (view.state, view.error.code) == ("failed", "manifest_invalid")
