"""The workspace (`.asrtune/` or ASRTUNE_HOME) and the person's config (`asrtune.toml`, read at start, written by no tool)."""

from __future__ import annotations

import os
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from asrcore.errors import UsageError, clean_text
from asrcore.results import Frozen

CONFIG_NAME = "asrtune.toml"

BackendName = Literal["local", "torchrun", "slurm", "sky"]
"""Where a job runs: this machine, this machine under torchrun, a Slurm cluster, a cloud or Kubernetes through SkyPilot."""

_WORD = r"^[A-Za-z0-9_.:,+@-]{1,128}$"


class Budgets(Frozen):
    """Hard limits. No tool can change them."""

    max_gpu_hours: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Paid GPU-hours a launch may plan without approval.")
    price_per_gpu_hour: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="What a GPU-hour costs here, in your currency; 0: this machine's GPUs are not paid for by the hour."
    )
    max_run_hours: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Wall-clock hours a launch may plan without approval; left out: no limit."
    )
    max_parallel_jobs: int = Field(default=1, ge=1, le=64)
    max_disk_gb: float = Field(default=100.0, gt=0, allow_inf_nan=False)


class Notify(Frozen):
    """Whom to tell when a job ends or needs somebody. The webhook gets one JSON POST, the command the same JSON on its stdin."""

    webhook: str | None = Field(default=None, pattern=r"^(https://|http://(localhost|127\.0\.0\.1)[:/])\S+$", description="An https URL, or http on this host.")
    command: tuple[str, ...] = Field(default=(), description="Program and arguments; no shell reads them.")
    on: tuple[Literal["succeeded", "failed", "cancelled", "lost", "orphaned", "unhealthy", "approval_needed"], ...] = (
        "succeeded", "failed", "lost", "orphaned", "unhealthy", "approval_needed",
    )  # fmt: skip


class Loggers(Frozen):
    """Where the metrics of trainings go besides the job's own events. Nothing leaves this machine unless a person names a place here."""

    tensorboard: bool = Field(default=False, description="Event files in the run's folder, under tensorboard/.")
    wandb: str | None = Field(default=None, pattern=_WORD, description="Project at Weights & Biases; log in with `wandb login` first.")
    mlflow: str | None = Field(default=None, min_length=1, description="MLflow tracking URI, such as http://mlflow:5000 or file:///shared/mlruns.")
    trackio: str | None = Field(default=None, pattern=_WORD, description="Project of Trackio, whose files stay on this machine; `trackio show` draws it.")


class Cluster(Frozen):
    """What every cluster needs to know. The workspace must lie at the same path there: asrtune copies no data."""

    gpus: int = Field(default=1, ge=0, le=64, description="GPUs of one job; a training runs one process on each.")
    cpus: int = Field(default=8, ge=1, le=1024)
    memory_gb: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="Left out: what the cluster gives.")
    time_hours: float = Field(default=24.0, gt=0, le=24 * 90, allow_inf_nan=False, description="Hard limit of one attempt; a later attempt goes on from its checkpoint.")
    setup: tuple[str, ...] = Field(default=(), description="Shell lines before the work, such as `module load cuda`. A person's, like all of this file.")
    max_jobs: int = Field(default=4, ge=1, le=1000, description="Jobs in the cluster's queue at a time.")
    poll_s: float = Field(default=20.0, ge=0.1, le=600, description="Seconds between two questions to the cluster about one job.")
    price_per_gpu_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class Slurm(Cluster):
    """Slurm through its own commands, on a host that may submit; nodes see the workspace by a shared file system."""

    partition: str | None = Field(default=None, pattern=_WORD)
    account: str | None = Field(default=None, pattern=_WORD)
    qos: str | None = Field(default=None, pattern=_WORD)
    gpu_type: str | None = Field(default=None, pattern=_WORD)
    options: tuple[Annotated[str, Field(pattern=r"^--[a-z][a-z0-9-]*(=[^\s\"'\\\\#]+)?$")], ...] = Field(default=(), description="Further sbatch options, e.g. --constraint=h100.")
    python: str | None = Field(default=None, description="Python on the nodes that has asrtune; left out: the path of this one.")
    container_image: str | None = Field(default=None, description="For sites with Pyxis: what srun --container-image takes.")
    container_mounts: tuple[str, ...] = Field(default=(), description="Further folders in the container, as Pyxis writes them; the workspace is there anyway.")


class Sky(Cluster):
    """Clouds and Kubernetes through SkyPilot's managed jobs; volumes or buckets carry the workspace."""

    infra: str | None = Field(default=None, description="As in SkyPilot: k8s, aws/us-east-1, ...; left out: the cheapest it finds.")
    gpu_type: str = Field(default="H100", pattern=_WORD)
    use_spot: bool = False
    image_id: str | None = Field(default=None, description="e.g. docker:registry/image:tag; it must hold asrtune, or `setup` must install it.")
    volumes: dict[str, str] = Field(default={}, description="Mount path -> SkyPilot volume.")
    buckets: dict[str, str] = Field(default={}, description="Mount path -> bucket URL (s3://...), mounted with a write-back cache.")
    python: str = Field(default="python3", description="Python there that has asrtune.")


