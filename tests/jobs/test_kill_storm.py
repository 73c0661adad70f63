"""Many jobs, each hit at a random moment: no wrong final state, no work done twice, no result lost, nothing left running.

`make storm` runs all seeds, and those of real trainings beside them (`test_train_storm.py`), and counts the blows. A failed seed is replayed by
`pytest -m '' tests/jobs/test_kill_storm.py -k seed_N_`; the moment within the machine's own timing still varies.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrcore import requests
from asrcore.jobs import Ledger, get_job, list_jobs, process, resume_job, submit
from asrcore.recipe import FinetuneSpec, Plan, launch_plan, make_plan
from asrcore.workspace import Workspace
from tests.jobs.conftest import Open
from tests.jobs.storm import finished, living, marks, require_whole, seeds, settled, strike, zombies
from tests.recipe.corpora import build, corpus


@seeds(short=6, total=180)
def test_a_job_hit_at_a_random_moment_ends_right_and_can_be_finished(jobs: Any, tmp_path: Path, tally: Counter[str], seed: int) -> None:
    rng = random.Random(seed)
    out = tmp_path / "out"
    out.mkdir()
    job_id = submit(jobs.ws, "probe", jobs.request("marks", out=str(out), result={"answer": seed})).job_id
    for _ in range(rng.randint(1, 3)):
        for _ in range(rng.randint(0, 12)):
            get_job(jobs.ws, job_id, wait_s=rng.choice((0.0, 0.02, 0.1)))
        strike(jobs, job_id, rng.choice(("supervisor", "child", "both", "child first", "nobody")), tally)
        view = settled(jobs, job_id)
        assert view.state in ("succeeded", "lost", "failed"), view
        if view.state == "failed":
            assert view.error is not None
            assert view.error.code in ("out_of_memory_or_killed", "terminated", "unclean_exit"), view.error
        assert (view.state == "succeeded") == (view.result == {"answer": seed}), view
        assert not living({pid for _, pid in marks(out)})
        if view.state == "succeeded":
            break
        resume_job(jobs.ws, job_id)
    view = settled(jobs, job_id)
    assert (view.state, view.result) == ("succeeded", {"answer": seed})
    require_whole(view, out)
    assert zombies() == []


# --- the surfaces: MCP server and command line


@pytest.fixture
def plan(jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A real plan, whose training is the light probe."""
    monkeypatch.setitem(requests.MODULES, "train", "asrtune_probe_train")
    shards = build(jobs.ws, [corpus(tmp_path, "greek", "el-GR", 8)])
    dev = corpus(tmp_path, "dev", "el-GR", 3, seed=1)
    return make_plan(FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(dev), max_steps=8), jobs.ws).plan


@seeds(short=3, total=60)
def test_a_surface_killed_while_it_launches_leaves_one_whole_job_or_none(jobs: Any, plan: Plan, surface: Open, tally: Counter[str], seed: int) -> None:
    rng = random.Random(seed)
    kind = ("mcp", "cli")[seed % 2]
    running = surface(kind, plan)
    if kind == "mcp":
        running.ask_for_launch()
    running.wait(rng.uniform(0, 2.0) ** 2)
    tally[kind] += running.kill()
    for view in list_jobs(jobs.ws):
        strike(jobs, view.job_id, rng.choice(("nobody", "nobody", "supervisor", "child", "both")), tally)
    again = launch_plan(jobs.ws, plan.summary.plan_id)
    view = finished(jobs, again.job_id)
    assert [known.job_id for known in list_jobs(jobs.ws)] == [view.job_id]
    assert [row.id for row in Ledger.open(jobs.ws).list("run")] == [plan.request.run_id]
    require_whole(view, Path(plan.request.out))
    assert zombies() == []


@seeds(short=1, total=20)
def test_launches_of_one_plan_at_one_moment_from_every_surface_are_one_job(jobs: Any, plan: Plan, surface: Open, seed: int) -> None:
    servers = [surface("mcp", plan) for _ in range(2)]
    shells = [surface("cli", plan) for _ in range(2)]
    for server in servers:
        server.ask_for_launch()
    here = launch_plan(jobs.ws, plan.summary.plan_id)
    answers = [server.heard()["result"]["structuredContent"]["data"] for server in servers]
    answers += [json.loads(shell.running.communicate(timeout=120)[0])["data"] for shell in shells]
    assert {answer["job_id"] for answer in answers} == {here.job_id}
    assert sorted([here.deduplicated, *(answer["deduplicated"] for answer in answers)]) == [False, True, True, True, True]
    view = settled(jobs, here.job_id)
    assert (view.state, view.attempt) == ("succeeded", 1)
    require_whole(view, Path(plan.request.out))
    assert [zombies(server.running.pid) for server in servers] == [[], []]


