"""Jobs in clusters, driven through fakes of their commands: the same states and files as here, through every death on either side."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asrcore.errors import EnvironmentFault, NotReadyError, UsageError
from asrcore.jobs import Ledger, cancel_job, get_job, remote, resume_job, store, submit
from asrcore.jobs.answer import answer
from asrcore.jobs.backends import CLUSTERS, base, processes_of
from asrcore.jobs.outcome import judge
from asrcore.workspace import Config
from tests.jobs.clusters import FakeCluster, configure

both = pytest.mark.parametrize("cluster", ["slurm", "sky"], indirect=True)
slurm_then_sky = pytest.mark.parametrize("cluster", ["slurm", pytest.param("sky", marks=pytest.mark.slow)], indirect=True)
slurm = pytest.mark.parametrize("cluster", ["slurm"], indirect=True)
sky = pytest.mark.parametrize("cluster", ["sky"], indirect=True)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    fake = FakeCluster(request.param, tmp_path)
    monkeypatch.setenv("PATH", f"{fake.bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ASRTUNE_FAKE_CLUSTER", str(fake.home))
    monkeypatch.setattr(remote, "READ_S", 0.1)
    jobs.ws = configure(tmp_path)
    yield fake
    fake.close()


def a_job(backend: Any) -> store.Job:
    """A running training there, as the ledger would hold it."""
    values = dict.fromkeys(store.Job._fields)
    return store.Job(**values | {"id": "job_0123456789ab", "kind": "train", "backend": backend, "state": "running", "grace_s": 30.0, "request": {}})


def start(jobs: Any, cluster: FakeCluster, do: str, **more: Any) -> str:
    return submit(jobs.ws, "probe", jobs.request(do, **more), backend=cluster.kind).job_id


def submitted(jobs: Any, job_id: str) -> str:
    """Waits until the ledger knows the cluster's id."""
    return jobs.until(job_id, lambda view: view.remote_id is not None).remote_id


def kill_supervisor(jobs: Any, job_id: str) -> None:
    supervisor = jobs.supervisor(job_id)
    assert supervisor.send(signal.SIGKILL)
    jobs.until(job_id, lambda _view: not supervisor.alive)


@both
def test_a_job_runs_there_through_the_same_states_to_the_same_result(jobs: Any, cluster: FakeCluster) -> None:
    job_id = start(jobs, cluster, "wait", result={"answer": 42})
    live = jobs.at_gate(job_id)
    assert (live.state, live.backend, live.remote_id, live.remote_state) == ("running", cluster.kind, "1", "RUNNING")
    result = answer(live)
    assert result.summary.startswith(f"Job {job_id} (probe) is running as 1 on {cluster.kind}: gate")
    assert [Path(artifact.path).name for artifact in result.artifacts] == ["attempt_1", {"slurm": "submit.sh", "sky": "task.yaml"}[cluster.kind]]
    jobs.open_gate()
    done = jobs.ended(job_id)
    assert (done.state, done.exit_code, done.result) == ("succeeded", 0, {"answer": 42})
    assert jobs.history(job_id) == ["queued", "starting", "running", "succeeded"]
    assert submit(jobs.ws, "probe", jobs.request("wait", result={"answer": 42}), backend="local").deduplicated
    assert len(cluster.jobs()) == 1
    assert [warning.code for warning in answer(done).warnings] == (["cluster_cleanup"] if cluster.kind == "sky" else [])
    assert ("sky status" in answer(done).next_actions[-1].why) == (cluster.kind == "sky")


@slurm_then_sky
def test_what_waits_in_the_clusters_queue_is_starting_and_says_so(jobs: Any, cluster: FakeCluster) -> None:
    cluster.set("hold")
    job_id = start(jobs, cluster, "finish")
    view = jobs.until(job_id, lambda view: view.remote_state is not None)
    assert (view.state, view.health.status, view.health.detail) == ("starting", "ok", "in the cluster's queue (PENDING)")
    cluster.set("hold", on=False)
    assert jobs.ended(job_id).state == "succeeded"


@slurm_then_sky
def test_a_cancel_in_the_clusters_queue_takes_the_job_out(jobs: Any, cluster: FakeCluster) -> None:
    cluster.set("hold")
    job_id = start(jobs, cluster, "marks", out=str(jobs.ws.home))
    submitted(jobs, job_id)
    cancel_job(jobs.ws, job_id)
    assert jobs.ended(job_id).state == "cancelled"
    cluster.set("hold", on=False)
    assert cluster.job("1")["state"] == "CANCELLED"
    assert not (jobs.ws.home / "marks").exists()


