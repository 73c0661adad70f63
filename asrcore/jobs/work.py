"""The work that a supervisor looks after on this machine: its own child, or an orphan of another supervisor that died."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Protocol

from asrcore.jobs.process import Identity
from asrcore.jobs.store import HEARTBEAT_S


class Work(Protocol):
    poll_s: float
    """How often to ask for its end, where nothing wakes the supervisor."""

    def ended(self) -> bool: ...

    def ask_to_stop(self) -> None:
        """SIGTERM: it may save what it has."""
        ...

    def kill(self) -> None:
        """SIGKILL to its whole process group."""
        ...

    def close(self) -> int | None:
        """After its end: ends what is left of its group, and tells the exit code where that can be known."""
        ...


class Child:
    """Started by this supervisor, whom SIGCHLD wakes."""

    poll_s = HEARTBEAT_S

    def __init__(self, running: subprocess.Popen[bytes]) -> None:
        self.running = running

    def ended(self) -> bool:
        """Without collecting the exit status, so that the pid stays taken until the group is dealt with."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self.running.poll() is not None
        return os.waitid(os.P_PID, self.running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def ask_to_stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.running.pid, signal.SIGTERM)  # Popen.terminate would collect the status of one that just ended

    def kill(self) -> None:
        """Of one that has ended, the zombie still holds the pid: the group is its own and no later one."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.running.pid, signal.SIGKILL)

    def close(self) -> int:
        self.kill()
        return self.running.wait()


class Orphan:
    """Started by a supervisor that died: known by its identity alone. Its parent is init, so nobody here learns its exit code."""

    poll_s = 0.5

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    def ended(self) -> bool:
        return not self.identity.alive

    def ask_to_stop(self) -> None:
        self.identity.send(signal.SIGTERM)

    def kill(self) -> None:
        self.identity.send(signal.SIGKILL, group=True)

    def close(self) -> None:
        """Its group may be a later process's by now, and is left alone."""
