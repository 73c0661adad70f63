"""Command lines of work on this machine: the child module itself, or the same module under torchrun."""

from __future__ import annotations

from pathlib import Path

from asrcore.jobs.process import python_module
from asrcore.workspace import Config


def local_command(module: str, request: Path) -> tuple[str, ...]:
    return python_module(module, str(request))


def torchrun_command(module: str, request: Path, config: Config) -> tuple[str, ...]:
    """torchrun hands no inherited pipe on to its workers, so the gate stands before torchrun itself (`gated.py`)."""
    work = python_module("torch.distributed.run", "--standalone", f"--nproc-per-node={config.torchrun.processes}", "-m", module, str(request))
    return python_module("asrcore.jobs.gated", *work)
