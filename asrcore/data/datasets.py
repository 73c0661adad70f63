"""Dataset folders `datasets/dataset_<id>/` that import, split, fix and apply_channel make: content-addressed, so equal results have one id and one folder.

Files are written in a hidden folder `.new.<pid>.<random>.part` that appears under its name by a single rename. What a killed writer left is
removed by the next one: a living writer holds a lock on `.new.….lock` beside its folder, which the kernel gives back when the process dies,
however it dies. Any number of writers may work at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel

from asrcore import io

RECORD = "dataset.json"
"""What made the folder and what it counted: the same value as in the ledger."""

_FORGOTTEN_S = 86_400.0
"""A hidden folder without a lock file, from before there were locks, is removed when nothing in it changed for a day."""


class NewDataset:
    """A folder in the making. Write files at `path(name)`, then call `name_it` once and `finish` last; a crash leaves a hidden folder only."""

    def __init__(self, datasets: Path) -> None:
        self.datasets = datasets
        self.staging = datasets / f".new.{os.getpid()}.{uuid.uuid4().hex[:8]}.part"
        self.dataset_id = ""

    def path(self, name: str) -> Path:
        return self.staging / name

    @property
    def folder(self) -> Path:
        """Where the files will stand; known after `name_it`."""
        return self.datasets / self.dataset_id

    def name_it(self, made_by: str) -> str:
        """The id, from the tool's name and the bytes of every file written so far, folders left out."""
        files = sorted(p for p in self.staging.iterdir() if p.is_file())
        self.dataset_id = f"dataset_{io.sha256_json([made_by, *([p.name, io.sha256_file(p)] for p in files)])[:12]}"
        return self.dataset_id

    def finish(self, record: BaseModel) -> None:
        """Writes the record and puts the folder in place; one of the same id that stands there is kept."""
        io.write_json(self.path(RECORD), record)
        try:
            os.replace(self.staging, self.folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        io.fsync_folder(self.datasets)


@contextmanager
def new_dataset(datasets: Path) -> Generator[NewDataset]:
    """Cleans up whatever was not finished, here and by writers that were killed."""
    datasets.mkdir(parents=True, exist_ok=True)
    remove_leftovers(datasets)
    made = NewDataset(datasets)
    with _owned(made.staging.with_suffix(".lock")):
        made.staging.mkdir()
        try:
            yield made
        finally:
            shutil.rmtree(made.staging, ignore_errors=True)


def remove_leftovers(datasets: Path) -> None:
    """Removes the staging folders below `datasets` whose writers are dead; those of living writers, in this process or another, stay."""
    for lock in datasets.glob(".new.*.lock"):
        with suppress(PermissionError):  # somebody else's, on a shared disk
            _remove_dead(lock)
    for part in datasets.glob(".*.part"):
        with suppress(OSError):  # somebody else was faster
            if part.is_dir() and not part.with_suffix(".lock").exists() and time.time() - part.stat().st_mtime > _FORGOTTEN_S:
                shutil.rmtree(part, ignore_errors=True)


def _remove_dead(lock: Path) -> None:
    handle = _try_lock(lock, create=False)
    if handle is None:
        return
    try:
        shutil.rmtree(lock.with_suffix(".part"), ignore_errors=True)
        lock.unlink(missing_ok=True)
    finally:
        os.close(handle)


@contextmanager
def _owned(lock: Path) -> Generator[None]:
    """Holds `lock` for as long as the block runs, and takes it away with it."""
    while (handle := _try_lock(lock, create=True)) is None:
        time.sleep(0.01)  # a cleaner looked at the file just when it appeared; it will take it for dead and let go
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _try_lock(lock: Path, *, create: bool) -> int | None:
    """A handle that holds the lock, or None: it is held, or the file is gone or was replaced meanwhile."""
    try:
        handle = os.open(lock, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(lock)):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None
