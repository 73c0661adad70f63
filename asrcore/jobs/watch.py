"""The supervisor's eye on health: each kind of alarm is told of once per attempt."""

from __future__ import annotations

import os
import time
from pathlib import Path

from asrcore.errors import AsrtuneError
from asrcore.jobs import store
from asrcore.jobs.child import EVENTS
from asrcore.jobs.health import ALARMS, assess
from asrcore.jobs.ledger import Ledger
from asrcore.jobs.notify import Tell, unhealthy
from asrcore.jobs.progress import recent_events
from asrcore.jobs.store import HEARTBEAT_S, Job

_QUIET_S = 60.0
"""Without new events only `stalled` can be news."""


class HealthWatch:
    def __init__(self, ledger: Ledger, folder: Path, tell: Tell) -> None:
        self.ledger = ledger
        self.folder = folder
        self.tell = tell
        self._looked = -_QUIET_S
        self._size: int = 0

    def look(self, job: Job) -> None:
        """Reads the last events, at most once a heartbeat, and tells of an alarm that was not told of yet. Never raises for a full disk."""
        now, size = time.monotonic(), self._event_bytes()
        if now - self._looked < (HEARTBEAT_S if size != self._size else _QUIET_S):
            return
        self._looked, self._size = now, size
        status = assess(recent_events(self.folder)).status
        if status not in ALARMS:
            return
        try:
            if store.first_time(self.ledger, f"job_unhealthy {job.id} {job.attempt} {status}"):
                self.tell(unhealthy(job, status))
        except AsrtuneError:
            return  # at the next look again

    def _event_bytes(self) -> int:
        try:
            return os.stat(self.folder / EVENTS).st_size
        except FileNotFoundError:
            return 0
