"""The same bench on a real Slurm: what the fake says of Slurm's words and habits is true. `real_slurm.py` says where it comes from."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asrcore import requests
from asrcore.jobs import Limits, cancel_job, get_job, remote, resume_job, submit
from asrcore.jobs.backends.slurm import SlurmCluster
from asrcore.jobs.process import identify
from tests.jobs.clusters import configure
from tests.jobs.real_slurm import RealSlurm, root
from tests.model.runs import Bench

pytestmark = [pytest.mark.slow, pytest.mark.skipif(root() is None, reason="no Slurm: install Debian's, or name a folder with its files by ASRTUNE_SLURM_ROOT")]


def wait_until_ready(slurm: RealSlurm) -> None:
    for _ in range(300):
        if slurm.ready():
            return
        signal.sigtimedwait([], 0.2)
    raise AssertionError("no node is idle")


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSlurm]:
    place = root()
    assert place is not None
    slurm = RealSlurm(place, tmp_path_factory.mktemp("slurm"))
    wait_until_ready(slurm)
    yield slurm
    slurm.close()


@pytest.fixture
def slurm(daemons: RealSlurm, jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealSlurm:
    for name, value in daemons.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "READ_S", 0.2)
    jobs.ws = configure(tmp_path)
    return daemons


def start(jobs: Any, do: str, **more: Any) -> str:
    return submit(jobs.ws, "probe", jobs.request(do, **more), backend="slurm", limits=Limits(walltime_s=60.0)).job_id


def test_a_job_is_submitted_polled_and_finished(jobs: Any, slurm: RealSlurm) -> None:
    job_id = start(jobs, "wait", result={"answer": 42})
    live = jobs.at_gate(job_id)
    assert (live.state, live.remote_state) == ("running", "RUNNING")
    assert SlurmCluster().find(remote.name_of(jobs.row(job_id))) == live.remote_id
    jobs.open_gate()
    done = jobs.ended(job_id)
    assert (done.state, done.exit_code, done.result, done.remote_state) == ("succeeded", 0, {"answer": 42}, "COMPLETED")
    assert jobs.history(job_id) == ["queued", "starting", "running", "succeeded"]


def test_a_cancel_reaches_the_work_which_saves_and_a_resume_finishes_it(jobs: Any, slurm: RealSlurm) -> None:
    job_id = start(jobs, "wait")
    jobs.at_gate(job_id)
    cancel_job(jobs.ws, job_id)
    view = jobs.ended(job_id)
    assert (view.state, view.exit_code, view.reason) == ("cancelled", 143, "cancelled on request")
    assert resume_job(jobs.ws, job_id).attempt == 2
    jobs.at_gate(job_id)
    jobs.open_gate()
    assert jobs.ended(job_id).state == "succeeded"


def test_what_ignores_the_signal_is_killed_with_its_helpers(jobs: Any, slurm: RealSlurm) -> None:
    job_id = start(jobs, "stubborn")
    view = jobs.at_gate(job_id)
    events = [requests.Event.model_validate_json(line) for line in (Path(view.folder) / "events.jsonl").read_text().splitlines()]
    processes = [identify(int(event.metrics["pid"])) for event in events]
    assert all(processes)
    cancel_job(jobs.ws, job_id, grace_s=0.5)
    assert jobs.ended(job_id).state == "cancelled"
    assert not [process for process in processes if process is not None and process.alive]


def test_a_cancel_in_slurm_itself_is_told_from_ours(jobs: Any, slurm: RealSlurm) -> None:
    job_id = start(jobs, "wait")
    view = jobs.at_gate(job_id)
    slurm.say("scancel", str(view.remote_id))
    view = jobs.ended(job_id)
    assert (view.state, view.remote_state, view.reason) == ("cancelled", "CANCELLED", "cancelled in the cluster, not through asrtune")


def test_the_limit_gives_time_to_save_and_has_its_own_code(jobs: Any, slurm: RealSlurm) -> None:
    view = jobs.ended(start(jobs, "wait"))
    assert view.error is not None
    assert (view.state, view.exit_code, view.error.code) == ("failed", 143, "walltime_exceeded")


def test_work_that_ignores_the_limit_is_a_timeout(jobs: Any, slurm: RealSlurm) -> None:
    job_id = start(jobs, "stubborn")
    for _ in range(3):  # Slurm counts whole minutes, and looks every half
        get_job(jobs.ws, job_id, wait_s=45.0, wake_on_event=False)
    view = jobs.ended(job_id)
    assert view.error is not None
    assert (view.state, view.remote_state, view.error.code) == ("failed", "TIMEOUT", "walltime_exceeded")


def test_a_job_goes_on_when_its_supervisor_is_killed(jobs: Any, slurm: RealSlurm) -> None:
    job_id = start(jobs, "wait", result={"answer": 42})
    jobs.at_gate(job_id)
    jobs.supervisor(job_id).send(signal.SIGKILL)
    jobs.until(job_id, lambda view: view.state == "orphaned")
    jobs.open_gate()
    assert jobs.ended(job_id).result == {"answer": 42}


def test_a_refusal_carries_slurms_own_reason(jobs: Any, slurm: RealSlurm) -> None:
    jobs.ws = configure(jobs.ws.base_folder, 'partition = "nowhere"')
    view = jobs.ended(start(jobs, "finish"))
    assert view.error is not None
    assert view.error.code == "cluster_refused"
    assert "invalid partition specified: nowhere" in view.error.message


def test_a_node_that_fails_ends_the_job_and_a_resume_finishes_it_once_the_node_is_back(jobs: Any, slurm: RealSlurm) -> None:
    job_id = start(jobs, "wait", result={"answer": 42})
    jobs.at_gate(job_id)
    slurm.set_node("down")
    view = jobs.ended(job_id)
    assert view.error is not None
    assert (view.state, view.remote_state, view.error.code, view.error.retryable) == ("failed", "NODE_FAIL", "node_failed", True)
    slurm.set_node("resume")
    wait_until_ready(slurm)
    assert resume_job(jobs.ws, job_id).attempt == 2
    jobs.at_gate(job_id)
    jobs.open_gate()
    assert jobs.ended(job_id).result == {"answer": 42}


@pytest.mark.heavy
def test_a_small_training_is_submitted_cancelled_and_resumed(jobs: Any, slurm: RealSlurm, tmp_path: Path) -> None:
    jobs.waits = 300
    request = Bench(tmp_path).request("slurm", max_steps=40, candidate_every=20)
    job_id = submit(jobs.ws, "train", request, backend="slurm").job_id
    jobs.until(job_id, lambda view: view.progress is not None and view.progress.stage == "train" and view.progress.step >= 1)
    cancel_job(jobs.ws, job_id, grace_s=120.0)
    assert jobs.ended(job_id).state == "cancelled"
    resume_job(jobs.ws, job_id)
    view = jobs.ended(job_id)
    assert (view.state, view.attempt) == ("succeeded", 2)
    assert requests.TrainResult.model_validate(view.result).resumed_from >= 1
