"""What the event file and the log say about a running attempt: last event, time left, health, and the end of the log made safe to show."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Literal

from pydantic import ValidationError

from asrcore.errors import clean_text
from asrcore.jobs.child import EVENTS
from asrcore.jobs.outcome import LOG, read_tail
from asrcore.requests import Event
from asrcore.results import Frozen

_EVENT_BYTES = 262_144
_LOG_BYTES = 16_384
LOG_CHARS = 2_000
_LINE_CHARS = 300

_LOSSES = ("loss", "train_loss")
_DEV = "dev_wer"
_MIN_LOSSES = 20
_MIN_DEVS = 4

STALL_S = 300.0
"""No event for so long, and for 20 times the usual gap, counts as stalled; a first import of NeMo takes under two minutes."""

HealthStatus = Literal["ok", "unknown", "nan", "diverging", "plateau", "stalled"]


class Health(Frozen):
    """A simple judgement from the last events; `unknown` until there are any. `detail` names the numbers behind it."""

    status: HealthStatus
    detail: str


def parse_events(text: str) -> Iterator[Event]:
    """Events of whole lines. A torn line (cut at the start of a tail, or by a full disk) is passed over."""
    for line in text.split("\n"):
        if line:
            try:
                yield Event.model_validate_json(line)
            except ValidationError:
                continue


def recent_events(folder: Path) -> tuple[Event, ...]:
    text = read_tail(folder / EVENTS, _EVENT_BYTES)
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


def assess(events: Sequence[Event], now: float | None = None) -> Health:
    """Health of a live attempt; `now` in seconds since the epoch."""
    if not events:
        return Health(status="unknown", detail="no event yet")
    bad = sorted({name for event in events for name, value in event.metrics.items() if not math.isfinite(value)})
    if bad:
        return Health(status="nan", detail=f"not a finite number: {', '.join(clean_text(name, 40) for name in bad[:5])}")
    return _stalled(events, time.time() if now is None else now) or _diverging(events) or _plateau(events) or Health(status="ok", detail="")


def _stalled(events: Sequence[Event], now: float) -> Health | None:
    gaps = [later.time - earlier.time for earlier, later in pairwise(events)]
    limit = max(STALL_S, 20 * median(gaps) if gaps else 0.0)
    quiet = now - events[-1].time
    return Health(status="stalled", detail=f"no event for {quiet:.0f} s; {limit:.0f} s is the limit") if quiet > limit else None


def _diverging(events: Sequence[Event]) -> Health | None:
    name = next((name for name in _LOSSES if any(name in event.metrics for event in events)), None)
    losses = [event.metrics[name] for event in events if name in event.metrics] if name else []
    if len(losses) < _MIN_LOSSES:
        return None
    quarter = len(losses) // 4
    best = min(median(losses[at : at + quarter]) for at in range(0, len(losses) - quarter, quarter))
    end = median(losses[-quarter:])
    if end > 2 * best and end - best > 0.1:
        return Health(status="diverging", detail=f"{name} rose from {best:.3g} to {end:.3g}")
    return None


def _plateau(events: Sequence[Event]) -> Health | None:
    devs = [event.metrics[_DEV] for event in events if _DEV in event.metrics]
    if len(devs) >= _MIN_DEVS and min(devs[-3:]) >= min(devs[:-3]):
        return Health(status="plateau", detail=f"the last 3 of {len(devs)} dev evals did not beat {min(devs[:-3]):.2f} % WER")
    return None


def log_tail(folder: Path) -> str:
    """The end of the child's log for a field named `untrusted_text`: lines cleaned, bar redraws dropped, capped to the last 2,000 characters."""
    lines = [line.rsplit("\r", 1)[-1] for line in re.split(r"\r?\n", read_tail(folder / LOG, _LOG_BYTES))]
    return "\n".join(clean_text(line, _LINE_CHARS) for line in lines if line.strip())[-LOG_CHARS:]
