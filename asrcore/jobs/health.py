"""How an attempt is doing, judged from its last events alone: pure functions, first alarm first.

The thresholds are rules of thumb, not statistics: they decide what is worth a look, never what a model is worth. Dev rates are WER in percent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Literal

from asrcore.errors import clean_text
from asrcore.requests import Event
from asrcore.results import Frozen

_LOSSES = ("loss", "train_loss")
_DEV = "dev_wer"
_PACE = "utterances_per_s"
"""Utterances a second of the time spent in steps, as a training reports it."""
_MIN_LOSSES = 20
_MIN_DEVS = 4

STALL_S = 300.0
"""No event for so long, and for 20 times the usual gap, counts as stalled; a first import of NeMo takes under two minutes."""
_WORSE_POINTS, _WORSE_SHARE = 1.0, 0.1
"""A dev rate this much over the best (the larger of both) has risen, where less may be chance."""
_MIN_WATCHED_S = 60.0
_DATA_SHARE = 0.5
"""More than this part of the wall clock outside of steps: the loader, not the model, sets the pace."""

_IDLE_PERCENT = 20.0
"""GPUs that compute in less than this part of their time are mostly paid for in vain."""

HealthStatus = Literal["ok", "unknown", "nan", "diverging", "stalled", "overfit", "plateau", "data_bound", "gpu_idle"]
ALARMS: frozenset[HealthStatus] = frozenset(("nan", "diverging", "stalled"))
"""What somebody is told of while the job runs; the rest is worth knowing, and costs only time."""


class Health(Frozen):
    """A simple judgement from the last events; `unknown` until there are any. `detail` names the numbers behind it."""

    status: HealthStatus
    detail: str


def assess(events: Sequence[Event], now: float | None = None, batch_size: int | None = None, gpu_busy: float | None = None) -> Health:
    """Health of a live attempt; `now` in seconds since the epoch, `batch_size` in utterances a step, where it is a training, `gpu_busy` in percent
    of the last minutes, where it has GPUs."""
    if not events:
        return Health(status="unknown", detail="no event yet")
    bad = sorted({name for event in events for name, value in event.metrics.items() if not math.isfinite(value)})
    if bad:
        return Health(status="nan", detail=f"not a finite number: {', '.join(clean_text(name, 40) for name in bad[:5])}")
    now = time.time() if now is None else now
    found = stalled(events, now) or diverging(events) or overfit(events) or plateau(events) or data_bound(events, batch_size) or gpu_idle(gpu_busy)
    return found or Health(status="ok", detail="")


def stalled(events: Sequence[Event], now: float) -> Health | None:
    gaps = [later.time - earlier.time for earlier, later in pairwise(events)]
    limit = max(STALL_S, 20 * median(gaps) if gaps else 0.0)
    quiet = now - events[-1].time
    return Health(status="stalled", detail=f"no event for {quiet:.0f} s; {limit:.0f} s is the limit") if quiet > limit else None


def diverging(events: Sequence[Event]) -> Health | None:
    name, losses = _losses(events)
    if len(losses) < _MIN_LOSSES:
        return None
    quarter = len(losses) // 4
    best = min(median(losses[at : at + quarter]) for at in range(0, len(losses) - quarter, quarter))
    end = median(losses[-quarter:])
    if end > 2 * best and end - best > 0.1:
        return Health(status="diverging", detail=f"{name} rose from {best:.3g} to {end:.3g}")
    return None


def overfit(events: Sequence[Event]) -> Health | None:
    """The last two dev evals are clearly worse than the best before them, while the training loss went on falling since that best."""
    at = [number for number, event in enumerate(events) if _DEV in event.metrics]
    if len(at) < _MIN_DEVS:
        return None
    devs = [events[number].metrics[_DEV] for number in at]
    best = min(range(len(devs) - 2), key=lambda number: devs[number])
    limit = devs[best] + max(_WORSE_POINTS, _WORSE_SHARE * devs[best])
    before, after = _losses(events[: at[best]])[1], _losses(events[at[best] :])[1]
    if min(devs[-2:]) < limit or not before or not after:
        return None
    then, now = median(before[-5:]), median(after[-5:])
    if now >= then:
        return None
    return Health(status="overfit", detail=f"dev WER rose from {devs[best]:.2f} to {devs[-1]:.2f} % while the loss fell from {then:.3g} to {now:.3g}")


def plateau(events: Sequence[Event]) -> Health | None:
    devs = [event.metrics[_DEV] for event in events if _DEV in event.metrics]
    if len(devs) >= _MIN_DEVS and min(devs[-3:]) >= min(devs[:-3]):
        return Health(status="plateau", detail=f"the last 3 of {len(devs)} dev evals did not beat {min(devs[:-3]):.2f} % WER")
    return None


def data_bound(events: Sequence[Event], batch_size: int | None) -> Health | None:
    """Wall clock between reports of steps against the time inside these steps, which follows from step, batch size and pace.

    Only neighbouring reports count, so that a dev eval or a checkpoint between two of them is not taken for waiting.
    """
    if batch_size is None:
        return None
    wall = busy = 0.0
    for earlier, later in pairwise(events):
        if min(earlier.metrics.get(_PACE, 0.0), later.metrics.get(_PACE, 0.0)) > 0 and later.step > earlier.step and later.stage == earlier.stage:
            wall += later.time - earlier.time
            busy += batch_size * (later.step / later.metrics[_PACE] - earlier.step / earlier.metrics[_PACE])
    if wall < _MIN_WATCHED_S or busy <= 0:
        return None
    share = 1 - busy / wall
    return Health(status="data_bound", detail=f"{share:.0%} of {wall:.0f} s went by between steps, not in them") if share > _DATA_SHARE else None


def gpu_idle(percent: float | None) -> Health | None:
    if percent is None or percent >= _IDLE_PERCENT:
        return None
    return Health(status="gpu_idle", detail=f"the GPU computed in {percent:.0f} % of the last minutes")


def _losses(events: Sequence[Event]) -> tuple[str, list[float]]:
    name = next((name for name in _LOSSES if any(name in event.metrics for event in events)), "")
    return name, [event.metrics[name] for event in events if name in event.metrics]
