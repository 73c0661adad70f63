"""Whether an attempt may start on this machine: which GPUs there are, what is free now, and what is left of its caps."""

from __future__ import annotations

import subprocess
from pathlib import Path

from asrcore import io
from asrcore.errors import EnvironmentFault
from asrcore.jobs.backends import CLUSTERS, WITHOUT_GPU
from asrcore.jobs.outcome import over_cap, resume_call
from asrcore.jobs.store import Job
from asrcore.machine import Gpu, memory_gb, read_gpus

MOST_ASKED = 0.9
"""Of a device's whole memory: needs are estimates, and a plan that may not fit an empty machine was launched with its warning seen."""


def gpus_here(job: Job) -> tuple[Gpu, ...]:
    """Those that the job may get here; none for work that needs none or runs elsewhere. Raises `gpu_unreadable`."""
    if job.backend in CLUSTERS or job.kind in WITHOUT_GPU:
        return ()
    try:
        return read_gpus()
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvironmentFault(
            "gpu_unreadable", f"nvidia-smi is here and does not answer ({type(error).__name__}).",
            next_step=f"mend the driver (doctor shows it), or set CUDA_VISIBLE_DEVICES to -1 to work on the processor; then {resume_call(job)}.",
        ) from error  # fmt: skip


def require_room(home: Path, job: Job, leased: tuple[str, ...]) -> None:
    """Raises what would end the work anyway, later and less clearly: `walltime_exceeded`, `gpu_hours_exceeded`, `disk_full`, `memory_short`.

    On a cluster the memory is the cluster's to give, and the workspace's disk is looked at all the same.
    """
    seconds, cap = job.allowance
    if seconds <= 0:
        raise over_cap(job, cap)
    io.require_disk(home, round(job.disk_gb * 1e9))
    if job.backend in CLUSTERS:
        return
    mine = [(gpu.memory_gb, gpu.free_gb) for gpu in gpus_here(job) if gpu.uuid in leased and gpu.memory_gb] if leased else []
    (total, free), what = (min(mine, key=lambda sizes: sizes[1]), "GPU memory") if mine else (memory_gb(), "main memory")
    if free < min(job.memory_gb, MOST_ASKED * total):
        raise EnvironmentFault(
            "memory_short", f"about {job.memory_gb:.1f} GB of {what} needed, {free:.1f} of {total:.1f} GB free.",
            next_step=f"end what else uses it, then {resume_call(job)}; or plan with a smaller batch_size.", retryable=True,
        )  # fmt: skip
