"""The process that looks after one attempt: `python -m asrcore.jobs.supervisor HOME JOB_ID ATTEMPT CONFIG`, in a session of its own.

It waits for a slot, starts the child, beats, passes on a cancel (SIGTERM, grace, then SIGKILL to the child's whole group), keeps the time
limit and records the end. It sleeps until a signal or a deadline; nothing is polled while the child runs. When it dies itself, the child
goes on, and readers of the ledger finish its work (`reconcile.py`).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from asrcore.errors import AsrtuneError, EnvironmentFault, ErrorView
from asrcore.jobs import child, process, store
from asrcore.jobs.ledger import Ledger
from asrcore.jobs.notify import Notice, notice_of, notify
from asrcore.jobs.outcome import LOG, Why, attempt_folder
from asrcore.jobs.reconcile import reconcile
from asrcore.jobs.record import finalise
from asrcore.jobs.store import HEARTBEAT_S, Job
from asrcore.workspace import load_config

_QUEUE_POLL_S = 0.5
_RECORD_TRIES = 12


class Wake:
    """Sleep that ends early on SIGTERM and SIGCHLD."""

    def __init__(self) -> None:
        self.terminated = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGCHLD, self._on_child)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, seconds: float) -> None:
        select.select([self._reader], [], [], max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def _on_term(self, _signal: int, _frame: FrameType | None) -> None:
        self.terminated = True

    def _on_child(self, _signal: int, _frame: FrameType | None) -> None:
        """Only so that the wake-up pipe is written to."""


class Supervisor:
    def __init__(self, home: Path, job_id: str, attempt: int, config: Path, wake: Wake) -> None:
        self.home = home
        self.config = config
        self.job_id = job_id
        self.attempt = attempt
        self.wake = wake
        self.ledger = Ledger(home / "ledger.db")
        self.folder = attempt_folder(home, job_id, attempt)
        self._last_beat = 0.0

    def run(self) -> int:
        me = process.identify(os.getpid())
        if me is None or not store.register_supervisor(self.ledger, self.job_id, self.attempt, me):
            _log("this attempt is over or another supervisor's")
            return 0
        job = self._wait_for_slot()
        if job is None:
            return 0
        gate = process.Gate()
        try:
            running = process.start_detached(
                process.python_module(job.module, str(self.folder / child.REQUEST)), self.folder, self.folder / LOG, gate=gate.reader
            )
        except OSError as error:
            self._refuse(job, error)
            return EnvironmentFault.exit_code
        with self.ledger.transaction() as connection:
            mine = store.advance(connection, job, "running", child=process.identify(running.pid))
        if not mine:
            _log("the attempt was ended by a reader; the child is stopped")
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            return 0
        gate.let_go()
        gate.close()
        why = self._watch(running, self._job())
        self._record(running.returncode, why)
        return 0

    def _job(self) -> Job:
        return store.load(self.ledger, self.job_id)

    def _wait_for_slot(self) -> Job | None:
        """The job in state `starting`, or None when it was cancelled first. First queued, first started, among those whose supervisor lives."""
        while True:
            job = self._job()
            if job.attempt != self.attempt or job.state != "queued":
                return None
            if self.wake.terminated or job.cancel_at is not None:
                finalise(self.ledger, self.home, job, None, "cancel")
                return None
            busy = [other for other in store.in_states(self.ledger, *store.BUSY) if reconcile(self.ledger, self.home, other).state in store.LIVE]
            before = [other for other in store.in_states(self.ledger, "queued") if other.queued < job.queued and other.supervised]
            if len(busy) + len(before) < job.slots and self._take_slot(job):
                return self._job()
            self._beat(job)
            self.wake.wait(_QUEUE_POLL_S)

    def _take_slot(self, job: Job) -> bool:
        marks = ", ".join("?" * len(store.BUSY))
        with self.ledger.transaction() as connection:
            busy = connection.execute(f"SELECT count(*) FROM attempts WHERE state IN ({marks})", store.BUSY).fetchone()[0]  # noqa: S608
            return busy < job.slots and store.advance(connection, job, "starting")

    def _watch(self, running: subprocess.Popen[bytes], job: Job) -> Why | None:
        """Until the child ended; also ends what is left of its process group."""
        why: Why | None = None
        limit = float("inf") if job.walltime_s is None else time.monotonic() + job.walltime_s
        kill_at = float("inf")
        while not _has_ended(running):
            self._beat(job)
            now = time.monotonic()
            if why is None:
                why = self._reason_to_stop(now > limit)
                if why is not None:
                    running.terminate()
                    kill_at = now + self._job().grace_s
            elif now >= kill_at:
                os.killpg(running.pid, signal.SIGKILL)
                kill_at = float("inf")
            self.wake.wait(min(HEARTBEAT_S, kill_at - now, limit - now if why is None else HEARTBEAT_S))
        # The zombie still holds its pid, so this group is the child's own and no later one.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        return why

    def _reason_to_stop(self, over_time: bool) -> Why | None:
        if self.wake.terminated:
            return "cancel"
        try:
            if self._job().cancel_at is not None:
                return "cancel"
        except AsrtuneError as error:
            _log(str(error))
        return "walltime" if over_time else None

    def _beat(self, job: Job) -> None:
        """A heartbeat that cannot be written (full disk) must not end hours of work."""
        if time.monotonic() - self._last_beat < HEARTBEAT_S:
            return
        self._last_beat = time.monotonic()
        try:
            store.record_beat(self.ledger, job)
        except AsrtuneError as error:
            _log(str(error))

    def _record(self, exit_code: int, why: Why | None) -> None:
        """Tries for a minute when the ledger cannot be written; after that readers judge by the files."""
        for _ in range(_RECORD_TRIES):
            try:
                job = self._job()
                outcome = finalise(self.ledger, self.home, job, exit_code, why) if job.attempt == self.attempt else None
            except AsrtuneError as error:
                _log(str(error))
                self.wake.wait(HEARTBEAT_S)
            else:
                if outcome is not None:
                    self._tell(notice_of(job, outcome))
                return

    def _tell(self, notice: Notice) -> None:
        """By the config as it is now, not as it was when the job was started days ago."""
        try:
            if self.config.is_file():
                for problem in notify(load_config(self.config).notify, notice, self.wake.wait):
                    _log(problem)
        except AsrtuneError as error:
            _log(str(error))

    def _refuse(self, job: Job, error: OSError) -> None:
        view = ErrorView.of(EnvironmentFault(
            "child_not_started", f"the process could not be started ({error.strerror}).",
            next_step=f'call doctor {{}}, then resume_job with {{"job_id": "{job.id}"}}.', retryable=True,
        ))  # fmt: skip
        with self.ledger.transaction() as connection:
            store.advance(connection, job, "failed", reason=view.code, error=view)


def _has_ended(running: subprocess.Popen[bytes]) -> bool:
    """Without collecting the exit status, so that the pid stays taken until the group is dealt with."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return running.poll() is not None
    return os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> int:
    home, job_id, attempt, config = sys.argv[1:]
    with Wake() as wake:
        return Supervisor(Path(home), job_id, int(attempt), Path(config), wake).run()


if __name__ == "__main__":
    sys.exit(main())
