"""What the storms share: seeds, the marks that work leaves, and what must hold after every blow."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest

from asrcore.jobs import ENDED, JobView, get_job, resume_job

MARKS = ["start", "a", "b", "c", "end"]


def seeds(short: int, total: int) -> Any:
    """`seed_N_` for N < total; the first `short` run always, the rest in the slow run. One is replayed by `-m '' -k seed_N_`."""
    values = [pytest.param(seed, marks=() if seed < short else pytest.mark.slow, id=f"seed_{seed}_") for seed in range(total)]
    return pytest.mark.parametrize("seed", values)


def strike(jobs: Any, job_id: str, victim: str) -> None:
    """Kills what lives of it at this moment, whole groups, as the kernel's memory killer or a reboot would."""
    row = jobs.row(job_id)
    supervisor = [row.supervisor] if row.supervisor else []
    child = [row.child] if row.child else []
    order = {"supervisor": supervisor, "child": child, "both": [*supervisor, *child], "child first": [*child, *supervisor], "nobody": []}
    for one in order[victim]:
        one.send(signal.SIGKILL, group=True)


def settled(jobs: Any, job_id: str) -> JobView:
    view = get_job(jobs.ws, job_id)
    for _ in range(60):
        if view.state in ENDED:
            return view
        view = get_job(jobs.ws, job_id, wait_s=2.0)
    raise AssertionError(f"never ended: {view}")


def finished(jobs: Any, job_id: str, attempts: int = 6) -> JobView:
    """Resumes until it succeeded, as whoever reads its next actions would."""
    for _ in range(attempts):
        view = settled(jobs, job_id)
        if view.state == "succeeded":
            return view
        resume_job(jobs.ws, job_id)
    raise AssertionError(f"never succeeded: {settled(jobs, job_id)}")


def marks(out: Path) -> list[tuple[str, int]]:
    if not (out / "marks").exists():
        return []
    lines = (out / "marks").read_text(encoding="utf-8").splitlines()
    return [(name, int(pid)) for name, pid in (line.split() for line in lines)]


def living(pids: Iterable[int]) -> set[int]:
    def lives(pid: int) -> bool:
        try:
            return "asrtune_probe" in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False

    return {pid for pid in pids if lives(pid)}


def require_whole(view: JobView, out: Path) -> None:
    """No attempt ran twice, the last one ran through, and nothing of it lives."""
    left = marks(out)
    starts = [pid for name, pid in left if name == "start"]
    assert len(starts) == len(set(starts)) <= view.attempt
    assert [name for name, pid in left if pid == starts[-1]] == MARKS
    assert not living(starts)


def zombies(pid: int | None = None) -> list[int]:
    """Dead children of a process that nobody collected, once its reapers are through."""
    if pid is None:
        for thread in threading.enumerate():
            if thread.name.startswith("reap-"):
                thread.join(timeout=60)
    return [child.pid for child in psutil.Process(pid or os.getpid()).children() if child.status() == psutil.STATUS_ZOMBIE]
