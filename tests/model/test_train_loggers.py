"""Metrics for other eyes: off by default, TensorBoard on this machine, and a service that fails costs its copy only."""

from __future__ import annotations

from pathlib import Path
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
    assert Loggers() == Loggers(tensorboard=False, wandb=None, mlflow=None)


def test_tensorboard_gets_the_numbers_of_the_events_under_their_names_and_steps(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = opened(tmp_path, [], tensorboard=True)
    loggers.log(3, {"loss": 2.5, "lr": 1e-4})
    loggers.log(7, {"loss": 1.5})
    loggers.close("success")
    events: Any = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 2.5), (7, 1.5)]
    assert [event.step for event in events.Scalars("lr")] == [3]


def test_a_package_that_is_not_there_is_named_before_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"logger_missing.*wandb, mlflow"):
        opened(tmp_path, [], wandb="asr", mlflow="http://mlflow:5000")


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
