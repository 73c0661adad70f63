"""What the ledger says against what the machine says, checked on every read instead of by a daemon."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from asrcore.jobs.ledger import Ledger
from asrcore.jobs.record import finalise
from asrcore.jobs.store import ENDED, Job, advance, load

UNCLAIMED_S = 30.0
"""A queued attempt without a supervisor is young for so long: its starter is between two lines of code, or died there."""


def reconcile(ledger: Ledger, home: Path, job: Job) -> Job:
    """The job as it is now. A dead supervisor makes it `orphaned` while the child lives; once that ended, what it left decides.

    An orphan that was asked to stop is killed by the first reader after its grace period.
    """
    if job.state in ENDED or job.supervised:
        return job
    if job.supervisor is None and time.time() - job.queued < UNCLAIMED_S and job.cancel_at is None:
        return job
    if job.child is not None and job.child.foreign and job.state == "orphaned" and job.cancel_at is None:
        return job  # its own host saw the child alive; nobody else can know better
    if job.child is None or not job.child.alive:
        finalise(ledger, home, job, None, "cancel" if job.cancel_at is not None else None)
    elif job.state != "orphaned":
        with ledger.transaction() as connection:
            advance(connection, job, "orphaned", reason="the supervisor died; the work goes on")
    elif job.cancel_at is not None and time.time() > job.cancel_at + job.grace_s:
        job.child.send(signal.SIGKILL, group=True)
    return load(ledger, job.id)