# --- the machine: disk, clock, permissions, pids


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`faults(disk_full=True, clock_s=-3600)` holds for every process of the jobs from now on (probe/sitecustomize.py), the clock here as well."""
    path = tmp_path / "faults.json"
    monkeypatch.setenv("ASRTUNE_TEST_FAULTS", str(path))
    real, jump = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + jump[0])

    def lay(**values: Any) -> None:
        jump[0] = float(values.get("clock_s", 0.0))
        part = path.with_suffix(".part")
        part.write_text(json.dumps(values), encoding="ascii")
        os.replace(part, path)

    return lay


@seeds(short=3, total=40)
def test_a_clock_that_jumps_by_hours_changes_no_state(jobs: Any, tmp_path: Path, faults: Callable[..., None], seed: int) -> None:
    rng = random.Random(seed)
    out = tmp_path / "out"
    out.mkdir()
    faults(clock_s=rng.choice((0, -90_000, 90_000)))
    job_id = submit(jobs.ws, "probe", jobs.request("marks", out=str(out), result={"answer": seed})).job_id
    for _ in range(rng.randint(1, 6)):
        faults(clock_s=rng.choice((-90_000, -3_600, -60, 60, 3_600, 90_000)))
        get_job(jobs.ws, job_id, wait_s=rng.choice((0.0, 0.1, 0.3)))
    view = settled(jobs, job_id)
    assert (view.state, view.attempt, view.result) == ("succeeded", 1, {"answer": seed})
    require_whole(view, out)


@pytest.mark.parametrize("jump_s", [-90_000, 90_000])
def test_a_clock_that_jumps_neither_shortens_nor_stretches_the_grace_of_a_cancel(jobs: Any, faults: Callable[..., None], jump_s: int) -> None:
    """Of an orphan, whose end its readers watch."""
    job_id = submit(jobs.ws, "probe", jobs.request("stubborn"), grace_s=600.0).job_id
    jobs.at_gate(job_id)
    supervisor, child = jobs.supervisor(job_id), jobs.child(job_id)
    supervisor.send(signal.SIGKILL)
    jobs.until(job_id, lambda view: view.state == "orphaned")
    api_cancel(jobs, job_id)
    faults(clock_s=jump_s)
    assert get_job(jobs.ws, job_id, wait_s=0.5).state == "orphaned"
    assert child.alive
    with Ledger.open(jobs.ws).transaction() as connection:
        connection.execute("UPDATE jobs SET grace_s = 0.0")
    assert settled(jobs, job_id).state == "cancelled"


def api_cancel(jobs: Any, job_id: str) -> None:
    from asrcore.jobs import cancel_job

    assert cancel_job(jobs.ws, job_id).state == "orphaned"


@seeds(short=3, total=40)
def test_a_disk_that_is_full_for_a_while_loses_nothing(jobs: Any, tmp_path: Path, faults: Callable[..., None], seed: int) -> None:
    rng = random.Random(seed)
    out = tmp_path / "out"
    out.mkdir()
    faults()
    job_id = submit(jobs.ws, "probe", jobs.request("marks", out=str(out), result={"answer": seed})).job_id
    for _ in range(rng.randint(0, 6)):
        get_job(jobs.ws, job_id, wait_s=rng.choice((0.0, 0.05, 0.2)))
    faults(disk_full=True)
    for _ in range(rng.randint(1, 8)):
        get_job(jobs.ws, job_id, wait_s=0.2)
    faults()
    view = settled(jobs, job_id)
    assert view.state in ("succeeded", "failed", "lost"), view
    if view.state == "failed":
        assert view.error is not None
        assert view.error.code in ("disk_full", "child_failed"), view.error
    done = finished(jobs, job_id)
    assert done.result == {"answer": seed}
    left = marks(out)
    assert [name for name, pid in left if pid == left[-1][1]] == ["start", "a", "b", "c", "end"]
    assert not living({pid for _, pid in left})


def test_a_disk_that_is_full_at_the_very_end_is_said_so_once_it_can_be_written(jobs: Any, faults: Callable[..., None]) -> None:
    faults()
    job_id = submit(jobs.ws, "probe", jobs.request("wait", result={"answer": 42})).job_id
    jobs.at_gate(job_id)
    child = jobs.child(job_id)
    faults(disk_full=True)
    jobs.open_gate()
    jobs.until(job_id, lambda view: not child.alive)
    assert get_job(jobs.ws, job_id).state == "running"  # nobody could write down anything else
    faults()
    view = settled(jobs, job_id)
    assert view.error is not None
    assert (view.state, view.error.code, view.error.retryable) == ("failed", "disk_full", True)


def test_a_workspace_that_another_user_owns_is_a_coded_error_and_stays_as_it_is(jobs: Any, tmp_path: Path) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("finish")).job_id
    assert jobs.ended(job_id).state == "succeeded"
    known = sorted(path for path in jobs.ws.home.rglob("*"))
    with Ledger.open(jobs.ws) as ledger:
        ledger.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    for folder in [tmp_path, *tmp_path.parents][:4]:
        folder.chmod(folder.stat().st_mode | 0o055)
    for folder in [jobs.ws.home, *(path for path in jobs.ws.home.rglob("*") if path.is_dir())]:
        folder.chmod(0o555)
    for path in jobs.ws.home.rglob("ledger.db*"):
        path.chmod(0o444)
    assert as_nobody(jobs.ws, lambda ws: submit(ws, "probe", {"do": "finish", "tag": "other"}).state) == "ledger_unwritable"
    assert as_nobody(jobs.ws, lambda ws: resume_job(ws, job_id).state) in ("ledger_unwritable", "succeeded")
    for folder in [jobs.ws.home, *(path for path in jobs.ws.home.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    for path in jobs.ws.home.rglob("ledger.db*"):
        path.chmod(0o644)
    assert [view.job_id for view in list_jobs(jobs.ws)] == [job_id]
    assert [path for path in sorted(jobs.ws.home.rglob("*")) if "ledger.db" not in path.name] == [path for path in known if "ledger.db" not in path.name]


def as_nobody(ws: Workspace, call: Callable[[Workspace], str]) -> str:
    """What the call answers, or the code of its error, in a forked copy of this process that gave up its rights."""
    from asrcore.errors import AsrtuneError

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            answer = call(ws)
        except AsrtuneError as error:
            answer = error.code
        except BaseException as error:  # noqa: BLE001
            answer = repr(error)
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


def test_a_pid_that_now_belongs_to_somebody_else_is_never_signalled(jobs: Any) -> None:
    """Simulated: the ledger holds the pids of a bystander, as after enough new processes or a reboot."""
    bystander = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"], start_new_session=True)
    job_id = submit(jobs.ws, "probe", jobs.request("wait")).job_id
    jobs.at_gate(job_id)
    for real in (jobs.supervisor(job_id), jobs.child(job_id)):
        real.send(signal.SIGKILL, group=True)
    stolen = [identity._replace(pid=bystander.pid).encode() for identity in (jobs.supervisor(job_id), jobs.child(job_id))]
    with Ledger.open(jobs.ws).transaction() as connection:
        connection.execute("UPDATE attempts SET supervisor = ?, child = ? WHERE job_id = ?", (*stolen, job_id))
    from asrcore.jobs import cancel_job

    cancel_job(jobs.ws, job_id, grace_s=0.0)
    jobs.ended(job_id)  # a killed supervisor holds its lock until the kernel is done with it
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


@pytest.mark.parametrize(("speaks", "code", "done"), [(False, 143, []), (True, 0, ["start", "a", "b", "c", "end"])])
@pytest.mark.parametrize("behind", [(), ("asrcore.jobs.gated",)], ids=["itself", "torchrun"])
def test_work_whose_supervisor_died_before_it_was_written_down_does_nothing(
    jobs: Any, tmp_path: Path, speaks: bool, code: int, done: list[str], behind: tuple[str, ...]
) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps(jobs.request("marks", out=str(tmp_path))), encoding="utf-8")
    command = process.python_module("asrtune_probe", str(request))
    gate = process.Gate()
    started = process.start_detached(process.python_module(*behind, *command) if behind else command, tmp_path, tmp_path / "log.txt", gate=gate.reader)
    if speaks:
        gate.let_go()
    gate.close()
    assert started.wait() == code, (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert [name for name, _ in marks(tmp_path)] == done
