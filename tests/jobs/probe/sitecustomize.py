"""Faults for every Python process of a test: a full disk and a clock that jumps, while the file named by ASRTUNE_TEST_FAULTS says so.

Every process of a job finds this on its path. The seams are the ones that asrcore writes and tells the time through: fsync, write, SQLite's
COMMIT, and time.time; the monotonic clock does not jump, as it does not in reality.
"""

from __future__ import annotations

import os

_FAULTS = os.environ.get("ASRTUNE_TEST_FAULTS")

if _FAULTS:
    import errno
    import json
    import sqlite3
    import stat
    import time
    from typing import Any

    _time, _fsync, _write, _connect = time.time, os.fsync, os.write, sqlite3.connect

    def faults() -> dict[str, Any]:
        try:
            with open(str(_FAULTS), encoding="ascii") as file:
                return json.load(file)
        except (OSError, ValueError):
            return {}

    def full(handle: int) -> None:
        if faults().get("disk_full") and stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.ENOSPC, "No space left on device")

    def fsync(handle: int) -> None:
        full(handle)
        _fsync(handle)

    def write(handle: int, data: Any) -> int:
        full(handle)
        return _write(handle, data)

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and faults().get("disk_full"):
                super().execute("ROLLBACK")
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return super().execute(sql, *values)

    time.time = lambda: _time() + faults().get("clock_s", 0.0)
    os.fsync, os.write = fsync, write
    sqlite3.connect = lambda *arguments, **options: _connect(*arguments, factory=Connection, **options)  # pyright: ignore[reportAttributeAccessIssue]
