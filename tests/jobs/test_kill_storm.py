"""Many jobs, each hit by SIGKILL at a random moment: no wrong final state, no work done twice, no result lost, nothing left running.

A failed seed is replayed by `pytest -m slow tests/jobs/test_kill_storm.py -k seed_N`; the moment within the machine's own timing still varies.
"""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from asrcore.jobs import ENDED, JobView, get_job, process, resume_job, submit

pytestmark = pytest.mark.slow

TRIALS = 180
VICTIMS = ("supervisor", "child", "both", "child first", "nobody")


def strike(jobs: Any, job_id: str, victim: str) -> None:
    """Kills what lives of it at this moment, whole groups, as the kernel's memory killer or a reboot would."""
    row = jobs.row(job_id)
    supervisor = [row.supervisor] if row.supervisor else []
    child = [row.child] if row.child else []
    order = {"supervisor": supervisor, "child": child, "both": [*supervisor, *child], "child first": [*child, *supervisor], "nobody": []}[
        victim
    ]
    for one in order:
        one.send(signal.SIGKILL, group=True)


def settled(jobs: Any, job_id: str) -> JobView:
    view = get_job(jobs.ws, job_id)
    for _ in range(60):
        if view.state in ENDED:
            return view
        view = get_job(jobs.ws, job_id, wait_s=2.0)
    raise AssertionError(f"never ended: {view}")


def marks(out: Path) -> list[tuple[str, int]]:
    if not (out / "marks").exists():
        return []
    lines = (out / "marks").read_text(encoding="utf-8").splitlines()
    return [(name, int(pid)) for name, pid in (line.split() for line in lines)]


def living(pids: set[int]) -> set[int]:
    def lives(pid: int) -> bool:
        try:
            return "asrtune_probe" in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False

    return {pid for pid in pids if lives(pid)}


@pytest.mark.parametrize("seed", range(TRIALS), ids=lambda seed: f"seed_{seed}_")
def test_a_job_hit_at_a_random_moment_ends_right_and_can_be_finished(jobs: Any, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    out = tmp_path / "out"
    out.mkdir()
    job_id = submit(jobs.ws, "probe", jobs.request("marks", out=str(out), result={"answer": seed})).job_id
    for _ in range(rng.randint(1, 3)):
        for _ in range(rng.randint(0, 12)):
            get_job(jobs.ws, job_id, wait_s=rng.choice((0.0, 0.02, 0.1)))
        strike(jobs, job_id, rng.choice(VICTIMS))
        view = settled(jobs, job_id)
        assert view.state in ("succeeded", "lost", "failed"), view
        if view.state == "failed":
            assert view.error is not None
            assert view.error.code in ("out_of_memory_or_killed", "terminated"), view.error
        assert (view.state == "succeeded") == (view.result == {"answer": seed}), view
        assert not living({pid for _, pid in marks(out)})
        if view.state == "succeeded":
            break
        resume_job(jobs.ws, job_id)
    view = settled(jobs, job_id)
    assert (view.state, view.result) == ("succeeded", {"answer": seed})
    starts = [pid for name, pid in marks(out) if name == "start"]
    assert len(starts) == len(set(starts)) <= view.attempt
    assert [name for name, pid in marks(out) if pid == starts[-1]] == ["start", "a", "b", "c", "end"]
    assert not living(set(starts))


@pytest.mark.parametrize(("speaks", "code", "done"), [(False, 143, []), (True, 0, ["start", "a", "b", "c", "end"])])
def test_a_child_whose_supervisor_died_before_it_was_written_down_does_nothing(
    jobs: Any, tmp_path: Path, speaks: bool, code: int, done: list[str]
) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps(jobs.request("marks", out=str(tmp_path))), encoding="utf-8")
    gate = process.Gate()
    started = process.start_detached(process.python_module("asrtune_probe", str(request)), tmp_path, tmp_path / "log.txt", gate=gate.reader)
    if speaks:
        gate.let_go()
    gate.close()
    assert started.wait() == code, (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert [name for name, _ in marks(tmp_path)] == done
