"""What the event file and the log say about a running attempt: last event, time left, and the end of the log made safe to show."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from asrcore.errors import clean_text
from asrcore.jobs.child import EVENTS, LOG
from asrcore.jobs.outcome import read_tail
from asrcore.requests import Event

_EVENT_BYTES = 262_144
BRIEF_BYTES = 16_384
"""About a hundred events: enough for a line in a list."""
_LOG_BYTES = 16_384
LOG_CHARS = 2_000
_LINE_CHARS = 300


def parse_events(text: str) -> Iterator[Event]:
    """Events of whole lines. A torn line (cut at the start of a tail, or by a full disk) is passed over."""
    for line in text.split("\n"):
        if line:
            try:
                yield Event.model_validate_json(line)
            except ValidationError:
                continue


def recent_events(folder: Path, limit: int = _EVENT_BYTES) -> tuple[Event, ...]:
    """Those in the last `limit` bytes of the event file."""
    text = read_tail(folder / EVENTS, limit)
    return tuple(parse_events(text[: text.rfind("\n") + 1]))


def last_shown(events: Sequence[Event]) -> Event | None:
    """The last event as a view carries it: cleaned text, and the latest finite value of each metric of its stage.

    JSON has no NaN; `health` says when there was one.
    """
    if not events:
        return None
    last = events[-1]
    metrics: dict[str, float] = {}
    for event in events:
        if event.stage == last.stage:
            metrics |= {clean_text(name, 40): value for name, value in event.metrics.items() if math.isfinite(value)}
    return last.model_copy(update={"message": clean_text(last.message), "stage": clean_text(last.stage, 60), "metrics": metrics})


def seconds_left(events: Sequence[Event]) -> float | None:
    """Of the current stage, from its pace over the recent events; None without a total or a pace."""
    if not events:
        return None
    last = events[-1]
    same = [event for event in events if event.stage == last.stage and event.total == last.total and event.step <= last.step]
    steps, seconds = last.step - same[0].step, last.time - same[0].time
    if last.total <= 0 or steps <= 0 or seconds <= 0:
        return None
    return round((last.total - last.step) * seconds / steps, 1)


def log_tail(folder: Path) -> str:
    """The end of the child's log for a field named `untrusted_text`: lines cleaned, bar redraws dropped, capped to the last 2,000 characters."""
    lines = [line.rsplit("\r", 1)[-1] for line in re.split(r"\r?\n", read_tail(folder / LOG, _LOG_BYTES))]
    return "\n".join(clean_text(line, _LINE_CHARS) for line in lines if line.strip())[-LOG_CHARS:]
