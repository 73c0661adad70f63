"""Dataset folders `datasets/dataset_<id>/` that import, split and fix make: content-addressed, so equal results have one id and one folder."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from asrcore import io

RECORD = "dataset.json"
"""What made the folder and what it counted: the same value as in the ledger."""


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
        """The id, from the tool's name and the bytes of every file written so far."""
        files = sorted(p for p in self.staging.iterdir() if p.is_file())
        self.dataset_id = f"dataset_{io.sha256_json([made_by, *([p.name, io.sha256_file(p)] for p in files)])[:12]}"
        return self.dataset_id

    def finish(self, record: BaseModel) -> None:
        """Writes the record and puts the folder in place; one of the same id that stands there is kept."""
        io.write_json(self.path(RECORD), record)
        try:
            with io.atomic_folder(self.folder) as part:
                for file in self.staging.iterdir():
                    os.replace(file, part / file.name)
        except OSError:
            if not (self.folder / RECORD).is_file():  # else another process was faster with the same content
                raise


@contextmanager
def new_dataset(datasets: Path) -> Generator[NewDataset]:
    """Cleans up whatever was not finished."""
    made = NewDataset(datasets)
    try:
        yield made
    finally:
        shutil.rmtree(made.staging, ignore_errors=True)
