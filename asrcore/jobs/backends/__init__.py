"""Where jobs run, chosen at launch: this machine (`here.py`), Slurm (`slurm.py`), clouds and Kubernetes (`sky.py`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from asrcore.errors import EnvironmentFault, NotReadyError, UsageError
from asrcore.jobs.backends.base import Cluster, Task, require_commands
from asrcore.jobs.backends.here import local_command, torchrun_command
from asrcore.jobs.backends.sky import SkyCluster
from asrcore.jobs.backends.slurm import SlurmCluster
from asrcore.workspace import BackendName, Config, Sky, Slurm, Workspace

CLUSTERS: dict[str, Cluster] = {"slurm": SlurmCluster(), "sky": SkyCluster()}
HERE: tuple[BackendName, ...] = ("local", "torchrun")
"""Backends that share this machine, and with it its slots."""
DISTRIBUTED = frozenset({"train"})
"""Kinds whose module knows that it is one of several processes; any other would do its work once in each."""

WITHOUT_GPU = frozenset({"build_shards"})
"""Kinds that load no model; every other one gets GPUs of this machine, where it has any."""


def require_backend(ws: Workspace, backend: BackendName, request: dict[str, Any]) -> None:
    """Raises `backend_not_allowed`, `backend_missing`, `workspace_not_shared`, `scheduler_not_allowed`, `dask_missing`: what would stop the job before it starts."""
    config = ws.config
    if backend not in config.backends:
        raise UsageError("backend_not_allowed", f"{backend} is not among the backends of {ws.config_file.name} ({', '.join(config.backends)}).",
                         next_step=f"launch with one of those, or ask the person to add {backend} to backends.")  # fmt: skip
    if backend in CLUSTERS:
        require_commands(CLUSTERS[backend].title, CLUSTERS[backend].commands)
    if backend == "sky":
        _require_mounts(ws, request)
    if request.get("scheduler"):
        _require_scheduler(ws, str(request["scheduler"]))


def slots_of(config: Config, backend: BackendName) -> int:
    """Jobs at a time: of this machine, or of one user in a cluster's queue."""
    return settings_of(config, backend).max_jobs if backend in CLUSTERS else config.budgets.max_parallel_jobs


def settings_of(config: Config, backend: BackendName) -> Slurm | Sky:
    """The section of `asrtune.toml` of a cluster."""
    return {"slurm": config.slurm, "sky": config.sky}[backend]


def processes_of(config: Config, backend: BackendName, kind: str) -> int:
    """Processes of one job, each with a GPU of its own where there are any."""
    if kind not in DISTRIBUTED or backend == "local":
        return 1
    return config.torchrun.processes if backend == "torchrun" else max(1, settings_of(config, backend).gpus)


def gpus_of(config: Config, backend: BackendName, kind: str, here: int) -> int:
    """GPUs of one job; `here` is how many this machine has."""
    if backend in CLUSTERS:
        return settings_of(config, backend).gpus
    return 0 if kind in WITHOUT_GPU else min(processes_of(config, backend, kind), here)


def pool_of(backend: BackendName) -> tuple[BackendName, ...]:
    """Backends whose jobs wait for each other."""
    return HERE if backend in HERE else (backend,)


def command_here(backend: BackendName, task: Task) -> tuple[str, ...]:
    return torchrun_command(task) if backend == "torchrun" else local_command(task)


def _require_scheduler(ws: Workspace, address: str) -> None:
    allowed = ws.config.dask.schedulers
    if address not in allowed:
        raise UsageError("scheduler_not_allowed", f"the scheduler is not among the [dask] schedulers of {ws.config_file.name} ({', '.join(allowed) or 'none'}).",
                         next_step="call without scheduler, or ask the person to add the address.")  # fmt: skip
    if importlib.util.find_spec("distributed") is None:
        raise EnvironmentFault("dask_missing", "a Dask scheduler is named, and the package distributed is not installed.",
                               next_step='pip install "asrtune[dask]" here, on the scheduler and on the workers, then call again; or call without scheduler.')  # fmt: skip


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
