"""Metrics for other eyes: off by default, TensorBoard on this machine, and a service that fails costs its copy only."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from asrcore import io
from asrcore.errors import EnvironmentFault
from asrcore.jobs.child import LOGGERS
from asrcore.workspace import Loggers

pytestmark = pytest.mark.heavy


def opened(folder: Path, said: list[str], **settings: Any) -> Any:
    from asrcore.model.train_loggers import MetricLoggers

    if settings:
        io.write_json(folder / LOGGERS, Loggers(**settings))
    return MetricLoggers.open(folder / LOGGERS, folder / "run", "run_1", said.append)


def test_nothing_is_logged_anywhere_unless_the_config_says_so(tmp_path: Path) -> None:
    loggers = opened(tmp_path, [])
    loggers.log(1, {"loss": 1.0})
    loggers.close("success")
    assert loggers.sinks == {}
    assert not list(tmp_path.iterdir())
    assert Loggers() == Loggers(tensorboard=False, wandb=None, mlflow=None, trackio=None)


def test_tensorboard_gets_the_numbers_of_the_events_under_their_names_and_steps(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = opened(tmp_path, [], tensorboard=True)
    loggers.log(3, {"loss": 2.5, "lr": 1e-4})
    loggers.log(7, {"loss": 1.5})
    loggers.close("success")
    events: Any = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 2.5), (7, 1.5)]
    assert [event.step for event in events.Scalars("lr")] == [3]


def test_trackio_gets_the_numbers_under_the_runs_id_and_nothing_leaves_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Any]] = []

    class Run:
        def log(self, metrics: dict[str, float], step: int | None) -> None:
            seen.append(("log", (step, metrics)))

        def finish(self) -> None:
            seen.append(("finish", None))

    def init(**settings: Any) -> Run:
        seen.append(("init", settings))
        return Run()

    fake: Any = ModuleType("trackio")
    fake.init, fake.__spec__ = init, ModuleSpec("trackio", None)
    monkeypatch.setitem(sys.modules, "trackio", fake)
    loggers = opened(tmp_path, [], trackio="asr")
    loggers.log(3, {"loss": 2.5})
    loggers.close("success")
    assert seen[1:] == [("log", (3, {"loss": 2.5})), ("finish", None)]
    settings = seen[0][1]
    assert (settings["project"], settings["name"], settings["resume"]) == ("asr", "run_1", "allow")
    assert not settings.keys() & {"space_id", "server_url", "dataset_id", "bucket_id", "webhook_url", "config"}
    assert settings["auto_log_gpu"] is settings["auto_log_cpu"] is False


def test_the_trackio_that_is_installed_keeps_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio", reason="pip install trackio")
    loggers = opened(tmp_path, [], trackio="asr")
    loggers.log(3, {"loss": 2.5})
    loggers.close("success")
    (run,) = trackio.Api().runs("asr")
    assert run.name == "run_1"
    assert list((tmp_path / "trackio").glob("asr*.db"))


def test_a_package_that_is_not_there_is_named_before_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"logger_missing.*wandb, mlflow, trackio"):
        opened(tmp_path, [], wandb="asr", mlflow="http://mlflow:5000", trackio="asr")


def test_a_service_that_cannot_be_reached_is_dropped_with_one_word_and_the_others_go_on() -> None:
    from asrcore.model.train_loggers import MetricLoggers

    class Down:
        def log_metrics(self, metrics: dict[str, float], step: int) -> None:
            raise ConnectionError("secret.example refused")

    class Up:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def log_metrics(self, metrics: dict[str, float], step: int) -> None:
            self.seen.append(step)

    up, said = Up(), list[str]()
    loggers = MetricLoggers({"mlflow": Down(), "tensorboard": up}, said.append)
    loggers.log(1, {"loss": 1.0})
    loggers.log(2, {"loss": 1.0})
    assert (up.seen, said) == ([1, 2], ["mlflow gets no more metrics: ConnectionError"])
