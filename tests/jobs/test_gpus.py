"""GPUs are leased: one job has one, alone, and gives it back however it ends. The driver's program is a fake that says what a file holds."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrcore import machine, requests
from asrcore.errors import EnvironmentFault
from asrcore.jobs import Ledger, Limits, cancel_job, get_job, resume_job, room, store, submit, watch
from asrcore.jobs.backends import gpus_of
from asrcore.jobs.health import assess
from asrcore.jobs.watch import HealthWatch
from asrcore.machine import Gpu, read_gpus
from asrcore.requests import Event
from asrcore.workspace import Budgets, Config, Workspace

Driver = Callable[..., None]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """`driver(2)`: from now on this machine has so many GPUs, GPU-0 and so on."""
    program, rows = tmp_path / "driver" / "nvidia-smi", tmp_path / "driver" / "rows"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncat "{rows}"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def have(count: int, *, free_mib: int = 80_000, busy: str = "90") -> None:
        rows.write_text("".join(f"{n}, GPU-{n}, NVIDIA H100, 81559, {free_mib}, 580.1, {busy}\n" for n in range(count)), encoding="utf-8")

    return have


@pytest.fixture
def parallel(jobs: Any) -> Any:
    """The same jobs, of which four may run at a time."""
    jobs.ws = Workspace(jobs.ws.home, Config(budgets=Budgets(max_parallel_jobs=4)), jobs.ws.base_folder)
    return jobs


def sees(jobs: Any, job_id: str) -> str | None:
    """CUDA_VISIBLE_DEVICES of its process."""
    words = Path(f"/proc/{jobs.child(job_id).pid}/environ").read_bytes().decode().split("\0")
    return next((word.partition("=")[2] for word in words if word.startswith("CUDA_VISIBLE_DEVICES=")), None)


def leases(jobs: Any) -> dict[str, str]:
    return {row["gpu"]: row["job_id"] for row in Ledger.open(jobs.ws).rows("SELECT gpu, job_id FROM leases")}


def test_two_jobs_never_share_a_gpu_however_many_may_run(parallel: Any, driver: Driver) -> None:
    driver(1)
    first = submit(parallel.ws, "probe", parallel.request("wait", tag="a")).job_id
    parallel.at_gate(first)
    second = submit(parallel.ws, "probe", parallel.request("wait", tag="b")).job_id
    waiting = parallel.until(second, lambda view: view.state != "queued" or view.health.detail == "waiting for a slot")
    assert (waiting.state, leases(parallel), sees(parallel, first)) == ("queued", {"GPU-0": first}, "GPU-0")
    parallel.open_gate()
    parallel.ended(first)
    parallel.at_gate(second)
    assert (leases(parallel), sees(parallel, second)) == ({"GPU-0": second}, "GPU-0")
    parallel.open_gate()
    assert parallel.ended(second).state == "succeeded"
    assert leases(parallel) == {}


def test_jobs_side_by_side_get_a_gpu_each(parallel: Any, driver: Driver) -> None:
    driver(2)
    both = [submit(parallel.ws, "probe", parallel.request("wait", tag=tag)).job_id for tag in "ab"]
    for job_id in both:
        parallel.at_gate(job_id)
    assert sorted(str(sees(parallel, job_id)) for job_id in both) == ["GPU-0", "GPU-1"]


def test_work_that_loads_no_model_takes_no_gpu(parallel: Any, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(1)
    monkeypatch.setitem(requests.MODULES, "build_shards", "asrtune_probe")
    job_id = submit(parallel.ws, "build_shards", parallel.request("wait")).job_id
    parallel.at_gate(job_id)
    assert (leases(parallel), sees(parallel, job_id)) == ({}, None)


@pytest.mark.parametrize("end", ["cancel", "killed", "both killed"])
def test_a_gpu_is_given_back_however_its_job_ends(jobs: Any, driver: Driver, end: str) -> None:
    driver(1)
    job_id = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(job_id)
    assert leases(jobs) == {"GPU-0": job_id}
    if end == "cancel":
        cancel_job(jobs.ws, job_id)
    else:
        if end == "both killed":
            jobs.supervisor(job_id).send(signal.SIGKILL)
        jobs.child(job_id).send(signal.SIGKILL)
    assert jobs.ended(job_id).state == {"cancel": "cancelled", "killed": "failed", "both killed": "lost"}[end]
    assert leases(jobs) == {}


def test_an_orphan_keeps_its_gpu(parallel: Any, driver: Driver) -> None:
    driver(1)
    first = submit(parallel.ws, "probe", parallel.request("wait", tag="a")).job_id
    parallel.at_gate(first)
    parallel.supervisor(first).send(signal.SIGKILL)
    parallel.until(first, lambda view: view.state == "orphaned")
    second = submit(parallel.ws, "probe", parallel.request("finish", tag="b")).job_id
    parallel.until(second, lambda view: view.health.detail == "waiting for a slot")
    assert leases(parallel) == {"GPU-0": first}
    parallel.open_gate()
    assert parallel.ended(second).state == "succeeded"


def waiting(**changes: Any) -> store.Job:
    values = dict.fromkeys(store.Job._fields) | {"id": "job_0123456789ab", "kind": "train", "backend": "local", "earlier_s": 0.0, "earlier_gpu_s": 0.0}
    return store.Job(**values | {"gpus": 0, "disk_gb": 0.0, "memory_gb": 20.0} | changes)


@pytest.mark.parametrize(
    ("total", "free", "short"),
    [(64.0, 30.0, False), (64.0, 19.0, True), (8.0, 7.5, False), (8.0, 6.0, True)],  # the last two: an estimate that no state of this machine would meet
)
@pytest.mark.parametrize("on_gpu", [True, False])
def test_memory_that_others_hold_is_said_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: float, free: float, short: bool, on_gpu: bool) -> None:
    elsewhere = (1000.0, 1000.0)
    monkeypatch.setattr(room, "memory_gb", lambda: elsewhere if on_gpu else (total, free))
    monkeypatch.setattr(room, "read_gpus", lambda: (Gpu(uuid="GPU-0", name="x", memory_gb=total, free_gb=free), Gpu(uuid="GPU-1", name="x", memory_gb=1.0)))
    leased = ("GPU-0",) if on_gpu else ()
    if not short:
        room.require_room(tmp_path, waiting(), leased)
        return
    with pytest.raises(EnvironmentFault, match="GPU memory" if on_gpu else "main memory") as caught:
        room.require_room(tmp_path, waiting(), leased)
    assert (caught.value.code, caught.value.retryable) == ("memory_short", True)


def test_a_gpu_that_others_have_filled_is_memory_short_and_an_empty_one_is_not(jobs: Any, driver: Driver) -> None:
    driver(1, free_mib=1000)
    asked = submit(jobs.ws, "probe", jobs.request("finish"), limits=Limits(memory_gb=20.0)).job_id
    assert jobs.ended(asked).error.code == "memory_short"
    assert "running" not in jobs.history(asked)
    driver(1)
    resume_job(jobs.ws, asked)
    assert jobs.ended(asked).state == "succeeded"


def test_too_little_disk_is_said_before_the_start(jobs: Any) -> None:
    view = jobs.ended(submit(jobs.ws, "probe", jobs.request("finish"), limits=Limits(disk_gb=1e9)).job_id)
    assert view.error is not None
    assert (view.state, view.error.code, view.error.retryable) == ("failed", "disk_full", True)
    assert "running" not in jobs.history(view.job_id)


def test_a_driver_that_does_not_answer_stops_the_job_unless_no_gpu_is_wanted(jobs: Any, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("finish")).job_id  # the fake has no rows to show yet, and fails
    assert jobs.ended(job_id).error.code == "gpu_unreadable"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    resume_job(jobs.ws, job_id)
    assert jobs.ended(job_id).state == "succeeded"


@pytest.mark.parametrize(
    ("visible", "chosen"),
    [("1", ["GPU-1"]), ("2,0", ["GPU-2", "GPU-0"]), ("GPU-1", ["GPU-1"]), ("0,7,1", ["GPU-0"]), ("-1", []), ("", []), ("MIG-x", ["MIG-x"])],
)
def test_only_gpus_that_cuda_would_show_are_given_out(driver: Driver, visible: str, chosen: list[str]) -> None:
    driver(3)
    assert [gpu.uuid for gpu in read_gpus(visible)] == chosen


def test_a_training_of_several_processes_gets_a_gpu_for_each() -> None:
    config = Config.model_validate({"torchrun": {"processes": 4}, "slurm": {"gpus": 8}})
    assert [gpus_of(config, "torchrun", kind, 6) for kind in ("train", "eval", "build_shards")] == [4, 1, 0]
    assert (gpus_of(config, "local", "train", 6), gpus_of(config, "local", "train", 0), gpus_of(config, "slurm", "train", 0)) == (1, 0, 8)


@pytest.mark.parametrize(("cap", "gpus", "code"), [(1e-5, 1, "gpu_hours_exceeded"), (1e-5, 0, None), (None, 1, None)])
def test_gpu_hours_are_capped_where_there_are_gpus(jobs: Any, driver: Driver, cap: float | None, gpus: int, code: str | None) -> None:
    driver(gpus)
    job_id = submit(jobs.ws, "probe", jobs.request("wait"), limits=Limits(gpu_hours=cap)).job_id
    if code is None:
        jobs.at_gate(job_id)
        assert get_job(jobs.ws, job_id, wait_s=0.2).state == "running"
        return
    view = jobs.ended(job_id)
    assert view.error is not None
    assert (view.state, view.exit_code in (143, -signal.SIGTERM), view.error.code) == ("failed", True, code)
    assert "max_gpu_hours" in view.error.next_step
    resume_job(jobs.ws, job_id)
    assert jobs.ended(job_id).error.code == code  # what was used stays used
    assert jobs.history(job_id).count("running") == 1


def test_gpus_that_idle_for_minutes_are_told(jobs: Any, monkeypatch: pytest.MonkeyPatch, driver: Driver) -> None:
    driver(1, busy="4")
    job_id = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(job_id)
    monkeypatch.setattr(watch, "GPU_EVERY_S", 0.0)
    eye = HealthWatch(Ledger.open(jobs.ws), Path(get_job(jobs.ws, job_id).folder), lambda notice: None)
    for _ in range(watch.GPU_LOOKS - 1):
        eye.look(jobs.row(job_id))
    assert get_job(jobs.ws, job_id).health.status == "ok"
    eye.look(jobs.row(job_id))
    health = get_job(jobs.ws, job_id).health
    assert (health.status, health.detail) == ("gpu_idle", "the GPU computed in 4 % of the last minutes")


@pytest.mark.parametrize(("busy", "status"), [(None, "ok"), (95.0, "ok"), (20.0, "ok"), (19.9, "gpu_idle")])
def test_a_busy_gpu_and_an_unwatched_one_raise_nothing(busy: float | None, status: str) -> None:
    assert assess([Event(time=1.0, stage="fit", step=1, total=9)], now=2.0, gpu_busy=busy).status == status


def test_memory_is_told_in_gigabytes() -> None:
    total, free = machine.memory_gb()
    assert 0 < free <= total
    assert Gpu(uuid="x", name="y").busy_percent is None
