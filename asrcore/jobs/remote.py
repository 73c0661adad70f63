"""The life of an attempt in a cluster, one look at a time: the supervisor takes these looks, and readers do when it is dead.

Every call may be made by anybody and twice: it reads the ledger, asks the cluster, and writes what follows by compare-and-set.
"""

from __future__ import annotations

from pathlib import Path

from asrcore import io
from asrcore.errors import AsrtuneError, EnvironmentFault, NotReadyError, ToolFault, UsageError
from asrcore.jobs import child, store
from asrcore.jobs.backends import CLUSTERS, processes_of, settings_of
from asrcore.jobs.backends.base import GO, Cluster, Seen, Task
from asrcore.jobs.clock import tick
from asrcore.jobs.ledger import Ledger
from asrcore.jobs.notify import Tell, notice_of, orphaned
from asrcore.jobs.outcome import attempt_folder
from asrcore.jobs.record import finalise
from asrcore.jobs.store import Job, Remote
from asrcore.workspace import Config

READ_S = 5.0
"""Readers ask a cluster about one job no more often than this."""
SETTLE_S = 60.0
"""Shared file systems show a node's last files this much later, at worst (NFS caches names and attributes for up to a minute)."""

_EXITS_WITH_FILES = (None, 0, *(kind.exit_code for kind in (UsageError, NotReadyError, EnvironmentFault, ToolFault)))


def name_of(job: Job) -> str:
    """The name of the attempt's job in the cluster: one of its kind, so that it can be found again."""
    return f"asrtune-{job.id}-{job.attempt}"


def task_of(job: Job, folder: Path, config: Config) -> Task:
    """What a backend starts for this attempt."""
    gpus = settings_of(config, job.backend).gpus if job.backend in CLUSTERS else job.gpus  # known before the attempt has its slot
    limit_s = max(1.0, job._replace(gpus=gpus).allowance[0])
    return Task(name_of(job), folder, job.module, job.grace_s, limit_s, processes_of(config, job.backend, job.kind))


def attend(ledger: Ledger, home: Path, job: Job, tell: Tell, *, every_s: float | None = None, watched: bool = False) -> None:
    """One look at a live attempt and what follows from it. `watched`: the caller is its supervisor, who gets the errors of a cluster that cannot
    be asked; to a reader they say nothing about the job."""
    cluster = CLUSTERS[job.backend]
    folder = attempt_folder(home, job.id, job.attempt)
    to_stop = job.cancel_at is not None and (job.remote is None or job.remote.asked is None)
    looked = job.remote.looked if job.remote is not None else None
    if looked is not None and not to_stop and not looked.over(READ_S if every_s is None else every_s, unknown=True):
        return
    try:
        remote = job.remote if job.remote is not None and job.remote.id is not None else _found(ledger, cluster, job)
        if remote is None:
            _end(ledger, home, job, None, tell)
            return
        assert remote.id is not None
        seen = cluster.look(remote.id, folder)
        remote = remote.model_copy(update={"looked": tick()})
        if seen is None:
            store.record_remote(ledger, job, remote)
        elif seen.ended:
            _settle(ledger, home, job, remote, seen, tell)
        else:
            _go_on(ledger, cluster, folder, job, remote, seen, tell, watched=watched)
    except AsrtuneError:
        if watched:
            raise


def let_go(folder: Path, remote_id: str) -> None:
    """Lets the work begin: from here on the ledger knows it."""
    io.write_text(folder / GO, remote_id + "\n")


def sweep(remote: Remote) -> None:
    """Takes a job whose end nobody saw out of its cluster, if it is there at all. Raises `backend_missing`, `cluster_silent`."""
    cluster = CLUSTERS[remote.backend]
    remote_id = remote.id or cluster.find(remote.name)
    if remote_id is not None:
        cluster.kill(remote_id)


def _found(ledger: Ledger, cluster: Cluster, job: Job) -> Remote | None:
    """The handle of a job that was submitted by a supervisor that died before it could write down the id; None if there is none.

    One that arrives in the cluster after this finds no word to begin, and ends by itself.
    """
    if job.remote is None:
        return None
    remote_id = cluster.find(job.remote.name)
    if remote_id is None:
        return None
    remote = job.remote.model_copy(update={"id": remote_id})
    return remote if store.record_remote(ledger, job, remote) else None


def _go_on(ledger: Ledger, cluster: Cluster, folder: Path, job: Job, remote: Remote, seen: Seen, tell: Tell, *, watched: bool) -> None:
    assert remote.id is not None
    if job.cancel_at is not None:
        if remote.asked is None:
            cluster.stop(remote.id, job.grace_s)
            remote = remote.model_copy(update={"asked": tick()})
        elif remote.asked.over(job.grace_s, unknown=True):
            cluster.kill(remote.id)
    elif not (folder / GO).exists():
        let_go(folder, remote.id)
    store.record_remote(ledger, job, remote.model_copy(update={"word": seen.word, "ended": None}))
    if watched and job.state == "starting" and seen.phase == "running":
        with ledger.transaction() as connection:
            store.advance(connection, job, "running")
    elif not watched and job.state != "orphaned":
        with ledger.transaction() as connection:
            noticed = store.advance(connection, job, "orphaned", reason=f"the supervisor died; the work goes on in {cluster.title}")
        if noticed:
            tell(orphaned(job))


def _settle(ledger: Ledger, home: Path, job: Job, remote: Remote, seen: Seen, tell: Tell) -> None:
    """The end, once what the work left can be seen from here."""
    folder = attempt_folder(home, job.id, job.attempt)
    arrived = (folder / child.RESULT).exists() or (folder / child.ERROR).exists()
    expects_files = seen.phase in ("succeeded", "failed", "gone") and job.cancel_at is None and seen.exit_code in _EXITS_WITH_FILES
    if expects_files and not arrived and (remote.ended is None or not remote.ended.over(SETTLE_S, unknown=False)):
        store.record_remote(ledger, job, remote.model_copy(update={"word": seen.word, "ended": remote.ended or tick()}))
        return
    store.record_remote(ledger, job, remote.model_copy(update={"word": seen.word}))
    _end(ledger, home, job, seen, tell)


def _end(ledger: Ledger, home: Path, job: Job, seen: Seen | None, tell: Tell) -> None:
    why = "cancel" if job.cancel_at is not None else None
    outcome = finalise(ledger, home, job, None if seen is None else _exit_code(seen), why, seen)
    if outcome is not None:
        tell(notice_of(job, outcome))


def _exit_code(seen: Seen) -> int | None:
    """Of the work, where the cluster says; a success without a number is 0, and of a job that is `gone` nobody knows it."""
    if seen.phase == "gone":
        return None
    return seen.exit_code if seen.exit_code is not None else 0 if seen.phase == "succeeded" else 1
