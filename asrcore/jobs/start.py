"""Starts supervisors: of an attempt that was just queued, and of an orphan whose own one died."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path

from asrcore.errors import AsrtuneError
from asrcore.jobs import process, store
from asrcore.jobs.ledger import Ledger
from asrcore.jobs.outcome import attempt_folder
from asrcore.jobs.store import Job

_AGAIN_S = 10.0
"""One process tries no more often than this to have one orphan adopted: on a full disk every try would fail."""
_tried: dict[tuple[str, int], float] = {}


def start_supervisor(home: Path, job: Job, config: Path) -> subprocess.Popen[bytes]:
    """In a session of its own. Raises OSError."""
    folder = attempt_folder(home, job.id, job.attempt)
    command = process.python_module("asrcore.jobs.supervisor", str(home), job.id, str(job.attempt), str(config))
    return process.start_detached(command, folder, folder / "supervisor.log")


def have_adopted(ledger: Ledger, home: Path, job: Job, config: Path) -> None:
    """Starts a new supervisor for an orphan of this machine, so that its limits and its end need no reader. Never raises: the next reader tries again."""
    key, now = (job.id, job.attempt), time.monotonic()
    if now - _tried.get(key, -_AGAIN_S) < _AGAIN_S:
        return
    _tried[key] = now
    with contextlib.suppress(AsrtuneError, OSError):
        running = start_supervisor(home, job, config)
        identity = process.identify(running.pid)
        process.reap_in_background(running)
        if identity is not None:
            store.adopt(ledger, job, identity)
