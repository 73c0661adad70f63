"""Clusters for tests: executables of their names on PATH, and a hand that does to their jobs what operators and failing nodes do."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil

from asrcore.workspace import Workspace

FAKES = Path(__file__).parent / "fakes"
COMMANDS = {"slurm": ("sbatch", "scontrol", "squeue", "sacct", "scancel", "srun"), "sky": ("sky",)}


class FakeCluster:
    """Of one kind ("slurm" or "sky"); its state lies in `home`."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.home = folder / "cluster"
        self.bin = folder / "bin"
        self.home.mkdir()
        self.bin.mkdir()
        for command in COMMANDS[kind]:
            path = self.bin / command
            path.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKES / kind}.py {command} "$@"\n', encoding="utf-8")
            path.chmod(0o755)

    def set(self, switch: str, *, on: bool = True) -> None:
        (self.home / switch).touch() if on else (self.home / switch).unlink()

    def job(self, job_id: str | None) -> dict[str, Any]:
        return json.loads((self.home / f"job_{job_id}.json").read_text(encoding="utf-8"))

    def jobs(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.home.glob("job_*.json"))]

    def plant(self, job_id: str, state: str, exit_code: str) -> None:
        """A job that is there without ever having run."""
        self._write({"id": job_id, "name": "planted", "state": state, "exit_code": exit_code, "start": 0.0, "limit": 86_400, "log": "", "pid": None})

    def strike(self, job_id: str | None, state: str, exit_code: str = "0:9") -> None:
        """The cluster itself ends a job: kills its work and says `state`."""
        job = self.job(job_id)
        self._write(job | {"state": state, "exit_code": exit_code})
        kill_tree(job["pid"])

    def forget(self, job_id: str | None) -> None:
        """Out of the controller's memory, as some minutes after the end."""
        self._write(self.job(job_id) | {"forgotten": True})

    def drop(self, job_id: str | None) -> None:
        """Out of everything's memory."""
        job = self.job(job_id)
        (self.home / f"job_{job_id}.json").unlink()
        kill_tree(job["pid"])

    def calls(self, command: str) -> list[str]:
        lines = (self.home / "calls").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line.startswith(command)]

    def close(self) -> None:
        (self.home / "hold").unlink(missing_ok=True)
        for job in self.jobs():
            self._write(job | {"state": "CANCELLED"})
            kill_tree(job["pid"])

    def _write(self, job: dict[str, Any]) -> None:
        part = self.home / f".test.{job['id']}"
        part.write_text(json.dumps(job), encoding="utf-8")
        os.replace(part, self.home / f"job_{job['id']}.json")


def kill_tree(pid: int | None) -> None:
    """The process and all below it: `timeout` makes a group of its own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)] if pid else []:
            process.kill()


def configure(folder: Path, *slurm: str) -> Workspace:
    """The workspace of a folder whose config allows every backend and asks clusters often."""
    fast = ["poll_s = 0.1", "cpus = 1", "gpus = 0", "time_hours = 1"]
    lines = [
        'backends = ["local", "torchrun", "slurm", "sky"]',
        "[slurm]", *fast, *slurm,
        "[sky]", *fast, f"python = {json.dumps(sys.executable)}", f"volumes = {{ {json.dumps(str(folder))} = 'asr' }}",
    ]  # fmt: skip
    (folder / "asrtune.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Workspace.open(folder)
