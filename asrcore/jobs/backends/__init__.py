"""Where jobs run, chosen at launch: this machine (`here.py`), Slurm (`slurm.py`), clouds and Kubernetes (`sky.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from asrcore.errors import NotReadyError, UsageError
from asrcore.jobs.backends.base import Cluster, require_commands
from asrcore.jobs.backends.here import local_command, torchrun_command
from asrcore.jobs.backends.sky import SkyCluster
from asrcore.jobs.backends.slurm import SlurmCluster
from asrcore.workspace import BackendName, Config, Workspace

CLUSTERS: dict[str, Cluster] = {"slurm": SlurmCluster(), "sky": SkyCluster()}
HERE: tuple[BackendName, ...] = ("local", "torchrun")
"""Backends that share this machine, and with it its slots."""


def require_backend(ws: Workspace, backend: BackendName, kind: str, request: dict[str, Any]) -> None:
    """Raises `backend_not_allowed`, `backend_missing`, `ddp_not_supported`, `workspace_not_shared`: what would stop the job before it starts."""
    config = ws.config
    if backend not in config.backends:
        raise UsageError("backend_not_allowed", f"{backend} is not among the backends of {ws.config_file.name} ({', '.join(config.backends)}).",
                         next_step=f"launch with one of those, or ask the person to add {backend} to backends.")  # fmt: skip
    processes = {"torchrun": config.torchrun.processes, "slurm": config.slurm.gpus, "sky": config.sky.gpus}.get(backend, 1)
    if processes > 1 and kind == "train":
        raise NotReadyError("ddp_not_supported", f"{backend} is set to {processes} processes or GPUs, and a training uses one.",
                            next_step=f"ask the person to set it to 1 under [{backend}] in {ws.config_file.name}; the trainer is not distributed yet.")  # fmt: skip
    if backend in CLUSTERS:
        require_commands(CLUSTERS[backend].title, CLUSTERS[backend].commands)
    if backend == "sky":
        _require_mounts(ws, request)


def slots_of(config: Config, backend: BackendName) -> int:
    """Jobs at a time: of this machine, or of one user in a cluster's queue."""
    return {"slurm": config.slurm.max_jobs, "sky": config.sky.max_jobs}.get(backend, config.budgets.max_parallel_jobs)


def pool_of(backend: BackendName) -> tuple[BackendName, ...]:
    """Backends whose jobs wait for each other."""
    return HERE if backend in HERE else (backend,)


def command_here(backend: BackendName, module: str, request: Path, config: Config) -> tuple[str, ...]:
    return torchrun_command(module, request, config) if backend == "torchrun" else local_command(module, request)


def _require_mounts(ws: Workspace, request: dict[str, Any]) -> None:
    mounts = [Path(path) for path in (*ws.config.sky.volumes, *ws.config.sky.buckets)]
    outside = sorted({str(path) for path in (ws.home, *_paths(request)) if not any(path.is_relative_to(mount) for mount in mounts)})
    if outside:
        raise NotReadyError("workspace_not_shared", f"{len(outside)} path(s) of this job lie on no volume or bucket of [sky], so its machine would not see them.",
                            next_step="put the workspace and its data below a path of [sky] volumes or buckets that is mounted here as well.")  # fmt: skip


def _paths(value: Any) -> Iterator[Path]:
    """Every absolute path in a request; requests hold no relative ones but inside a folder that they name."""
    if isinstance(value, str):
        if value.startswith("/"):
            yield Path(value)
    elif isinstance(value, dict):
        for entry in cast("dict[str, Any]", value).values():
            yield from _paths(entry)
    elif isinstance(value, list | tuple):
        for entry in cast("list[Any]", value):
            yield from _paths(entry)
