"""Checks whether this machine is ready to fine-tune: package versions, processor, memory, disk, GPUs, data roots, budgets and the embedded base model.
Call it first in a new place, and again when a tool answers with an error of exit code 4.
It changes nothing, starts nothing and takes no arguments; it does not look at data (inspect_dataset does).
It returns the verdict READY or NEEDS FIX, the facts, and one warning with a fix for each thing that is missing.
It answers within a few seconds.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from pydantic import Field

from asrcore.errors import AsrtuneError, Problem, clean_text
from asrcore.machine import memory_gb, read_gpus
from asrcore.results import Frozen, Result
from asrcore.workspace import Budgets, Workspace

PACKAGES: dict[str, str] = {
    "asrtune": "", "pydantic": "", "typer": "", "mcp": "", "numpy": "", "soundfile": "", "soxr": "", "sentencepiece": "", "jiwer": "",
    "torch": "", "nemo_toolkit": "3", "lightning": "", "lhotse": "",
}  # fmt: skip
"""Distribution -> required major version, or "" for any. The last four are for jobs only."""

MIN_DISK_GB = 10.0


class Input(Frozen):
    """No arguments."""


class Gpu(Frozen):
    name: str
    memory_gb: float
    free_gb: float
    driver: str


class DataRoot(Frozen):
    path: str
    readable: bool


class Base(Frozen):
    """The embedded base model; `error` is a code when it cannot be read."""

    readable: bool
    sha256: str = ""
    locales: int = 0
    error: str = ""


class DoctorReport(Frozen):
    verdict: Literal["READY", "NEEDS FIX"]
    system: str
    python: str
    cores: int = Field(description="Cores that this process may use.")
    memory_gb: float
    memory_free_gb: float
    disk_free_gb: float = Field(description="Free space where the workspace is.")
    gpus: tuple[Gpu, ...]
    packages: dict[str, str | None] = Field(description="Version by package; null is not installed.")
    workspace: str
    workspace_writable: bool
    data_roots: tuple[DataRoot, ...]
    budgets: Budgets
    backends: tuple[str, ...]
    base: Base


Output = DoctorReport


def run(request: Input, ws: Workspace) -> Result[Output]:
    problems: list[Problem] = []
    packages = {name: _version(name) for name in PACKAGES}
    problems += _package_problems(packages)
    total, free = memory_gb()
    disk = shutil.disk_usage(_existing(ws.home)).free / 1e9
    if disk < MIN_DISK_GB:
        problems.append(Problem(code="disk_low", message=f"{disk:.1f} GB are free for the workspace, a run needs about {MIN_DISK_GB:.0f} GB",
                                fix="free disk space or set ASRTUNE_HOME to a larger disk", severity="warning"))  # fmt: skip
    gpus, gpu_problem = _gpus()
    if gpu_problem is not None:
        problems.append(gpu_problem)
    elif not gpus:
        problems.append(Problem(code="gpu_missing", message="no NVIDIA GPU answers here", severity="info",
                                fix="small bases train on the processor; for the 0.6 B base use a machine with a GPU"))  # fmt: skip
    elif "+cpu" in (packages["torch"] or ""):
        problems.append(Problem(code="torch_without_cuda", message="a GPU is here but the installed torch is a CPU build",
                                fix="install a CUDA build of torch", severity="warning"))  # fmt: skip
    roots = tuple(DataRoot(path=str(root), readable=os.access(root, os.R_OK | os.X_OK)) for root in ws.data_roots[:-1])
    problems += [Problem(code="data_root_unreadable", message="a data root of asrtune.toml cannot be read", file=root.path,
                         fix="create it, give access to it, or correct data_roots in asrtune.toml") for root in roots if not root.readable]  # fmt: skip
    writable = os.access(_existing(ws.home), os.W_OK | os.X_OK)
    if not writable:
        problems.append(Problem(code="workspace_unwritable", message="the workspace cannot be written", file=str(ws.home),
                                fix="give write access or set ASRTUNE_HOME to a folder of yours"))  # fmt: skip
    base = _base(problems)
    report = DoctorReport(
        verdict="NEEDS FIX" if any(p.severity == "error" for p in problems) else "READY",
        system=f"{platform.system()} {platform.machine()}", python=platform.python_version(), cores=_cores(), memory_gb=total, memory_free_gb=free,
        disk_free_gb=round(disk, 1), gpus=gpus, packages=packages, workspace=str(ws.home), workspace_writable=writable, data_roots=roots,
        budgets=ws.config.budgets, backends=ws.config.backends, base=base)  # fmt: skip
    errors = sum(p.severity == "error" for p in problems)
    gpu_words = ", ".join(gpu.name for gpu in gpus) or "no GPU"
    summary = f"{report.verdict}: {report.cores} cores, {gpu_words}, {disk:.0f} GB disk free; {errors} to fix, {len(problems) - errors} to note."
    return Result[Output](summary=summary, data=report, warnings=tuple(problems))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package_problems(packages: dict[str, str | None]) -> list[Problem]:
    problems: list[Problem] = []
    for name, major in PACKAGES.items():
        version = packages[name]
        if version is None and name != "asrtune":
            problems.append(Problem(code="package_missing", message=f"{name} is not installed", fix=f"pip install {name}"))
        elif version is not None and major and version.split(".")[0] != major:
            problems.append(Problem(code="package_version", message=f"{name} is {clean_text(version, 40)}, {major}.x is needed",
                                    fix=f"pip install '{name}=={major}.*'"))  # fmt: skip
    return problems


def _base(problems: list[Problem]) -> Base:
    from asrcore.checkpoint import embedded_base, read_checkpoint

    try:
        info = read_checkpoint(embedded_base())
    except AsrtuneError as error:
        problems.append(Problem(code=error.code, message=f"the embedded base model cannot be used: {error.message}", fix=error.next_step))
        return Base(readable=False, error=error.code)
    return Base(readable=True, sha256=info.sha256, locales=len(info.prompt_dictionary))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> tuple[tuple[Gpu, ...], Problem | None]:
    try:
        found = read_gpus()
    except (OSError, subprocess.SubprocessError) as error:
        return (), Problem(code="gpu_unreadable", message=f"nvidia-smi does not answer ({type(error).__name__})",
                           fix="run nvidia-smi by hand and repair the driver", severity="warning")  # fmt: skip
    return tuple(Gpu(name=gpu.name, memory_gb=gpu.memory_gb, free_gb=gpu.free_gb, driver=gpu.driver) for gpu in found), None


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that is there."""
    while not path.exists():
        path = path.parent
    return path
