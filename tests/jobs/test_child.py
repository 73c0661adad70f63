"""The child's side, in this process: what a job module leaves behind."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from asrcore.errors import EnvironmentFault, NotReadyError
from asrcore.jobs.child import Reporter, main
from asrcore.jobs.health import assess
from asrcore.jobs.progress import last_shown, recent_events
from asrcore.results import Frozen


class Request(Frozen):
    n: int


class Answer(Frozen):
    twice: int


def start(folder: Path, body: dict[str, Any], run: Any) -> int:
    (folder / "request.json").write_text(json.dumps(body))
    with pytest.raises(SystemExit) as ended:
        main(Request, run, [str(folder / "request.json")])
    return int(str(ended.value.code))


def error_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "error.json").read_text())


def test_a_finished_child_leaves_its_result_and_exits_0(tmp_path: Path) -> None:
    assert start(tmp_path, {"n": 4}, lambda request, _: Answer(twice=2 * request.n)) == 0
    assert json.loads((tmp_path / "result.json").read_text()) == {"twice": 8}
    assert not (tmp_path / "error.json").exists()


def test_a_coded_error_becomes_error_json_and_the_exit_code(tmp_path: Path) -> None:
    def run(_request: Request, _reporter: Reporter) -> Answer:
        raise NotReadyError("not_yet", "too early.", next_step="wait.")

    assert start(tmp_path, {"n": 4}, run) == 3
    assert error_of(tmp_path)["code"] == "not_yet"
    assert not (tmp_path / "result.json").exists()


def test_a_bad_request_names_every_bad_field(tmp_path: Path) -> None:
    assert start(tmp_path, {"n": "four", "m": 1}, lambda _request, _reporter: None) == 2
    error = error_of(tmp_path)
    assert error["code"] == "request_invalid"
    assert {problem["message"].split(":")[0] for problem in error["problems"]} == {"n", "m"}


def test_a_missing_request_is_a_coded_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(Request, lambda _request, _reporter: None, [str(tmp_path / "request.json")])
    assert ended.value.code == 2
    assert error_of(tmp_path)["code"] == "request_missing"


def test_a_stop_request_reaches_the_work_and_leaves_neither_result_nor_error(tmp_path: Path) -> None:
    seen: list[bool] = []

    def run(_request: Request, reporter: Reporter) -> Answer:
        reporter.stop_if_asked()
        os.kill(os.getpid(), signal.SIGTERM)
        seen.append(reporter.stopping)
        reporter.stop_if_asked()
        raise AssertionError("went on")

    before = signal.getsignal(signal.SIGTERM)
    assert start(tmp_path, {"n": 1}, run) == 143
    assert seen == [True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["request.json"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_start_in_the_folder_does_not_inherit_the_first_ones_error(tmp_path: Path) -> None:
    def fail(_request: Request, _reporter: Reporter) -> Answer:
        raise NotReadyError("not_yet", "too early.", next_step="wait.")

    start(tmp_path, {"n": 1}, fail)
    assert start(tmp_path, {"n": 1}, lambda _request, _reporter: Answer(twice=2)) == 0
    assert not (tmp_path / "error.json").exists()


def test_an_unexpected_exception_is_left_to_the_log(tmp_path: Path) -> None:
    def run(_request: Request, _reporter: Reporter) -> Answer:
        raise ZeroDivisionError

    (tmp_path / "request.json").write_text('{"n": 1}')
    with pytest.raises(ZeroDivisionError):
        main(Request, run, [str(tmp_path / "request.json")])
    assert not (tmp_path / "error.json").exists()


def test_events_carry_non_finite_metrics_without_breaking_json(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path)
    reporter.event("fit", 1, 10, "warm", loss=2.5, lr=1e-4)
    reporter.event("fit", 2, 10, loss=math.nan, grad=math.inf)
    for line in (tmp_path / "events.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    events = recent_events(tmp_path)
    assert math.isnan(events[1].metrics["loss"])
    assert math.isinf(events[1].metrics["grad"])
    assert assess(events, now=events[1].time).status == "nan"
    shown = last_shown(events)
    assert shown is not None
    assert shown.metrics == {"loss": 2.5, "lr": 1e-4}


def test_a_full_disk_under_the_events_is_the_coded_error(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").symlink_to("/dev/full")

    def run(_request: Request, reporter: Reporter) -> Answer:
        reporter.event("fit", 1, 2)
        raise AssertionError("went on")

    assert start(tmp_path, {"n": 1}, run) == EnvironmentFault.exit_code
    assert error_of(tmp_path)["code"] == "disk_full"
