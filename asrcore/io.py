"""The one seam through which asrtune writes files. Tests inject faults (full disk, kill) here.

Every write is temp file + fsync + rename in the same folder, so a killed process leaves the old state or the new one. Only logs of finished
pieces are appended to, line by line.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydantic import BaseModel

from asrcore.errors import EnvironmentFault

_CHUNK = 1 << 20
_ROW = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


@contextmanager
def atomic_file(path: Path) -> Generator[BinaryIO]:
    """A binary file that appears at `path` complete or not at all. Makes missing parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        with open(part, "xb") as file:
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path.parent) from error
        raise
    fsync_folder(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Generator[Path]:
    """A folder that appears at `path` complete or not at all; an existing `path` is kept and the new one dropped (content-addressed)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    part.mkdir()
    try:
        yield part
        try:
            os.replace(part, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(part)  # another writer was first, now or long ago
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path.parent) from error
        raise
    fsync_folder(path.parent)


def remove_parts(folder: Path) -> None:
    """Removes what killed writers left below a folder that no other process writes to."""
    for part in list(folder.rglob(".*.part")):
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Pydantic models and plain data, as indented UTF-8 JSON with a final newline."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, sort_keys=False) + "\n")


def json_line(value: Mapping[str, Any]) -> bytes:
    """A row of a JSON-lines file, with its newline. Raises `ValueError` for NaN and infinity, `UnicodeEncodeError` for half a surrogate pair."""
    return _ROW.encode(value).encode("utf-8") + b"\n"


def append_line(path: Path, line: str) -> None:
    """Appends one line (without its newline) in one write: a reader, or a process killed here, sees whole lines and at most one unfinished last one."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, (line + "\n").encode("utf-8"))
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path.parent) from error
        raise


def fsync_folder(folder: Path) -> None:
    """Makes a rename in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """Digest of the canonical JSON (sorted keys, no spaces); the base of every content-addressed id."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")).hexdigest()


def require_disk(folder: Path, need_bytes: int) -> None:
    """Raises `disk_full` unless `folder`'s file system has `need_bytes` free."""
    probe = folder
    while not probe.exists():
        probe = probe.parent
    free = shutil.disk_usage(probe).free
    if free < need_bytes:
        raise disk_full(folder, f"{need_bytes / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free")


def disk_full(folder: Path, detail: str = "the write did not fit") -> EnvironmentFault:
    return EnvironmentFault(
        "disk_full", f"no space left under {folder}: {detail}; nothing half-written was kept.",
        next_step="free disk space or set ASRTUNE_HOME to a larger disk, then run the same command again; finished parts are kept.",
        retryable=True,
    )  # fmt: skip
