"""The process that looks after one attempt: `python -m asrcore.jobs.supervisor HOME JOB_ID ATTEMPT CONFIG`, in a session of its own.

It waits for a slot and for GPUs, starts the child, beats, passes on a cancel (SIGTERM, grace, then SIGKILL to the child's whole group), keeps
the caps and records the end. It sleeps until a signal, a deadline or its heartbeat. When it dies itself, the child goes on; the next reader of
the ledger (`reconcile.py`) starts another supervisor, which adopts the orphan. For a cluster it submits, and then looks after the job there
(`remote.py`) in the same way.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from concurrent import futures
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from asrcore.errors import AsrtuneError, EnvironmentFault, ErrorView
from asrcore.jobs import child, process, remote, store
from asrcore.jobs.backends import CLUSTERS, command_here, gpus_of, pool_of, settings_of
from asrcore.jobs.ledger import Ledger
from asrcore.jobs.notify import Notice, messenger, notice_of, notify
from asrcore.jobs.outcome import Outcome, Why, attempt_folder
from asrcore.jobs.reconcile import reconcile, supervised
from asrcore.jobs.record import finalise
from asrcore.jobs.room import gpus_here, require_room
from asrcore.jobs.store import HEARTBEAT_S, Cap, Job, Remote
from asrcore.jobs.watch import HealthWatch
from asrcore.jobs.work import Child, Orphan, Work
from asrcore.workspace import Config, load_config

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
        self.tell_later = messenger(config, home)
        self.health = HealthWatch(self.ledger, self.folder, self.tell_later)
        self._last_beat = 0.0
        self._visible: tuple[str, ...] = ()
        """UUIDs of the GPUs that this machine has for the job."""

    def run(self) -> int:
        me = process.identify(os.getpid())
        if me is None:
            return EnvironmentFault.exit_code
        if not store.register_supervisor(self.ledger, self.job_id, self.attempt, me):
            return self._adopt(me)
        queued = self._job()
        try:
            self._visible = tuple(gpu.uuid for gpu in gpus_here(queued))
        except AsrtuneError as error:
            self._fail(queued, error)
            return error.exit_code
        job = self._wait_for_slot()
        if job is None:
            return 0
        try:
            require_room(self.home, job, store.leased(self.ledger, job))
        except AsrtuneError as error:
            self._fail(job, error)
            return error.exit_code
        self._sweep_lost(job)
        return self._run_in_cluster(job) if job.backend in CLUSTERS else self._run_here(job)

    def _adopt(self, me: process.Identity) -> int:
        """Looks after work whose supervisor died, if that is what this attempt is."""
        job = self._job()
        mine = job.supervisor == me or not supervised(self.ledger, job)
        if job.attempt != self.attempt or job.child is None or not mine or not store.adopt(self.ledger, job, me):
            _log("this attempt is over or another supervisor's")
            return 0
        self._record(None, self._watch(Orphan(job.child), job))
        return 0

    def _run_here(self, job: Job) -> int:
        gate = process.Gate()
        mine = store.leased(self.ledger, job)
        try:
            command = command_here(job.backend, remote.task_of(job, self.folder, self._config()))
            running = process.start_detached(command, self.folder, self.folder / child.LOG, gate=gate.reader, gpus=mine)
        except OSError as error:
            self._fail(job, EnvironmentFault(
                "child_not_started", f"the process could not be started ({error.strerror}).",
                next_step=f'call doctor {{}}, then resume_job with {{"job_id": "{job.id}"}}.', retryable=True,
            ))  # fmt: skip
            return EnvironmentFault.exit_code
        with self.ledger.transaction() as connection:
            won = store.advance(connection, job, "running", child=process.identify(running.pid))
        if not won:
            _log("the attempt was ended by a reader; the child is stopped")
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            return 0
        gate.let_go()
        gate.close()
        work = Child(running)
        why = self._watch(work, self._job())
        self._record(work.close(), why)
        return 0

    def _run_in_cluster(self, job: Job) -> int:
        """Submits the rendered file and looks after the job until it ended. Told to end itself (a shutdown), it leaves the job to readers."""
        cluster, handle = CLUSTERS[job.backend], Remote(backend=job.backend, name=remote.name_of(job))
        if not store.record_remote(self.ledger, job, handle):
            return 0
        try:
            with futures.ThreadPoolExecutor(1) as pool:
                submitting = pool.submit(cluster.submit, self.folder, handle.name)
                while not futures.wait((submitting,), timeout=HEARTBEAT_S).done:
                    self._beat(job)
            handle = handle.model_copy(update={"id": submitting.result()})
        except AsrtuneError as error:
            self._fail(job, error)
            return error.exit_code
        if not self._keep(job, handle):
            return EnvironmentFault.exit_code
        poll_s = settings_of(self._config(), job.backend).poll_s
        while True:
            try:
                job = self._job()
                if job.attempt != self.attempt or job.state in store.ENDED or (self.wake.terminated and job.cancel_at is None):
                    return 0
                remote.attend(self.ledger, self.home, job, self._tell, every_s=poll_s, watched=True)
            except AsrtuneError as error:
                _log(str(error))
            self._beat(job)
            self.health.look(job)
            self.wake.wait(min(HEARTBEAT_S, poll_s))

    def _keep(self, job: Job, handle: Remote) -> bool:
        """Writes down the cluster's id, for a minute if the ledger cannot be written, and lets the work begin; else takes it out again."""
        for _ in range(_RECORD_TRIES):
            try:
                if not store.record_remote(self.ledger, job, handle):
                    break
                remote.let_go(self.folder, str(handle.id))
            except AsrtuneError as error:
                _log(str(error))
                self.wake.wait(HEARTBEAT_S)
            else:
                return True
        self._sweep(handle)
        return False

    def _sweep_lost(self, job: Job) -> None:
        """Before a new attempt: an earlier one whose end nobody saw may still wait or run in a cluster, and would write into the same folder."""
        for handle in store.lost_remotes(self.ledger, job):
            self._sweep(handle)

    def _sweep(self, handle: Remote) -> None:
        try:
            remote.sweep(handle)
        except AsrtuneError as error:
            _log(str(error))

    def _config(self) -> Config:
        return load_config(self.config) if self.config.is_file() else Config()

    def _job(self) -> Job:
        return store.load(self.ledger, self.job_id)

    def _wait_for_slot(self) -> Job | None:
        """The job in state `starting`, or None when it was cancelled first. First queued, first started, among those whose supervisor lives.

        A ledger that cannot be written now (full disk) is waited for like a slot.
        """
        while True:
            try:
                job = self._job()
                if job.attempt != self.attempt or job.state != "queued":
                    return None
                if self.wake.terminated or job.cancel_at is not None:
                    outcome = finalise(self.ledger, self.home, job, None, "cancel")
                    if outcome is not None:
                        self._tell(notice_of(job, outcome))
                    return None
                if self._is_next(job) and self._take_slot(job):
                    return self._job()
                self._beat(job)
            except AsrtuneError as error:
                if self.wake.terminated:
                    raise
                _log(str(error))
            self.wake.wait(_QUEUE_POLL_S)

    def _is_next(self, job: Job) -> bool:
        pool = pool_of(job.backend)
        busy = [other for other in store.in_states(self.ledger, *store.BUSY)
                if other.backend in pool and reconcile(self.ledger, self.home, other, self.config).state in store.LIVE]  # fmt: skip
        before = [other for other in store.in_states(self.ledger, "queued")
                  if other.backend in pool and other.queued < job.queued and supervised(self.ledger, other)]  # fmt: skip
        return len(busy) + len(before) < job.slots

    def _take_slot(self, job: Job) -> bool:
        gpus = gpus_of(self._config(), job.backend, job.kind, len(self._visible))
        with self.ledger.transaction() as connection:
            return store.take_slot(connection, job, pool_of(job.backend), self._visible, gpus)

    def _watch(self, work: Work, job: Job) -> Why | None:
        """Until the work ended, by itself or at a cap or because somebody asked for it."""
        why: Why | None = None
        seconds, cap = job.allowance
        worked_s = job.work_tick.age if job.work_tick is not None else None
        limit = time.monotonic() + seconds - (worked_s or 0.0)
        asked, killed = float("inf"), False
        while not work.ended():
            self._beat(job)
            self.health.look(job)
            now = time.monotonic()
            if why is None:
                why = self._reason_to_stop(cap if now > limit else None)
                if why is not None:
                    work.ask_to_stop()
                    asked = now
            kill_at = asked + self._grace_s(job)
            if now >= kill_at and not killed:
                work.kill()
                killed = True
            until = limit - now if why is None else work.poll_s if killed else kill_at - now
            self.wake.wait(min(work.poll_s, until))
        self._beat(job, at_once=True)
        return why

    def _grace_s(self, job: Job) -> float:
        """As it is now: a second cancel may ask for a shorter one."""
        try:
            return self._job().grace_s
        except AsrtuneError:
            return job.grace_s

    def _reason_to_stop(self, cap: Cap | None) -> Why | None:
        if self.wake.terminated:
            return "cancel"
        try:
            if self._job().cancel_at is not None:
                return "cancel"
        except AsrtuneError as error:
            _log(str(error))
        return cap

    def _beat(self, job: Job, *, at_once: bool = False) -> None:
        """A heartbeat that cannot be written (full disk) must not end hours of work."""
        if time.monotonic() - self._last_beat < HEARTBEAT_S and not at_once:
            return
        self._last_beat = time.monotonic()
        try:
            store.record_beat(self.ledger, job)
        except AsrtuneError as error:
            _log(str(error))

    def _record(self, exit_code: int | None, why: Why | None) -> None:
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

    def _fail(self, job: Job, error: AsrtuneError) -> None:
        """Ends an attempt whose work could not even be started. Tries for a minute, as the reason may be a full disk."""
        _log(str(error))
        view = ErrorView.of(error)
        for _ in range(_RECORD_TRIES):
            try:
                with self.ledger.transaction() as connection:
                    done = store.advance(connection, job, "failed", reason=view.code, error=view)
            except AsrtuneError as second:
                _log(str(second))
                self.wake.wait(HEARTBEAT_S)
            else:
                if done:
                    self._tell(notice_of(job, Outcome("failed", view.code, error=view)))
                return


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> int:
    home, job_id, attempt, config = sys.argv[1:]
    with Wake() as wake:
        return Supervisor(Path(home), job_id, int(attempt), Path(config), wake).run()


if __name__ == "__main__":
    sys.exit(main())
