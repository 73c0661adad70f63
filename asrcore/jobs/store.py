"""Jobs and attempts in the ledger: the typed row, and the state changes that are allowed.

States: queued -> starting -> running -> succeeded | failed | cancelled | lost, with orphaned between running and an end when the supervisor
died and the child lives. Every change is compare-and-set on (attempt, state), so two processes never both make it.
The state is also the slot: `starting`, `running` and `orphaned` attempts take one of the slots of their backend and hold their leases on GPUs,
and an end gives both back in the same transaction.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

from asrcore.errors import ErrorView, UsageError
from asrcore.io import sha256_json
from asrcore.jobs.clock import Tick, tick
from asrcore.jobs.ledger import Ledger
from asrcore.jobs.process import Identity
from asrcore.requests import TrainRequest
from asrcore.results import Frozen
from asrcore.workspace import BackendName

State = Literal["queued", "starting", "running", "orphaned", "succeeded", "failed", "cancelled", "lost"]
LIVE: frozenset[State] = frozenset(("queued", "starting", "running", "orphaned"))
ENDED: frozenset[State] = frozenset(get_args(State)) - LIVE
BUSY: tuple[State, ...] = ("starting", "running", "orphaned")
Cap = Literal["walltime", "gpu_hours"]

HEARTBEAT_S = 5.0
FOREIGN_DEAD_S = 120.0
"""A supervisor that this host cannot see counts as dead after so long without a heartbeat."""


class Remote(Frozen):
    """What the ledger knows of an attempt's job in a cluster. Without an `id` it was being submitted when its supervisor was last seen."""

    backend: BackendName
    name: str
    id: str | None = None
    word: str = ""
    """The cluster's own word for its state."""
    looked: Tick | None = None
    ended: Tick | None = None
    """When its end was first seen; its files may arrive a little later."""
    asked: Tick | None = None
    """When it was told to stop."""


class Job(NamedTuple):
    """A job with its current attempt. Times are seconds since the epoch."""

    id: str
    key: str
    kind: str
    module: str
    request: dict[str, Any]
    attempt: int
    created: float
    grace_s: float
    walltime_s: float | None
    slots: int
    backend: BackendName
    state: State
    queued: float
    started: float | None
    ended: float | None
    beat: float | None
    supervisor: Identity | None
    child: Identity | None
    cancel_at: float | None
    exit_code: int | None
    reason: str | None
    error: ErrorView | None
    remote: Remote | None
    queued_tick: Tick | None
    cancel_tick: Tick | None
    doubt: dict[str, list[float]]
    """By boot of the doubting machine: when, on its monotonic clock, it first missed a heartbeat of a supervisor elsewhere, and the last one it knew."""
    gpu_hours: float | None
    memory_gb: float
    disk_gb: float
    gpus: int
    work_tick: Tick | None
    """When this attempt's work began."""
    worked_s: float
    """Seconds of work of this attempt, at the last heartbeat."""
    gpu_busy: float | None
    """Mean use of this attempt's GPUs over the last minutes, in percent, once it was watched for so long."""
    earlier_s: float
    earlier_gpu_s: float
    """Seconds, and GPU-seconds, that earlier attempts worked."""

    @property
    def allowance(self) -> tuple[float, Cap]:
        """Seconds that this attempt may work before the job is at a cap, and which cap that is; infinite without one."""
        wall = float("inf") if self.walltime_s is None else self.walltime_s - self.earlier_s
        paid = float("inf") if self.gpu_hours is None or not self.gpus else (3600 * self.gpu_hours - self.earlier_gpu_s) / self.gpus
        return (wall, "walltime") if wall <= paid else (paid, "gpu_hours")


class Limits(NamedTuple):
    """What a job may use over all its attempts (None: no cap), and what has to be free before one starts, in 10^9 bytes."""

    walltime_s: float | None = None
    gpu_hours: float | None = None
    memory_gb: float = 0.0
    """Of each GPU where the work gets some, else of main memory."""
    disk_gb: float = 0.0


UNLIMITED = Limits()


class Spec(NamedTuple):
    """What a submit asks for."""

    kind: str
    module: str
    request: dict[str, Any]
    key: str
    grace_s: float
    walltime_s: float | None
    slots: int
    backend: BackendName = "local"
    gpu_hours: float | None = None
    memory_gb: float = 0.0
    disk_gb: float = 0.0