class Dask(Frozen):
    """Dask clusters that may write shards. Their workers run our code on our files, and what they answer is unpickled here: name only your own."""

    schedulers: tuple[Annotated[str, Field(pattern=r"^(tcp|tls)://[A-Za-z0-9_.:\[\]-]{1,200}$")], ...] = Field(default=(), description="Addresses, such as tls://host:8786.")


class Torchrun(Frozen):
    """Several processes on this machine."""

    processes: int = Field(default=1, ge=1, le=64)


class Config(Frozen):
    """`asrtune.toml`. Without one: root = current folder, this machine only, one job, no paid GPU-hours, embedded base and local .nemo."""

    data_roots: tuple[str, ...] = Field(default=(".",), description="Folders that tools may read data from, relative to the config file.")
    output_root: str = Field(default=".asrtune", description="Workspace folder; ASRTUNE_HOME wins.")
    budgets: Budgets = Budgets()
    notify: Notify = Notify()
    loggers: Loggers = Loggers()
    backends: tuple[BackendName, ...] = Field(default=("local",), description="Where jobs may run.")
    torchrun: Torchrun = Torchrun()
    slurm: Slurm = Slurm()
    sky: Sky = Sky()
    dask: Dask = Dask()
    allowed_bases: tuple[str, ...] = Field(default=(), description="sha256 of allowed base checkpoints; empty allows the embedded base and local .nemo.")


class Workspace:
    """Paths of one workspace. Folders are made on first write, never on read."""

    def __init__(self, home: Path, config: Config, base_folder: Path) -> None:
        self.home = home
        self.config = config
        self.base_folder = base_folder

    @classmethod
    def open(cls, folder: Path | None = None) -> Workspace:
        """Workspace of `folder` (default: the current one). Raises `config_invalid` with all problems of a bad `asrtune.toml`."""
        folder = (folder or Path.cwd()).resolve()
        config_file = config_path(folder)
        config = load_config(config_file) if config_file.is_file() else Config()
        home = os.environ.get("ASRTUNE_HOME")
        return cls(Path(home).resolve() if home else (folder / config.output_root).resolve(), config, folder)

    @cached_property
    def data_roots(self) -> tuple[Path, ...]:
        """Allowed roots, resolved; the workspace itself is always readable."""
        return (*((self.base_folder / root).resolve() for root in self.config.data_roots), self.home)

    @property
    def config_file(self) -> Path:
        """Where the person's config lies, or would lie."""
        return config_path(self.base_folder)

    @property
    def ledger_path(self) -> Path:
        return self.home / "ledger.db"

    def folder(self, kind: str, object_id: str) -> Path:
        """`HOME/kind/id`, e.g. `folder("runs", "run_1a2b")`; kinds: datasets shards runs blends evals exports reports jobs quickstart."""
        return self.home / kind / object_id

    def resolve_data(self, path: str) -> Path:
        """An existing file or folder below an allowed root. Raises `path_refused` or `path_missing`; symlinks are followed first."""
        if "\0" in path or not path.strip():
            raise UsageError("path_refused", "the path is empty or holds a NUL.", next_step="pass a path below a data root (asrtune doctor lists them).")
        try:
            resolved = (self.base_folder / path).resolve()
            found = resolved.exists()
        except (OSError, RuntimeError, ValueError):  # a name too long, a loop of links, half a UTF-16 pair
            raise UsageError("path_refused", "the path cannot be followed.", next_step="pass a path below a data root (asrtune doctor lists them).") from None
        if not any(resolved.is_relative_to(root) for root in self.data_roots):
            roots = ", ".join(str(root) for root in self.data_roots)
            raise UsageError("path_refused", f"the path is outside the data roots ({roots}).",
                             next_step=f"move the data below a root, or ask the person to add a data root to {CONFIG_NAME}.")  # fmt: skip
        if not found:
            raise UsageError("path_missing", f"no file or folder at {clean_text(str(resolved), 300)}.", next_step="check the path and call again.")
        return resolved


def config_path(folder: Path) -> Path:
    return Path(os.environ.get("ASRTUNE_CONFIG") or folder / CONFIG_NAME).resolve()


def load_config(path: Path) -> Config:
    """Reads and validates one `asrtune.toml`."""
    try:
        return Config.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        detail = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()) if isinstance(error, ValidationError) else str(error)
        raise UsageError("config_invalid", f"{path} is not a valid config: {detail}.", next_step=f"correct {path} by hand.") from error
