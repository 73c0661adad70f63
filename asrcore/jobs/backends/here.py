"""Command lines of work on this machine: the child module itself, or the same module under torchrun."""

from __future__ import annotations

import sys

from asrcore.jobs.backends.base import Task, torchrun
from asrcore.jobs.child import REQUEST
from asrcore.jobs.process import python_module


def local_command(task: Task) -> tuple[str, ...]:
    return python_module(task.module, str(task.folder / REQUEST))


def torchrun_command(task: Task) -> tuple[str, ...]:
    """torchrun hands no inherited pipe on to its workers, so the gate stands before torchrun itself (`gated.py`)."""
    return python_module("asrcore.jobs.gated", *torchrun(sys.executable, task))