@slurm
def test_a_cancel_lets_the_work_save_and_end_by_itself(jobs: Any, cluster: FakeCluster) -> None:
    job_id = start(jobs, cluster, "wait")
    jobs.at_gate(job_id)
    cancel_job(jobs.ws, job_id)
    view = jobs.ended(job_id)
    assert (view.state, view.exit_code, view.reason) == ("cancelled", 143, "cancelled on request")
    assert cluster.calls("scancel") == ["scancel --quiet --signal=TERM 1"]


@slurm
def test_what_does_not_stop_within_the_grace_is_taken_out(jobs: Any, cluster: FakeCluster) -> None:
    job_id = start(jobs, cluster, "stubborn")
    jobs.at_gate(job_id)
    cancel_job(jobs.ws, job_id, grace_s=0.3)
    assert jobs.ended(job_id).state == "cancelled"
    assert cluster.calls("scancel")[:2] == ["scancel --quiet --signal=TERM 1", "scancel --quiet 1"]


@sky
def test_skypilot_is_asked_to_carry_over_what_was_written(jobs: Any, cluster: FakeCluster) -> None:
    job_id = start(jobs, cluster, "wait")
    jobs.at_gate(job_id)
    cancel_job(jobs.ws, job_id, grace_s=3.0)
    assert jobs.ended(job_id).state == "cancelled"
    assert cluster.calls("sky jobs cancel") == ["sky jobs cancel --yes --graceful --graceful-timeout 3 1"]


ENDS = [
    ("slurm", "TIMEOUT", "0:15", "failed", "walltime_exceeded"), ("slurm", "DEADLINE", "0:15", "failed", "walltime_exceeded"),
    ("slurm", "NODE_FAIL", "0:0", "failed", "node_failed"), ("slurm", "BOOT_FAIL", "0:0", "failed", "node_failed"),
    ("slurm", "OUT_OF_MEMORY", "0:125", "failed", "out_of_memory_or_killed"), ("slurm", "PREEMPTED", "0:15", "failed", "preempted"),
    ("slurm", "CANCELLED", "0:15", "cancelled", None), ("slurm", "FAILED", "137:0", "failed", "out_of_memory_or_killed"),
    ("slurm", "FAILED", "78:0", "failed", "workspace_not_mounted"), ("slurm", "FAILED", "75:0", "failed", "never_let_go"),
    ("sky", "FAILED_NO_RESOURCE", "", "failed", "cluster_could_not_start"), ("sky", "FAILED_SETUP", "", "failed", "cluster_could_not_start"),
    ("sky", "FAILED_CONTROLLER", "", "failed", "node_failed"), ("sky", "CANCELLED", "", "cancelled", None),
]  # fmt: skip


@pytest.mark.parametrize(("cluster", "word", "exit_code", "state", "code"), ENDS, indirect=["cluster"])
def test_every_end_of_the_clusters_own_has_its_code(
    jobs: Any, cluster: FakeCluster, tmp_path: Path, word: str, exit_code: str, state: str, code: str | None
) -> None:
    cluster.plant("7", word, exit_code)
    (tmp_path / "log.txt").write_text("said something\n", encoding="utf-8")
    seen = CLUSTERS[cluster.kind].look("7", tmp_path)
    assert seen is not None
    assert seen.ended
    outcome = judge(a_job(cluster.kind), tmp_path, seen.exit_code, None, seen)
    assert (outcome.state, outcome.error.code if outcome.error else None) == (state, code)
    if outcome.error is not None:
        assert "resume_job" in outcome.error.next_step


@pytest.mark.parametrize(("left_s", "code"), [(30.0, "walltime_exceeded"), (9000.0, "terminated")])
def test_torchrun_that_was_told_to_end_is_no_failure_of_the_training(tmp_path: Path, left_s: float, code: str) -> None:
    """It exits 1 whatever its processes did; the end of its log tells."""
    (tmp_path / "log.txt").write_text("torch.distributed.elastic.multiprocessing.api.SignalException: Process 71 got signal: 15\n", encoding="utf-8")
    outcome = judge(a_job("slurm"), tmp_path, 1, None, base.Seen("failed", "FAILED", 1, left_s))
    assert outcome.error is not None
    assert outcome.error.code == code


