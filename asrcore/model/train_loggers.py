"""Metrics of a run to TensorBoard, Weights & Biases, MLflow or Trackio, through Lightning's loggers, where `[loggers]` of asrtune.toml asks for it.

By default there is no logger and nothing is sent anywhere. The job's `events.jsonl` is the record; these are copies of its numbers, so a
service that cannot be reached costs its copy and not the run. No hyperparameter, text or path is passed on, only numbers and the run's id.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asrcore.errors import EnvironmentFault
from asrcore.workspace import Loggers

EXPERIMENT = "asrtune"
"""Name of the experiment at MLflow."""


def trackio_logger(lightning_logger: type[Any], project: str | None, run_id: str) -> Any:
    """Lightning (2.6) has no logger for Trackio, so here is one. Files on this machine only: no space, no server, and nothing that Trackio samples by itself."""
    trackio = importlib.import_module("trackio")

    class Trackio(lightning_logger):
        def __init__(self) -> None:
            self.run: Any = trackio.init(project=project, name=run_id, resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False)

        @property
        def name(self) -> str | None:
            return project

        @property
        def version(self) -> str:
            return run_id

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            self.run.log(dict(metrics), step=step)

        def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
            """Numbers of the run only."""

        def finalize(self, status: str) -> None:
            self.run.finish()

    return Trackio()


class MetricLoggers:
    """The loggers of one attempt; a failing one is dropped after one message to `warn`."""

    def __init__(self, sinks: dict[str, Any], warn: Callable[[str], None]) -> None:
        self.sinks, self.warn = sinks, warn

    @classmethod
    def open(cls, settings: Path, out: Path, run_id: str, warn: Callable[[str], None]) -> MetricLoggers:
        """Those that the job's settings file names; none without a file. Raises `logger_missing` with every package that is not there."""
        wanted = Loggers.model_validate_json(settings.read_bytes()) if settings.exists() else Loggers()
        makers: dict[str, Callable[[Any], Any]] = {}
        if wanted.tensorboard:
            makers["tensorboard"] = lambda loggers: loggers.TensorBoardLogger(save_dir=str(out / "tensorboard"), name="", version="")
        if wanted.wandb is not None:
            makers["wandb"] = lambda loggers: loggers.WandbLogger(project=wanted.wandb, name=run_id, id=run_id, resume="allow", save_dir=str(out))
        if wanted.mlflow is not None:
            makers["mlflow"] = lambda loggers: loggers.MLFlowLogger(experiment_name=EXPERIMENT, run_name=run_id, tracking_uri=wanted.mlflow)
        if wanted.trackio is not None:
            makers["trackio"] = lambda loggers: trackio_logger(loggers.Logger, wanted.trackio, run_id)
        missing = [name for name in makers if importlib.util.find_spec(name) is None]
        if missing:
            raise EnvironmentFault("logger_missing", f"[loggers] asks for {', '.join(missing)}, which is not installed.",
                                   next_step=f"pip install {' '.join(missing)}, or ask the person to take it out of asrtune.toml, then resume_job.")  # fmt: skip
        if not makers:
            return cls({}, warn)
        loggers = importlib.import_module("lightning.pytorch.loggers")
        return cls({name: make(loggers) for name, make in makers.items()}, warn)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Numbers of one event, under the names they have there; `step` in optimiser steps."""
        if metrics:
            self._each(lambda sink: sink.log_metrics(metrics, step))

    def close(self, status: str) -> None:
        """`status`: success, aborted or failed. Sends what is still buffered."""
        self._each(lambda sink: sink.finalize(status))

    def _each(self, act: Callable[[Any], None]) -> None:
        for name, sink in list(self.sinks.items()):
            try:
                act(sink)
            except Exception as error:  # noqa: BLE001 - whatever a service's client raises must not end a training
                del self.sinks[name]
                self.warn(f"{name} gets no more metrics: {type(error).__name__}")
