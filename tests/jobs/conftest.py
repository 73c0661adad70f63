"""A test-only job kind that runs real, light child processes, and bounded waits through the public long-poll."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from asrcore import requests
from asrcore.jobs import ENDED, JobView, Ledger, get_job, list_jobs, store
from asrcore.jobs.process import Identity
from asrcore.recipe import Plan
from asrcore.workspace import Workspace
from tests.jobs.storm import Surface

PROBE = Path(__file__).parent / "probe"
WAITS = 60


class Jobs:
    """Drives jobs of the probe kind in one workspace."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.waits = WAITS
        self.gate_path = ws.base_folder / "gate"

    def request(self, do: str, **more: Any) -> dict[str, Any]:
        if do in ("wait", "two_gates", "stubborn", "ill"):
            if not self.gate_path.exists():
                os.mkfifo(self.gate_path)
            more["gate"] = str(self.gate_path)
        return {"do": do, **more}

    def open_gate(self) -> None:
        """Lets every child at the gate go on. Fails loudly if none stands there."""
        os.close(os.open(self.gate_path, os.O_WRONLY | os.O_NONBLOCK))

    def until(self, job_id: str, holds: Callable[[JobView], bool]) -> JobView:
        view = get_job(self.ws, job_id)
        for _ in range(self.waits):
            if holds(view):
                return view
            view = get_job(self.ws, job_id, wait_s=2.0)
        raise AssertionError(f"the job never got there: {view}")

    def ended(self, job_id: str) -> JobView:
        return self.until(job_id, lambda view: view.state in ENDED)

    def at_gate(self, job_id: str) -> JobView:
        return self.until(job_id, lambda view: view.state == "running" and view.progress is not None and view.progress.stage == "gate")

    def row(self, job_id: str) -> store.Job:
        return store.load(Ledger.open(self.ws), job_id)

    def supervisor(self, job_id: str) -> Identity:
        identity = self.row(job_id).supervisor
        assert identity is not None
        return identity

    def child(self, job_id: str) -> Identity:
        identity = self.row(job_id).child
        assert identity is not None
        return identity

    def history(self, job_id: str) -> list[str]:
        return [row["state"] for row in Ledger.open(self.ws).rows("SELECT state FROM events WHERE job_id = ? ORDER BY seq", job_id)]


@pytest.fixture
def jobs(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setitem(requests.MODULES, "probe", "asrtune_probe")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROBE), os.environ.get("PYTHONPATH", "")]))
    yield Jobs(ws)
    for view in list_jobs(ws, 100):
        job = store.load(Ledger.open(ws), view.job_id)
        for process in (job.supervisor, job.child):
            if process is not None:
                process.send(signal.SIGKILL, group=True)


@pytest.fixture
def launch(jobs: Jobs) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts another process that says `ready`, submits the probe request it reads as a line, prints [job id, deduplicated] and waits."""
    code = (
        "import json, sys\n"
        "from asrcore import requests\n"
        "from asrcore.jobs import submit\n"
        "from asrcore.workspace import Workspace\n"
        "requests.MODULES['probe'] = 'asrtune_probe'\n"
        "print('ready', flush=True)\n"
        "view = submit(Workspace.open(), 'probe', json.loads(sys.stdin.readline()))\n"
        "print(json.dumps([view.job_id, view.deduplicated]), flush=True)\n"
        "sys.stdin.readline()\n"
    )
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=jobs.ws.base_folder)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


Open = Callable[[str, Plan], Surface]


@pytest.fixture
def surface(jobs: Jobs) -> Iterator[Callable[..., Surface]]:
    """Opens surfaces (`storm.Surface`) whose training is the light probe, or with `module="asrtune"` the real one."""
    opened: list[Surface] = []

    def start(kind: str, plan: Plan, module: str = "asrtune_surface") -> Surface:
        opened.append(Surface(kind, plan, jobs.ws.base_folder, module))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def tally(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Iterator[Counter[str]]:
    """Whom a trial of a storm really killed; summed up at the end of the run."""
    hit: Counter[str] = Counter()
    yield hit
    record_property("storm", [request.node.path.stem, dict(hit)])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Trials and blows of the storms that ran, by file; a trial is right when its test passed."""
    reports = [report for group in terminalreporter.stats.values() for report in group if isinstance(report, pytest.TestReport)]
    wrong = {report.nodeid for report in reports if report.failed}
    storms: dict[str, tuple[set[str], Counter[str]]] = {}
    for report in reports:
        for name, value in report.user_properties:
            if name == "storm" and report.when == "teardown":
                file, blows = cast("tuple[str, dict[str, int]]", value)
                trials, hit = storms.setdefault(file, (set(), Counter()))
                trials.add(report.nodeid)
                hit.update(blows)
    for name, (trials, hit) in sorted(storms.items()):
        blows = ", ".join(f"{victim} {count}" for victim, count in sorted(hit.items()))
        terminalreporter.write_line(f"{name}: {len(trials)} trials, {len(trials & wrong)} wrong; killed: {blows or 'nobody'}")