@pytest.mark.parametrize(("cluster", "word"), [("slurm", "NODE_FAIL"), ("sky", "FAILED_CONTROLLER")], indirect=["cluster"])
def test_a_job_whose_node_failed_is_resumed_as_a_new_attempt_there(jobs: Any, cluster: FakeCluster, word: str) -> None:
    job_id = start(jobs, cluster, "wait")
    cluster.strike(jobs.at_gate(job_id).remote_id, word, "0:0")
    view = jobs.ended(job_id)
    assert view.error is not None
    assert (view.state, view.error.code, view.error.retryable) == ("failed", "node_failed", True)
    assert resume_job(jobs.ws, job_id).attempt == 2
    assert jobs.at_gate(job_id).remote_id == "2"
    jobs.open_gate()
    assert jobs.ended(job_id).state == "succeeded"


@slurm
def test_the_signal_before_the_limit_is_the_limit(jobs: Any, cluster: FakeCluster) -> None:
    """sbatch --signal lets the work save and exit; Slurm then says FAILED, not TIMEOUT."""
    job_id = start(jobs, cluster, "wait")
    jobs.at_gate(job_id)
    (cluster.home / "job_1.json").write_text((cluster.home / "job_1.json").read_text().replace('"limit": 3600', '"limit": 60'))
    cluster.strike("1", "FAILED", "143:0")
    view = jobs.ended(job_id)
    assert view.error is not None
    assert (view.error.code, view.error.retryable) == ("walltime_exceeded", True)


@both
def test_the_works_own_error_and_log_arrive(jobs: Any, cluster: FakeCluster) -> None:
    failed = jobs.ended(start(jobs, cluster, "error"))
    assert failed.error is not None
    assert (failed.state, failed.exit_code, failed.error.code) == ("failed", 3, "manifest_invalid")
    bug = jobs.ended(start(jobs, cluster, "bug"))
    assert bug.error is not None
    assert bug.error.code == "child_failed"
    assert "RuntimeError" in bug.untrusted_text


@slurm_then_sky
def test_work_whose_supervisor_was_killed_goes_on_and_is_finished_by_readers(jobs: Any, cluster: FakeCluster) -> None:
    job_id = start(jobs, cluster, "wait", result={"answer": 42})
    jobs.at_gate(job_id)
    kill_supervisor(jobs, job_id)
    assert jobs.until(job_id, lambda view: view.state == "orphaned").remote_id == "1"
    jobs.open_gate()
    view = jobs.ended(job_id)
    assert (view.state, view.result) == ("succeeded", {"answer": 42})
    assert jobs.history(job_id) == ["queued", "starting", "running", "orphaned", "succeeded"]
    assert len(cluster.jobs()) == 1


@slurm
def test_a_supervisor_that_is_told_to_end_leaves_the_job_to_the_cluster(jobs: Any, cluster: FakeCluster) -> None:
    """A login node that is shut down ends no training."""
    job_id = start(jobs, cluster, "wait")
    jobs.at_gate(job_id)
    supervisor = jobs.supervisor(job_id)
    supervisor.send(signal.SIGTERM)
    jobs.until(job_id, lambda view: view.state == "orphaned" and not supervisor.alive)
    assert cluster.job("1")["state"] == "RUNNING"
    jobs.open_gate()
    assert jobs.ended(job_id).state == "succeeded"


@slurm
def test_an_orphan_in_a_cluster_is_cancelled_by_readers(jobs: Any, cluster: FakeCluster) -> None:
    job_id = start(jobs, cluster, "stubborn")
    jobs.at_gate(job_id)
    kill_supervisor(jobs, job_id)
    cancel_job(jobs.ws, job_id, grace_s=0.2)
    assert jobs.ended(job_id).state == "cancelled"
    assert cluster.job("1")["state"] == "CANCELLED"


def forget_the_id(jobs: Any, job_id: str) -> None:
    """As if the supervisor had died between the cluster's answer and the ledger."""
    row = jobs.row(job_id)
    assert row.remote is not None
    store.record_remote(Ledger.open(jobs.ws), row, row.remote.model_copy(update={"id": None, "looked": None}))
    (jobs.ws.home / "jobs" / job_id / "attempt_1" / base.GO).unlink(missing_ok=True)