_SELECT = """SELECT j.id, j.key, j.kind, j.module, j.request, j.attempt, j.created, j.grace_s, j.walltime_s, j.slots, j.backend,
 a.state, a.queued, a.started, a.ended, a.beat, a.supervisor, a.child, a.cancel_at, a.exit_code, a.reason, a.error,
 a.remote, a.queued_tick, a.cancel_tick, a.doubt,
 j.gpu_hours, j.memory_gb, j.disk_gb, a.gpus, a.work_tick, a.worked_s, a.gpu_busy,
 (SELECT coalesce(sum(e.worked_s), 0.0) FROM attempts e WHERE e.job_id = j.id AND e.number < a.number) AS earlier_s,
 (SELECT coalesce(sum(e.worked_s * e.gpus), 0.0) FROM attempts e WHERE e.job_id = j.id AND e.number < a.number) AS earlier_gpu_s
 FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.number = j.attempt"""


def find(ledger: Ledger, job_id: str) -> Job | None:
    rows = ledger.rows(f"{_SELECT} WHERE j.id = ?", job_id)
    return _job(rows[0]) if rows else None


def load(ledger: Ledger, job_id: str) -> Job:
    """Raises `job_unknown`."""
    job = find(ledger, job_id)
    if job is None:
        raise UsageError("job_unknown", "the ledger has no job of that id.", next_step='call list_objects with {"kind": "job"} and use an id from there.')
    return job


def newest(ledger: Ledger, limit: int) -> tuple[Job, ...]:
    return tuple(_job(row) for row in ledger.rows(f"{_SELECT} ORDER BY a.queued DESC, j.id LIMIT ?", limit))


def by_key(ledger: Ledger, key: str) -> Job | None:
    """The latest job of that key."""
    rows = ledger.rows(f"{_SELECT} WHERE j.key = ? ORDER BY j.generation DESC LIMIT 1", key)
    return _job(rows[0]) if rows else None


def train_request(ledger: Ledger, run_id: str | None) -> TrainRequest | None:
    """What a run was asked for, by its newest job; None when the run is not of this workspace."""
    rows = ledger.rows(f"{_SELECT} WHERE j.kind = 'train' AND json_extract(j.request, '$.run_id') = ? ORDER BY a.queued DESC, j.id LIMIT 1", run_id)
    return TrainRequest.model_validate(_job(rows[0]).request) if rows else None


def in_states(ledger: Ledger, *states: State) -> tuple[Job, ...]:
    """Oldest first."""
    marks = ", ".join("?" * len(states))
    return tuple(_job(row) for row in ledger.rows(f"{_SELECT} WHERE a.state IN ({marks}) ORDER BY a.queued, j.id", *states))


def count_busy(connection: sqlite3.Connection, backends: Sequence[BackendName]) -> int:
    """Slots taken on these backends, inside a transaction of the caller."""
    row = connection.execute(
        "SELECT count(*) FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.number = j.attempt "
        "WHERE a.state IN (SELECT value FROM json_each(?)) AND j.backend IN (SELECT value FROM json_each(?))",
        (json.dumps(BUSY), json.dumps(backends)),
    )
    return int(row.fetchone()[0])


def add_job(connection: sqlite3.Connection, spec: Spec) -> str:
    """A new job with attempt 1, queued; the id follows from key and generation."""
    row = connection.execute("SELECT coalesce(max(generation), -1) FROM jobs WHERE key = ?", (spec.key,)).fetchone()
    generation = int(row[0]) + 1
    job_id = "job_" + sha256_json([spec.key, generation])[:12]
    connection.execute(
        "INSERT INTO jobs(id, key, generation, kind, module, request, attempt, created, grace_s, walltime_s, slots, backend, "
        "gpu_hours, memory_gb, disk_gb) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?)",
        (job_id, spec.key, generation, spec.kind, spec.module, json.dumps(spec.request), time.time(), spec.grace_s, spec.walltime_s, spec.slots, spec.backend,
         spec.gpu_hours, spec.memory_gb, spec.disk_gb),
    )  # fmt: skip
    add_attempt(connection, job_id)
    return job_id


def update_spec(connection: sqlite3.Connection, job_id: str, spec: Spec) -> None:
    """The latest submit of a key says how its next attempt runs."""
    connection.execute(
        "UPDATE jobs SET module = ?, request = ?, grace_s = ?, walltime_s = ?, slots = ?, backend = ?, gpu_hours = ?, memory_gb = ?, disk_gb = ? "
        "WHERE id = ?",
        (spec.module, json.dumps(spec.request), spec.grace_s, spec.walltime_s, spec.slots, spec.backend, spec.gpu_hours, spec.memory_gb, spec.disk_gb, job_id),
    )


