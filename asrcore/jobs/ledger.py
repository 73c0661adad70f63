"""The ledger: one SQLite file per workspace that holds what exists and what runs.

Typed objects are rows (kind, id, created, data as JSON); jobs and their attempts live in tables of their own (`store.py`). Several processes
may use it at once: every change is one `BEGIN IMMEDIATE` transaction with `synchronous=FULL`. WAL is used on local disks; its shared memory
is not coherent over network file systems, so there the journal mode is DELETE.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel

from asrcore import io
from asrcore.errors import AsrtuneError, EnvironmentFault, NotReadyError, ToolFault
from asrcore.jobs import migrations
from asrcore.results import Frozen
from asrcore.workspace import Workspace

Kind = Literal["dataset", "set", "shards", "plan", "approval", "batch", "run", "blend", "base", "eval", "comparison", "replay", "export", "report", "campaign", "decision"]
KINDS: tuple[Kind, ...] = get_args(Kind)

ALL_ROWS = 1_000_000
"""Rows asked of the ledger: all of them."""
BUSY_S = 30.0
"""How long a writer waits for another process's transaction; ours last milliseconds."""

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ncpfs", "lustre", "ceph", "glusterfs", "beegfs", "gpfs", "ocfs2", "gfs2", "pvfs2"}


class LedgerObject(Frozen):
    """One row: `data` is what the room that wrote it dumped."""

    kind: Kind
    id: str
    created: datetime
    data: dict[str, Any]


class Ledger:
    """`Ledger.open(ws)` costs nothing: the file is opened by the first call and made by the first write. Use it as a context manager, or let it go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()

    @classmethod
    def open(cls, ws: Workspace) -> Ledger:
        return cls(ws.ledger_path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # --- typed objects

    def put(self, kind: Kind, object_id: str, data: BaseModel | Mapping[str, Any]) -> bool:
        """Writes one object. True if the id is new; the same data again changes nothing, other data replaces it and keeps `created`."""
        with self.transaction() as connection:
            return put_object(connection, kind, object_id, data)

    def get(self, kind: Kind, object_id: str) -> dict[str, Any] | None:
        rows = self.rows("SELECT data FROM objects WHERE kind = ? AND id = ?", kind, object_id)
        return json.loads(rows[0]["data"]) if rows else None

    def require(self, kind: Kind, object_id: str) -> dict[str, Any]:
        """Like `get`, but raises `<kind>_unknown` with the call that lists what there is."""
        data = self.get(kind, object_id)
        if data is None:
            raise NotReadyError(f"{kind}_unknown", f"the ledger has no {kind} of that id.",
                                next_step=f'call list_objects with {{"kind": "{kind}"}} and use an id from there.')  # fmt: skip
        return data

    def list(self, kind: Kind, limit: int = 20) -> tuple[LedgerObject, ...]:
        """Newest first."""
        rows = self.rows("SELECT kind, id, created, data FROM objects WHERE kind = ? ORDER BY seq DESC LIMIT ?", kind, limit)
        return tuple(object_of(row) for row in rows)

    # --- what the rooms' own queries are made of

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """One write transaction: all of it or nothing, one at a time over all processes.

        Raises `disk_full`, `ledger_busy`, `ledger_unwritable`, `ledger_damaged`.
        """
        with self._lock, _coded(self.path):
            connection = self._connect()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def rows(self, sql: str, *values: object) -> Sequence[sqlite3.Row]:
        """Rows of one query. A ledger that does not exist has none, and reading does not make it."""
        with self._lock, _coded(self.path):
            if self._connection is None and not self.path.exists():
                return []
            return self._connect().execute(sql, values).fetchall()

    @contextmanager
    def one_moment(self) -> Generator[None]:
        """All `rows` inside see the ledger as it was at the first of them; nobody who writes has to wait."""
        with self._lock, _coded(self.path):
            if self._connection is None and not self.path.exists():
                yield
                return
            connection = self._connect()
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")  # nothing was written

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                connection.row_factory = sqlite3.Row
                _set_journal(connection, "delete" if on_network(self.path.parent) else "wal")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA foreign_keys=ON")
                migrations.migrate(connection, str(self.path))
            except BaseException:
                connection.close()
                raise
            weakref.finalize(self, connection.close)
            self._connection = connection
        return self._connection


def object_of(row: sqlite3.Row) -> LedgerObject:
    return LedgerObject(kind=row["kind"], id=row["id"], created=datetime.fromtimestamp(row["created"], UTC), data=json.loads(row["data"]))


def put_object(connection: sqlite3.Connection, kind: Kind, object_id: str, data: BaseModel | Mapping[str, Any]) -> bool:
    """`Ledger.put` inside a transaction of the caller."""
    value = data.model_dump(mode="json") if isinstance(data, BaseModel) else dict(data)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    old = connection.execute("SELECT data FROM objects WHERE kind = ? AND id = ?", (kind, object_id)).fetchone()
    if old is None:
        connection.execute("INSERT INTO objects(kind, id, created, data) VALUES (?, ?, ?, ?)", (kind, object_id, time.time(), text))
    elif old["data"] != text:
        connection.execute("UPDATE objects SET data = ? WHERE kind = ? AND id = ?", (text, kind, object_id))
    return old is None


def on_network(folder: Path, mounts: str | None = None) -> bool:
    """Whether `folder` is on a file system shared over a network, or on FUSE, where WAL cannot be trusted. `mounts` is the text of /proc/mounts."""
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return False  # not Linux: workspaces on network shares are not detected there
    best, kind = -1, ""
    target = folder.resolve()
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # /proc/mounts writes space, tab, newline and backslash of a path as octal escapes
        point = Path(fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"))
        if len(point.parts) >= best and target.is_relative_to(point):
            best, kind = len(point.parts), fields[2]
    return kind in _NETWORK or kind.startswith("fuse")


def _set_journal(connection: sqlite3.Connection, mode: str) -> None:
    """A change of mode needs the file alone and does not wait by itself, so it is tried again until another opener is through."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] == mode or connection.execute(f"PRAGMA journal_mode={mode}").fetchone()[0] == mode:
                return
        except sqlite3.OperationalError as error:
            if _primary(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise sqlite3.OperationalError("the journal mode could not be set")
        time.sleep(0.01)


def _primary(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 when the error did not come from SQLite itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


@contextmanager
def _coded(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _fault(path, error) from error
    except PermissionError as error:
        raise _unwritable(path) from error


def _fault(path: Path, error: sqlite3.DatabaseError) -> AsrtuneError:
    code = _primary(error)
    if code == sqlite3.SQLITE_FULL:
        return io.disk_full(path.parent, "the ledger could not grow")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ToolFault("ledger_busy", f"another process held {path} for over {BUSY_S:.0f} s.", next_step="run the same call again.", retryable=True)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _unwritable(path)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return ToolFault("ledger_damaged", f"{path} is not a sound SQLite file.",
                         next_step="move it away (finished folders under the workspace stay) and run the steps again, or restore a copy.")  # fmt: skip
    if code == sqlite3.SQLITE_IOERR and not os.access(path.parent, os.W_OK):
        return _unwritable(path)
    return ToolFault("ledger_failed", f"{path}: {error}.", next_step="run the same call again; if it repeats, report it with this message.")


def _unwritable(path: Path) -> EnvironmentFault:
    return EnvironmentFault("ledger_unwritable", f"{path} cannot be opened for writing.",
                            next_step="give this user write permission there, or set ASRTUNE_HOME to a folder of yours.")  # fmt: skip
