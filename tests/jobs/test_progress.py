"""Progress and time left, judged from events; and the log's tail."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrcore.jobs.child import Reporter
from asrcore.jobs.progress import last_shown, log_tail, parse_events, recent_events, seconds_left
from asrcore.requests import Event


def test_time_left_follows_the_pace_of_the_current_stage() -> None:
    events = [Event(time=0, stage="restore", step=1, total=1), *(Event(time=100.0 + 2 * n, stage="fit", step=n, total=50) for n in range(11))]
    assert seconds_left(events) == 80.0


@pytest.mark.parametrize("events", [[], [Event(time=1, stage="a", step=3, total=9)], [Event(time=n, stage="a", step=n) for n in range(3)]])
def test_without_a_pace_or_a_total_there_is_no_time_left(events: list[Event]) -> None:
    assert seconds_left(events) is None


def test_the_view_holds_the_latest_value_of_each_metric_and_cleaned_text() -> None:
    events = [
        Event(time=1, stage="fit", step=1, total=3, metrics={"dev_wer": 9.0, "loss": 2.0}),
        Event(time=2, stage="fit", step=2, total=3, message="a\u202eb\x1b[0m", metrics={"loss": float("inf")}),
    ]
    shown = last_shown(events)
    assert shown is not None
    assert (shown.step, shown.metrics, shown.message) == (2, {"dev_wer": 9.0, "loss": 2.0}, "ab[0m")


@given(cut=st.integers(0, 400))
def test_a_torn_line_costs_that_line_only(cut: int) -> None:
    text = "".join(Event(time=n, stage="fit", step=n, total=9).model_dump_json() + "\n" for n in range(9))
    assert len(text) > 400
    steps = [event.step for event in parse_events(text[cut:])]
    assert steps == list(range(9 - len(steps), 9))
    assert len(steps) >= text[cut:].count("\n") - 1


def test_a_long_event_file_is_read_from_its_end(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path)
    for step in range(4000):
        reporter.event("fit", step, 4000, "x" * 20)
    events = recent_events(tmp_path)
    assert events[-1].step == 3999
    assert 100 < len(events) < 4000
    assert all(later.step == earlier.step + 1 for earlier, later in pairwise(events))


def test_the_log_tail_shows_the_last_state_of_a_progress_bar(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"start\r\n 1%\r 50%\r 100%\nend \xff\n")
    assert log_tail(tmp_path).splitlines() == ["start", " 100%", "end \ufffd"]


def test_a_huge_log_is_capped(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("y" * 500_000 + "\nlast line\n")
    tail = log_tail(tmp_path)
    assert len(tail) <= 2000
    assert tail.endswith("last line")