def add_attempt(connection: sqlite3.Connection, job_id: str) -> None:
    """The next attempt, queued, as the job's current one."""
    connection.execute("UPDATE jobs SET attempt = attempt + 1 WHERE id = ?", (job_id,))
    number = connection.execute("SELECT attempt FROM jobs WHERE id = ?", (job_id,)).fetchone()[0]
    connection.execute(
        "INSERT INTO attempts(job_id, number, state, queued, queued_tick) VALUES (?, ?, 'queued', ?, ?)", (job_id, number, time.time(), tick().encode())
    )
    _note(connection, job_id, number, "queued", None)


def current_state(connection: sqlite3.Connection, job_id: str) -> tuple[int, State]:
    """Attempt and state inside a transaction of the caller."""
    row = connection.execute("SELECT j.attempt, a.state FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.number = j.attempt WHERE j.id = ?", (job_id,))
    number, state = row.fetchone()
    return number, state


def advance(connection: sqlite3.Connection, job: Job, state: State, *, reason: str | None = None, error: ErrorView | None = None,
            exit_code: int | None = None, child: Identity | None = None) -> bool:  # fmt: skip
    """Compare-and-set from the state in `job` to `state`. False: another process was first, and nothing changed."""
    now = time.time()
    changed = connection.execute(
        "UPDATE attempts SET state = ?, reason = coalesce(?, reason), error = coalesce(?, error), exit_code = coalesce(?, exit_code), "
        "child = coalesce(?, child), started = CASE WHEN ? THEN ? ELSE started END, ended = CASE WHEN ? THEN ? ELSE ended END, "
        "work_tick = CASE WHEN ? THEN coalesce(work_tick, ?) ELSE work_tick END WHERE job_id = ? AND number = ? AND state = ?",
        (state, reason, error.model_dump_json() if error else None, exit_code, child.encode() if child else None,
         state == "starting", now, state in ENDED, now, state in ("running", "orphaned"), tick().encode(), job.id, job.attempt, job.state),
    ).rowcount  # fmt: skip
    if changed:
        if state in ENDED:
            connection.execute("DELETE FROM leases WHERE job_id = ? AND attempt = ?", (job.id, job.attempt))
        _note(connection, job.id, job.attempt, state, reason)
    return bool(changed)


def register_supervisor(ledger: Ledger, job_id: str, attempt: int, supervisor: Identity) -> bool:
    """Claims a queued attempt; the starter and the supervisor itself both say it, whoever comes first. False: the attempt is another's or over."""
    with ledger.transaction() as connection:
        connection.execute(
            "UPDATE attempts SET supervisor = ?, beat = ? WHERE job_id = ? AND number = ? AND state = 'queued' AND supervisor IS NULL",
            (supervisor.encode(), time.time(), job_id, attempt),
        )
        row = connection.execute("SELECT state, supervisor FROM attempts WHERE job_id = ? AND number = ?", (job_id, attempt)).fetchone()
    return row is not None and row["state"] == "queued" and row["supervisor"] == supervisor.encode()


def take_slot(connection: sqlite3.Connection, job: Job, pool: Sequence[BackendName], visible: Sequence[str], gpus: int) -> bool:
    """Makes a queued attempt `starting`, with leases on `gpus` of the `visible` ones (none where none are). False: no slot or too few GPUs are free."""
    taken = {row["gpu"] for row in connection.execute("SELECT gpu FROM leases")}
    free = [gpu for gpu in visible if gpu not in taken]
    if count_busy(connection, pool) >= job.slots or (visible and len(free) < gpus) or not advance(connection, job, "starting"):
        return False
    connection.execute("UPDATE attempts SET gpus = ? WHERE job_id = ? AND number = ?", (gpus, job.id, job.attempt))
    connection.executemany("INSERT INTO leases VALUES (?, ?, ?, ?)", [(gpu, job.id, job.attempt, time.time()) for gpu in free[:gpus]])
    return True


def leased(ledger: Ledger, job: Job) -> tuple[str, ...]:
    """UUIDs of the GPUs that the attempt holds, in the order it got them."""
    return tuple(row["gpu"] for row in ledger.rows("SELECT gpu FROM leases WHERE job_id = ? AND attempt = ? ORDER BY rowid", job.id, job.attempt))


