"""What the ledger says against what the machine (or the cluster) says, checked on every read instead of by a daemon."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from asrcore.jobs import remote
from asrcore.jobs.backends import CLUSTERS
from asrcore.jobs.clock import Tick, tick
from asrcore.jobs.ledger import Ledger
from asrcore.jobs.notify import messenger, notice_of, orphaned
from asrcore.jobs.record import finalise
from asrcore.jobs.start import have_adopted
from asrcore.jobs.store import ENDED, FOREIGN_DEAD_S, Job, advance, load, record_doubt

UNCLAIMED_S = 30.0
"""A queued attempt without a supervisor is young for so long: its starter is between two lines of code, or died there."""


def reconcile(ledger: Ledger, home: Path, job: Job, config: Path) -> Job:
    """The job as it is now. A dead supervisor makes it `orphaned` while the work lives, and a new one adopts it; once the work ended, what it
    left decides.

    An orphan that was asked to stop is killed by the first reader after its grace period, should nobody have adopted it. Whoever notices an
    end or an orphan tells of it, by the config file.
    """
    if job.state in ENDED or supervised(ledger, job):
        return job
    if job.supervisor is None and job.cancel_at is None and _age(job.queued_tick, job.queued) < UNCLAIMED_S:
        return job
    tell = messenger(config, home)
    if job.backend in CLUSTERS and job.state != "queued":
        remote.attend(ledger, home, job, tell)
        return load(ledger, job.id)
    if job.child is not None and job.child.foreign and job.state == "orphaned" and job.cancel_at is None:
        return job  # its own host saw the child alive; nobody else can know better
    if job.child is None or not job.child.alive:
        outcome = finalise(ledger, home, job, None, "cancel" if job.cancel_at is not None else None)
        if outcome is not None:
            tell(notice_of(job, outcome))
        return load(ledger, job.id)
    if job.state != "orphaned":
        with ledger.transaction() as connection:
            noticed = advance(connection, job, "orphaned", reason="the supervisor died; the work goes on")
        if noticed:
            tell(orphaned(job))
    elif job.cancel_at is not None and _age(job.cancel_tick, job.cancel_at) > job.grace_s:
        job.child.send(signal.SIGKILL, group=True)
    have_adopted(ledger, home, job, config)
    return load(ledger, job.id)


def supervised(ledger: Ledger, job: Job) -> bool:
    """Whether its supervisor lives, as far as this host can know. One that this host cannot see is dead when this host itself has waited in
    vain for a heartbeat for `FOREIGN_DEAD_S`: two hosts' wall clocks are not compared."""
    if job.supervisor is None:
        return False
    if not job.supervisor.foreign:
        return job.supervisor.alive
    beat = job.beat or 0.0
    if abs(time.time() - beat) < FOREIGN_DEAD_S:
        return True
    now = tick()
    since, known = job.doubt.get(now.boot, (0.0, -1.0))
    if known != beat or since > now.seconds:
        record_doubt(ledger, job, job.doubt | {now.boot: [now.seconds, beat]})
        return True
    return now.seconds - since <= FOREIGN_DEAD_S


def _age(moment: Tick | None, wall: float) -> float:
    """Seconds since `moment`; by the wall clock only across boots and machines, where there is no better one."""
    age = None if moment is None else moment.age
    return abs(time.time() - wall) if age is None else age
