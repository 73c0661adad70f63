"""What a cluster has to answer so that a job there has the same ledger, states and files as one here.

A cluster's work is the very child module that runs here, in the attempt's folder, which lies on storage that the nodes see at the same path.
So progress, log, result and errors come by files; only "does it still run" and "stop it" go through the cluster's own commands.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from asrcore.errors import EnvironmentFault, ToolFault, clean_text
from asrcore.jobs.child import REQUEST
from asrcore.jobs.process import environment
from asrcore.workspace import Config

Phase = Literal["waiting", "running", "succeeded", "failed", "cancelled", "timeout", "memory", "node", "preempted", "unstarted", "gone"]
"""A cluster's own state words, in few; `gone`: the cluster no longer knows the job. All but the first two are ends."""

LIVE_PHASES: frozenset[Phase] = frozenset(("waiting", "running"))

GO = "go"
"""The work waits for this file, which is written once the ledger holds the cluster's id: what nobody knows of does nothing."""
GO_S = 600
NOT_SHARED_EXIT = 78
NOT_LET_GO_EXIT = 75
TIMEOUT_EXIT = 124
KILL_LEAD_S = 5
"""torchrun ends processes that do not save in time so long before it is ended itself."""
TOOL_S = 60.0


class Task(NamedTuple):
    """What is started or rendered: one attempt of one job. Times in seconds; `processes` over 1 are started by torchrun, on one machine."""

    name: str
    folder: Path
    module: str
    grace_s: float
    limit_s: float
    processes: int = 1


class Seen(NamedTuple):
    """What a cluster says of one job. `word` is its own state; `exit_code` is negative for a signal; `left_s` is time up to its limit."""

    phase: Phase
    word: str
    exit_code: int | None = None
    left_s: float | None = None

    @property
    def ended(self) -> bool:
        return self.phase not in LIVE_PHASES


class Cluster(Protocol):
    """One kind of cluster. All calls take seconds at worst and raise `backend_missing` when its commands are not on PATH."""

    title: str
    file: str
    """Name of the rendered text in the attempt's folder; this very file is submitted."""
    commands: tuple[str, ...]
    """What has to be on PATH."""

    def render(self, task: Task, config: Config) -> str:
        """The script or task text; a pure function."""
        ...

    def submit(self, folder: Path, name: str) -> str:
        """The cluster's id. Raises `cluster_refused`."""
        ...

    def find(self, name: str) -> str | None:
        """The id of the job of that name, if the cluster has one; raises `cluster_silent` when it does not answer."""
        ...

    def look(self, remote_id: str, folder: Path) -> Seen | None:
        """None when the cluster does not answer now."""
        ...

    def stop(self, remote_id: str, grace_s: float) -> None:
        """Asks the work to save and end."""
        ...

    def kill(self, remote_id: str) -> None:
        """Ends it and takes it out of the queue; harmless when it has ended."""
        ...


def torchrun(python: str, task: Task) -> list[str]:
    """The work behind torchrun. Told to end, it gives its processes the job's grace to save, and not 30 s as by default."""
    return [
        python, "-P", "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={task.processes}",
        f"--shutdown-timeout={max(1, math.floor(task.grace_s) - KILL_LEAD_S)}", "-m", task.module, str(task.folder / REQUEST),
    ]  # fmt: skip


def work_of(python: str, task: Task) -> list[str]:
    """Command line of the work on a cluster's node; `-P` and PYTHONSAFEPATH keep the job's folder, which holds data, off the import path."""
    if task.processes > 1:
        return ["env", "PYTHONSAFEPATH=1", *torchrun(python, task)]
    return [python, "-P", "-m", task.module, str(task.folder / REQUEST)]


class Answer(NamedTuple):
    code: int
    out: str
    err: str


def ask(title: str, argv: Sequence[str], *, cwd: Path | None = None, timeout_s: float = TOOL_S) -> Answer | None:
    """Runs one command of a cluster, without a shell and without credentials of this environment. None when it does not answer in time.

    Raises `backend_missing`.
    """
    try:
        done = subprocess.run(argv, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return None
    except FileNotFoundError:
        raise missing(title, (argv[0],)) from None
    return Answer(done.returncode, done.stdout.decode("utf-8", errors="replace"), done.stderr.decode("utf-8", errors="replace"))


def require_commands(title: str, commands: Sequence[str]) -> None:
    """Raises `backend_missing` with every command that is not on PATH."""
    absent = [command for command in commands if shutil.which(command) is None]
    if absent:
        raise missing(title, absent)


def missing(title: str, commands: Sequence[str]) -> EnvironmentFault:
    return EnvironmentFault("backend_missing", f"{title} needs {', '.join(commands)} on PATH, which this host does not have.",
                            next_step="run asrtune on a host that may submit there, or launch with backend local.")  # fmt: skip


def refused(title: str, answer: Answer | None) -> ToolFault:
    """What a cluster says when it does not take a job; the end of its own words, cleaned."""
    said = "no answer in time" if answer is None else clean_text(" ".join((answer.err or answer.out).split())[-300:], 300)
    return ToolFault("cluster_refused", f"{title} did not take the job: {said or 'no reason given'}.",
                     next_step="mend asrtune.toml (or the cluster) by hand, then resume_job.", retryable=True)  # fmt: skip


def silent(title: str) -> ToolFault:
    return ToolFault("cluster_silent", f"{title} does not answer.", next_step="run the same call again later.", retryable=True)


def prologue(task: Task, folder: str) -> list[str]:
    """Shell lines before the work: into the attempt's folder, and no further until the ledger knows this job. `folder` is quoted already."""
    return [
        f"cd {folder} || exit {NOT_SHARED_EXIT}",
        f"for _ in $(seq {2 * GO_S}); do [ -e {GO} ] && break; sleep 0.5; done",
        f"[ -e {GO} ] || exit {NOT_LET_GO_EXIT}",
    ]