@both
def test_a_job_whose_id_was_never_written_down_is_found_by_its_name_and_let_go(jobs: Any, cluster: FakeCluster) -> None:
    cluster.set("hold")
    job_id = start(jobs, cluster, "marks", out=str(jobs.ws.home))
    submitted(jobs, job_id)
    jobs.supervisor(job_id).send(signal.SIGKILL)
    forget_the_id(jobs, job_id)
    cluster.set("hold", on=False)
    assert jobs.ended(job_id).state == "succeeded"
    assert len(cluster.jobs()) == 1
    assert [line.split()[0] for line in (jobs.ws.home / "marks").read_text().splitlines()] == ["start", "a", "b", "c", "end"]


@slurm
def test_a_job_that_arrives_after_it_was_given_up_does_nothing(jobs: Any, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "GO_S", 1)
    cluster.set("hold")
    job_id = start(jobs, cluster, "marks", out=str(jobs.ws.home))
    submitted(jobs, job_id)
    jobs.supervisor(job_id).send(signal.SIGKILL)
    forget_the_id(jobs, job_id)
    late = cluster.home / "job_1.json"
    late.rename(cluster.home / "late")
    assert jobs.ended(job_id).state == "lost"
    (cluster.home / "late").rename(late)
    cluster.set("hold", on=False)
    for _ in range(200):
        if cluster.job("1")["state"] == "FAILED":
            break
        get_job(jobs.ws, job_id)
        signal.sigtimedwait([], 0.1)
    assert cluster.job("1")["exit_code"] == "75:0"
    assert not (jobs.ws.home / "marks").exists()


@slurm
def test_what_an_earlier_lost_attempt_left_is_taken_out_before_the_next_begins(jobs: Any, cluster: FakeCluster) -> None:
    cluster.set("hold")
    job_id = start(jobs, cluster, "finish")
    submitted(jobs, job_id)
    jobs.supervisor(job_id).send(signal.SIGKILL)
    row = jobs.row(job_id)
    with Ledger.open(jobs.ws).transaction() as connection:
        store.advance(connection, row, "lost")
    lost = get_job(jobs.ws, job_id)
    assert [action.tool for action in answer(lost).next_actions] == ["cancel_job", "resume_job"]
    resume_job(jobs.ws, job_id)
    jobs.until(job_id, lambda view: view.remote_id == "2")
    assert cluster.job("1")["state"] == "CANCELLED"
    cluster.set("hold", on=False)
    assert jobs.ended(job_id).state == "succeeded"


@slurm
def test_cancel_of_a_lost_job_takes_out_what_is_left_of_it(jobs: Any, cluster: FakeCluster) -> None:
    cluster.set("hold")
    job_id = start(jobs, cluster, "finish")
    submitted(jobs, job_id)
    jobs.supervisor(job_id).send(signal.SIGKILL)
    with Ledger.open(jobs.ws).transaction() as connection:
        store.advance(connection, jobs.row(job_id), "lost")
    assert cancel_job(jobs.ws, job_id).state == "lost"
    assert cluster.job("1")["state"] == "CANCELLED"


@slurm_then_sky
def test_a_cluster_that_does_not_answer_changes_nothing(jobs: Any, cluster: FakeCluster) -> None:
    job_id = start(jobs, cluster, "wait")
    jobs.at_gate(job_id)
    cluster.set("down")
    kill_supervisor(jobs, job_id)
    for _ in range(3):
        assert get_job(jobs.ws, job_id, wait_s=0.3).state == "running"
    cluster.set("down", on=False)
    jobs.open_gate()
    assert jobs.ended(job_id).state == "succeeded"


@slurm
@pytest.mark.parametrize("accounting", [True, False])
def test_an_end_that_the_controller_has_forgotten_is_told_by_accounting_or_by_the_files(jobs: Any, cluster: FakeCluster, *, accounting: bool) -> None:
    job_id = start(jobs, cluster, "wait", result={"answer": 42})
    jobs.at_gate(job_id)
    kill_supervisor(jobs, job_id)
    cluster.set("down")
    jobs.open_gate()
    for _ in range(200):
        if cluster.job("1")["state"] == "COMPLETED":
            break
        signal.sigtimedwait([], 0.1)
    cluster.forget("1")
    if not accounting:
        cluster.set("no_accounting")
    cluster.set("down", on=False)
    view = jobs.ended(job_id)
    assert (view.state, view.result, view.exit_code) == ("succeeded", {"answer": 42}, 0 if accounting else None)


