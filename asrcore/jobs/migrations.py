"""The ledger's schema as numbered steps. A step that was released is never edited; a change is a new step at the end.

`tests/golden/ledger_schema.sql` holds the schema that all steps give together.
"""

from __future__ import annotations

import sqlite3
import time

from asrcore.errors import EnvironmentFault

_STEP_1 = (
    """CREATE TABLE objects(
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  created REAL NOT NULL,
  data TEXT NOT NULL,
  UNIQUE(kind, id)
)""",
    """CREATE TABLE jobs(
  id TEXT PRIMARY KEY,
  key TEXT NOT NULL,
  generation INTEGER NOT NULL,
  kind TEXT NOT NULL,
  module TEXT NOT NULL,
  request TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  created REAL NOT NULL,
  grace_s REAL NOT NULL,
  walltime_s REAL,
  slots INTEGER NOT NULL,
  UNIQUE(key, generation)
)""",
    """CREATE TABLE attempts(
  job_id TEXT NOT NULL REFERENCES jobs(id),
  number INTEGER NOT NULL,
  state TEXT NOT NULL
    CHECK(state IN ('queued', 'starting', 'running', 'orphaned', 'succeeded', 'failed', 'cancelled', 'lost')),
  queued REAL NOT NULL,
  started REAL,
  ended REAL,
  beat REAL,
  supervisor TEXT,
  child TEXT,
  cancel_at REAL,
  exit_code INTEGER,
  reason TEXT,
  error TEXT,
  PRIMARY KEY(job_id, number)
)""",
    "CREATE INDEX attempts_by_state ON attempts(state, queued)",
    """CREATE TABLE events(
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  time REAL NOT NULL,
  state TEXT NOT NULL,
  reason TEXT
)""",
)
"""`events` is the history of states, for people; progress lives in each attempt's `events.jsonl`."""

_STEP_2 = (
    "ALTER TABLE jobs ADD COLUMN backend TEXT NOT NULL DEFAULT 'local'",
    "ALTER TABLE attempts ADD COLUMN remote TEXT",
    "ALTER TABLE attempts ADD COLUMN queued_tick TEXT",
    "ALTER TABLE attempts ADD COLUMN cancel_tick TEXT",
    "ALTER TABLE attempts ADD COLUMN doubt TEXT",
    "CREATE TABLE told(key TEXT PRIMARY KEY, time REAL NOT NULL)",
)
"""Clusters; ages by the monotonic clock; notices that were sent."""

_STEP_3 = (
    "ALTER TABLE jobs ADD COLUMN gpu_hours REAL",
    "ALTER TABLE jobs ADD COLUMN memory_gb REAL NOT NULL DEFAULT 0",
    "ALTER TABLE jobs ADD COLUMN disk_gb REAL NOT NULL DEFAULT 0",
    "ALTER TABLE attempts ADD COLUMN gpus INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE attempts ADD COLUMN work_tick TEXT",
    "ALTER TABLE attempts ADD COLUMN worked_s REAL NOT NULL DEFAULT 0",
    "ALTER TABLE attempts ADD COLUMN gpu_busy REAL",
    """CREATE TABLE leases(
  gpu TEXT PRIMARY KEY,
  job_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  taken REAL NOT NULL,
  FOREIGN KEY(job_id, attempt) REFERENCES attempts(job_id, number)
)""",
)
"""GPUs and who holds them, by UUID; caps on a job's time over all its attempts, and what it needs before it starts."""

STEPS: tuple[tuple[str, ...], ...] = (_STEP_1, _STEP_2, _STEP_3)
VERSION = len(STEPS)


def version_of(connection: sqlite3.Connection) -> int:
    """Highest step applied; 0 for an empty file."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'").fetchone()
    return int(connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0]) if known else 0


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Applies missing steps, all in one transaction, and refuses a ledger that a newer asrtune wrote. Safe with several processes at once.

    Raises `ledger_too_new`.
    """
    if _checked(version_of(connection), path) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        current = _checked(version_of(connection), path)
        if current == 0:
            connection.execute("CREATE TABLE IF NOT EXISTS schema_version(version INTEGER PRIMARY KEY, applied REAL NOT NULL)")
        for number, statements in enumerate(STEPS[current:], start=current + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute("INSERT INTO schema_version VALUES (?, ?)", (number, time.time()))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def schema_sql(connection: sqlite3.Connection) -> str:
    """The real schema as text, sorted; compared with the golden file."""
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type DESC, name")
    return "".join(f"{sql};\n" for (sql,) in rows)


def _checked(version: int, path: str) -> int:
    if version > VERSION:
        raise EnvironmentFault(
            "ledger_too_new", f"{path} has schema version {version}, this asrtune knows up to {VERSION}.",
            next_step="update asrtune, or set ASRTUNE_HOME to another folder.",
        )  # fmt: skip
    return version
