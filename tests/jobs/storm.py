"""What the storms share: seeds, surfaces to be killed, the marks that work leaves, and what must hold after every blow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest

from asrcore.jobs import ENDED, JobView, get_job, resume_job
from asrcore.recipe import Plan

MARKS = ["start", "a", "b", "c", "end"]


def seeds(short: int, total: int) -> Any:
    """`seed_N_` for N < total; the first `short` run always, the rest in the slow run. One is replayed by `-m '' -k seed_N_`."""
    values = [pytest.param(seed, marks=() if seed < short else pytest.mark.slow, id=f"seed_{seed}_") for seed in range(total)]
    return pytest.mark.parametrize("seed", values)


class Surface:
    """`mcp` (the server, ready for its first call) or `cli` (about to launch the plan) in a session of its own. `module` is what Python runs."""

    def __init__(self, kind: str, plan: Plan, folder: Path, module: str) -> None:
        self.plan = plan
        words = ["mcp"] if kind == "mcp" else ["call", "launch_finetune", "--json", json.dumps({"plan_id": plan.summary.plan_id})]
        self.running = subprocess.Popen([sys.executable, "-m", module, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, cwd=folder, start_new_session=True)  # fmt: skip
        if kind == "mcp":
            self._tell(1, "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}})
            assert "result" in self.heard()
            self._tell(None, "notifications/initialized", {})

    def ask_for_launch(self) -> None:
        """Of a server; a command line launches by itself."""
        self._tell(2, "tools/call", {"name": "launch_finetune", "arguments": {"plan_id": self.plan.summary.plan_id}})

    def heard(self) -> dict[str, Any]:
        assert self.running.stdout is not None
        return json.loads(self.running.stdout.readline())

    def wait(self, seconds: float) -> None:
        """Until it ends, or so long."""
        try:
            self.running.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return

    def kill(self) -> bool:
        """False when it had ended by itself."""
        if self.running.poll() is not None:
            return False
        os.killpg(self.running.pid, signal.SIGKILL)
        self.running.wait()
        return True

    def close(self) -> None:
        self.running.kill()
        self.running.communicate()

    def _tell(self, number: int | None, method: str, params: dict[str, Any]) -> None:
        assert self.running.stdin is not None
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
        self.running.stdin.write(json.dumps(message if number is None else message | {"id": number}) + "\n")
        self.running.stdin.flush()


def strike(jobs: Any, job_id: str, victim: str, tally: Counter[str] | None = None) -> None:
    """Kills what lives of it at this moment, whole groups, as the kernel's memory killer or a reboot would. `tally` counts who was really hit."""
    row = jobs.row(job_id)
    supervisor = [("supervisor", row.supervisor)] if row.supervisor else []
    child = [("work", row.child)] if row.child else []
    order = {"supervisor": supervisor, "child": child, "both": [*supervisor, *child], "child first": [*child, *supervisor], "nobody": []}
    for name, one in order[victim]:
        if one.send(signal.SIGKILL, group=True) and tally is not None:
            tally[name] += 1


def settled(jobs: Any, job_id: str) -> JobView:
    view = get_job(jobs.ws, job_id)
    for _ in range(jobs.waits):
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


def left_running(home: Path) -> list[str]:
    """Command lines of processes that still work for this workspace; those that are just leaving get half a minute."""
    found: list[str] = []
    for _ in range(300):
        lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
        found = [line for line in lines if str(home) in line and "asrcore" in line]
        if not found:
            break
        signal.sigtimedwait([], 0.1)
    return found