@slurm_then_sky
def test_a_job_that_is_nowhere_and_left_nothing_is_lost(jobs: Any, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SETTLE_S", 0.2)
    job_id = start(jobs, cluster, "wait")
    jobs.at_gate(job_id)
    kill_supervisor(jobs, job_id)
    cluster.drop("1")
    assert jobs.ended(job_id).state == "lost"


@slurm_then_sky
def test_files_that_a_shared_disk_shows_late_are_waited_for(jobs: Any, cluster: FakeCluster) -> None:
    job_id = start(jobs, cluster, "wait", result={"answer": 42})
    folder = Path(jobs.at_gate(job_id).folder)
    kill_supervisor(jobs, job_id)
    cluster.set("down")
    jobs.open_gate()
    for _ in range(200):
        if cluster.job("1")["state"] in ("COMPLETED", "SUCCEEDED"):
            break
        signal.sigtimedwait([], 0.1)
    (folder / "result.json").rename(folder / "late.json")
    cluster.set("down", on=False)
    for _ in range(3):
        assert get_job(jobs.ws, job_id, wait_s=0.3).state in ("running", "orphaned")
    (folder / "late.json").rename(folder / "result.json")
    assert jobs.ended(job_id).state == "succeeded"


@both
def test_a_refusal_is_a_failed_job_with_the_clusters_reason(jobs: Any, cluster: FakeCluster) -> None:
    cluster.set("reject")
    job_id = start(jobs, cluster, "finish")
    view = jobs.ended(job_id)
    assert view.error is not None
    assert (view.state, view.error.code, view.error.retryable) == ("failed", "cluster_refused", True)
    assert ("Invalid partition" if cluster.kind == "slurm" else "ResourcesUnavailable") in view.error.message
    cluster.set("reject", on=False)
    resume_job(jobs.ws, job_id)
    assert jobs.ended(job_id).state == "succeeded"


@slurm
def test_jobs_in_a_cluster_take_no_slot_of_this_machine(jobs: Any, cluster: FakeCluster) -> None:
    there = start(jobs, cluster, "wait")
    jobs.at_gate(there)
    here = submit(jobs.ws, "probe", jobs.request("finish")).job_id
    assert jobs.ended(here).state == "succeeded"
    assert get_job(jobs.ws, there).state == "running"


@slurm
def test_one_user_has_so_many_jobs_in_the_queue_and_no_more(jobs: Any, cluster: FakeCluster) -> None:
    jobs.ws = configure(jobs.ws.base_folder, "max_jobs = 1")
    first = start(jobs, cluster, "wait", tag="first")
    jobs.at_gate(first)
    second = start(jobs, cluster, "finish", tag="second")
    jobs.until(second, lambda view: view.health.detail == "waiting for a slot")
    assert len(cluster.jobs()) == 1
    jobs.open_gate()
    assert jobs.ended(second).state == "succeeded"


def test_a_backend_that_nobody_allowed_is_refused_before_anything_is_written(jobs: Any) -> None:
    with pytest.raises(UsageError, match=r"backend_not_allowed.*asrtune.toml"):
        submit(jobs.ws, "probe", {"do": "finish"}, backend="slurm")
    assert not jobs.ws.home.exists()


@pytest.mark.parametrize(("backend", "command"), [("slurm", "sbatch"), ("sky", "sky")])
def test_commands_that_are_not_there_are_named(jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: Any, command: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match=rf"backend_missing.*{command}"):
        submit(configure(tmp_path), "probe", {"do": "finish"}, backend=backend)


@pytest.mark.parametrize("backend", ["torchrun", "slurm", "sky"])
def test_a_training_gets_a_process_for_each_gpu_and_work_that_knows_no_ranks_gets_one(backend: Any) -> None:
    setting = "processes" if backend == "torchrun" else "gpus"
    config = Config.model_validate({backend: {setting: 4}})
    assert [processes_of(config, backend, kind) for kind in ("train", "eval", "build_shards")] == [4, 1, 1]
    assert processes_of(config, "local", "train") == 1
    assert processes_of(Config.model_validate({backend: {setting: 1}}), backend, "train") == 1


@sky
def test_a_workspace_that_no_volume_carries_is_refused_for_skypilot(jobs: Any, cluster: FakeCluster, tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"workspace_not_shared.*1 path"):
        submit(jobs.ws, "probe", jobs.request("finish", out="/elsewhere/out"), backend="sky")
