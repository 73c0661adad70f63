"""The whole ledger as plain data, for backups, other tools and people: every typed object, every job with its attempts and its history."""

from __future__ import annotations

import json
from typing import Any

from asrcore.jobs import migrations
from asrcore.jobs.ledger import Ledger, LedgerObject, object_of
from asrcore.results import Frozen

_JSON = ("request", "supervisor", "child", "error", "remote", "queued_tick", "cancel_tick", "work_tick", "doubt")
"""Columns that hold JSON; in the dump they are values, not texts."""


class LedgerDump(Frozen):
    """Rows as they are stored, oldest first; times are seconds since the epoch. `schema_version` says which release wrote the schema."""

    schema_version: int
    objects: tuple[LedgerObject, ...]
    jobs: tuple[dict[str, Any], ...]
    attempts: tuple[dict[str, Any], ...]
    events: tuple[dict[str, Any], ...]
    """Every change of state."""
    leases: tuple[dict[str, Any], ...]
    """GPUs that are held now."""


def dump(ledger: Ledger) -> LedgerDump:
    """All of one moment, whatever other processes write meanwhile. A ledger that does not exist has no rows. Raises what `Ledger.rows` raises."""
    with ledger.one_moment():
        return LedgerDump(
            schema_version=migrations.VERSION,
            objects=tuple(object_of(row) for row in ledger.rows("SELECT kind, id, created, data FROM objects ORDER BY seq")),
            jobs=_rows(ledger, "SELECT * FROM jobs ORDER BY created, id"),
            attempts=_rows(ledger, "SELECT * FROM attempts ORDER BY queued, job_id, number"),
            events=_rows(ledger, "SELECT * FROM events ORDER BY seq"),
            leases=_rows(ledger, "SELECT * FROM leases ORDER BY taken, gpu"),
        )


def _rows(ledger: Ledger, sql: str) -> tuple[dict[str, Any], ...]:
    return tuple({name: json.loads(row[name]) if name in _JSON and row[name] else row[name] for name in row.keys()} for row in ledger.rows(sql))  # noqa: SIM118