def adopt(ledger: Ledger, job: Job, supervisor: Identity) -> bool:
    """Makes `supervisor` look after an orphan in the place of the dead one in `job`. False: another was first, or the attempt is over."""
    dead = job.supervisor.encode() if job.supervisor is not None else None
    with ledger.transaction() as connection:
        connection.execute(
            "UPDATE attempts SET supervisor = ?, beat = ? WHERE job_id = ? AND number = ? AND state = 'orphaned' AND supervisor IS ?",
            (supervisor.encode(), time.time(), job.id, job.attempt, dead),
        )
        row = connection.execute("SELECT state, supervisor FROM attempts WHERE job_id = ? AND number = ?", (job.id, job.attempt)).fetchone()
    return row is not None and row["state"] == "orphaned" and row["supervisor"] == supervisor.encode()


def record_beat(ledger: Ledger, job: Job) -> None:
    """That its supervisor lives, and how long the work has taken so far."""
    age = job.work_tick.age if job.work_tick is not None else None
    with ledger.transaction() as connection:
        connection.execute("UPDATE attempts SET beat = ?, worked_s = coalesce(?, worked_s) WHERE job_id = ? AND number = ?", (time.time(), age, job.id, job.attempt))


def record_gpu_busy(ledger: Ledger, job: Job, percent: float) -> None:
    with ledger.transaction() as connection:
        connection.execute("UPDATE attempts SET gpu_busy = ? WHERE job_id = ? AND number = ?", (percent, job.id, job.attempt))


def ask_cancel(ledger: Ledger, job: Job, grace_s: float | None) -> None:
    """Notes the wish; the first one counts. Whoever looks after the attempt acts on it."""
    with ledger.transaction() as connection:
        connection.execute(
            "UPDATE attempts SET cancel_at = coalesce(cancel_at, ?), cancel_tick = coalesce(cancel_tick, ?) WHERE job_id = ? AND number = ?",
            (time.time(), tick().encode(), job.id, job.attempt),
        )
        if grace_s is not None:
            connection.execute("UPDATE jobs SET grace_s = ? WHERE id = ?", (grace_s, job.id))


def record_remote(ledger: Ledger, job: Job, remote: Remote) -> bool:
    """What is now known of the attempt's job in a cluster. False: the attempt is over, and so is the right to a job there."""
    marks = ", ".join("?" * len(LIVE))
    with ledger.transaction() as connection:
        changed = connection.execute(
            f"UPDATE attempts SET remote = ? WHERE job_id = ? AND number = ? AND state IN ({marks})",  # noqa: S608
            (remote.model_dump_json(), job.id, job.attempt, *sorted(LIVE)),
        ).rowcount
    return bool(changed)


def lost_remotes(ledger: Ledger, job: Job) -> tuple[Remote, ...]:
    """Cluster jobs of earlier attempts whose end nobody saw."""
    rows = ledger.rows("SELECT remote FROM attempts WHERE job_id = ? AND number < ? AND state = 'lost' AND remote IS NOT NULL", job.id, job.attempt)
    return tuple(Remote.model_validate_json(row["remote"]) for row in rows)


def record_doubt(ledger: Ledger, job: Job, doubt: dict[str, list[float]]) -> None:
    with ledger.transaction() as connection:
        connection.execute("UPDATE attempts SET doubt = ? WHERE job_id = ? AND number = ?", (json.dumps(doubt), job.id, job.attempt))


def first_time(ledger: Ledger, key: str) -> bool:
    """True for the first call with this key over all processes: what is told once."""
    with ledger.transaction() as connection:
        return bool(connection.execute("INSERT OR IGNORE INTO told VALUES (?, ?)", (key, time.time())).rowcount)


def _note(connection: sqlite3.Connection, job_id: str, attempt: int, state: State, reason: str | None) -> None:
    connection.execute("INSERT INTO events(job_id, attempt, time, state, reason) VALUES (?, ?, ?, ?, ?)", (job_id, attempt, time.time(), state, reason))


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    values["request"] = json.loads(values["request"])
    values["supervisor"] = Identity.decode(values["supervisor"])
    values["child"] = Identity.decode(values["child"])
    values["error"] = ErrorView.model_validate_json(values["error"]) if values["error"] else None
    values["remote"] = Remote.model_validate_json(values["remote"]) if values["remote"] else None
    values["queued_tick"] = Tick.decode(values["queued_tick"])
    values["cancel_tick"] = Tick.decode(values["cancel_tick"])
    values["work_tick"] = Tick.decode(values["work_tick"])
    values["doubt"] = json.loads(values["doubt"]) if values["doubt"] else {}
    return Job(**values)
