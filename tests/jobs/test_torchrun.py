"""A job under torchrun is the job itself: same files, same end, same cancel. One process; more are refused for a training (test_clusters.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore.jobs import cancel_job, submit
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


def test_the_error_that_the_worker_understood_is_the_jobs(jobs: Any, tmp_path: Path) -> None:
    jobs.ws = configure(tmp_path)
    view = jobs.ended(submit(jobs.ws, "probe", jobs.request("error"), backend="torchrun").job_id)
    assert view.error is not None
    assert (view.state, view.error.code) == ("failed", "manifest_invalid")
