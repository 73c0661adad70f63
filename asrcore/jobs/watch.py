"""The supervisor's eye on health: each kind of alarm is told of once per attempt, and how busy its GPUs are is written down."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections import deque
from pathlib import Path
from statistics import mean

from asrcore.errors import AsrtuneError
from asrcore.jobs import store
from asrcore.jobs.child import EVENTS
from asrcore.jobs.health import ALARMS, assess
from asrcore.jobs.ledger import Ledger
from asrcore.jobs.notify import Tell, unhealthy
from asrcore.jobs.progress import recent_events
from asrcore.jobs.store import HEARTBEAT_S, Job
from asrcore.machine import read_gpus

_QUIET_S = 60.0
"""Without new events only `stalled` can be news."""
GPU_EVERY_S, GPU_LOOKS = 15.0, 12
"""The driver's word on how busy a GPU is covers its last second; the mean of so many looks, three minutes, says something."""


class HealthWatch:
    def __init__(self, ledger: Ledger, folder: Path, tell: Tell) -> None:
        self.ledger = ledger
        self.folder = folder
        self.tell = tell
        self._looked = -_QUIET_S
        self._size: int = 0
        self._gpus_looked = -GPU_EVERY_S
        self._busy: deque[float] = deque(maxlen=GPU_LOOKS)

    def look(self, job: Job) -> None:
        """Reads the last events, at most once a heartbeat, and tells of an alarm that was not told of yet. Never raises for a full disk."""
        self._look_at_gpus(job)
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

    def _look_at_gpus(self, job: Job) -> None:
        now = time.monotonic()
        if not job.gpus or job.state == "starting" or now - self._gpus_looked < GPU_EVERY_S:
            return
        self._gpus_looked = now
        with contextlib.suppress(OSError, subprocess.SubprocessError, AsrtuneError):  # at the next look again
            mine = store.leased(self.ledger, job)
            busy = [gpu.busy_percent for gpu in read_gpus() if gpu.uuid in mine and gpu.busy_percent is not None]
            if busy:
                self._busy.append(mean(busy))
            if len(self._busy) == GPU_LOOKS:
                store.record_gpu_busy(self.ledger, job, mean(self._busy))

    def _event_bytes(self) -> int:
        try:
            return os.stat(self.folder / EVENTS).st_size
        except FileNotFoundError:
            return 0
